use std::sync::Arc;
use std::time::Duration;

use intertie_core::quantity::ByteSize;

use super::case::Stop;
use super::queue_trial::{commit_as_said, outcomes};
use super::trial::{id, many, name};
use crate::Name;
use crate::commit::{CommitError, Committed, Operation, Outcome, Receipt, Refused};
use crate::log::{
    Assignment, Heartbeat, Join, Lag, LogEngine, Member, Membership, Read, Record, Records, StartAt, Stored,
};

/// One topic of the engine; cheap to clone.
#[derive(Clone)]
pub(super) struct TopicTrial {
    pub(super) engine: Arc<dyn LogEngine>,
    pub(super) name: Name,
}

impl TopicTrial {
    pub(super) fn new(engine: Arc<dyn LogEngine>, name: Name) -> Self {
        Self { engine, name }
    }

    pub(super) async fn commit(
        &self,
        commit: impl IntoIterator<Item = Operation>,
    ) -> Result<Vec<Outcome>, CommitError> {
        outcomes(self.try_commit(commit).await?)
    }

    /// What became of a commit, which may have been done before.
    pub(super) async fn try_commit(
        &self,
        commit: impl IntoIterator<Item = Operation>,
    ) -> Result<Committed, CommitError> {
        commit_as_said(&*self.engine, commit.into_iter().collect()).await
    }

    pub(super) fn append_to(&self, record: impl Into<Record>) -> Operation {
        Operation::Append { topic: self.name.clone(), record: record.into() }
    }

    /// Where a record is stored, which every engine tells.
    pub(super) async fn append_at(&self, record: impl Into<Record>) -> Result<u64, Stop> {
        let position = self.append(record).await?.position;
        position.ok_or(Stop::Failed("the receipt of a record tells no position".to_owned()))
    }

    pub(super) async fn append(&self, record: impl Into<Record>) -> Result<Receipt, Stop> {
        let outcomes = self.commit([self.append_to(record)]).await?;
        match outcomes[..] {
            [Outcome::Stored(receipt)] => Ok(receipt),
            _ => Err(Stop::Failed(format!("a record was appended, and the outcome is {outcomes:?}"))),
        }
    }

    /// Why a record is refused.
    pub(super) async fn refused(&self, record: impl Into<Record>) -> Result<Refused, Stop> {
        match self.commit([self.append_to(record)]).await {
            Err(CommitError::Refused { operation: 0, cause }) => Ok(cause),
            other => Err(Stop::Failed(format!("a record should be refused: {other:?}"))),
        }
    }

    pub(super) fn request(&self, partition: u32, from: u64, most: u32, wait: Duration) -> Read {
        let bytes_max = ByteSize::from_bytes(1 << 20);
        Read { topic: self.name.clone(), partition, from, most: many(most), bytes_max, wait }
    }

    pub(super) async fn read(&self, partition: u32, from: u64, most: u32) -> Result<Records, Stop> {
        Ok(self.engine.read(&self.request(partition, from, most, Duration::ZERO)).await?)
    }

    /// All that is kept in a partition, page by page.
    pub(super) async fn all(&self, partition: u32) -> Result<Vec<Stored>, Stop> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let page = self.read(partition, from, 100).await?;
            if page.records.is_empty() {
                return Ok(all);
            }
            from = page.next;
            all.extend(page.records);
        }
    }

    pub(super) async fn ids(&self, partition: u32) -> Result<Vec<String>, Stop> {
        Ok(self.all(partition).await?.iter().map(|record| id(&record.content).to_owned()).collect())
    }

    pub(super) async fn find(&self, at: StartAt) -> Result<u64, Stop> {
        Ok(self.engine.find(&self.name, 0, at).await?)
    }

    pub(super) fn member(&self, member: &str) -> Member {
        Member { topic: self.name.clone(), group: name("readers"), member: name(member) }
    }

    /// Joins from the beginning.
    pub(super) async fn join(&self, member: &str, session_timeout: Duration) -> Result<Assignment, Stop> {
        let join = Join { member: self.member(member), session_timeout, start: StartAt::Beginning };
        Ok(self.engine.join(&join).await?)
    }

    /// Says that a member is still there, and hands back `released`.
    pub(super) async fn stay(&self, member: &Assignment, released: &[u32]) -> Result<Assignment, Stop> {
        let heartbeat = Heartbeat { membership: member.membership.clone(), released: released.to_vec() };
        Ok(self.engine.heartbeat(&heartbeat).await?)
    }

    pub(super) fn advance_to(&self, as_whom: &Membership, partition: u32, next: u64) -> Operation {
        Operation::Advance { membership: as_whom.clone(), partition, next }
    }

    pub(super) async fn lag(&self) -> Result<Vec<Lag>, Stop> {
        Ok(self.engine.lag(&self.name, &name("readers")).await?)
    }
}
