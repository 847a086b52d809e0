//! Keys of the file, each by what it changes for users.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::harness::{Answer, Client, Origin, Server, answer, until};

/// One route `/**` to one service, `service` and `policy` as further keys of each.
fn one(address: SocketAddr, service: &str, policy: &str) -> String {
    format!(
        "[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n{service}\n\n\
         [route.\"/**\"]\nto = \"origin\"\n{policy}\n"
    )
}

/// The series of a breaker's state.
fn state(address: SocketAddr, phase: &str) -> String {
    format!("intertie_circuit_breaker_state{{service=\"origin\",endpoint=\"{address}\",state=\"{phase}\"}}")
}

#[tokio::test]
async fn a_breaker_closes_after_as_many_successes_as_its_file_says_and_not_before() {
    for successes in [1, 2, 5] {
        let origin = Origin::statuses(&[500, 200]).await;
        let policy = format!(
            "circuit_breaker = {{ preset = \"sensitive\", failures = 1, open = \"50ms\", \
             successes_to_close = {successes} }}"
        );
        let server = Server::start(&one(origin.address, "", &policy));
        let client = Client::new(server.address);
        assert_eq!(client.get("/").await.status, 500);
        for success in 1..=successes {
            until(async || client.get("/").await.status == 200, "a probe is let through").await;
            let phase = if success == successes { "closed" } else { "half_open" };
            let series = state(origin.address, phase);
            assert_eq!(server.metric(&series).await, 1.0, "{phase} after {success} of {successes}");
        }
    }
}

#[tokio::test]
async fn a_half_open_breaker_has_places_for_as_many_probes_as_it_needs_successes() {
    let (requests, gate) = (AtomicUsize::new(0), Arc::new(Semaphore::new(0)));
    let leave = Arc::clone(&gate);
    let origin = Origin::start(move |_| {
        let fails = requests.fetch_add(1, Ordering::Relaxed) == 0;
        let leave = Arc::clone(&leave);
        async move {
            if fails {
                return answer(500, &[], "");
            }
            leave.acquire().await.expect("open").forget();
            answer(200, &[], "")
        }
    })
    .await;
    let policy = "circuit_breaker = { preset = \"sensitive\", failures = 1, open = \"50ms\", \
                  successes_to_close = 2 }";
    let server = Server::start(&one(origin.address, "", policy));
    let client = Client::new(server.address);
    assert_eq!(client.get("/").await.status, 500);
    let probe = async || until(async || client.get("/").await.status == 200, "a probe succeeds").await;
    let beyond = async {
        until(async || origin.received().len() == 3, "both probes are under way").await;
        let rejected = client.get("/").await;
        assert_eq!((rejected.status, rejected.code().as_str()), (503, "CIRCUIT_OPEN"));
        assert_eq!(rejected.header("retry-after"), None, "nobody knows when the probes end");
        gate.add_permits(2);
    };
    tokio::join!(probe(), probe(), beyond);
    assert_eq!(server.metric(&state(origin.address, "closed")).await, 1.0);
}

/// A service that counts its connections, and answers one request for each permit.
struct Counting {
    address: SocketAddr,
    permits: Arc<Semaphore>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Connections so far.
    opened: AtomicUsize,
    /// Connections now.
    open: AtomicUsize,
    /// Requests so far.
    asked: AtomicUsize,
}

impl Counting {
    async fn start(permits: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (permits, counts) = (Arc::new(Semaphore::new(permits)), Arc::new(Counts::default()));
        let service = Self { address, permits: Arc::clone(&permits), counts: Arc::clone(&counts) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (permits, counts) = (Arc::clone(&permits), Arc::clone(&counts));
                counts.opened.fetch_add(1, Ordering::Relaxed);
                counts.open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    serve(stream, &permits, &counts).await;
                    counts.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        service
    }

    fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::Relaxed)
    }

    fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    fn asked(&self) -> usize {
        self.counts.asked.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, permits: &Semaphore, counts: &Counts) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            counts.asked.fetch_add(1, Ordering::Relaxed);
            permits.acquire().await.expect("open").forget();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    }
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_the_file_allows() {
    const CALLS: usize = 6;
    for kept in [1, 4] {
        let service = Counting::start(0).await;
        let traffic = one(service.address, &format!("idle_connections_max = {kept}"), "");
        let server = Server::start_with("threads = 1", &traffic);
        let client = Client::new(server.address);
        for (round, opened) in [(1, CALLS), (2, CALLS + (CALLS - kept))] {
            let calls: Vec<_> = (0..CALLS)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { client.get("/").await.status })
                })
                .collect();
            until(async || service.asked() == round * CALLS, "all calls are under way at once").await;
            assert_eq!(service.opened(), opened, "round {round} with {kept} kept");
            service.permits.add_permits(CALLS);
            for call in calls {
                assert_eq!(call.await.expect("no panic"), 200);
            }
            until(async || service.open() == kept, "the others are closed").await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_idle_for_idle_timeout_carries_no_further_call() {
    const IDLE_TIMEOUT: Duration = Duration::from_millis(400);
    let service = Counting::start(Semaphore::MAX_PERMITS).await;
    let keys = format!("idle_timeout = \"{}ms\"", IDLE_TIMEOUT.as_millis());
    let traffic = one(service.address, &keys, "");
    let server = Server::start_with("threads = 1", &traffic);
    let client = Client::new(server.address);
    let opens_another = async || {
        let opened = service.opened();
        assert_eq!(client.get("/").await.status, 200);
        service.opened() > opened
    };
    assert!(opens_another().await);
    until(async || !opens_another().await, "a call soon after another goes the same way").await;
    tokio::time::sleep(IDLE_TIMEOUT).await;
    assert!(opens_another().await, "the kept connection is used no more");
}

