//! What reads bytes that others chose, as functions on bytes that panic when something is wrong; `intertie-fuzz`
//! calls them.

pub use crate::proxy::fuzz::headers;
pub use crate::route::fuzz::routes;
pub use crate::wire::fuzz::{answers, requests};
