//! How a pattern's options are read: from a preset's name, or from a table that starts from a preset.

use std::fmt;

mod presets;
mod setting;

pub use presets::{DeserializeWhole, Presets, deserialize_preset, preset_schema};
pub use setting::Setting;

/// A setting that can not work, found when options are turned into a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The option's key.
    pub field: &'static str,
    /// Why it can not work, with the value and the limit it violates.
    pub problem: String,
}

impl Invalid {
    /// `field` can not work because of `problem`.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.problem)
    }
}

impl std::error::Error for Invalid {}
