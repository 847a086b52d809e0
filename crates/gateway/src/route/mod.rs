//! Which route a request takes, decided by how specific routes are and never by their order in the file.
//!
//! A request is matched first by host, then by path, then by the conditions on method, headers and query.
//! The most specific match wins: an exact host before the longest wildcard before any host; at each
//! segment of the path a literal before a parameter before everything below; then a route that names the
//! method, then the one with more header conditions, then the one with more query conditions. Two routes
//! that are equal in all of this and that one request can satisfy both are refused when the file is loaded.
//!
//! CONNECT asks for a tunnel to a host and names no path: only routes that name this method want it.
//!
//! The cost of a lookup grows with the segments of the path, not with the number of routes.

mod condition;
mod error;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod literals;
mod pattern;
mod router;
#[cfg(test)]
mod tests;

pub use condition::{Condition, Mismatch};
pub use error::{InvalidCondition, ParsePatternError};
pub use pattern::{HostPattern, PathPattern, Segment};
pub use router::{Candidate, Found, RoutePattern, Router, Tie};

/// The name in a Host header, without its port; `None` when it is no host.
pub(crate) fn host_name(text: &str) -> Option<&str> {
    let end = |end: u8| text.bytes().position(|byte| byte == end);
    let literal = if text.starts_with('[') { end(b']') } else { None };
    let (name, rest) = match literal {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(end(b':').unwrap_or(text.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let allowed = |byte: u8| HOST[usize::from(byte)];
    let clean = match name.strip_prefix('[') {
        Some(literal) => literal.bytes().all(|byte| allowed(byte) || b":]".contains(&byte)),
        None => name.bytes().all(allowed),
    };
    (clean && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// The characters of a host that is no address in brackets (RFC 3986, section 3.2.2).
static HOST: [bool; 256] = {
    let mut host = [false; 256];
    let others = b"-._~%!$&'()*+,;=";
    let mut place = 0;
    while place < others.len() {
        host[others[place] as usize] = true;
        place += 1;
    }
    let mut byte = 0;
    while byte < host.len() {
        host[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    host
};

/// The host that a request names, without its port. Its target wins over the Host header (RFC 9112, section
/// 3.2.2).
///
/// # Errors
/// When it names two hosts, or what it names is none. A request that names no host at all has an empty one.
pub fn request_host<'a>(target: &'a http::Uri, headers: &'a http::HeaderMap) -> Result<&'a str, BadHost> {
    let mut values = headers.get_all(http::header::HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(BadHost);
    }
    if let Some(authority) = target.authority() {
        return host_name(authority.as_str()).ok_or(BadHost);
    }
    let Some(header) = header else { return Ok("") };
    header.to_str().ok().and_then(host_name).ok_or(BadHost)
}

/// An authority without a user's name and password, which are nobody else's to know.
pub fn without_userinfo(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// A request whose host can not be told for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHost;

/// What of a request decides its route.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The host without its port, in any case of letters.
    pub host: &'a str,
    /// The path, percent-encoded as it came; nothing is asked of it with CONNECT.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a http::Method,
    /// The headers.
    pub headers: &'a http::HeaderMap,
}
