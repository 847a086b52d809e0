//! The port of topics: what changes them is a command of the state, what reads them goes beside the writer.

use bytes::Bytes;
use intertie_messaging::log::{
    Assignment, Cleanup, Heartbeat, Join, Lag, LogEngine, Membership, Read, Records, Seek, StartAt, Stored,
    TopicFeature, TopicSpec,
};
use intertie_messaging::support::{Declared, Support, resolve};
use intertie_messaging::{DeclareError, Engine, EngineError, Listing, Name, Pending};
use rusqlite::Connection;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::ports::{durability, reply};
use super::{Embedded, engine_error};
use crate::content;
use crate::log::{self, Ask, Kept, Place, Said};
use crate::moment::timestamp;
use crate::state::{Command, Refusal, Reply};
use crate::store::{QueryError, SubmitError};

/// Partitions that one read looks at, so that none is long.
const PARTITIONS: usize = 64;

impl LogEngine for Embedded {
    fn support(&self, feature: TopicFeature) -> Support {
        match feature {
            TopicFeature::Durability(required) => durability(required),
            TopicFeature::Replicas(replicas) if replicas.get() > 1 => {
                Support::refused("it keeps one copy, in one directory", "ask for `replicas = 1`")
            }
            _ => Support::Native,
        }
    }

    fn declare_topic<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a TopicSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        Box::pin(async move {
            spec.check().map_err(DeclareError::Invalid)?;
            let support = |feature| LogEngine::support(self, feature);
            let declared = resolve(name, spec.features(), spec.emulation, &self.id, support);
            let declared = declared.map_err(DeclareError::Refused)?;
            let ask = Ask::Declare { name: name.clone(), spec: Box::new(spec.clone()) };
            self.ask_topics(ask).await?;
            Ok(declared.with_commits(|together| self.commit_support(together)))
        })
    }

    fn delete_topic<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.done(Ask::Delete { name: name.clone() }).await })
    }

    fn topics<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move { Ok(self.published.list(listing)) })
    }

    fn read<'a>(&'a self, read: &'a Read) -> Pending<'a, Result<Records, EngineError>> {
        Box::pin(async move {
            let over = Instant::now().checked_add(read.wait);
            let found = self.page(read, false).await?;
            if !found.records.is_empty() || read.wait.is_zero() {
                return Ok(found);
            }
            let place = self.published.begin(&read.topic, read.partition)?;
            self.wait_for_page(Read { from: found.next, ..read.clone() }, place, over).await
        })
    }

    fn find<'a>(
        &'a self,
        topic: &'a Name,
        partition: u32,
        at: StartAt,
    ) -> Pending<'a, Result<u64, EngineError>> {
        Box::pin(async move {
            let (number, end) = self.published.partition(topic, partition)?;
            if at == StartAt::End {
                return Ok(end);
            }
            self.look(move |connection| log::find(connection, number, at, end)).await
        })
    }

    fn join<'a>(&'a self, join: &'a Join) -> Pending<'a, Result<Assignment, EngineError>> {
        Box::pin(async move {
            let starts = self.starts(&join.member.topic, join.start).await?;
            let said = self.ask_topic(Ask::Join { join: join.clone(), starts }).await?;
            reply!(said, Said::Joined(assigned) => assigned)
                .map_err(|error| self.published.with_nearest(error))
        })
    }

    fn heartbeat<'a>(&'a self, heartbeat: &'a Heartbeat) -> Pending<'a, Result<Assignment, EngineError>> {
        Box::pin(async move {
            let said = self.ask_topic(Ask::Heartbeat(heartbeat.clone())).await?;
            reply!(said, Said::Stayed(assigned) => assigned)
                .map_err(|error| self.published.with_nearest(error))
        })
    }

    fn leave<'a>(&'a self, membership: &'a Membership) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.done(Ask::Leave(membership.clone())).await })
    }

    fn groups<'a>(
        &'a self,
        topic: &'a Name,
        listing: &'a Listing,
    ) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move {
            let (number, listing) = (self.published.topic(topic)?.number, listing.clone());
            let names = self.look(move |connection| log::groups(connection, number, &listing)).await?;
            // Only a damaged one is none.
            Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
        })
    }

    fn seek<'a>(&'a self, seek: &'a Seek) -> Pending<'a, Result<Vec<(u32, u64)>, EngineError>> {
        Box::pin(async move {
            let starts = self.starts(&seek.topic, seek.to).await?;
            let said = self.ask_topic(Ask::Seek { seek: seek.clone(), starts }).await?;
            reply!(said, Said::Sought(places) => places).map_err(|error| self.published.with_nearest(error))
        })
    }

    fn lag<'a>(&'a self, topic: &'a Name, group: &'a Name) -> Pending<'a, Result<Vec<Lag>, EngineError>> {
        Box::pin(async move {
            let found = self.published.topic(topic)?;
            let partitions: Vec<_> = (0..).zip(found.partitions.iter().map(|(number, _)| *number)).collect();
            let mut lags = Vec::with_capacity(partitions.len());
            for some in partitions.chunks(PARTITIONS) {
                let (of, group, some) = ((found.number, found.cleanup), group.clone(), some.to_vec());
                lags.extend(self.look(move |connection| log::lag(connection, of, &group, &some)).await?);
            }
            if found.cleanup == Cleanup::Compact {
                for (lag, (_, number)) in lags.iter_mut().zip(partitions) {
                    lag.records = self.count(number, lag.position, lag.end).await?;
                }
            }
            Ok(lags)
        })
    }
}

