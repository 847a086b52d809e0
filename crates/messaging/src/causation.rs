//! What one message passes on to those that it causes.

use intertie_core::envelope::{Envelope, extensions};

const SAFE: &str = "what an attribute held, another one can hold";

/// What all messages of the flow share that `cause` is of: it begins one if it says none.
pub(crate) fn flow(cause: &Envelope) -> String {
    let said = cause.correlation_id().filter(|flow| !flow.is_empty());
    said.map_or_else(|| cause.id().to_owned(), Into::into)
}

/// `cause` as one that says of which flow it is.
pub(crate) fn in_flow(cause: Envelope) -> Envelope {
    let flow = flow(&cause);
    cause.with_correlation_id(&flow).expect(SAFE)
}

/// `effect` as caused by `cause`: of its flow, and of its trace unless it has one.
pub(crate) fn caused(cause: &Envelope, effect: Envelope) -> Envelope {
    let effect = effect.with_causation_id(cause.id()).expect(SAFE);
    let mut effect = effect.with_correlation_id(&flow(cause)).expect(SAFE);
    if effect.extension(extensions::TRACE_PARENT).is_none() {
        for name in [extensions::TRACE_PARENT, extensions::TRACE_STATE] {
            if let Some(value) = cause.extension(name) {
                effect = effect.with_extension(name, value.clone()).expect(SAFE);
            }
        }
    }
    effect
}
