//! Settings that can not work are refused when a policy is built, and those that are not refused work: at no
//! instant and with no outcome does a policy panic.

mod accepted;
mod accepted_async;
mod refused;
mod values;
