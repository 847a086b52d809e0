//! Durable queues, inboxes and records of requests in a PostgreSQL database that several nodes share.
//!
//! [`Postgres`] is the engine: every node that opens the same schema of the same database serves the same queues, and
//! none of them is needed by the others. One commit reaches across queues, inboxes and records. Topics are refused by
//! name; they are not in the tree yet. What is kept how is the table in `docs/engine-postgres.md`.
//!
//! # What is promised, and when
//!
//! **A commit that was answered is in the log of the server, and synced** where the server syncs: a session whose
//! `synchronous_commit` would be `off` is set to `on`, and stronger settings are left as they are. A server that runs
//! with `fsync = off` is found at each connection: queues that ask for a synced copy are refused there, and receipts
//! say `synced = 0`. How many standbys have a copy is not told by the server, so that receipts say one.
//!
//! **A commit that was answered with an error was not done**, but for
//! [`Unknown`](intertie_messaging::commit::CommitError::Unknown): the server was told to commit, and the connection
//! broke before it said that it had. Everything before that moment is undone by the server itself.
//!
//! **The clock of the database is the clock.** Leases, delays, ends and windows are moments that the server told; a
//! node whose clock jumps delivers nothing early, and takes nothing for its own that is not.
//!
//! **A lease is fenced** by its number and 64 random bits, compared under the lock of its row. Its count of deliveries
//! is synced before the message is handed out.
//!
//! **What time does is done by whichever node comes first**, a step at a time, and by callers who find it undone:
//! leases that end, messages that become due or die. Rows that another transaction has are passed over.
//!
//! # How it waits
//!
//! A consumer that waits sleeps until its node hears of a message: from its own callers at once, from other nodes by
//! `NOTIFY`, which is sent only where a node has said that somebody waits there, and by the time at which something is
//! due. A node that dies between a commit and the telling leaves that to the next look, after
//! [`look_every`](PostgresConfig::look_every).
//!
//! # What that costs
//!
//! A node has [`connections_max`](PostgresConfig::connections_max) connections and one more. A message that is sent,
//! leased and acknowledged is two rows written, one of them changed once, and both removed, with a row that remembers
//! the settlement for its window. What it says lies in a table of its own and is written once, so that a delivery
//! copies only a narrow row. Dead rows are the server's to clean up: the tables ask its autovacuum to come early.
//!
//! Those who lease from one queue wait for each other, without their syncs. Senders to a queue with `depth_max` wait
//! for each other with them, and so do those who send to one group or end its first message. Other commits meet only
//! where they name the same message, id, mark or request. Declaring and removing queues waits until commits that go on
//! are done, and has others wait meanwhile.
//!
//! `depth` counts the rows of the queue. `ttl`, when it is declared anew, is written to all of them.
//!
//! # What is not promised
//!
//! **The connection is not encrypted.** This version speaks to a server on the same machine, over a network that is
//! trusted, or through a tunnel; a server that insists on TLS refuses it, and a connection string that asks for
//! `sslmode=require` is refused here.
//!
//! A pooler between node and server has to give each connection a session of its own: settings, prepared statements and
//! `LISTEN` belong to it. `queue`, `message` and the other tables may be read by anybody whom the server lets; who
//! writes to them answers for what follows.
//!
//! Locks are advisory ones whose first key is the number of the schema, and single ones that a digest chooses.

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
