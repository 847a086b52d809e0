//! What the server says about itself, read from its admin listener.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use http::{HeaderMap, Method};
use serde_json::Value;

use super::client::Connections;

/// The numbers of one scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Vec<(String, f64)>);

impl Numbers {
    /// Reads `/metrics`.
    pub(super) async fn read(admin: SocketAddr) -> Result<Self> {
        let answer = Connections::new(admin, None).send(Method::GET, "/metrics", HeaderMap::new()).await?;
        let text = std::str::from_utf8(&answer.body)?;
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Ok(Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()))
    }

    /// The sum of all series called `name` whose labels contain every one of `labels`.
    pub(super) fn sum(&self, name: &str, labels: &[String]) -> f64 {
        self.0
            .iter()
            .filter(|(series, _)| {
                let (found, rest) = series.split_once('{').unwrap_or((series, ""));
                found == name && labels.iter().all(|label| rest.contains(label.as_str()))
            })
            .map(|(_, value)| value)
            .sum()
    }
}

/// Reads `/health/detailed`.
pub(super) async fn health(admin: SocketAddr) -> Result<Value> {
    let answer =
        Connections::new(admin, None).send(Method::GET, "/health/detailed", HeaderMap::new()).await?;
    serde_json::from_slice(&answer.body).context("the health document is no JSON")
}
