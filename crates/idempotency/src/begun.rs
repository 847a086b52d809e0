use std::time::Duration;

use bytes::Bytes;
use http::Response;
use intertie_core::quantity::ByteSize;

use crate::{Answer, Key};

/// A request that was begun, as its record is known: what whoever does it needs to complete the record in the
/// transaction that has its effects.
#[derive(Debug, Clone)]
pub struct Begun {
    pub(crate) scope: String,
    pub(crate) key: Key,
    pub(crate) fence: u64,
    pub(crate) kept: Duration,
    pub(crate) answer_bytes_max: ByteSize,
}

/// What completes a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Who may use the key.
    pub scope: String,
    /// The key.
    pub key: Key,
    /// The right to complete it: whoever began it later has a higher one.
    pub fence: u64,
    /// What repetitions hear; unset when it is larger than `answer_bytes_max`.
    pub answer: Option<Bytes>,
    /// For how long.
    pub kept: Duration,
}

impl Begun {
    /// What completes the record with `response`, which must then be the answer to the request.
    pub fn completion(&self, response: &Response<Bytes>) -> Completion {
        let is_kept = response.body().len() as u64 <= self.answer_bytes_max.bytes();
        Completion {
            scope: self.scope.clone(),
            key: self.key.clone(),
            fence: self.fence,
            answer: is_kept.then(|| Answer::from(response).to_bytes()),
            kept: self.kept,
        }
    }
}
