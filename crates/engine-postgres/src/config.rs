use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use intertie_core::config::Invalid;
use intertie_core::quantity::{self, ByteSize, DurationText, format_duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one node asks of the database, and how much it keeps there. Nodes that share a schema should be told the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Postgres")]
pub struct PostgresConfig {
    /// The schema that holds all tables, made if there is none: lower-case letters, digits and `_`, at most 48.
    /// Engines with different schemas know nothing of each other. Default "intertie".
    pub schema: String,
    /// Connections that do what callers ask for; the engine holds one more, which listens and does what time does.
    /// Default 8.
    pub connections_max: NonZeroU32,
    /// Callers that wait for one of the connections; a further one is refused. Default 1,000.
    pub pending_max: NonZeroU32,
    /// How long a caller waits for a connection, and for the server to take a new one. Default "5s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub pending_timeout: Duration,
    /// How long one transaction may take. After that its connection is closed, and the server told to give it up. It
    /// must be longer than the commit of the largest batch takes. Default "30s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub transaction_timeout: Duration,
    /// How often a transaction is tried that the server gave up in favour of another one. Default 10.
    pub tries_max: NonZeroU32,
    /// How often a node looks for what it was not told of: other nodes tell each other what was sent, and a node that
    /// dies between its commit and the telling leaves that to the next look. Default "1s".
    #[serde(with = "quantity::duration")]
    #[schemars(with = "DurationText")]
    pub look_every: Duration,
    /// Consumers of this node that wait for messages at once; a further one is refused, and may ask without waiting.
    /// Default 10,000.
    pub waiting_max: NonZeroU32,
    /// Operations of one commit; a larger one is refused. Default 10,000.
    pub operations_max: NonZeroU32,
    /// Bytes of the messages, reasons and answers of one commit. Default 64 MiB.
    pub commit_bytes_max: ByteSize,
    /// Queues, those of dead letters that came with others included. Default 10,000.
    pub queues_max: NonZeroU32,
    /// Records of requests, those included that are over for less than an hour; at this many a request with a new key
    /// is refused. Requests that begin at the same time may go past it, one for each connection of each node. Default
    /// 1,000,000.
    pub records_max: NonZeroU64,
    /// Bytes of the answers in them; at this many a request with a new key is refused, and an answer that would go
    /// past it is not kept. Default 1 GiB.
    pub answers_bytes_max: ByteSize,
    /// Rows of each kind that time changes in one transaction: leases that end, messages that become due or die, what
    /// is forgotten. Default 256.
    pub step: NonZeroU32,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("defaults are not zero");
        Self {
            schema: "intertie".to_owned(),
            connections_max: count(8),
            pending_max: count(1000),
            pending_timeout: Duration::from_secs(5),
            transaction_timeout: Duration::from_secs(30),
            tries_max: count(10),
            look_every: Duration::from_secs(1),
            waiting_max: count(10_000),
            operations_max: count(10_000),
            commit_bytes_max: ByteSize::from_bytes(64 << 20),
            queues_max: count(10_000),
            records_max: NonZeroU64::new(1_000_000).expect("defaults are not zero"),
            answers_bytes_max: ByteSize::from_bytes(1 << 30),
            step: count(256),
        }
    }
}

/// PostgreSQL cuts names at 63 bytes; the channel has a prefix.
const SCHEMA_BYTES_MAX: usize = 48;
/// A node that looks this often holds nothing up, and one that looks less often finds what a dead node left too late.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

impl PostgresConfig {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// Names the first setting that can not, with its value and the limit.
    pub fn validate(&self) -> Result<(), Invalid> {
        let is_plain = |at: usize, byte: u8| {
            byte.is_ascii_lowercase() || byte == b'_' || (at > 0 && byte.is_ascii_digit())
        };
        let schema = &self.schema;
        let is_name = (1..=SCHEMA_BYTES_MAX).contains(&schema.len())
            && schema.bytes().enumerate().all(|(at, byte)| is_plain(at, byte))
            && !schema.starts_with("pg_");
        if !is_name {
            let problem = format!(
                "{schema:?} is no name of 1 to {SCHEMA_BYTES_MAX} lower-case letters, digits and `_` that begins with \
                 a letter or `_`, and not with `pg_`"
            );
            return Err(Invalid::new("schema", problem));
        }
        for (field, time) in
            [("pending_timeout", self.pending_timeout), ("transaction_timeout", self.transaction_timeout)]
        {
            if time < Duration::from_millis(10) {
                let problem = format!("{} is too short for a server to answer", format_duration(time));
                return Err(Invalid::new(field, problem));
            }
        }
        let (least, most) = LOOK_EVERY;
        if !(least..=most).contains(&self.look_every) {
            let (is, least, most) =
                (format_duration(self.look_every), format_duration(least), format_duration(most));
            return Err(Invalid::new("look_every", format!("{is} is not between {least} and {most}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_work_are_refused_by_name() {
        let standard = PostgresConfig::default();
        standard.validate().expect("the defaults work");
        let with_schema = |schema: &str| PostgresConfig { schema: schema.to_owned(), ..standard.clone() };
        for schema in ["", "Orders", "a-b", "a\"b", "7a", "pg_a", &"s".repeat(49)] {
            assert_eq!(with_schema(schema).validate().expect_err(schema).field, "schema");
        }
        for schema in ["a", "_a7", "orders_of_2026", &"s".repeat(48)] {
            with_schema(schema).validate().expect(schema);
        }
        let hasty = PostgresConfig { look_every: Duration::ZERO, ..standard.clone() };
        assert_eq!(hasty.validate().expect_err("no time").field, "look_every");
        let short = PostgresConfig { transaction_timeout: Duration::ZERO, ..standard.clone() };
        assert_eq!(short.validate().expect_err("no time").field, "transaction_timeout");
        let text = serde_json::to_string(&standard).expect("serializes");
        assert_eq!(serde_json::from_str::<PostgresConfig>(&text).expect("round trip"), standard);
        serde_json::from_str::<PostgresConfig>(r#"{"connections":1}"#).expect_err("unknown key");
    }
}
