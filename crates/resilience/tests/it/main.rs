//! What holds for users of the crate: nothing here sees more than they do.

mod cancellation;
mod defects;
mod panics;
mod settings;
