//! TLS towards services: whom they must be signed by, which name they go by, and whom we are to them.

mod config;
mod handshake;
mod load;

pub use config::ServiceTlsConfig;
pub(crate) use config::{deserialize, schema};
pub use handshake::{ServiceHandshake, ServiceHandshakes, ServiceTlsReloads};
pub(crate) use handshake::{failure, is_refusal, received_alert};
pub use load::{ServiceTerms, ServiceTls};
