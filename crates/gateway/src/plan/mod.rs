//! From what a file says to what runs.
//!
//! [`effective()`] resolves the inheritance chain, [`lint()`] looks for what can not work or should not be,
//! and [`Plan::compile`] makes the routes, services and endpoints that the data plane serves. State lives
//! in the plan's services and routes; compiling a changed file takes over the state of everything whose
//! own settings did not change.

mod compile;
mod effective;
mod endpoint;
mod explain;
mod limiter;
mod lint;
mod pattern;
mod quota_policy;
mod runtime;
mod settings;
#[cfg(test)]
mod tests;
mod transport;

pub use compile::Plan;
pub use effective::{Effective, Origin, Sourced, effective};
pub use endpoint::{Endpoint, EndpointState, LastFailure};
pub use explain::{Explanation, Shown, explain};
pub use limiter::Limiter;
pub use lint::{Amplification, Report, lint};
pub use runtime::{LimitKey, Route, RouteLimiter, Service};
pub use settings::CallSettings;
pub use transport::{Security, Transport};
