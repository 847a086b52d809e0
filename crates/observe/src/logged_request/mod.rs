//! What a line of an access log says of a request.
//!
//! Four forms are read, told apart line by line: ours as JSON and as text, as
//! [`access_log`](crate::access_log) writes them, and the Common and Combined Log Format of Apache httpd,
//! nginx and many others. Every function here is pure; a log is what clients wrote into it, so any bytes get
//! an answer.

mod common;
mod json;
#[cfg(test)]
mod tests;
mod text;
mod time;

use std::net::IpAddr;
use std::time::Duration;
use std::{fmt, str};

use intertie_core::clock::{Timestamp, nanos};
use intertie_core::quantity::Ratio;

/// A request as an access log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The form of its line.
    pub form: Form,
    /// When its line says that it was, before or after it was served: see [`LoggedRequest::began`].
    pub at: Timestamp,
    /// The client's address; a client that is logged by its name has none.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: String,
    /// The host that it was sent to, as the client wrote it.
    pub host: Option<String>,
    /// The path, percent-encoded as it came; empty for a tunnel, which CONNECT asks for by its host alone.
    pub path: String,
    /// What stands behind the question mark.
    pub query: Option<String>,
    /// The status of the answer; `None` when the client left before there was one.
    pub status: Option<u16>,
    /// From the request's head to the answer's last byte.
    pub duration: Option<Duration>,
    /// Where its last attempt went.
    pub endpoint: Option<String>,
    /// Attempts that were made; 0 when it never went to a service.
    pub attempts: Option<u32>,
    /// The code of an answer that the gateway gave itself.
    pub error: Option<String>,
    /// How it ended, unless with a complete answer.
    pub cut: Option<String>,
    /// The share of successful requests that were told, where this one stands for others too.
    pub sample: Option<Ratio>,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Ours, as a JSON object. Times are of the request's end, in milliseconds.
    Json,
    /// Ours, as words. Times are of the request's end, in milliseconds.
    Text,
    /// The Common Log Format, with whatever follows it, as in Combined. Times are in whole seconds.
    Common,
}

/// Why a line is no request.
#[derive(Debug)]
pub enum LineError {
    /// It is not UTF-8.
    NotText,
    /// It has none of the forms.
    Form,
    /// It is JSON, but not ours.
    Json(serde_json::Error),
    /// This part of it can not be read.
    Part(&'static str),
    /// Nothing was asked for: the client sent no request line.
    NoRequest,
}

impl LoggedRequest {
    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// Why it is no request.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let line = line.trim_ascii();
        if line.first() == Some(&b'{') {
            return json::parse(line);
        }
        let line = str::from_utf8(line).map_err(|_| LineError::NotText)?;
        // No address is written like a date.
        match line.as_bytes() {
            [_, _, _, _, b'-', _, _, b'-', _, _, b'T', ..] => text::parse(line),
            _ => common::parse(line),
        }
    }

    /// When it began: our own log writes a line when the request has ended.
    pub fn began(&self) -> Timestamp {
        match self.form {
            Form::Common => self.at,
            Form::Json | Form::Text => {
                let took = nanos(self.duration.unwrap_or_default());
                Timestamp::from_unix_nanos(self.at.as_unix_nanos().saturating_sub(took))
            }
        }
    }

    /// Whether a query would stand in its line: ours leaves it out, unless the file asks for it.
    pub fn tells_query(&self) -> bool {
        self.form == Form::Common || self.query.is_some()
    }
}

/// A request's target as host, path and query.
fn split_target<'a>(method: &str, target: &'a str) -> (Option<&'a str>, &'a str, Option<&'a str>) {
    // A WebSocket over HTTP/2 has the same method, and a path.
    if method == "CONNECT" && !target.starts_with('/') {
        return (Some(target).filter(|host| !host.is_empty()), "", None);
    }
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let (host, rest) = match target.split_once("://") {
        // A path may hold the same letters.
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        _ => (None, target),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    (host, if path.is_empty() { "/" } else { path }, query)
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("it is not UTF-8"),
            Self::Form => f.write_str("it is neither ours nor in the Common or Combined Log Format"),
            Self::Json(error) => write!(f, "it is no JSON of ours: {error}"),
            Self::Part(part) => write!(f, "its {part} can not be read"),
            Self::NoRequest => f.write_str("it holds no request"),
        }
    }
}

impl std::error::Error for LineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}
