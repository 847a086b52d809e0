//! What a request is about: its path and its query. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use http::{Method, Uri};
use intertie_core::percent;
use intertie_messaging::Name;
use intertie_messaging::queue::LeaseId;

use super::failure::{ApiCode, Failure};
use super::fields::{unknown_name, within};
use crate::file::Verb;

/// A resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Queues,
    Queue(Name),
    Messages(Name),
    Message(Name, u64),
    Leases(Name),
    Lease(Name, LeaseId),
    Settlements(Name),
    DeadLetters(Name),
    Redrives(Name),
}

/// The parts of a queue.
const PARTS: [&str; 5] = ["messages", "leases", "settlements", "dead-letters", "redrives"];

impl Target {
    /// What `path` leads to.
    ///
    /// # Errors
    /// Nothing, with what it may have been meant to.
    pub(super) fn of(path: &str) -> Result<Self, Failure> {
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let not_found = |detail: String| Failure::new(ApiCode::NotFound, detail);
        if (segments.next(), segments.next()) != (Some("api"), Some("v1")) {
            return Err(not_found("everything here begins with /api/v1/".to_owned()));
        }
        match segments.next() {
            Some("queues") => {}
            other => {
                return Err(not_found(unknown_name("resource", other.unwrap_or_default(), &["queues"])));
            }
        }
        let Some(queue) = segments.next() else { return Ok(Self::Queues) };
        let queue: Name = queue.parse().map_err(|error| {
            Failure::new(ApiCode::QueueNotFound, format!("there is no such queue: {error}"))
        })?;
        let rest = (segments.next(), segments.next(), segments.next());
        match rest {
            (None, ..) => Ok(Self::Queue(queue)),
            (Some("messages"), None, _) => Ok(Self::Messages(queue)),
            (Some("messages"), Some(position), None) => {
                let position = position.parse().map_err(|_| {
                    Failure::new(ApiCode::MessageNotFound, "a message is named by its position, a number")
                })?;
                Ok(Self::Message(queue, position))
            }
            (Some("leases"), None, _) => Ok(Self::Leases(queue)),
            (Some("leases"), Some(lease), None) => Ok(Self::Lease(queue, LeaseId::new(lease))),
            (Some("settlements"), None, _) => Ok(Self::Settlements(queue)),
            (Some("dead-letters"), None, _) => Ok(Self::DeadLetters(queue)),
            (Some("redrives"), None, _) => Ok(Self::Redrives(queue)),
            (Some(part), None, _) => Err(not_found(unknown_name("resource", part, &PARTS))),
            _ => Err(not_found("the path goes on where nothing is".to_owned())),
        }
    }

    /// What a token must be allowed for `method`, one of its own; of a list it is looked at for each queue.
    pub(super) fn verb(&self, method: &Method) -> Option<(Verb, &Name)> {
        Some(match self {
            Self::Queues => return None,
            Self::Queue(queue) | Self::DeadLetters(queue) => (Verb::Browse, queue),
            Self::Messages(queue) if *method == Method::POST => (Verb::Send, queue),
            Self::Messages(queue) => (Verb::Browse, queue),
            Self::Message(queue, _) if *method == Method::DELETE => (Verb::Manage, queue),
            Self::Message(queue, _) => (Verb::Browse, queue),
            Self::Leases(queue) | Self::Lease(queue, _) | Self::Settlements(queue) => (Verb::Lease, queue),
            Self::Redrives(queue) => (Verb::Manage, queue),
        })
    }

    /// The methods that it has, as `Allow` says them.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Queues | Self::Queue(_) | Self::DeadLetters(_) => "GET, HEAD",
            Self::Messages(_) => "GET, HEAD, POST",
            Self::Message(..) => "GET, HEAD, DELETE",
            Self::Leases(_) | Self::Settlements(_) | Self::Redrives(_) => "POST",
            Self::Lease(..) => "PATCH",
        }
    }
}

/// The parameters of a query that were not taken yet.
#[derive(Debug)]
pub(super) struct Query {
    parameters: BTreeMap<String, String>,
    asked: Vec<&'static str>,
}

