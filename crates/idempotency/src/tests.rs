//! What clients hear, over a store that keeps records in memory.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::{Event, Events};

use super::*;

#[derive(Debug)]
struct Memory {
    clock: WallClock,
    bounds: Bounds,
    kept: Mutex<Kept>,
    /// How often it is not available.
    down: Mutex<u32>,
}

#[derive(Debug, Default)]
struct Kept {
    fences: u64,
    /// By scope and key.
    records: HashMap<(String, String), Record>,
}

fn bytes_of(record: &Record) -> u64 {
    if let State::Done(Some(answer)) = &record.state { answer.len() as u64 } else { 0 }
}

impl Kept {
    fn usage(&self) -> Usage {
        let answer_bytes = self.records.values().map(bytes_of).sum();
        Usage { records: self.records.len() as u64, answer_bytes }
    }
}

impl Memory {
    fn new(clock: &WallClock, config: &IdempotencyConfig) -> Self {
        let (bounds, kept, down) = (config.bounds(), Mutex::default(), Mutex::default());
        Self { clock: clock.clone(), bounds, kept, down }
    }

    /// Reads, decides and writes as one step.
    fn change<T>(
        &self,
        scope: &str,
        key: &Key,
        change: impl FnOnce(Option<&Record>, Timestamp, u64) -> (T, Option<Record>),
    ) -> T {
        let mut kept = self.kept.lock().expect("unpoisoned");
        kept.fences += 1;
        let at = (scope.to_owned(), key.as_str().to_owned());
        let (said, record) = change(kept.records.get(&at), self.clock.now(), kept.fences);
        if let Some(record) = record {
            kept.records.insert(at, record);
        }
        said
    }

    fn keep(
        &self,
        scope: &str,
        key: &Key,
        change: impl FnOnce(Option<&Record>, Timestamp) -> Result<Option<Record>, Lost>,
    ) -> Pending<'_, Result<(), StoreError>> {
        let kept = self.change(scope, key, |record, now, _| match change(record, now) {
            Ok(record) => (Ok(()), record),
            Err(lost) => (Err(lost.into()), None),
        });
        Box::pin(async { kept })
    }
}

impl Store for Memory {
    fn begin<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Pending<'a, Result<Decision, StoreError>> {
        let now = self.clock.now();
        let mut stored = self.kept.lock().expect("unpoisoned");
        stored.records.retain(|_, record| record.until > now);
        let is_new = !stored.records.contains_key(&(scope.to_owned(), key.as_str().to_owned()));
        let admitted = if is_new { self.bounds.admit(stored.usage()) } else { Ok(()) };
        drop(stored);
        let decision = admitted.map_err(StoreError::from).map(|()| {
            self.change(scope, key, |record, now, fence| record::begin(record, fingerprint, now, time, fence))
        });
        Box::pin(async { decision })
    }

    fn extend<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        time: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.keep(scope, key, |record, now| record::extend(record, fence, now, time).map(Some))
    }

    fn complete<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        answer: Option<Bytes>,
        kept: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        let mut down = self.down.lock().expect("unpoisoned");
        if *down > 0 {
            *down -= 1;
            return Box::pin(async { Err(StoreError::Unavailable { cause: "it is down".to_owned() }) });
        }
        let usage = self.kept.lock().expect("unpoisoned").usage();
        let answer = answer.filter(|answer| self.bounds.has_room(usage, answer.len() as u64));
        self.keep(scope, key, |record, now| record::complete(record, fence, answer, now, kept))
    }

    fn abandon<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.keep(scope, key, |record, now| record::abandon(record, fence, now).map(Some))
    }
}

struct World {
    clock: WallClock,
    store: Arc<Memory>,
    told: Receiver<Event>,
    idempotent: Idempotent,
    done: Cell<u32>,
}

impl World {
    fn new() -> Self {
        Self::with(IdempotencyConfig::default())
    }

    fn with(config: IdempotencyConfig) -> Self {
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_000_000));
        let store = Arc::new(Memory::new(&clock, &config));
        let events = Events::default();
        let told = events.subscribe(8);
        let idempotent = Idempotent::new(store.clone(), config, clock.clone(), events);
        Self { clock, store, told, idempotent, done: Cell::new(0) }
    }

    fn pass(&self, time: Duration) {
        let nanos = self.clock.now().as_unix_nanos() + u64::try_from(time.as_nanos()).expect("short");
        self.clock.set(Timestamp::from_unix_nanos(nanos));
    }

    /// Asks, and answers with how often anything was done.
    async fn ask(
        &self,
        scope: &str,
        request: Request<Bytes>,
        status: u16,
    ) -> Result<Response<Bytes>, Refused> {
        let answer = self.idempotent.call(scope, request, async |_, _| {
            self.done.set(self.done.get() + 1);
            let builder = Response::builder().status(status).header("x-number", self.done.get());
            builder
                .header("connection", "close")
                .body(Bytes::from(format!("order {}", self.done.get())))
                .expect("valid")
        });
        answer.await
    }
}

