//! What the server agrees on with the machine it runs on: its sockets, its successor, its service manager and
//! its limits.

mod activation;
mod descriptors;
mod listen_failure;
mod memory;
mod notify;
mod takeover;

pub(crate) use activation::Activation;
pub(crate) use descriptors::{limit, needed, raise_limit};
pub(crate) use listen_failure::listen_failure;
pub(crate) use memory::use_small_pages;
pub(crate) use notify::{Notify, State};
pub(crate) use takeover::{Failure as TakeoverFailure, Progress as TakeoverProgress, Takeover};
