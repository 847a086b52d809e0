//! The port of requests that are done once.

use std::time::Duration;

use bytes::Bytes;
use intertie_idempotency::{Decision, Fingerprint, Key, Pending, Store, StoreError};
use intertie_messaging::Engine;
use intertie_messaging::commit::{CommitError, Operation, Refused};

use super::ports::reply;
use super::{Embedded, cause};
use crate::requests::Ask;
use crate::state::{Command, Refusal, Reply};
use crate::store::SubmitError;

impl Embedded {
    async fn request(&self, scope: &str, key: &Key, ask: Ask) -> Result<Option<Decision>, StoreError> {
        let command = Command::Request { scope: scope.to_owned(), key: key.clone(), ask };
        let reply = self.ask(command).await.map_err(|error| match error {
            SubmitError::Refused(Refusal::Requests(full)) => StoreError::Full(full),
            error => StoreError::Unavailable { cause: cause(&error) },
        })?;
        Ok(reply!(reply, Reply::Request(decided) => decided?))
    }
}

impl Store for Embedded {
    fn begin<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Pending<'a, Result<Decision, StoreError>> {
        Box::pin(async move {
            let decision = self.request(scope, key, Ask::Begin { fingerprint, time }).await?;
            Ok(reply!(decision, Some(decision) => decision))
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
