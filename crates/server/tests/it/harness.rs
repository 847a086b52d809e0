//! A server process before scripted services, and clients that speak to it.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The longest that anything here waits for a condition.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition, at most [`PATIENCE`].
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool, what: &str) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A body of any kind.
pub(crate) type AnyBody = BoxBody<Bytes, std::io::Error>;

/// A body that is there at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A request as a service received it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// What a service does with a request.
pub(crate) enum Reply {
    /// Answers.
    Answer(Response<AnyBody>),
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
}

/// An answer with a short body.
pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header value"));
    }
    Reply::Answer(response)
}

type Replying = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = dyn Fn(Received) -> Replying + Send + Sync;

/// A scripted service in this process.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Answers with what `handler` makes of each request.
    pub(crate) async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(Received) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let (listener, address) = free_port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(move |request| Box::pin(handler(request)));
        let task = services().spawn(serve(listener, handler, Arc::clone(&received)));
        Self { address, received, task }
    }

    /// Answers each request with the next of `statuses`, the last one for ever.
    pub(crate) async fn statuses(statuses: &[u16]) -> Self {
        let script = Mutex::new(VecDeque::from(statuses.to_vec()));
        Self::start(move |_| {
            let mut script = script.lock().expect("unpoisoned");
            let status = if script.len() > 1 { script.pop_front() } else { script.front().copied() };
            async move { answer(status.unwrap_or(200), &[], "scripted") }
        })
        .await
    }

    /// Everything received so far, health checks aside.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("unpoisoned").clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener for a service, to be served by any runtime.
pub(crate) fn free_port() -> (std::net::TcpListener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    // Room for all that tests open at once: what does not fit is tried again by the kernel after a second, which
    // is later than `connect_timeout`.
    socket.listen(1024).expect("listens");
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// The runtime of all services: a test that waits for the server must not keep them from answering it.
pub(crate) fn services() -> &'static tokio::runtime::Runtime {
    static SERVICES: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    SERVICES.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

async fn serve(listener: std::net::TcpListener, handler: Arc<Handler>, log: Arc<Mutex<Vec<Received>>>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                async move { respond(request, &handler, &log).await }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    handler: &Arc<Handler>,
    log: &Arc<Mutex<Vec<Received>>>,
) -> Result<Response<AnyBody>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let received = Received {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
    };
    if received.headers.get("user-agent").is_none_or(|agent| agent != "intertie-health-check") {
        log.lock().expect("unpoisoned").push(received.clone());
    }
    match handler(received).await {
        Reply::Answer(response) => Ok(response),
        Reply::Close => Err(std::io::ErrorKind::ConnectionReset.into()),
        Reply::Hang => std::future::pending().await,
    }
}

/// An `intertie up` process with a file of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The address with TLS, or the one without where there is none.
    pub(crate) tls: SocketAddr,
    /// The address that redirects, likewise.
    pub(crate) redirect: SocketAddr,
    pub(crate) file: std::path::PathBuf,
    child: Child,
    events: Arc<Events>,
    pub(crate) folder: TempDir,
}

#[derive(Default)]
struct Events {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// The server's own table, with ports that it chooses itself.
pub(crate) const OWN: &str =
    "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\naccess_log = \"off\"\n";

impl Server {
    /// Starts a server with `traffic` below its `[server]` table.
    pub(crate) fn start(traffic: &str) -> Self {
        Self::start_with("", traffic)
    }

    /// The same with more keys in `[server]`.
    pub(crate) fn start_with(keys: &str, traffic: &str) -> Self {
        Self::start_binary(env!("CARGO_BIN_EXE_intertie"), keys, traffic)
    }

    /// The same with an access log in the file `log`.
    pub(crate) fn start_logging(log: &str, traffic: &str) -> Self {
        Self::start_logging_as(&format!("{log:?}"), traffic)
    }

    /// The same with `access_log` as a value of TOML.
    pub(crate) fn start_logging_as(value: &str, traffic: &str) -> Self {
        let own = OWN.replace("\"off\"", value);
        Self::start_file(env!("CARGO_BIN_EXE_intertie"), &format!("{own}\n{traffic}"))
    }

    /// The same with another build of the server.
    pub(crate) fn start_binary(binary: &str, keys: &str, traffic: &str) -> Self {
        Self::start_file(binary, &format!("{OWN}{keys}\n{traffic}"))
    }

