//! Connections to a Redis server of our own, shared by more callers than there are connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use intertie_resilience::pool::{Manage, Pool, PoolConfig, Pooled};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

pub(crate) async fn example() -> Result<()> {
    let server = RedisServer::start().await?;
    let config =
        PoolConfig { min_idle: 1, max: NonZeroU32::new(3).expect("3 is not zero"), ..PoolConfig::default() };
    let pool = Pool::with_listener(Redis { at: server.at }, config, |event| println!("{event:?}"))?;
    let maintenance = tokio::spawn(pool.maintain());

    let mut callers = JoinSet::new();
    for number in 0..20_u32 {
        let pool = pool.clone();
        callers.spawn(async move { set_and_get(pool.get().await?, number).await });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    let stats = pool.stats();
    println!("20 callers, {} connections: {stats:?}", stats.connects);
    ensure!(stats.connects <= 3 && stats.in_use == 0 && stats.waiting == 0);

    // A caller that leaves half-way through an exchange spoils its connection, not the pool.
    let mut spoiled = pool.get().await?;
    spoiled.send(&["PING"]).await?;
    drop(spoiled);
    ensure!(pool.stats().broken == 1);
    ensure!(pool.get().await?.call(&["GET", "key:7"]).await?.as_deref() == Some("value 7"));

    pool.close().await;
    maintenance.await?;
    ensure!(pool.stats().open == 0);
    server.stop().await
}

async fn set_and_get(mut connection: Pooled<Redis>, number: u32) -> Result<()> {
    let (key, value) = (format!("key:{number}"), format!("value {number}"));
    ensure!(connection.call(&["SET", &key, &value]).await?.as_deref() == Some("OK"));
    ensure!(connection.call(&["GET", &key]).await? == Some(value));
    Ok(())
}

/// How the pool makes and judges connections to Redis.
struct Redis {
    at: SocketAddr,
}

impl Manage for Redis {
    type Resource = Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.at).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), unanswered: 0 })
    }

    async fn check(&self, connection: &mut Connection) -> io::Result<()> {
        match connection.call(&["PING"]).await?.as_deref() {
            Some("PONG") => Ok(()),
            other => Err(io::Error::other(format!("PING was answered by {other:?}"))),
        }
    }

    fn is_broken(&self, connection: &Connection) -> bool {
        connection.unanswered > 0
    }
}

/// As much of RESP, Redis's protocol, as this example speaks.
struct Connection {
    stream: BufReader<TcpStream>,
    /// Commands sent whose answers were not read to their end: whoever came next would read them as its own.
    unanswered: u32,
}

impl Connection {
    async fn call(&mut self, words: &[&str]) -> io::Result<Option<String>> {
        self.send(words).await?;
        let answer = self.answer().await?;
        self.unanswered -= 1;
        Ok(answer)
    }

    async fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.unanswered += 1;
        self.stream.write_all(command.as_bytes()).await
    }

    async fn answer(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(text) = line.strip_prefix('+') {
            return Ok(Some(text.to_owned()));
        }
        match line.strip_prefix('$').and_then(|length| length.parse::<i64>().ok()) {
            Some(-1) => Ok(None),
            Some(length @ 0..=1_024) => {
                let mut text = String::new();
                (&mut self.stream).take(length as u64 + 2).read_to_string(&mut text).await?;
                Ok(Some(text.trim_end_matches("\r\n").to_owned()))
            }
            _ => Err(io::Error::other(format!("an answer that this example does not know: {line}"))),
        }
    }
}

/// A server on a port and in a directory of its own, killed when dropped.
struct RedisServer {
    at: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl RedisServer {
    async fn start() -> Result<Self> {
        require("redis-server", "redis-server").await?;
        // Somebody else may take the port between our look and the server's.
        for _ in 0..5 {
            let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let directory =
                std::env::temp_dir().join(format!("intertie-example-{}-{}", std::process::id(), at.port()));
            std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
            let child = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--port", &at.port().to_string(), "--save", "", "--dir"])
                .arg(&directory)
                .stdout(std::process::Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .context("start redis-server")?;
            let mut server = Self { at, child, directory };
            if server.is_ready().await? {
                return Ok(server);
            }
        }
        bail!("redis-server finds no free port");
    }

    /// Waits until the server answers; false when it ended instead.
    async fn is_ready(&mut self) -> Result<bool> {
        let manager = Redis { at: self.at };
        for _ in 0..1_000 {
            if let Ok(mut connection) = manager.connect().await
                && manager.check(&mut connection).await.is_ok()
            {
                // It could be another's server on our port.
                return Ok(self.child.try_wait()?.is_none());
            }
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("redis-server does not answer at {}", self.at);
    }

    async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("stop redis-server")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It saved nothing, so the directory is empty; one that remains is in the way of nobody.
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// Makes sure that `tool` is there, by installing Debian's `package` where that can be done.
async fn require(tool: &str, package: &str) -> Result<()> {
    let is_there = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
    };
    if is_there() {
        return Ok(());
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    ensure!(is_root, "`{tool}` is missing: install the Debian package `{package}`");
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
        let output = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .await
            .context("apt-get runs")?;
        ensure!(
            output.status.success(),
            "`{tool}` is missing, and so is the package `{package}`: {output:?}"
        );
    }
    ensure!(is_there(), "the Debian package `{package}` does not bring `{tool}`");
    Ok(())
}