fn order(key: &'static str, content: &'static str) -> Request<Bytes> {
    let builder = Request::post("/orders").header(IDEMPOTENCY_KEY, key);
    builder.body(Bytes::from_static(content.as_bytes())).expect("a request")
}

#[tokio::test]
async fn a_repetition_hears_the_first_answer() {
    let world = World::new();
    let first = world.ask("ann", order("\"k\"", "{}"), 201).await.expect("done");
    assert!(!first.headers().contains_key(IDEMPOTENT_REPLAYED));
    world.pass(Duration::from_secs(24 * 3600 - 1));
    let again = world.ask("ann", order("k", "{}"), 201).await.expect("the kept answer");
    assert_eq!((again.status(), again.body()), (first.status(), first.body()));
    assert_eq!(again.headers()["x-number"], "1");
    assert_eq!(again.headers()[IDEMPOTENT_REPLAYED], "true");
    assert!(!again.headers().contains_key("connection"), "it was of one connection");
    world.pass(Duration::from_secs(1));
    world.ask("ann", order("k", "{}"), 201).await.expect("done anew");
    assert_eq!(world.done.get(), 2);
}

#[tokio::test]
async fn a_request_that_completes_its_own_record_is_done_once() {
    let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_000_000));
    let config = IdempotencyConfig::default();
    let store = Arc::new(Memory::new(&clock, &config));
    let idempotent = Idempotent::new(store.clone(), config, clock, Events::default());
    // It says 503 although it was done, as one does that does not know whether its transaction was.
    let run = async |_, begun: Option<Begun>| {
        let Completion { scope, key, fence, answer, kept } =
            begun.expect("it has a key").completion(&Response::new(Bytes::from_static(b"done")));
        store.complete(&scope, &key, fence, answer, kept).await.expect("its own");
        Response::builder().status(503).body(Bytes::new()).expect("valid")
    };
    assert_eq!(idempotent.call("ann", order("k", "{}"), run).await.expect("told").status(), 503);
    let again = idempotent.call("ann", order("k", "{}"), async |_, _| panic!("it was done")).await;
    assert_eq!(again.expect("kept").body(), "done");
}

#[tokio::test]
async fn a_key_is_one_callers_and_one_requests() {
    let world = World::new();
    world.ask("ann", order("k", "{}"), 201).await.expect("done");
    world.ask("bob", order("k", "{}"), 201).await.expect("done for another");
    assert_eq!(
        world.ask("ann", order("k", "{1}"), 201).await.expect_err("another content"),
        Refused::Mismatch
    );
    let mut elsewhere = order("k", "{}");
    *elsewhere.uri_mut() = "/orders?draft=1".parse().expect("a target");
    assert_eq!(world.ask("ann", elsewhere, 201).await.expect_err("another target"), Refused::Mismatch);
    let plain = || Request::post("/orders").body(Bytes::new()).expect("a request");
    world.ask("ann", plain(), 201).await.expect("done");
    world.ask("ann", plain(), 201).await.expect("done again: it has no key");
    assert_eq!(world.done.get(), 4);
}

#[tokio::test]
async fn what_was_not_done_may_be_done_and_what_failed_may_not() {
    let world = World::new();
    for status in [503, 429] {
        assert_eq!(world.ask("ann", order("busy", "{}"), status).await.expect("told").status(), status);
    }
    assert_eq!(world.ask("ann", order("busy", "{}"), 201).await.expect("done").body(), "order 3");
    for status in [400, 404, 409, 500, 502] {
        let key = Box::leak(format!("k{status}").into_boxed_str());
        world.ask("ann", order(key, "{}"), status).await.expect("told");
        let again = world.ask("ann", order(key, "{}"), 201).await.expect("the same");
        assert_eq!(again.status(), status);
    }
    assert_eq!(world.done.get(), 8);
}

