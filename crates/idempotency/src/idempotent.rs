use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::telemetry::Events;

use crate::keeping::keep;
use crate::{
    Answer, Begun, Decision, Fingerprint, Full, IdempotencyConfig, InvalidKey, Key, Store, StoreError,
};

/// The header field that names a request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Marks an answer that was kept, `true`.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What kept a request from being done. Each has its status of HTTP, after
/// draft-ietf-httpapi-idempotency-key-header, section 2.7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// 400: the header field holds no key, or stands there more than once.
    InvalidKey(InvalidKey),
    /// 409: the same request is under way.
    InFlight {
        /// When it may be asked again at the latest.
        retry_after: Duration,
    },
    /// 422: the key belongs to another request.
    Mismatch,
    /// 409: it was done, and its answer was larger than `answer_bytes_max`, or there was no room for it.
    NotKept,
    /// 503: too much is remembered of other requests.
    Full(Full),
    /// 503: nobody can say whether it was done before.
    Unavailable {
        /// Why, for people.
        cause: String,
    },
}

impl Refused {
    /// The status of the answer that says so.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidKey(_) => StatusCode::BAD_REQUEST,
            Self::InFlight { .. } | Self::NotKept => StatusCode::CONFLICT,
            Self::Mismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Full(_) | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidKey(invalid) => invalid.fmt(f),
            Self::InFlight { .. } => f.write_str("a request with this key is under way"),
            Self::Mismatch => f.write_str("the key was used for another request"),
            Self::NotKept => f.write_str("the request was done, and its answer was too large to be kept"),
            Self::Full(full) => full.fmt(f),
            Self::Unavailable { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for Refused {}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(full) => Self::Full(full),
            StoreError::Lost | StoreError::Unavailable { .. } => {
                Self::Unavailable { cause: error.to_string() }
            }
        }
    }
}

/// Does requests that carry an `Idempotency-Key` once, and answers repetitions with the first answer.
#[derive(Debug, Clone)]
pub struct Idempotent {
    store: Arc<dyn Store>,
    config: IdempotencyConfig,
    clock: WallClock,
    events: Events,
}

impl Idempotent {
    /// Keeps records in `store`. The configuration was checked. `events` hears of answers that can not be kept.
    pub fn new(store: Arc<dyn Store>, config: IdempotencyConfig, clock: WallClock, events: Events) -> Self {
        Self { store, config, clock, events }
    }

    /// Answers `request` by `run`, unless it is a repetition within `scope`: a caller's name, so that no caller hears
    /// another's answers. A request without a key is always done.
    ///
    /// `run` is told what the request is known by, if it has a key. It may complete the record itself, by
    /// [`Begun::completion`] of what it then answers, in the transaction that does the request: then nobody does it
    /// twice, whoever dies.
    ///
    /// What `run` answers with 429 or 503 was not done, and is not kept; anything else is, 500 too, since nobody knows
    /// how far it came. While it runs, its time is extended. Dropped, the request counts as under way for
    /// `in_flight_timeout` more; whoever must not give up when the client does runs it in a task of its own.
    ///
    /// While the store can not keep the answer, it is asked again, and the client waits: for at most two thirds of
    /// `in_flight_timeout`, in which nobody else may begin. Then the client has its answer, and the loss is told as an
    /// event, `idempotency_answer_lost`.
    ///
    /// # Errors
    /// When it was not done and there is no answer to repeat. Once `run` was called there is always its answer.
    pub async fn call<R: Future<Output = Response<Bytes>>>(
        &self,
        scope: &str,
        request: Request<Bytes>,
        run: impl FnOnce(Request<Bytes>, Option<Begun>) -> R,
    ) -> Result<Response<Bytes>, Refused> {
        let Some(key) = key_of(&request)? else { return Ok(run(request, None).await) };
        let target = request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let fingerprint = Fingerprint::of(request.method().as_str(), target, request.body());
        let decision = self.store.begin(scope, &key, fingerprint, self.config.in_flight_timeout).await;
        let fence = match decision.map_err(Refused::from)? {
            Decision::Begin { fence } => fence,
            Decision::InFlight { until } => {
                return Err(Refused::InFlight { retry_after: until_then(self.clock.now(), until) });
            }
            Decision::Mismatch => return Err(Refused::Mismatch),
            Decision::Replay(answer) => return replay(answer.ok_or(Refused::NotKept)?),
        };
        let IdempotencyConfig { kept, answer_bytes_max, .. } = self.config;
        let begun = Begun { scope: scope.to_owned(), key: key.clone(), fence, kept, answer_bytes_max };
        let response = self.run_extended(scope, &key, fence, run(request, Some(begun.clone()))).await;
        let was_done =
            !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        // The request is done whatever becomes of its record; without one a repetition waits for its time to end.
        let answer = was_done.then(|| begun.completion(&response).answer);
        // It was extended each third of its time, so two thirds are left. What was not done is not waited for.
        let time = if was_done { self.config.in_flight_timeout * 2 / 3 } else { Duration::ZERO };
        keep(scope, time, &self.events, || match &answer {
            Some(answer) => self.store.complete(scope, &key, fence, answer.clone(), kept),
            None => self.store.abandon(scope, &key, fence),
        })
        .await;
        Ok(response)
    }

    async fn run_extended(
        &self,
        scope: &str,
        key: &Key,
        fence: u64,
        run: impl Future<Output = Response<Bytes>>,
    ) -> Response<Bytes> {
        let mut run = pin!(run);
        loop {
            tokio::select! {
                biased;
                response = &mut run => return response,
                () = tokio::time::sleep(self.config.in_flight_timeout / 3) => {}
            }
            let extended = self.store.extend(scope, key, fence, self.config.in_flight_timeout);
            tokio::select! {
                biased;
                response = &mut run => return response,
                extended = extended => if extended == Err(StoreError::Lost) {
                    return run.await;
                },
            }
        }
    }
}

fn key_of(request: &Request<Bytes>) -> Result<Option<Key>, Refused> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::InvalidKey(InvalidKey::Malformed));
    }
    Key::parse(value.as_bytes()).map(Some).map_err(Refused::InvalidKey)
}

fn replay(kept: Bytes) -> Result<Response<Bytes>, Refused> {
    let answer =
        Answer::from_bytes(kept).map_err(|error| Refused::Unavailable { cause: error.to_string() })?;
    let mut response = Response::from(&answer);
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn until_then(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_nanos(until.as_unix_nanos().saturating_sub(now.as_unix_nanos()))
}