impl Embedded {
    async fn ask_topics(&self, ask: Ask) -> Result<Said, DeclareError> {
        let reply = self.store.submit(Command::Topic(ask)).await.map_err(|error| match error {
            SubmitError::Refused(Refusal::Declare(error)) => error,
            error => engine_error(error).into(),
        })?;
        Ok(reply!(reply, Reply::Topic(said) => said))
    }

    async fn ask_topic(&self, ask: Ask) -> Result<Said, EngineError> {
        self.ask_topics(ask).await.map_err(|error| match error {
            DeclareError::Engine(error) => self.published.with_nearest(error),
            other => unreachable!("only a declaration is refused so: {other}"),
        })
    }

    async fn done(&self, ask: Ask) -> Result<(), EngineError> {
        self.ask_topic(ask).await.map(|_| ())
    }

    /// Reads beside the writer, unless too many do so.
    async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let place = self.reads.try_acquire().map_err(|_| {
            let limit = self.config.store.reads_pending_max.get().into();
            EngineError::Overloaded { bound: "reads_pending_max", limit }
        })?;
        self.look_from(place, read).await
    }

    async fn look_from<T: Send + 'static>(
        &self,
        _place: SemaphorePermit<'_>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.store.query(read).await.map_err(|error| match error {
            QueryError::Overloaded { limit } => {
                EngineError::Overloaded { bound: "reads_pending_max", limit: limit.into() }
            }
            error => EngineError::Unavailable { cause: error.to_string(), retry_after: None },
        })
    }

    /// What there is from a position on. Where nothing is kept any more, that was gone through. Who was `woken` waits
    /// for its turn with all the others that were.
    async fn page(&self, read: &Read, woken: bool) -> Result<Records, EngineError> {
        let (number, end) = self.published.partition(&read.topic, read.partition)?;
        let from = read.from;
        let most = read.most.min(self.config.page_records_max).get() as usize;
        let bytes_max = read.bytes_max.min(self.config.page_bytes_max).bytes();
        let page = move |connection: &Connection| log::page(connection, number, from, end, most, bytes_max);
        let kept = match () {
            () if from >= end => Vec::new(),
            () if woken => {
                let place = self.reads.acquire().await.expect("nobody closes it");
                self.look_from(place, page).await?
            }
            () => self.look(page).await?,
        };
        let next = kept.last().map_or(from.max(end), |last| last.position + 1);
        Ok(Records { records: kept.into_iter().map(stored).collect(), next, end })
    }

    /// Reads again whenever something was appended, until there is something.
    async fn wait_for_page(
        &self,
        mut read: Read,
        mut place: Place,
        over: Option<Instant>,
    ) -> Result<Records, EngineError> {
        loop {
            let bell = place.bell();
            let mut rung = std::pin::pin!(bell.notified());
            // Before the question: what comes between it and the sleep rings too.
            rung.as_mut().enable();
            let found = self.page(&read, true).await?;
            if !found.records.is_empty() {
                return Ok(found);
            }
            if !place.is_current() {
                // Another topic has the name by now, of which nothing was read yet. The room of the old place is its own.
                drop(place);
                place = self.published.begin(&read.topic, read.partition)?;
                continue;
            }
            read.from = found.next;
            let over = async {
                match over {
                    Some(over) => tokio::time::sleep_until(over).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = rung => {}
                () = over => return Ok(found),
            }
        }
    }

    /// Where a moment is in each partition, looked up before the writer is asked, who would take as long.
    async fn starts(&self, topic: &Name, at: StartAt) -> Result<Vec<u64>, EngineError> {
        let found = self.published.topic(topic)?;
        let mut starts = Vec::new();
        if matches!(at, StartAt::Time(_)) {
            for some in found.partitions.chunks(PARTITIONS) {
                let some = some.to_vec();
                let find = move |connection: &Connection| {
                    some.iter().map(|(number, end)| log::find(connection, *number, at, *end)).collect()
                };
                let places: Vec<u64> = self.look(find).await?;
                starts.extend(places);
            }
        }
        Ok(starts)
    }

    /// How many records are kept between two positions, counted a part at a time.
    async fn count(&self, number: i64, from: u64, end: u64) -> Result<u64, EngineError> {
        let (mut total, mut from) = (0, Some(from));
        while let Some(next) = from {
            let (count, rest) =
                self.look(move |connection| log::count(connection, number, next, end)).await?;
            (total, from) = (total + count, rest);
        }
        Ok(total)
    }
}

fn stored(kept: Kept) -> Stored {
    let content = content::read(Bytes::from(kept.content));
    Stored { position: kept.position, content, stored_at: timestamp(kept.stored) }
}
