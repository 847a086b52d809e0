//! What a proxy is asked to do.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

/// Routes configured in [`Mode::Work`].
pub const ROUTES: usize = 1_000;

/// Of these routes so many carry load, spread evenly over the table: position in it must not decide the figure.
const ROUTES_LOADED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.1, one route, everything to the origin, no policies.
    Plain,
    /// HTTP/1.1, 1,000 routes, each with the policies and headers of a gateway.
    Work,
    /// As plain, with cleartext HTTP/2 (prior knowledge) in front and HTTP/1.1 behind.
    H2,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Work, Self::H2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Work => "work",
            Self::H2 => "h2",
        }
    }

    /// One line for the report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "one route, HTTP/1.1",
            Self::Work => "gateway work, 1,000 routes, HTTP/1.1",
            Self::H2 => "one route, HTTP/2 (h2c) in front, HTTP/1.1 behind",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|mode| mode.name() == name) {
            Some(mode) => Ok(mode),
            None => bail!("unknown mode {name:?}"),
        }
    }
}

/// The prefix that all paths of one route share: `/service-17/items/`.
pub fn route_prefix(route: usize) -> String {
    format!("/service-{route}/items/")
}

/// The paths requested, the same in every mode, so that modes differ by what the proxy does with them.
pub fn loaded_paths() -> Vec<String> {
    (0..ROUTES_LOADED).map(|index| format!("{}42", route_prefix(index * ROUTES / ROUTES_LOADED))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_spread_over_the_whole_table() {
        let paths = loaded_paths();
        assert_eq!(paths.len(), ROUTES_LOADED);
        assert_eq!(paths.first().map(String::as_str), Some("/service-0/items/42"));
        assert_eq!(paths.last().map(String::as_str), Some("/service-937/items/42"));
    }
}
