//! Which requests are repeated, and on which service.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_request_that_may_be_made_twice_is_repeated_when_its_answer_says_so() {
    let server = Server::answering(&[503, 429, 200]);
    let calls = Arc::clone(&server.calls);
    let layer = PipelineLayer::new(pipeline().retry(retry()).build().expect("valid"), repeating());
    let request = get();
    let clones = Arc::clone(&request.body().clones);
    let answer = layer.layer(server).call(request).await.expect("in the end");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(Server::attempts(&calls), ["1", "2", "3"]);
    let waits: Vec<_> =
        calls.lock().expect("unpoisoned").windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert_eq!(waits, [3 * SECOND, 3 * SECOND], "what Retry-After asks for");
    assert_eq!(clones.load(Ordering::Relaxed), 3, "one to keep, and one for each repetition");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cloned_only_when_a_second_attempt_is_possible() {
    let once = RetryConfig { attempts: NonZeroU32::MIN, ..retry() };
    let hedge = HedgeConfig::after(SECOND);
    let post = || Request::post("/orders").body(Body::default()).expect("valid");
    for (builder, request, clones) in [
        (pipeline(), get(), 0),
        (pipeline().retry(once), get(), 0),
        (pipeline().retry(retry()), post(), 0),
        (pipeline().retry(retry()), get(), 1),
        (pipeline().hedge(hedge), get(), 1),
    ] {
        let counted = Arc::clone(&request.body().clones);
        let layer = PipelineLayer::new(builder.build().expect("valid"), repeating());
        layer.layer(Server::answering(&[200])).call(request).await.expect("succeeds");
        assert_eq!(counted.load(Ordering::Relaxed), clones);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_cloned_or_made_twice_has_one_attempt() {
    let keyed = Request::post("/orders").header("idempotency-key", "order-7").body(Body::default());
    let post = Request::post("/orders").body(Body::default()).expect("valid");
    for (protocol, request, attempts) in
        [(Http::new(), get(), 1), (repeating(), post, 1), (repeating(), keyed.expect("valid"), 3)]
    {
        let server = Server::answering(&[502]);
        let calls = Arc::clone(&server.calls);
        let layer = PipelineLayer::new(pipeline().retry(retry()).build().expect("valid"), protocol);
        let answer = layer.layer(server).call(request).await.expect("the last answer");
        assert_eq!((answer.status(), Server::attempts(&calls).len()), (StatusCode::BAD_GATEWAY, attempts));
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_the_request_itself() {
    #[derive(Debug, Clone, PartialEq)]
    struct Mark(u8);
    let mut request = Request::put("/a?b=c").version(::http::Version::HTTP_2).header("x", "y");
    request.extensions_mut().expect("valid").insert(Mark(7));
    let request = request.body(Body::default()).expect("valid");
    let copy = Protocol::<_, Response<Body>, ()>::try_clone(&repeating(), &request).expect("can be cloned");
    assert_eq!(
        (copy.method(), copy.uri(), copy.version()),
        (request.method(), request.uri(), request.version())
    );
    assert_eq!(copy.headers(), request.headers());
    assert_eq!(copy.extensions().get::<Mark>(), Some(&Mark(7)));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_waits_until_its_own_clone_is_ready_within_its_timeout() {
    let build = |timeout| pipeline().retry(retry()).attempt_timeout(timeout).build().expect("valid");
    let server = Server::answering(&[0, 200]).busy_for(2 * SECOND);
    let calls = Arc::clone(&server.calls);
    let mut service = PipelineLayer::new(build(5 * SECOND), repeating()).layer(server.clone());
    let mut context = Context::from_waker(Waker::noop());
    assert!(Service::<Request<Body>>::poll_ready(&mut service, &mut context).is_ready(), "it never waits");
    let started = tokio::time::Instant::now();
    assert!(service.call(get()).await.is_ok());
    let began: Vec<_> = calls.lock().expect("unpoisoned").iter().map(|(_, at)| *at - started).collect();
    assert_eq!(began, [2 * SECOND, 5 * SECOND], "2 s to be ready, 1 s of backoff, 2 s to be ready");

    let mut service = PipelineLayer::new(build(SECOND), repeating()).layer(server);
    let error = service.call(get()).await.expect_err("never ready in time");
    assert!(matches!(error, CallError::Exhausted(all) if all.attempts == 3));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_flat_and_judged() {
    let breaker = CircuitBreakerConfig {
        consecutive_failures: Some(NonZeroU32::MIN),
        failures: None,
        ..CircuitBreakerConfig::standard()
    };
    let pipeline = pipeline().circuit_breaker(breaker).build().expect("valid");
    let mut service = PipelineLayer::http(pipeline).layer(Server::answering(&[0]));
    assert!(matches!(service.call(get()).await, Err(CallError::Operation("reset"))));
    let error = service.call(get()).await.expect_err("open");
    assert!(matches!(error, CallError::Rejected(rejection) if rejection.by == Policy::CircuitBreaker));
}
