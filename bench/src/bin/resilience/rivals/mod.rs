//! The peers, one adapter for each library.

pub mod backon;
pub mod bb8;
pub mod deadpool;
pub mod failsafe;
pub mod governor;
pub mod recloser;
pub mod tokio;
pub mod tower;
pub mod tower_resilience;
