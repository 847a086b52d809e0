//! What takes longer than the gate has time for: overload, and a soak with faults. Everything is in this process
//! but the server itself, which is measured from outside.

#![expect(clippy::disallowed_methods, reason = "it measures, in real time")]

mod args;
mod clients;
mod gateway;
mod identity;
mod overload;
mod random;
mod service;
mod soak;

pub(crate) use overload::run as overload;
pub(crate) use soak::run as soak;
