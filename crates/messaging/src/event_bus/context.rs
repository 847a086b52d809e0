use intertie_core::envelope::Envelope;

use crate::Name;
use crate::causation::{caused, flow};
use crate::commit::Receipt;

/// What a handler is told beside the event.
#[derive(Debug, Clone)]
pub struct EventContext {
    /// Where the event is stored.
    pub topic: Name,
    /// In which partition, at which position, and how safe.
    pub receipt: Receipt,
    /// Whose turn it is.
    pub handler: Name,
    pub(super) event: Envelope,
}

impl EventContext {
    /// What all events of the flow share that the event is of: its `correlationid`, or its id where it begins one.
    pub fn correlation_id(&self) -> String {
        flow(&self.event)
    }

    /// `effect` as caused by the event: its `causationid` is the event's id, its flow the event's, and so is its trace
    /// unless it has one.
    pub fn caused(&self, effect: Envelope) -> Envelope {
        caused(&self.event, effect)
    }
}
