//! The subjects. Each module says how its server is had and configured, and speaks to it through its usual client.

mod embedded;
mod intertie;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use intertie_bench::product;

use crate::measure::{self, Length, Sample};
use crate::mode::Mode;

/// Where one measurement takes place.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Where the subject keeps everything; it is empty.
    pub dir: &'a Path,
    pub mode: Mode,
    pub length: Length,
}

/// What keeps messages, running.
pub trait Subject: Sized {
    type Worker: Worker + 'static;

    async fn start(site: &Site<'_>) -> Result<Self>;

    /// A sender or a consumer.
    async fn worker(&self, number: usize) -> Result<Self::Worker>;

    /// Whose processor time is counted, that of its descendants included.
    fn process(&self) -> u32;

    /// Adds to an error what the server has printed.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result
    }

    async fn stop(self) -> Result<()>;
}

/// One that sends or takes, one call after the other.
pub trait Worker {
    /// Stores a message, and comes back when it is as safe as the subject's durability says.
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<()>>;

    /// Stores messages together, in the way that is the quickest for the subject.
    fn send_batch(&mut self, bodies: Vec<Bytes>) -> impl Future<Output = Result<()>>;

    /// Is given messages, `most` at once at most, and settles each by itself; how many. Zero when there are none.
    fn take(&mut self, most: usize) -> impl Future<Output = Result<usize>>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours, in this process.
    Embedded,
    /// Our server.
    Intertie,
    RabbitMq,
    Postgres,
    Redis,
    /// Syncs each message.
    Nats,
    /// Syncs every two minutes, as it does by default.
    NatsDefault,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Embedded,
        Self::Intertie,
        Self::RabbitMq,
        Self::Postgres,
        Self::Redis,
        Self::Nats,
        Self::NatsDefault,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "intertie-library",
            Self::Intertie => "intertie",
            Self::RabbitMq => "rabbitmq",
            Self::Postgres => "postgresql",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::NatsDefault => "nats-default",
        }
    }

    /// Whether it is measured in this process, and so in a table of its own.
    pub fn is_library(self) -> bool {
        self == Self::Embedded
    }

    pub fn modes(self) -> &'static [Mode] {
        if self.is_library() {
            &[
                Mode::Send { senders: 64 },
                Mode::Send { senders: 256 },
                Mode::Batch,
                Mode::Append { senders: 64 },
                Mode::Append { senders: 256 },
                Mode::AppendBatch,
                Mode::Work { most: 1 },
            ]
        } else {
            &[Mode::Send { senders: 64 }, Mode::Batch, Mode::Work { most: 16 }]
        }
    }

    /// What is true of a message when its sender hears that it is stored, and of one when its settlement is.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Embedded | Self::Intertie => "synced; deliveries and settlements too",
            Self::RabbitMq => "synced (quorum queue of one member, confirms); settlements are not confirmed",
            Self::Postgres => "synced; leases and settlements too",
            Self::Redis => "synced (`appendfsync always`); leases and settlements too",
            Self::Nats => "synced one by one (`sync_interval: always`); settlements are confirmed",
            Self::NatsDefault => "**not synced**; settlements are confirmed",
        }
    }

    /// Has it installed, if need be; its version.
    pub fn prepare(self, build: bool) -> Result<String> {
        match self {
            Self::Intertie => Ok(product::prepare(build)?.1),
            Self::Embedded => embedded::version(),
            Self::RabbitMq => rabbitmq::prepare(),
            Self::Postgres => postgres::prepare(),
            Self::Redis => redis::prepare(),
            Self::Nats | Self::NatsDefault => nats::prepare(),
        }
    }

    pub fn measure(self, site: &Site<'_>) -> Result<Sample> {
        match self {
            Self::Embedded => measure::run::<embedded::Embedded>(site),
            Self::Intertie => measure::run::<intertie::Intertie>(site),
            Self::RabbitMq => measure::run::<rabbitmq::RabbitMq>(site),
            Self::Postgres => measure::run::<postgres::Postgres>(site),
            Self::Redis => measure::run::<redis::Redis>(site),
            Self::Nats => measure::run::<nats::Nats<true>>(site),
            Self::NatsDefault => measure::run::<nats::Nats<false>>(site),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None => bail!("unknown subject {name:?}"),
        }
    }
}

/// Tries until it works or half a minute is over: a server that was started answers when it is ready.
async fn once_ready<T, F: Future<Output = Result<T>>>(attempt: impl Fn() -> F) -> Result<T> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if began.elapsed() > PATIENCE => return Err(error.context("it does not get ready")),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
