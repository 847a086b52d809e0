use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attribute::is_core;
use super::{EnvelopeError, Reason};
use crate::quantity::ByteSize;

/// How large what is read as events may be. Writing has no limits: what was made in code is trusted to be small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "EnvelopeLimits")]
pub struct Limits {
    /// Bytes of a message as it comes: an event or a batch of them in JSON; in binary mode the body, whose headers
    /// the server has bounded before. Default "1MiB". Every intermediary must forward events of 64 KiB.
    pub message_bytes_max: ByteSize,
    /// Attributes of an event, extensions and those that are null included, without `data`. Default 64.
    pub attributes_max: NonZeroU32,
    /// Bytes of an attribute's value as it comes, with quotes and escapes. Default "16KiB".
    pub attribute_bytes_max: ByteSize,
    /// Bytes of an extension's name. Default 64; the specification asks producers for at most 20, and readers for
    /// no limit.
    pub name_bytes_max: NonZeroU32,
    /// Events in a batch. Default 1000.
    pub batch_events_max: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        const fn number(value: u32) -> NonZeroU32 {
            NonZeroU32::new(value).expect("not zero")
        }
        Self {
            message_bytes_max: ByteSize::from_bytes(1 << 20),
            attributes_max: number(64),
            attribute_bytes_max: ByteSize::from_bytes(16 << 10),
            name_bytes_max: number(64),
            batch_events_max: number(1000),
        }
    }
}

impl Limits {
    pub(super) fn check_message(&self, bytes: usize) -> Result<(), EnvelopeError> {
        check("message_bytes_max", self.message_bytes_max.bytes(), bytes).map_err(EnvelopeError::whole)
    }

    /// Name and value of one attribute.
    pub(super) fn check_attribute(&self, name: &str, value_bytes: usize) -> Result<(), EnvelopeError> {
        let name_bytes = if is_core(name) { 0 } else { name.len() };
        check("name_bytes_max", self.name_bytes_max.get().into(), name_bytes)
            .and_then(|()| check("attribute_bytes_max", self.attribute_bytes_max.bytes(), value_bytes))
            .map_err(|reason| EnvelopeError::new(name, reason))
    }

    /// An event has too many attributes.
    pub(super) fn attributes(&self) -> EnvelopeError {
        let max = self.attributes_max.get().into();
        EnvelopeError::whole(Reason::OverLimit { limit: "attributes_max", max })
    }

    /// A batch has too many events.
    pub(super) fn batch(&self) -> EnvelopeError {
        let max = self.batch_events_max.get().into();
        EnvelopeError::whole(Reason::OverLimit { limit: "batch_events_max", max })
    }
}

fn check(limit: &'static str, max: u64, found: usize) -> Result<(), Reason> {
    let within = u64::try_from(found).is_ok_and(|found| found <= max);
    if within { Ok(()) } else { Err(Reason::OverLimit { limit, max }) }
}
