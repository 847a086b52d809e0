//! Redis Streams, from Debian, with each command synced before it is answered.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use intertie_bench::process::Server;
use intertie_bench::tools::{find_or_install, self_description};
use intertie_bench::workdir::free_ports;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{Client, Pipeline, cmd, pipe};

use super::{Site, Subject, Worker, once_ready};

const PROGRAM: &str = "redis-server";

pub fn prepare() -> Result<String> {
    let text = self_description(&find_or_install(PROGRAM, PROGRAM)?, &["--version"])?;
    let version = text.split("v=").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(version.context("redis-server names no version")?.to_owned())
}

pub struct Redis {
    server: Server,
    connection: MultiplexedConnection,
}

impl Subject for Redis {
    type Worker = Connection;

    async fn start(site: &Site<'_>) -> Result<Self> {
        let [port] = free_ports()?;
        let mut command = Command::new(find_or_install(PROGRAM, PROGRAM)?);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]).arg("--dir").arg(site.dir);
        let server = Server::start("redis", command, parent(site.dir)?)?;
        let client = Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection =
            once_ready(async || Ok(client.get_multiplexed_async_connection().await?)).await?;
        let mut group = cmd("XGROUP");
        group.arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM");
        group.exec_async(&mut connection).await?;
        Ok(Self { server, connection })
    }

    async fn worker(&self, number: usize) -> Result<Connection> {
        Ok(Connection { connection: self.connection.clone(), name: format!("consumer-{number}").into() })
    }

    fn process(&self) -> u32 {
        self.server.pid()
    }

    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        self.server.explain(result)
    }

    async fn stop(self) -> Result<()> {
        self.server.stop()
    }
}

const STREAM: &str = "orders";
const GROUP: &str = "workers";

/// Logs stand beside the directory, which the server may want to be empty.
pub fn parent(dir: &Path) -> Result<&Path> {
    dir.parent().context("a directory stands in another one")
}

/// All share one connection, as the client is meant to be used.
pub struct Connection {
    connection: MultiplexedConnection,
    name: Rc<str>,
}

impl Worker for Connection {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        let mut add = cmd("XADD");
        add.arg(STREAM).arg("*").arg("body").arg(&*body);
        Ok(add.exec_async(&mut self.connection).await?)
    }

    async fn send_batch(&mut self, bodies: Vec<Bytes>) -> Result<()> {
        let mut all: Pipeline = pipe();
        for body in &bodies {
            all.cmd("XADD").arg(STREAM).arg("*").arg("body").arg(&**body).ignore();
        }
        Ok(all.exec_async(&mut self.connection).await?)
    }

    async fn take(&mut self, most: usize) -> Result<usize> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg(&*self.name)
            .arg("COUNT")
            .arg(most)
            .arg("STREAMS")
            .arg(STREAM)
            .arg(">");
        let read: Option<StreamReadReply> = read.query_async(&mut self.connection).await?;
        let entries: Vec<_> = read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids).collect();
        for entry in &entries {
            // What is acknowledged stays in a stream until it is deleted.
            let mut settle = pipe();
            settle.cmd("XACK").arg(STREAM).arg(GROUP).arg(&entry.id).ignore();
            settle.cmd("XDEL").arg(STREAM).arg(&entry.id).ignore();
            settle.exec_async(&mut self.connection).await?;
        }
        Ok(entries.len())
    }
}