#[tokio::test]
async fn a_connection_that_was_idle_for_idle_timeout_is_closed_although_nobody_calls() {
    let service = Counting::start(Semaphore::MAX_PERMITS).await;
    let server = Server::start_with("threads = 1", &one(service.address, "idle_timeout = \"100ms\"", ""));
    assert_eq!(Client::new(server.address).get("/").await.status, 200);
    until(async || service.open() == 0, "the idle connection is closed").await;
}

/// A listener whose accept queue is full, so that it completes no further handshake, and what fills it.
async fn unresponsive() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await
    {
        queued.push(connected.expect("queued"));
        assert!(queued.len() < 16, "the queue is never full");
    }
    (listener, queued)
}

#[tokio::test]
async fn opening_a_connection_takes_no_longer_than_connect_timeout() {
    let (listener, _queued) = unresponsive().await;
    let address = listener.local_addr().expect("bound");
    // One below the default of three seconds and one above it; that it was not the attempt timeout that ended the
    // call says that the connection timeout came in time.
    for (millis, attempt) in [(100, "500ms"), (3_500, "15s")] {
        let traffic = one(
            address,
            &format!("connect_timeout = \"{millis}ms\""),
            &format!("attempt_timeout = \"{attempt}\""),
        );
        let server = Server::start(&traffic);
        let started = Instant::now();
        let answer = Client::new(server.address).get("/").await;
        let elapsed = started.elapsed();
        assert_eq!((answer.status, answer.code().as_str()), (504, "CONNECT_TIMEOUT"));
        assert!(answer.text().contains("within connect_timeout"), "{}", answer.text());
        assert!(elapsed >= Duration::from_millis(millis), "{elapsed:?}");
    }
}

#[tokio::test]
async fn the_access_log_can_be_words_instead_of_json() {
    let origin = Origin::statuses(&[503, 200]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.\"/orders/**\"]\nto = \"origin\"\nretry = {{ attempts = 2, base = \"10ms\" }}\n",
        origin.address
    );
    let mut server = Server::start_logging_as(&format!("{{ to = {log:?}, format = \"text\" }}"), &traffic);
    let client = Client::new(server.address);
    let retried = client.get("/orders/7?token=secret").await;
    let refused = client.get("/nowhere").await;
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let written = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<Vec<_>> = written.lines().map(|line| line.split(' ').collect()).collect();
    let id = |answer: &Answer| format!("id={}", answer.header("x-request-id").expect("an id"));
    let endpoint = format!("endpoint={}", origin.address);
    let (retried, refused) = (id(&retried), id(&refused));
    let expected: [(&[&str], &[&str]); 2] = [
        (&["127.0.0.1", "GET", "/orders/7", "200"], &["route=/orders/**", &endpoint, "attempts=2", &retried]),
        (&["127.0.0.1", "GET", "/nowhere", "404"], &["error=ROUTE_NOT_FOUND", &refused]),
    ];
    assert_eq!(lines.len(), expected.len(), "{written}");
    for (line, (request, fields)) in lines.iter().zip(expected) {
        assert!(line[0].ends_with('Z'), "a time: {line:?}");
        assert_eq!(&line[1..5], request);
        let millis = line[5].strip_suffix("ms").and_then(|millis| millis.parse::<f64>().ok());
        assert!(millis.is_some_and(|millis| millis >= 0.0), "a duration: {line:?}");
        let (traces, other): (Vec<&str>, Vec<&str>) =
            line[6..].iter().copied().partition(|word| word.starts_with("trace="));
        assert!(traces.len() == 1 && traces[0].len() == "trace=".len() + 32, "{line:?}");
        assert_eq!(other, fields);
    }
}

#[tokio::test]
async fn health_is_asked_for_at_the_path_of_the_file() {
    const PATH: &str = "/status?deep=1";
    // At the default path each would seem to be what the other is.
    let sick =
        Origin::start(async |request| answer(if request.path == PATH { 500 } else { 200 }, &[], "sick"))
            .await;
    let well = Origin::start(async |request| {
        answer(if request.path == "/health/ready" { 500 } else { 200 }, &[], "well")
    })
    .await;
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}, {{ at = \"{}\" }}]\n\
         health_check = {{ path = \"{PATH}\", every = \"1s\", timeout = \"1s\", unhealthy_after = 2 }}\n\n\
         [route.\"/**\"]\nto = \"origin\"\n",
        sick.address, well.address
    );
    let server = Server::start(&traffic);
    server.wait_for(&format!("endpoint_became_unhealthy service=origin endpoint={}", sick.address));
    for _ in 0..10 {
        assert_eq!(Client::new(server.address).get("/").await.text(), "well");
    }
    assert!(sick.received().is_empty());
}
