//! Durable queues, inboxes and records of requests in a PostgreSQL database that several nodes share.
mod bells;
mod changes;
mod commit;
mod config;
mod declare;
mod engine;
mod failure;
mod keeper;
mod lease;
mod look;
mod moment;
mod open_error;
mod pass;
mod pool;
mod ports;
mod queues;
mod requests;
mod row;
mod schema;
mod session;
mod store;
mod transaction;

pub use config::PostgresConfig;
pub use engine::Postgres;
pub use open_error::OpenError;
/// Where the server is, and who asks: what `tokio-postgres` reads from a connection string. Its `Debug` hides the
/// password.
pub use tokio_postgres::Config as ServerConfig;

use engine::Shared;