    fn start_file(binary: &str, text: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), binary, text)
    }

    /// A server whose file stands in `folder`, among others, with a text access log in `access.log`.
    pub(crate) fn start_among(folder: TempDir, traffic: &str) -> Self {
        let log = folder.path().join("access.log");
        let own = OWN.replace("\"off\"", &format!("{{ to = {log:?}, format = \"text\" }}"));
        Self::start_in(folder, env!("CARGO_BIN_EXE_intertie"), &format!("{own}\n{traffic}"))
    }

    /// The same on a system that trusts the authorities in the file `roots`.
    pub(crate) fn start_trusting(roots: &std::path::Path, traffic: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_intertie"));
        command.env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR");
        Self::start_by(folder, command, &format!("{OWN}\n{traffic}"))
    }

    fn start_in(folder: TempDir, binary: &str, text: &str) -> Self {
        let command = Command::new(binary);
        Self::start_by(folder, command, text)
    }

    /// A server of the whole file `text` in `folder`, started by `command`, which gets its arguments here.
    pub(crate) fn start_by(folder: TempDir, mut command: Command, text: &str) -> Self {
        let file = folder.path().join("intertie.toml");
        std::fs::write(&file, text).expect("written");
        let mut child = command
            .arg("up")
            .arg(&file)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let events = Arc::new(Events::default());
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let sink = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sink.lines.lock().expect("unpoisoned").push(line);
                sink.more.notify_all();
            }
        });
        let unset = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server =
            Self { address: unset, admin: unset, tls: unset, redirect: unset, file, child, events, folder };
        let started = server.wait_for("server_started");
        let field = |name: &str| {
            let (_, rest) = started.split_once(&format!(" {name}="))?;
            Some(rest.split_whitespace().next().expect(name).parse().expect("an address"))
        };
        server.address = field("listen").expect("it listens");
        server.admin = field("admin").expect("it has an admin listener");
        server.tls = field("tls").unwrap_or(server.address);
        server.redirect = field("redirect").unwrap_or(server.address);
        server
    }

    /// The first line of the event log that holds `words`, now or soon.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        self.wait_for_nth(words, 1)
    }

    /// The `n`-th such line.
    pub(crate) fn wait_for_nth(&self, words: &str, n: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.events.lines.lock().expect("unpoisoned");
        loop {
            if let Some(line) = lines.iter().filter(|line| line.contains(words)).nth(n - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no `{words}` in {PATIENCE:?}; the log is\n{}", lines.join("\n"));
            lines = self.events.more.wait_timeout(lines, left).expect("unpoisoned").0;
        }
    }

    /// How many lines of the event log hold `words`.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.events.lines.lock().expect("unpoisoned").iter().filter(|line| line.contains(words)).count()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The process that was started here.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Writes another traffic part and reloads it.
    pub(crate) fn rewrite(&self, keys: &str, traffic: &str) {
        std::fs::write(&self.file, format!("{OWN}{keys}\n{traffic}")).expect("written");
    }

    /// Waits for the process to end; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waits") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server still runs after {PATIENCE:?}");
    }

    /// How many sockets the process has open to `address`, an IPv4 one.
    pub(crate) fn connections_to(&self, address: SocketAddr) -> usize {
        let folder = format!("/proc/{}", self.child.id());
        let open = std::fs::read_dir(format!("{folder}/fd")).expect("Linux").flatten();
        let own: Vec<_> = open.filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
        let table = std::fs::read_to_string(format!("{folder}/net/tcp")).expect("Linux");
        let port = format!(":{:04X}", address.port());
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let theirs = rows.filter(|row| row[2].ends_with(&port)).map(|row| format!("socket:[{}]", row[9]));
        theirs.filter(|socket| own.iter().any(|file| file.as_os_str() == socket.as_str())).count()
    }

    /// The most memory that the process ever had resident.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// A GET to the admin listener: status and text.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let answer = Client::new(self.admin).get(path).await;
        (answer.status, answer.text())
    }

    /// The value of a metric's series, `name{labels}` as written.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no `{series}` in\n{text}"))
    }
}

/// Sends a signal by its name to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(sent.expect("kill runs").success());
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    /// The gateway's own error code.
    pub(crate) fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).expect("a JSON answer");
        document["errors"][0]["code"].as_str().expect("a code").to_owned()
    }
}

/// What kept an answer from being complete, with its causes.
fn told(what: &str, error: &hyper::Error) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.fold(what.to_owned(), |said, error| format!("{said}: {error}"))
}

/// A client that opens a connection for each request.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    to: SocketAddr,
    from: Option<IpAddr>,
    http2: bool,
}

impl Client {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, from: None, http2: false }
    }

    pub(crate) fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    pub(crate) fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(full("")).expect("a request")).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = Request::get(path).body(full("")).expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut request = Request::post(path).body(full(body.to_owned())).expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header value"));
        }
        self.send(request).await
    }

    /// The complete answer.
    pub(crate) async fn send(&self, request: Request<AnyBody>) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    /// The complete answer, or what kept it from being complete.
    pub(crate) async fn try_send(&self, request: Request<AnyBody>) -> Result<Answer, String> {
        let response = self.begin(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| told("the body", &error))?;
        let trailers = body.trailers().cloned();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes(), trailers })
    }

    /// The head of the answer.
    pub(crate) async fn begin(&self, mut request: Request<AnyBody>) -> Result<Response<Incoming>, String> {
        let stream = self.connect().await.map_err(|error| format!("connecting: {error}"))?;
        if self.http2 {
            let uri = format!("http://{}{}", self.to, request.uri());
            *request.uri_mut() = uri.parse().expect("a URL");
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(|error| told("handshake", &error))?;
            tokio::spawn(connection);
            return sender.send_request(request).await.map_err(|error| told("sending", &error));
        }
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", self.to.to_string().parse().expect("a host"));
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| told("handshake", &error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| told("sending", &error))
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
