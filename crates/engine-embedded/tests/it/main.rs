//! What a store promises, on whole directories.

mod crashes;
mod faults;
mod kill;
mod ledger;
mod maintenance;
mod store;
mod timed;
mod workload;
