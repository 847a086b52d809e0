use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a record was when its sender was told that it is stored.
///
/// What an engine does not say counts as zero: the defaults of NATS, of Kafka and of Redis are `synced = 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Durability {
    /// Copies that held it.
    pub copies: u8,
    /// Copies that had it on their disks, past every cache that a power failure empties.
    pub synced: u8,
}

impl Durability {
    /// One copy, on disk.
    pub const SYNCED: Self = Self { copies: 1, synced: 1 };
    /// One copy, which a crash of the machine may lose.
    pub const UNSYNCED: Self = Self { copies: 1, synced: 0 };

    /// Whether `self` is at least what `required` asks for.
    pub fn satisfies(self, required: Self) -> bool {
        self.copies >= required.copies && self.synced >= required.synced
    }
}

impl Default for Durability {
    /// [`Durability::SYNCED`].
    fn default() -> Self {
        Self::SYNCED
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copies, {} synced", self.copies, self.synced)
    }
}
