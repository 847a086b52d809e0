//! What the engine promises, on a real server.

mod conformance;
mod crashes;
mod cuts;
mod ledger;
mod nodes;
mod opening;
mod server;
mod sharing;
