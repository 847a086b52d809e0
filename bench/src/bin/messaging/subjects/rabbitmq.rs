//! RabbitMQ, from Debian: a quorum queue of one member.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use intertie_bench::process::Server;
use intertie_bench::tools::{find_or_install, self_description};
use intertie_bench::workdir::free_ports;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::time::timeout;

use super::redis::parent;
use super::{Site, Subject, Worker, once_ready};

/// As itself: what is in the PATH becomes another user first.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

pub fn prepare() -> Result<String> {
    find_or_install("rabbitmq-server", "rabbitmq-server")?;
    let mut query = vec!["--showformat=${Version}", "--show", "rabbitmq-server"];
    let version = self_description(Path::new("dpkg-query"), &std::mem::take(&mut query))?;
    Ok(version.split('-').next().unwrap_or_default().to_owned())
}

pub struct RabbitMq {
    // Dropped in this order: the broker before the daemon that knows its name.
    server: Server,
    names: Server,
    connection: Connection,
    channels: Vec<Channel>,
    most: Option<u16>,
}

/// Of one connection, among which senders are divided.
const CHANNELS: usize = 16;

const QUEUE: &str = "orders";

impl Subject for RabbitMq {
    type Worker = Caller;

    async fn start(site: &Site<'_>) -> Result<Self> {
        let [port, names_port, nodes_port] = free_ports()?;
        let logs = parent(site.dir)?;
        let mut command = Command::new("epmd");
        command.args(["-port", &names_port.to_string(), "-address", "127.0.0.1"]);
        let names = Server::start("epmd", command, logs)?;
        let mut command = Command::new(PROGRAM);
        let config = site.dir.join("rabbitmq.conf");
        std::fs::write(&config, format!("listeners.tcp.default = 127.0.0.1:{port}\nlog.console = true\n"))?;
        command
            .env("HOME", site.dir)
            .env("ERL_EPMD_PORT", names_port.to_string())
            .env("RABBITMQ_NODENAME", format!("bench{port}@localhost"))
            .env("RABBITMQ_DIST_PORT", nodes_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", site.dir)
            .env("RABBITMQ_LOG_BASE", site.dir)
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", site.dir.join("plugins"))
            .env("RABBITMQ_CONFIG_FILE", &config);
        let server = Server::start("rabbitmq", command, logs)?;
        let address = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
        let connect = async || Ok(Connection::connect(&address, ConnectionProperties::default()).await?);
        let connection = server.explain(once_ready(connect).await)?;
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            channels.push(channel);
        }
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channels[0].queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments).await?;
        let most = match site.mode {
            crate::mode::Mode::Work { most } => Some(u16::try_from(most)?),
            _ => None,
        };
        Ok(Self { server, names, connection, channels, most })
    }

    async fn worker(&self, number: usize) -> Result<Caller> {
        Ok(Caller {
            sender: self.channels[number % CHANNELS].clone(),
            consumed: self.connection.create_channel().await?,
            consumer: None,
            most: self.most,
        })
    }

    fn process(&self) -> u32 {
        self.server.pid()
    }

    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        self.server.explain(result)
    }

    async fn stop(self) -> Result<()> {
        self.server.stop()?;
        self.names.stop()
    }
}

pub struct Caller {
    sender: Channel,
    consumed: Channel,
    /// From when it first takes.
    consumer: Option<Consumer>,
    most: Option<u16>,
}

impl Worker for Caller {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        self.send_batch(vec![body]).await
    }

    async fn send_batch(&mut self, bodies: Vec<Bytes>) -> Result<()> {
        let mut confirmations = Vec::with_capacity(bodies.len());
        for body in bodies {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            let properties = properties.with_delivery_mode(2);
            let sent = self.sender.basic_publish("".into(), QUEUE.into(), options, &body, properties);
            confirmations.push(sent.await?);
        }
        for confirmation in confirmations {
            ensure!(matches!(confirmation.await?, Confirmation::Ack(_)), "a message was not confirmed");
        }
        Ok(())
    }

    async fn take(&mut self, _: usize) -> Result<usize> {
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => {
                let most = self.most.context("nothing is to be taken")?;
                self.consumed.basic_qos(most, BasicQosOptions::default()).await?;
                let options = BasicConsumeOptions::default();
                let consumer =
                    self.consumed.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default());
                none.insert(consumer.await?)
            }
        };
        // The others may have been given the last of them.
        let Ok(delivery) = timeout(Duration::from_millis(100), consumer.next()).await else { return Ok(0) };
        delivery.context("the consumer was cancelled")??.ack(BasicAckOptions::default()).await?;
        Ok(1)
    }
}
