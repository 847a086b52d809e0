//! What a store promises, on whole directories.

mod crashes;
mod faults;
mod ledger;
mod workload;
