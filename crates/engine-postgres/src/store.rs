//! The port of requests that are done once.

use std::time::Duration;

use bytes::Bytes;
use intertie_idempotency::{Decision, Fingerprint, Key, Pending, Store, StoreError};
use intertie_messaging::Engine;
use intertie_messaging::commit::{CommitError, Operation, Refused};

use crate::commit::request_digest;
use crate::engine::{Postgres, engine_error};
use crate::requests::{Ask, Asking, NotAsked};

impl Postgres {
    async fn request(&self, scope: &str, key: &Key, ask: Ask) -> Result<Option<Decision>, StoreError> {
        let asking = Asking { digest: request_digest(scope, key), ask, bounds: self.shared.bounds() };
        let answer = self.shared.perform(asking, |_, _| ()).await;
        let answer =
            answer.map_err(|undone| StoreError::Unavailable { cause: engine_error(undone).to_string() })?;
        answer.map_err(|not_asked| match not_asked {
            NotAsked::Lost => StoreError::Lost,
            NotAsked::Full(full) => StoreError::Full(full),
        })
    }
}

impl Store for Postgres {
    fn begin<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Pending<'a, Result<Decision, StoreError>> {
        Box::pin(async move {
            let decision = self.request(scope, key, Ask::Begin { fingerprint, time }).await?;
            let nothing = || StoreError::Unavailable { cause: "the record could not be read".to_owned() };
            decision.ok_or_else(nothing)
        })
    }

    fn extend<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        time: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        Box::pin(async move { self.request(scope, key, Ask::Extend { fence, time }).await.map(|_| ()) })
    }

    fn complete<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        answer: Option<Bytes>,
        kept: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (scope, key) = (scope.to_owned(), key.clone());
            let complete = Operation::Complete { scope, key, fence, answer, kept };
            match self.commit(complete.into()).await {
                Ok(_) => Ok(()),
                Err(CommitError::Refused { cause: Refused::Lost, .. }) => Err(StoreError::Lost),
                Err(error) => Err(StoreError::Unavailable { cause: error.to_string() }),
            }
        })
    }

    fn abandon<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
    ) -> Pending<'a, Result<(), StoreError>> {
        Box::pin(async move { self.request(scope, key, Ask::Abandon { fence }).await.map(|_| ()) })
    }
}
