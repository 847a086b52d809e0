//! What a store promises, on whole directories.

mod conformance;
mod crashes;
mod faults;
mod kill;
mod ledger;
mod maintenance;
mod queue_crashes;
mod queues;
mod store;
mod timed;
mod topic_crashes;
mod topic_damage;
mod topic_kills;
mod topics;
mod workload;
