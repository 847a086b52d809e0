//! What reads bytes that others chose, as functions on bytes that panic when something is wrong.
//!
//! Each [`Target`] says more than "it does not panic": what is read in pieces is read alike in one, what is
//! written is read back, what is removed is gone. [`Target::try_mutations`] runs one on inputs made from its
//! corpus, the same for the same seed, as an ordinary test does; cargo-fuzz, in `fuzz/` at the root, calls the
//! same bodies with inputs that it finds by looking at the code. What reads the server's file is a target of the
//! server, which is a program: its body stands there, in `fuzz.rs`.

mod access_log;
mod corpus;
mod envelope;
mod mutation;
mod target;

pub use mutation::Mutations;
pub use target::{TARGETS, Target, run};
