//! What is remembered of requests, beside queues and topics so that one commit reaches both.

use std::time::Duration;

use bytes::Bytes;
use intertie_core::clock::Timestamp;
use intertie_idempotency::{Decision, Fingerprint, Key, Lost, Pending, Record, Store, StoreError, record};

use super::Model;

impl Model {
    /// Decides by the record as it is, and keeps what that returns.
    fn keep<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        decide: impl FnOnce(Option<&Record>, Timestamp) -> Result<Option<Record>, Lost> + Send + 'a,
    ) -> Pending<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let kept = self.changing(|state, now| {
                state.request(scope, key, |record, _| match decide(record, now) {
                    Ok(record) => (Ok(()), record),
                    Err(lost) => (Err(lost), None),
                })
            });
            Ok(kept?)
        })
    }
}

impl Store for Model {
    fn begin<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Pending<'a, Result<Decision, StoreError>> {
        Box::pin(async move {
            Ok(self.changing(|state, now| {
                state
                    .request(scope, key, |record, fence| record::begin(record, fingerprint, now, time, fence))
            }))
        })
    }

    fn extend<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        time: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.keep(scope, key, move |record, now| record::extend(record, fence, now, time).map(Some))
    }

    fn complete<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        answer: Option<Bytes>,
        kept: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.keep(scope, key, move |record, now| record::complete(record, fence, answer, now, kept))
    }

    fn abandon<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.keep(scope, key, move |record, now| record::abandon(record, fence, now).map(Some))
    }
}