impl Query {
    /// Those of `uri`.
    ///
    /// # Errors
    /// One of them is there twice, or is no text.
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        let mut parameters = BTreeMap::new();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| percent::decoded(text).map(std::borrow::Cow::into_owned);
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(Failure::new(ApiCode::BadRequest, "the query is no percent-encoded UTF-8"));
            };
            if let Some((name, _)) = parameters.insert(name.clone(), value).map(|before| (name, before)) {
                return Err(Failure::new(ApiCode::BadRequest, format!("`{name}` is there twice")));
            }
        }
        Ok(Self { parameters, asked: Vec::new() })
    }

    /// A parameter that has a certain form.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        self.asked.push(name);
        let value = self.parameters.remove(name);
        let wrong = |error: E| Failure::new(ApiCode::BadRequest, format!("`{name}` of the query: {error}"));
        value.map(|value| parse(&value).map_err(wrong)).transpose()
    }

    /// How many things a page may have: `size`, from 1 to `most`; S4's 20 where it is not given.
    pub(super) fn size(&mut self, most: NonZeroU32) -> Result<NonZeroU32, Failure> {
        const PAGE: NonZeroU32 = NonZeroU32::new(20).expect("20 is not zero");
        let size = self.parsed("size", |text| {
            let size = text.parse().ok().and_then(|size| within(size, most));
            size.ok_or_else(|| format!("it must be from 1 to {most}, `batch_max`"))
        })?;
        Ok(size.unwrap_or(PAGE.min(most)))
    }

    /// Whether all parameters were known.
    ///
    /// # Errors
    /// The first that was not, with the name that was most likely meant.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        match self.parameters.keys().next() {
            None => Ok(()),
            Some(unknown) => {
                Err(Failure::new(ApiCode::BadRequest, unknown_name("parameter", unknown, &self.asked)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn paths_lead_to_resources_and_others_to_the_nearest() {
        for (path, expected) in [
            ("/api/v1/queues", Ok(Target::Queues)),
            ("/api/v1/queues/a", Ok(Target::Queue(name("a")))),
            ("/api/v1/queues/a/messages", Ok(Target::Messages(name("a")))),
            ("/api/v1/queues/a/messages/7", Ok(Target::Message(name("a"), 7))),
            ("/api/v1/queues/a/leases/1-2-3", Ok(Target::Lease(name("a"), LeaseId::new("1-2-3")))),
            ("/api/v1/queues/a/dead-letters", Ok(Target::DeadLetters(name("a")))),
            ("/api/v1/queues/a/dead-leters", Err("did you mean `dead-letters`?")),
            ("/api/v1/queues/a/messages/x", Err("by its position")),
            ("/api/v1/queues/a/messages/7/8", Err("goes on where nothing is")),
            ("/api/v1/queues/a/settlements/7", Err("goes on where nothing is")),
            ("/api/v1/queues/", Err("at least one character")),
            ("/api/v1/queue", Err("did you mean `queues`?")),
            ("/api/v2/queues", Err("begins with /api/v1/")),
            ("", Err("begins with /api/v1/")),
        ] {
            match (Target::of(path), expected) {
                (Ok(target), Ok(expected)) => assert_eq!(target, expected, "{path}"),
                (Err(failure), Err(words)) => assert!(failure.detail.contains(words), "{path}: {failure:?}"),
                (found, _) => panic!("{path}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_query_has_each_parameter_once_and_no_other() {
        let query = |text: &str| Query::of(&text.parse().expect("a URI"));
        let most = NonZeroU32::new(100).expect("100 is not zero");
        assert_eq!(query("/?size=7").and_then(|mut query| query.size(most)).map(NonZeroU32::get), Ok(7));
        assert_eq!(query("/").and_then(|mut query| query.size(most)).map(NonZeroU32::get), Ok(20));
        for size in ["0", "101", "x", ""] {
            query(&format!("/?size={size}")).and_then(|mut query| query.size(most)).expect_err(size);
        }
        let mut unknown = query("/?sise=7").expect("readable");
        unknown.size(most).expect("the default");
        assert!(unknown.finish().expect_err("unknown").detail.contains("did you mean `size`?"));
        query("/?a=1&a=2").expect_err("twice");
        query("/?a=%ff").expect_err("no text");
    }
}
