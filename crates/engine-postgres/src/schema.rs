//! How everything lies in the database.
//!
//! | table | a row is |
//! |---|---|
//! | `queue` | a queue: what was declared, and who used it last |
//! | `message` | where a message stands: narrow, changed by each delivery |
//! | `content` | what a message says: written once |
//! | `settled` | a settlement that is remembered |
//! | `seen` | an id within the window of deduplication, by its digest |
//! | `removed` | a queue that is gone, whose rows are removed step by step |
//! | `interest` | a node whose consumers wait for messages of a queue |
//! | `mark` | a mark of an inbox, by its digest |
//! | `request` | a record of a request, by the digest of its scope and key |
//! | `request_usage` | how much those are, in stripes so that callers do not wait for each other |
//!
//! A message is in one of four states, and in the index of that state alone, so that a lease reads what it hands out
//! and nothing else, however much waits: ready (0), delayed (1), held (2), behind another one of its group (3).
//!
//! Every key is of bounded size: what others choose the length of stands in them as SHA-256.

use ring::digest::{SHA256, digest};

use crate::failure::Failure;
use crate::session::Session;

/// Each brings a schema from one version to the next. What was released is never changed.
const MIGRATIONS: &[&str] = &[FIRST];

const FIRST: &str = "
CREATE SEQUENCE position;
CREATE SEQUENCE delivery;
CREATE SEQUENCE fence;
CREATE TABLE queue (
    number int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE \"C\" NOT NULL UNIQUE,
    spec text NOT NULL,
    dead_letters text COLLATE \"C\",
    auto_delete int8,
    used int8 NOT NULL,
    asked_by text,
    asked_at int8 NOT NULL DEFAULT 0
);
CREATE INDEX queue_dead_letters ON queue (dead_letters) WHERE dead_letters IS NOT NULL;
CREATE TABLE message (
    queue int4 NOT NULL,
    position int8 NOT NULL,
    state int2 NOT NULL,
    priority int2 NOT NULL,
    deliveries int4 NOT NULL,
    bytes int8 NOT NULL,
    stored_at int8 NOT NULL,
    due int8 NOT NULL,
    first_due int8 NOT NULL,
    expires int8,
    ends int8,
    key bytea,
    member bytea,
    dead text,
    delivery int8,
    secret int8,
    consumer text,
    until int8,
    PRIMARY KEY (queue, position)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX message_ready ON message (queue, priority DESC, position) WHERE state = 0;
CREATE INDEX message_delayed ON message (due) WHERE state = 1;
CREATE INDEX message_held ON message (queue) WHERE state = 2;
CREATE INDEX message_until ON message (until) WHERE state = 2;
CREATE INDEX message_ends ON message (ends) WHERE ends IS NOT NULL AND state <> 2;
CREATE INDEX message_member ON message (queue, member, position) WHERE member IS NOT NULL;
CREATE TABLE content (
    queue int4 NOT NULL,
    position int8 NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (queue, position)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE TABLE settled (
    queue int4 NOT NULL,
    delivery int8 NOT NULL,
    secret int8 NOT NULL,
    settlement bytea NOT NULL,
    at int8 NOT NULL,
    PRIMARY KEY (queue, delivery)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX settled_at ON settled (queue, at, delivery);
CREATE TABLE seen (
    queue int4 NOT NULL,
    digest bytea NOT NULL,
    position int8 NOT NULL,
    at int8 NOT NULL,
    PRIMARY KEY (queue, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX seen_at ON seen (queue, at);
CREATE INDEX seen_position ON seen (queue, position);
CREATE TABLE removed (number int4 PRIMARY KEY);
CREATE TABLE interest (
    queue text COLLATE \"C\" NOT NULL,
    node int8 NOT NULL,
    until int8 NOT NULL,
    PRIMARY KEY (queue, node)
);
CREATE TABLE mark (
    inbox text COLLATE \"C\" NOT NULL,
    digest bytea NOT NULL,
    until int8 NOT NULL,
    PRIMARY KEY (inbox, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX mark_until ON mark (until);
CREATE TABLE request (
    digest bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    done bool NOT NULL,
    answer bytea,
    until int8 NOT NULL,
    fence int8 NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);
CREATE INDEX request_until ON request (until);
CREATE TABLE request_usage (stripe int4 PRIMARY KEY, records int8 NOT NULL, answer_bytes int8 NOT NULL)
    WITH (fillfactor = 10);
INSERT INTO request_usage SELECT stripe, 0, 0 FROM generate_series(0, 15) AS stripe;
";

/// What came of bringing a schema up to date.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    UpToDate,
    /// A later version of this engine has been there.
    Later {
        version: i32,
    },
}

/// The version that this engine knows.
pub(crate) fn version() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// Makes the schema, or brings one of an earlier version up to date; one node at a time, whole or not at all.
pub(crate) async fn bring_up_to_date(session: &Session, schema: &str) -> Result<Brought, Failure> {
    let key = lock_key(&[b"schema", schema.as_bytes()]);
    session.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({key})")).await?;
    let is_there = session.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema]).await?;
    if is_there.is_empty() {
        // Only then, since it takes a right that an engine does not need later.
        session.batch(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    session.batch("CREATE TABLE IF NOT EXISTS schema_version (version int4 NOT NULL)").await?;
    let found = session.query("SELECT version FROM schema_version", &[]).await?;
    let version = found.first().map_or(Ok(0), |row| row.try_get(0))?;
    let known = self::version();
    if version > known {
        session.batch("ROLLBACK").await?;
        return Ok(Brought::Later { version });
    }
    for migration in &MIGRATIONS[usize::try_from(version).unwrap_or(0)..] {
        session.batch(migration).await?;
    }
    if version < known {
        session
            .batch(&format!("DELETE FROM schema_version; INSERT INTO schema_version VALUES ({known})"))
            .await?;
    }
    session.batch("COMMIT").await?;
    Ok(Brought::UpToDate)
}

/// What `parts` are known by in keys; no two lists of parts run into each other.
pub(crate) fn digest_of(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = ring::digest::Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// The key of an advisory lock on what `parts` say.
pub(crate) fn lock_key(parts: &[&[u8]]) -> i64 {
    let digest = digest(&SHA256, &digest_of(parts));
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_ref()[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_apart_where_parts_end() {
        assert_ne!(digest_of(&[b"ab", b"c"]), digest_of(&[b"a", b"bc"]));
        assert_eq!(digest_of(&[b"ab", b"c"]), digest_of(&[b"ab", b"c"]));
        assert_ne!(lock_key(&[b"group", b"a"]), lock_key(&[b"group", b"b"]));
    }
}