#[tokio::test]
async fn a_header_that_holds_no_key_is_refused_before_anything_is_done() {
    let world = World::new();
    let mut twice = order("a", "{}");
    twice.headers_mut().append(IDEMPOTENCY_KEY, "a".parse().expect("a value"));
    for request in [order("", "{}"), order("\"a", "{}"), twice] {
        let refused = world.ask("ann", request, 201).await.expect_err("no key");
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(world.done.get(), 0);
}

#[tokio::test]
async fn an_answer_too_large_to_be_kept_is_given_once() {
    let world =
        World::with(IdempotencyConfig { answer_bytes_max: ByteSize::from_bytes(6), ..Default::default() });
    assert_eq!(world.ask("ann", order("k", "{}"), 201).await.expect("done").body(), "order 1");
    let refused = world.ask("ann", order("k", "{}"), 201).await.expect_err("it is not kept");
    assert_eq!((&refused, refused.status()), (&Refused::NotKept, StatusCode::CONFLICT));
    assert_eq!(world.done.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_under_way_as_long_as_it_takes_and_one_that_was_dropped_for_its_time() {
    let world = World::new();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let slow = world.idempotent.call("ann", order("k", "{}"), async |_, _| {
        released.await.expect("released");
        Response::new(Bytes::from_static(b"slow"))
    });
    let others = async {
        // Four times as long as it would be under way by itself.
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            world.pass(Duration::from_secs(20));
            let refused = world.ask("ann", order("k", "{}"), 201).await.expect_err("it is under way");
            let Refused::InFlight { retry_after } = refused else { panic!("{refused}") };
            assert!(
                retry_after <= Duration::from_secs(60) && retry_after > Duration::ZERO,
                "{retry_after:?}"
            );
        }
        release.send(()).expect("it waits");
    };
    let (answer, ()) = tokio::join!(slow, others);
    assert_eq!(answer.expect("done").body(), "slow");
    assert_eq!(world.ask("ann", order("k", "{}"), 201).await.expect("kept").body(), "slow");
    let abandoned =
        world.idempotent.call("ann", order("dropped", "{}"), async |_, _| std::future::pending().await);
    assert!(tokio::time::timeout(Duration::from_secs(1), abandoned).await.is_err());
    world.pass(Duration::from_secs(59));
    let refused =
        world.ask("ann", order("dropped", "{}"), 201).await.expect_err("nobody knows how far it came");
    assert_eq!(refused, Refused::InFlight { retry_after: Duration::from_secs(1) });
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ask("ann", order("dropped", "{}"), 201).await.expect("done").status(), 201);
}

#[tokio::test]
async fn a_full_store_names_its_bound_answers_repetitions_and_takes_others_once_it_has_forgotten() {
    let one = order("a", "{}");
    let answered = World::new().ask("ann", one, 201).await.expect("done");
    let bytes = Answer::from(&answered).to_bytes().len() as u64;
    let two = NonZeroU64::new(2).expect("not zero");
    for (config, bound, limit) in [
        (IdempotencyConfig { records_max: two, ..Default::default() }, "records_max", 2),
        (
            IdempotencyConfig { answers_bytes_max: ByteSize::from_bytes(2 * bytes), ..Default::default() },
            "answers_bytes_max",
            2 * bytes,
        ),
    ] {
        let world = World::with(config);
        for key in ["a", "b"] {
            world.ask("ann", order(key, "{}"), 201).await.expect("done");
        }
        let refused = world.ask("bob", order("c", "{}"), 201).await.expect_err("is full");
        assert_eq!(refused, Refused::Full(Full { bound, limit }));
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.to_string().contains(&format!("`{bound}` is {limit}")), "{refused}");
        let again = world.ask("ann", order("b", "{}"), 201).await.expect("the kept answer");
        assert_eq!(again.body(), "order 2");
        world.pass(Duration::from_secs(24 * 3600));
        world.ask("bob", order("c", "{}"), 201).await.expect("the others are forgotten");
        assert_eq!(world.done.get(), 3);
    }
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_given_once() {
    let tiny = ByteSize::from_bytes(1);
    let config = IdempotencyConfig { answers_bytes_max: tiny, ..Default::default() };
    let world = World::with(config);
    world.ask("ann", order("k", "{}"), 201).await.expect("done");
    assert_eq!(world.ask("ann", order("k", "{}"), 201).await.expect_err("is not kept"), Refused::NotKept);
    assert_eq!(world.done.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_though_the_store_was_down_and_one_that_can_not_be_is_told_of() {
    let world = World::new();
    *world.store.down.lock().expect("unpoisoned") = 3;
    world.ask("ann", order("k", "{}"), 201).await.expect("done");
    assert_eq!(world.ask("ann", order("k", "{}"), 201).await.expect("kept").body(), "order 1");
    let told = || world.told.try_iter().map(|event| event.name).collect::<Vec<_>>();
    assert_eq!(told(), ["idempotency_answer_waits"]);

    *world.store.down.lock().expect("unpoisoned") = u32::MAX;
    let begun = tokio::time::Instant::now();
    world.ask("ann", order("lost", "{}"), 201).await.expect("done");
    assert!(begun.elapsed() <= Duration::from_secs(40), "its time is a minute, and it was asked for once");
    assert_eq!(told(), ["idempotency_answer_waits", "idempotency_answer_lost"]);
    let refused = world.ask("ann", order("lost", "{}"), 201).await.expect_err("nobody may begin yet");
    assert!(matches!(refused, Refused::InFlight { .. }), "{refused}");
}

#[test]
fn settings_that_can_not_work_are_refused() {
    let parse = |text: &str| toml::from_str::<IdempotencyConfig>(text).expect(text);
    assert_eq!(parse("").check(), Ok(()));
    for (text, field) in [
        ("kept = \"0s\"", "kept"),
        ("in_flight_timeout = \"0s\"", "in_flight_timeout"),
        ("kept = \"30s\"", "kept"),
        ("answers_bytes_max = \"1KiB\"", "answers_bytes_max"),
    ] {
        assert_eq!(parse(text).check().expect_err(text).field, field);
    }
    toml::from_str::<IdempotencyConfig>("keep = \"1h\"").expect_err("no such key");
}
