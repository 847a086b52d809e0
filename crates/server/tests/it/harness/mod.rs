//! A server process before scripted services, and clients that speak to it.

mod client;
mod origin;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use tempfile::TempDir;

pub(crate) use self::client::{Answer, Client};
pub(crate) use self::origin::{Origin, Received, Reply, answer, free_port, services};

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

/// An `intertie up` process with a file of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The address of the API, or that of admin where there is none.
    pub(crate) api: SocketAddr,
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
        let mut server = Self {
            address: unset,
            admin: unset,
            api: unset,
            tls: unset,
            redirect: unset,
            file,
            child,
            events,
            folder,
        };
        let started = server.wait_for("server_started");
        let field = |name: &str| {
            let (_, rest) = started.split_once(&format!(" {name}="))?;
            Some(rest.split_whitespace().next().expect(name).parse().expect("an address"))
        };
        server.address = field("listen").expect("it listens");
        server.admin = field("admin").expect("it has an admin listener");
        server.api = field("api").unwrap_or(server.admin);
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
        self.memory_kib("VmHWM:")
    }

    /// The memory that the process has resident, but for what lies in files.
    pub(crate) fn own_memory_kib(&self) -> u64 {
        self.memory_kib("RssAnon:")
    }

    fn memory_kib(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a figure of the kernel");
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
