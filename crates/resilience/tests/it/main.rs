//! What holds for users of the crate: nothing here sees more than they do.

mod defects;
mod settings;
