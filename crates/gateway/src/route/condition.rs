use std::fmt;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};

use super::RequestView;
use super::error::InvalidCondition;
use crate::config::MatchConfig;
use intertie_core::percent::decoded;

/// What a route asks of a request besides host and path.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// Any of these; empty: any method but CONNECT, which asks for no answer but for a tunnel.
    pub methods: Vec<Method>,
    /// All of these; `None`: any value.
    pub headers: Vec<(HeaderName, Option<String>)>,
    /// All of these; `None`: any value.
    pub query: Vec<(String, Option<String>)>,
}

/// The first condition that a request does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Another method is wanted.
    Method,
    /// This header is missing or has another value.
    Header(String),
    /// This query parameter is missing or has another value.
    Query(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("wants another method"),
            Self::Header(name) => write!(f, "wants another value of the header `{name}`"),
            Self::Query(name) => write!(f, "wants another value of the query parameter `{name}`"),
        }
    }
}

impl Condition {
    /// The conditions that `config` names.
    ///
    /// # Errors
    /// When a header's name is none, or stands there twice.
    pub fn new(config: &MatchConfig) -> Result<Self, InvalidCondition> {
        let value = |text: &String| (text != "*").then(|| text.clone());
        let headers = config.headers.iter().map(|(name, text)| {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| InvalidCondition::NoHeaderName(name.clone()))?;
            Ok((name, value(text)))
        });
        let headers: Vec<(HeaderName, Option<String>)> = headers.collect::<Result<_, InvalidCondition>>()?;
        for (position, (name, _)) in headers.iter().enumerate() {
            if headers[..position].iter().any(|(other, _)| other == name) {
                return Err(InvalidCondition::HeaderTwice(name.to_string()));
            }
        }
        Ok(Self {
            methods: config.method.as_ref().map(|methods| methods.0.clone()).unwrap_or_default(),
            headers,
            query: config.query.iter().map(|(name, text)| (name.clone(), value(text))).collect(),
        })
    }

    /// The third to fifth places of a route's rank: greater is more specific.
    pub fn rank(&self) -> (bool, usize, usize) {
        (!self.methods.is_empty(), self.headers.len(), self.query.len())
    }

    /// What a request fails, if anything. The method comes last, so that a request that fails only by its
    /// method can be answered 405.
    pub fn mismatch(&self, request: &RequestView<'_>) -> Option<Mismatch> {
        for (name, wanted) in &self.headers {
            if !header_matches(request.headers, name, wanted.as_deref()) {
                return Some(Mismatch::Header(name.to_string()));
            }
        }
        for (name, wanted) in &self.query {
            let found = request.query.and_then(|query| first_parameter(query, name));
            let holds = match (&found, wanted) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(found), Some(wanted)) => found == wanted,
            };
            if !holds {
                return Some(Mismatch::Query(name.clone()));
            }
        }
        let method_holds = match self.methods.as_slice() {
            [] => *request.method != Method::CONNECT,
            methods => methods.contains(request.method),
        };
        (!method_holds).then_some(Mismatch::Method)
    }

    /// Whether one request can meet both; if so, one that does, in words.
    pub fn overlap(&self, other: &Self) -> Option<String> {
        let method = match (self.methods.first(), other.methods.first()) {
            (None, None) => Some(&Method::GET),
            (None, Some(method)) | (Some(method), None) => Some(method),
            (Some(_), Some(_)) => self.methods.iter().find(|method| other.methods.contains(method)),
        }?;
        let mut example = method.to_string();
        let headers = merge(&self.headers, &other.headers)?;
        let query = merge(&self.query, &other.query)?;
        for (name, value) in headers {
            example.push_str(&format!(" with {name}: {}", value.as_deref().unwrap_or("x")));
        }
        for (name, value) in query {
            example.push_str(&format!(" with ?{name}={}", value.as_deref().unwrap_or("x")));
        }
        Some(example)
    }
}

type Wanted<K> = (K, Option<String>);

/// The union of two lists of wanted values, `None` when they want different values of one name.
fn merge<'a, K: PartialEq>(left: &'a [Wanted<K>], right: &'a [Wanted<K>]) -> Option<Vec<&'a Wanted<K>>> {
    let mut merged: Vec<_> = left.iter().collect();
    for wanted in right {
        match merged.iter_mut().find(|(name, _)| *name == wanted.0) {
            None => merged.push(wanted),
            Some(known) => match (&known.1, &wanted.1) {
                (Some(one), Some(other)) if one != other => return None,
                (None, Some(_)) => *known = wanted,
                _ => {}
            },
        }
    }
    Some(merged)
}

/// A header repeated is one header with its values joined by commas (RFC 9110, section 5.3).
fn header_matches(headers: &HeaderMap, name: &HeaderName, wanted: Option<&str>) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next(), wanted) {
        (None, _, _) => false,
        (Some(_), _, None) => true,
        (Some(value), None, Some(wanted)) => value.as_bytes() == wanted.as_bytes(),
        (Some(_), Some(_), Some(wanted)) => {
            let joined: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            joined.join(&b", "[..]) == wanted.as_bytes()
        }
    }
}

/// The first value of a parameter that stands more than once.
fn first_parameter<'a>(query: &'a str, wanted: &str) -> Option<std::borrow::Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name)? == wanted).then(|| decoded(value))?
    })
}
