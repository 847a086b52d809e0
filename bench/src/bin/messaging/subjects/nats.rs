//! NATS JetStream, built by Go: a stream in files, and pull consumers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use intertie_bench::process::Server;
use intertie_bench::tools::{run_shown, self_description};
use intertie_bench::workdir::free_ports;
use tokio::time::timeout;

use super::redis::parent;
use super::{Site, Subject, Worker, once_ready};
use crate::mode::Mode;

/// That of Debian can not sync each message.
const PACKAGE: &str = "github.com/nats-io/nats-server/v2@v2.12.1";

pub fn prepare() -> Result<String> {
    let program = program();
    if !program.is_file() {
        let mut go = Command::new("go");
        go.args(["install", PACKAGE]).env("GOBIN", program.parent().context("it has a directory")?);
        run_shown(go)?;
    }
    let text = self_description(&program, &["--version"])?;
    Ok(text.rsplit_once('v').context("nats-server names no version")?.1.to_owned())
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats/nats-server")
}

/// Syncs each message before it is acknowledged, or as it does by default.
pub struct Nats<const SYNCED: bool> {
    server: Server,
    context: jetstream::Context,
    consumer: PullConsumer,
    most: usize,
}

const STREAM: &str = "orders";

/// Messages that may be handed out and not settled, of all consumers; not a bound of what is measured.
const HELD_MAX: i64 = 100_000;

impl<const SYNCED: bool> Subject for Nats<SYNCED> {
    type Worker = Caller;

    async fn start(site: &Site<'_>) -> Result<Self> {
        let [port] = free_ports()?;
        let config = site.dir.join("nats.conf");
        let sync = if SYNCED { "sync_interval: always" } else { "" };
        let store = site.dir.join("store");
        let text =
            format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{}\"\n{sync} }}\n", store.display());
        std::fs::write(&config, text)?;
        let mut command = Command::new(program());
        command.arg("-c").arg(&config);
        let server = Server::start("nats", command, parent(site.dir)?)?;
        let address = format!("nats://127.0.0.1:{port}");
        let client = once_ready(async || Ok(async_nats::connect(&address).await?)).await?;
        let context = jetstream::new(client);
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![STREAM.to_owned()],
            retention: stream::RetentionPolicy::WorkQueue,
            ..Default::default()
        };
        let stream = once_ready(async || Ok(context.create_stream(config.clone()).await?)).await?;
        let config = pull::Config {
            durable_name: Some("workers".to_owned()),
            max_ack_pending: HELD_MAX,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let most = match site.mode {
            Mode::Work { most } => most,
            _ => 1,
        };
        Ok(Self { server, context, consumer, most })
    }

    async fn worker(&self, _: usize) -> Result<Caller> {
        let (context, consumer, most) = (self.context.clone(), self.consumer.clone(), self.most);
        Ok(Caller { context, consumer, most, messages: None })
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

/// All share one connection, as the client is meant to be used.
pub struct Caller {
    context: jetstream::Context,
    consumer: PullConsumer,
    most: usize,
    /// From when it first takes.
    messages: Option<pull::Stream>,
}

impl Worker for Caller {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        self.context.publish(STREAM, body).await?.await?;
        Ok(())
    }

    async fn send_batch(&mut self, bodies: Vec<Bytes>) -> Result<()> {
        let mut stored = Vec::with_capacity(bodies.len());
        for body in bodies {
            stored.push(self.context.publish(STREAM, body).await?);
        }
        for stored in stored {
            stored.await?;
        }
        Ok(())
    }

    async fn take(&mut self, _: usize) -> Result<usize> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            none => {
                let messages = self.consumer.stream().max_messages_per_batch(self.most).messages();
                none.insert(messages.await?)
            }
        };
        // The others may have been given the last of them.
        let Ok(message) = timeout(Duration::from_millis(100), messages.next()).await else { return Ok(0) };
        let message = message.context("the consumer was removed")??;
        message.double_ack().await.map_err(|error| anyhow!(error))?;
        Ok(1)
    }
}
