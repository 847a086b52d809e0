//! What operators see. Policies count in their own fields; this crate alone renders and exports.
//!
//! - [`metrics`]: a snapshot as OpenMetrics text.
//! - [`access_log`]: finished requests, written by a thread of its own.
//! - [`logged_request`]: what a line of an access log says, ours and those of other servers.
//! - [`audit_log`]: decisions of policies and operators, none of them lost without a word.
//! - [`otlp`]: spans of recorded traces, as collectors take them.
//! - [`event_log`]: transitions, ejections and reloads, the latest of them kept for health documents.

pub mod access_log;
pub mod audit_log;
pub mod event_log;
pub mod logged_request;
pub mod metrics;
pub mod otlp;
