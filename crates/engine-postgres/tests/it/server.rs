//! PostgreSQL as tests use it: a server of their own, on a socket in a directory of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use intertie_engine_postgres::ServerConfig;
use tempfile::TempDir;
use tokio::time::Instant;

/// Nobody else listens in the server's own directory.
const PORT: u16 = 5432;

/// A server, stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    directory: TempDir,
    programs: PathBuf,
}

/// Where Debian's packages put the programs of the latest version.
fn programs() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let latest = versions.filter(|path| path.join("bin/initdb").is_file()).max_by_key(|path| version(path));
    latest.map(|path| path.join("bin"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The programs, after Debian's package was installed where that can be done.
fn require() -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(programs) = programs() {
        return programs;
    }
    assert!(is_root(), "PostgreSQL is missing: install the Debian package `postgresql`");
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", "postgresql"]] {
        let output =
            Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
        let output = output.expect("apt-get runs");
        assert!(output.status.success(), "PostgreSQL is missing, and so is its package: {output:?}");
    }
    programs().expect("the Debian package `postgresql` brings `initdb`")
}

impl Server {
    /// A new server with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let programs = require();
        let directory = TempDir::new().expect("a directory");
        // The server refuses to run as root, and what runs as another user has to get in.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
        let server = Self { directory, programs };
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        let socket = server.directory.path().display();
        let mut text = format!(
            "listen_addresses = ''\nunix_socket_directories = '{socket}'\nport = {PORT}\nmax_connections = 900\n\
             shared_buffers = 64MB\nlogging_collector = off\n"
        );
        settings.iter().for_each(|setting| text.push_str(&format!("{setting}\n")));
        // The file is another user's.
        server.run("bash", &["-c", &format!("cat >> '{data}/postgresql.conf' <<'END'\n{text}END")]);
        server.up();
        server
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    /// One of the programs, as a user that the server accepts.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let path = self.programs.join(program);
        let path = if path.is_file() { path } else { PathBuf::from(program) };
        let mut command = Command::new(if is_root() { Path::new("runuser") } else { &path });
        if is_root() {
            command.args(["-u", "nobody", "--"]).arg(&path);
        }
        command.args(arguments).current_dir("/");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program, arguments).output().expect("the program runs");
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        output
    }

    /// Starts it on what it has stored.
    pub(crate) fn up(&self) {
        let log = fs::File::create(self.directory.path().join("log")).expect("a file");
        // It goes with this process, however that ends: the thread that started it lasts as long.
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
        }
        command.args(["--pdeathsig", "QUIT"]).arg(self.programs.join("postgres")).args(["-D", &self.data()]);
        command.current_dir("/").stdout(Stdio::null()).stderr(log);
        std::thread::spawn(move || command.status());
        let (socket, begun) = (self.directory.path().display().to_string(), Instant::now());
        let is_ready = || {
            let program = self.programs.join("pg_isready");
            let ready =
                Command::new(program).args(["-q", "-h", &socket, "-U", "tests", "-d", "template1"]).status();
            ready.is_ok_and(|status| status.success())
        };
        while !is_ready() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not come up: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it, and starts it on what it has stored.
    pub(crate) fn kill(&self) {
        let processes = self.processes();
        kill(self.postmaster());
        // The others see that it is gone, and go; none may be left when it comes back.
        let begun = Instant::now();
        while processes.iter().any(|process| is_alive(*process)) {
            assert!(begun.elapsed() < Duration::from_secs(30), "a killed server lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.up();
    }

    /// Kills a process that serves one connection, upon which the server begins anew on what it has stored.
    pub(crate) fn kill_backend(&self) {
        let is_backend = |process: &i32| {
            let title = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            title.contains("postgres: tests")
        };
        let backend = self.processes().into_iter().find(is_backend);
        kill(backend.expect("somebody is connected"));
    }

    fn postmaster(&self) -> i32 {
        let file = fs::read_to_string(self.directory.path().join("data/postmaster.pid")).expect("it runs");
        file.lines().next().and_then(|line| line.parse().ok()).expect("a number")
    }

    /// Its first process and the children of that.
    fn processes(&self) -> Vec<i32> {
        let first = self.postmaster();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).chain([first]).collect()
    }

    /// Where its socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join(format!(".s.PGSQL.{PORT}"))
    }

    /// How to reach it.
    pub(crate) fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::new();
        config.host_path(self.directory.path()).port(PORT).user("tests").dbname("postgres");
        config
    }
}

fn is_alive(process: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // What is dead and was not waited for says `Z`.
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn kill(process: i32) {
    let process = nix::unistd::Pid::from_raw(process);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).expect("it is ours to kill");
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.data();
        // It may be down already, and its test may be panicking.
        let _ = self.command("pg_ctl", &["-D", &data, "-m", "immediate", "-w", "stop"]).output();
    }
}

/// What nobody else has.
pub(crate) fn schema() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The server of those tests that do not stop it, as long as one of them runs: without syncs, which nothing there is
/// about.
pub(crate) fn shared() -> Arc<Server> {
    static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let new =
            Arc::new(Server::start(&["fsync = off", "full_page_writes = off", "autovacuum_naptime = 5s"]));
        *server = Arc::downgrade(&new);
        new
    })
}
