//! What a pipeline is told by a caller and tells it: quotas, deadlines, settings, answers.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_senders_deadline_is_kept_and_handed_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    #[derive(Clone)]
    struct Slow(Arc<Mutex<Vec<Option<String>>>>);
    impl Service<Request<Body>> for Slow {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let deadline = request.headers().get("intertie-deadline");
            let deadline = deadline.map(|value| value.to_str().expect("text").to_owned());
            self.0.lock().expect("unpoisoned").push(deadline);
            Box::pin(std::future::pending())
        }
    }
    let pipeline = pipeline().deadline(9 * SECOND).build().expect("valid");
    let mut service = PipelineLayer::http(pipeline).layer(Slow(Arc::clone(&seen)));
    for (deadline, expected) in [("2000", 2 * SECOND), ("90000", 9 * SECOND), ("soon", 9 * SECOND)] {
        let started = tokio::time::Instant::now();
        let request = Request::get("/").header("intertie-deadline", deadline).body(Body::default());
        let error = service.call(request.expect("valid")).await.expect_err("slow");
        assert!(matches!(error, CallError::DeadlineExceeded));
        assert_eq!(started.elapsed(), expected, "{deadline}");
    }
    let text = |millis: &str| Some(millis.to_owned());
    assert_eq!(*seen.lock().expect("unpoisoned"), [text("2000"), text("9000"), text("9000")]);
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_rate_limited_service_share_its_quotas_by_key() {
    let pipeline = pipeline().rate_limiter(per_minute("1/min")).build().expect("valid");
    let layer = PipelineLayer::http_by(pipeline, |request: &Request<Body>| request.uri().path().to_owned());
    let service = layer.layer(Server::answering(&[200]));
    let get = |path| Request::get(path).body(Body::default()).expect("valid");
    assert!(service.clone().call(get("/a")).await.is_ok());
    assert!(service.clone().call(get("/b")).await.is_ok());
    let error = service.clone().call(get("/a")).await.expect_err("used up");
    assert!(matches!(error, CallError::Rejected(rejection) if rejection.by == Policy::RateLimiter));
    assert!(layer.layer(Server::answering(&[200])).call(get("/b")).await.is_err(), "of the same layer");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_by_name_changes_under_a_service_and_keeps_its_state() {
    let registry = Registry::new(PipelineConfig::default()).expect("valid");
    let limited = |deadline| PipelineConfig {
        rate_limiter: Some(per_minute("2/min")),
        deadline,
        ..PipelineConfig::default()
    };
    registry.add("tower", limited(None)).expect("new");
    assert!(Handle::named(&registry, "towr").is_err());
    let handle = Handle::named(&registry, "tower").expect("just added");
    let mut service = PipelineLayer::http(handle).layer(Server::answering(&[200]).busy_for(2 * SECOND));
    assert!(service.call(get()).await.is_ok());
    registry.configure("tower", limited(Some(SECOND))).expect("valid");
    assert!(matches!(service.call(get()).await, Err(CallError::DeadlineExceeded)), "the new deadline");
    assert!(matches!(service.call(get()).await, Err(CallError::Rejected(_))), "the old quota");
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_what_its_pipeline_refuses() {
    #[derive(Clone)]
    struct Fine;
    impl Service<Request<Body>> for Fine {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Ok(Response::default()))
        }
    }
    let pipeline = pipeline().rate_limiter(per_minute("1/min")).build().expect("valid");
    let mut service = PipelineLayer::http(pipeline).answering().layer(Fine);
    let Ok(answer) = service.call(get()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let Ok(answer) = service.call(get()).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "60");
    let failing = Pipeline::named("failing").build().expect("valid");
    let mut service = PipelineLayer::http(failing).answering().layer(Server::answering(&[0]));
    assert_eq!(service.call(get()).await.map(|_| ()), Err("reset"), "its own error is its own");
}

#[tokio::test(start_paused = true)]
async fn answers_of_grpc_are_judged_by_their_own_status() {
    #[derive(Clone)]
    struct Health(&'static str);
    impl Service<Request<Body>> for Health {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<Body>) -> Self::Future {
            assert_eq!(request.headers()["grpc-timeout"], "9000m");
            ready(Ok(Response::builder().header("grpc-status", self.0).body(Body::default()).expect("valid")))
        }
    }
    for (code, failures) in [("0", 0), ("5", 0), ("8", 0), ("14", 1)] {
        let pipeline = pipeline().deadline(9 * SECOND).circuit_breaker(CircuitBreakerConfig::standard());
        let pipeline = pipeline.build().expect("valid");
        let mut service = PipelineLayer::grpc(pipeline.clone()).layer(Health(code));
        assert!(service.call(get()).await.is_ok());
        let stats = pipeline.circuit_breaker().expect("in force").stats(MonotonicClock::now());
        assert_eq!(stats.window_failures, failures, "{code}");
    }
}

/// Waits a second, and panics then.
#[derive(Clone)]
struct Panics;

impl Service<()> for Panics {
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        Box::pin(async {
            tokio::time::sleep(SECOND).await;
            panic!("in the service")
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_and_a_panic_free_the_place() {
    let pipeline = pipeline().bulkhead(BulkheadConfig::new(NonZeroU32::MIN)).build().expect("valid");
    let mut service = PipelineLayer::plain(pipeline.clone()).layer(Panics);
    let running = || pipeline.bulkhead().expect("in force").stats().running;
    let mut context = Context::from_waker(Waker::noop());
    let mut call = service.call(());
    assert_eq!((running(), call.as_mut().poll(&mut context).is_pending()), (0, true));
    assert_eq!(running(), 1);
    drop(call);
    assert_eq!(running(), 0);
    let mut call = service.call(());
    assert!(call.as_mut().poll(&mut context).is_pending());
    tokio::time::advance(SECOND).await;
    assert!(catch_unwind(AssertUnwindSafe(move || call.as_mut().poll(&mut context).is_ready())).is_err());
    assert_eq!((running(), pipeline.stats().cancelled), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn layers_of_one_pipeline_share_the_quotas_of_its_callers() {
    let pipeline = pipeline().rate_limiter(per_minute("1/min")).build().expect("valid");
    let layer = || {
        PipelineLayer::http_by(pipeline.clone(), |request: &Request<Body>| request.uri().path().to_owned())
    };
    let get = || Request::get("/a").body(Body::default()).expect("valid");
    assert!(layer().layer(Server::answering(&[200])).call(get()).await.is_ok());
    assert!(
        layer().layer(Server::answering(&[200])).call(get()).await.is_err(),
        "used up by the other layer"
    );
    let closure = pipeline.call(async |_| Ok::<_, Infallible>(())).key("/a").await;
    assert!(closure.is_err(), "and by closures of the same pipeline");
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_which_attempts_were_used_up_says_so() {
    let pipeline = pipeline().retry(retry()).build().expect("valid");
    let marked = |response: &Response<Body>| response.headers().get("intertie-retry").is_some();
    for (statuses, expected) in
        [(&[503][..], true), (&[503, 404], false), (&[503, 200], false), (&[404], false)]
    {
        let service = Server::answering(statuses);
        let mut service =
            PipelineLayer::new(pipeline.clone(), Http::with_bodies(Body::try_clone)).layer(service);
        let response = service.call(Request::get("/").body(Body::default()).expect("valid")).await;
        assert_eq!(marked(&response.expect("an answer")), expected, "{statuses:?}");
    }
}
