//! Ours, in this process.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use intertie_core::clock::WallClock;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::EmbeddedConfig;
use intertie_messaging::commit::{Commit, Operation};
use intertie_messaging::log::{LogEngine as _, TopicSpec};
use intertie_messaging::queue::{LeaseRequest, QueueEngine as _, QueueSpec, Settlement};
use intertie_messaging::{Engine as _, Name};

use super::{Site, Subject, Worker};
use crate::mode::Mode;

pub fn version() -> Result<String> {
    Ok("in this process".to_owned())
}

pub struct Embedded {
    engine: Arc<intertie_engine_embedded::Embedded>,
    mode: Mode,
}

impl Subject for Embedded {
    type Worker = Caller;

    async fn start(site: &Site<'_>) -> Result<Self> {
        let config = EmbeddedConfig::default();
        let engine = intertie_engine_embedded::Embedded::open(
            site.dir,
            &config,
            WallClock::system(),
            Events::default(),
        )?;
        engine.declare_queue(&name()?, &QueueSpec::default()).await?;
        if matches!(site.mode, Mode::Append { .. } | Mode::AppendBatch) {
            engine.declare_topic(&name()?, &TopicSpec::default()).await?;
        }
        Ok(Self { engine: Arc::new(engine), mode: site.mode })
    }

    async fn worker(&self, number: usize) -> Result<Caller> {
        let (engine, mode) = (Arc::clone(&self.engine), self.mode);
        let lease = LeaseRequest {
            queue: name()?,
            consumer: format!("consumer-{number}").parse()?,
            most: NonZeroU32::MIN,
            bytes_max: ByteSize::from_bytes(1 << 20),
            visibility_timeout: None,
            wait: Duration::ZERO,
        };
        Ok(Caller { engine, mode, name: name()?, number, sent: 0, lease })
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    async fn stop(self) -> Result<()> {
        Ok(())
    }
}

fn name() -> Result<Name> {
    Ok("orders".parse()?)
}

pub struct Caller {
    engine: Arc<intertie_engine_embedded::Embedded>,
    mode: Mode,
    name: Name,
    number: usize,
    sent: u64,
    lease: LeaseRequest,
}

impl Caller {
    fn operation(&mut self, body: Bytes) -> Result<Operation> {
        self.sent += 1;
        let id = format!("{}-{}", self.number, self.sent);
        let message = Envelope::new(&id, "/bench", "measured")?.with_data(Data::binary(body), None)?;
        Ok(match self.mode {
            Mode::Append { .. } | Mode::AppendBatch => {
                Operation::Append { topic: self.name.clone(), record: message.into() }
            }
            _ => Operation::Send { queue: self.name.clone(), message: message.into() },
        })
    }
}

impl Worker for Caller {
    async fn send(&mut self, body: Bytes) -> Result<()> {
        self.send_batch(vec![body]).await
    }

    async fn send_batch(&mut self, bodies: Vec<Bytes>) -> Result<()> {
        let commit = bodies.into_iter().map(|body| self.operation(body)).collect::<Result<Commit>>()?;
        self.engine.commit(commit).await?;
        Ok(())
    }

    async fn take(&mut self, most: usize) -> Result<usize> {
        self.lease.most = u32::try_from(most).ok().and_then(NonZeroU32::new).context("nothing is wanted")?;
        let leases = self.engine.lease(&self.lease).await?;
        let taken = leases.len();
        for lease in leases {
            let queue = self.name.clone();
            let settle = Operation::Settle { queue, lease: lease.id, settlement: Settlement::Ack };
            self.engine.commit([settle].into_iter().collect()).await?;
        }
        Ok(taken)
    }
}
