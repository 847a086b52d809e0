//! One connection, set up as this engine needs it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, NoTls, Row, Socket, Statement};

use crate::config::PostgresConfig;
use crate::failure::Failure;

/// What is bound to the places of a statement.
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The oldest version whose catalogues and functions are those that this engine asks for.
pub(crate) const VERSION_MIN: i32 = 130_000;

/// What was found when a connection was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) version: String,
    pub(crate) version_number: i32,
    /// Whether the server waits for its disk.
    pub(crate) syncs: bool,
    /// Whether it only follows another server.
    pub(crate) is_standby: bool,
}

/// A connection that one task has to itself.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// What the server has prepared, by its text; as many as this engine has statements.
    statements: Mutex<HashMap<&'static str, Statement>>,
}

/// Connects and sets the session up; what comes by itself on the connection is the caller's to read.
pub(crate) async fn connect(
    server: &Config,
    config: &PostgresConfig,
) -> Result<(Session, Connection<Socket, NoTlsStream>), Failure> {
    let mut server = server.clone();
    server.connect_timeout(config.pending_timeout);
    // A server that vanished is noticed while its answer is waited for, however the system is set up.
    server
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    server.application_name("intertie");
    let (client, connection) = server.connect(NoTls).await?;
    Ok((Session { client, statements: Mutex::default() }, connection))
}

impl Session {
    /// Sets what holds for all transactions, and tells what the server is.
    ///
    /// Every statement here goes by an index to rows that it knows by their keys. On tables that were empty when they
    /// were last looked at, the planner takes reading them whole for cheaper, long after they have grown; so it is
    /// told not to.
    pub(crate) async fn set_up(&self, config: &PostgresConfig) -> Result<Found, Failure> {
        let (schema, timeout) = (&config.schema, config.transaction_timeout.as_millis());
        self.client
            .batch_execute(&format!(
                "SET search_path TO \"{schema}\";
                 SET default_transaction_isolation TO 'read committed';
                 SET statement_timeout TO {timeout};
                 SET idle_in_transaction_session_timeout TO {timeout};
                 SET client_min_messages TO warning;
                 SET enable_seqscan TO off; SET enable_bitmapscan TO off;
                 SET enable_hashjoin TO off; SET enable_mergejoin TO off; SET jit TO off"
            ))
            .await?;
        let sql = "SELECT current_setting('server_version'), current_setting('server_version_num')::int4,
                          current_setting('fsync')::bool, pg_is_in_recovery(),
                          set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                              WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
        let row = self.client.query_one(sql, &[]).await?;
        let version: &str = row.try_get(0)?;
        Ok(Found {
            version: version.split(' ').next().unwrap_or(version).to_owned(),
            version_number: row.try_get(1)?,
            syncs: row.try_get(2)?,
            is_standby: row.try_get(3)?,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Has the server give up what it does for this session.
    pub(crate) fn cancel(&self) {
        let token = self.client.cancel_token();
        tokio::spawn(async move { token.cancel_query(NoTls).await });
    }

    /// Runs statements that answer nothing.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    async fn prepared(&self, sql: &'static str) -> Result<Statement, Failure> {
        let known = |statements: &Mutex<HashMap<_, Statement>>| {
            statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
        };
        if let Some(statement) = known(&self.statements) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    pub(crate) async fn query(&self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    /// The one row that `sql` answers.
    pub(crate) async fn one(&self, sql: &'static str, values: Values<'_>) -> Result<Row, Failure> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query_one(&statement, values).await?)
    }

    pub(crate) async fn run(&self, sql: &'static str, values: Values<'_>) -> Result<u64, Failure> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.execute(&statement, values).await?)
    }
}
