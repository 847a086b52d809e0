//! The ports, each verb as a call of the state.

use std::time::Duration;

use intertie_core::clock::Timestamp;

use super::{Bug, Model};
use crate::commit::{Commit, CommitError, Committed, Kind, Operation, Outcome, Together};
use crate::log::{
    Assignment, Heartbeat, Join, Lag, LogEngine, Membership, Read, Records, Seek, StartAt, TopicFeature,
    TopicSpec,
};
use crate::queue::{
    Browse, Depth, Lease, LeaseId, LeaseRequest, Page, QueueEngine, QueueFeature, QueueSpec, QueueVerb,
};
use crate::support::{Declared, EngineId, Support, resolve};
use crate::{DeclareError, Engine, EngineError, InboxEngine, Listing, Name, Pending};

impl Engine for Model {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn commit_support(&self, together: Together) -> Support {
        let several = together.kinds().count() > 1;
        if several && self.refused.contains(&"commit") && self.bug != Some(Bug::PromiseCommits) {
            return Support::refused(
                "it was told to do nothing together that is of several kinds",
                "take it back",
            );
        }
        Support::Native
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            if let Some(together) = commit.together() {
                let several = together.kinds().count() > 1 && self.bug == Some(Bug::PromiseCommits);
                let refused = several.then(|| Support::refused("it can not", "take another"));
                let support = refused.unwrap_or_else(|| self.commit_support(together));
                if let Some(refusal) = support.refusal("commit", &self.id) {
                    return Err(CommitError::Unsupported(Box::new(refusal)));
                }
            }
            for (operation, asked) in commit.operations.iter().enumerate() {
                let verb = verb_of(asked).map_or(Ok(()), |verb| self.offers(verb));
                verb.map_err(|cause| CommitError::Refused { operation, cause: cause.into() })?;
            }
            let kinds: Vec<_> = commit.operations.iter().map(Operation::kind).collect();
            let mut committed = self.commit_all(commit).await?;
            if let (Committed::Done(outcomes), Err(_)) = (&mut committed, self.offers(QueueVerb::Positions)) {
                let of_messages = outcomes.iter_mut().zip(kinds).filter(|(_, kind)| *kind != Kind::Append);
                of_messages.for_each(|(outcome, _)| without_position(outcome));
            }
            Ok(committed)
        })
    }
}

/// The verb that not every engine has, if `operation` is one.
fn verb_of(operation: &Operation) -> Option<QueueVerb> {
    match operation {
        Operation::Cancel { .. } => Some(QueueVerb::Cancel),
        Operation::Redrive { .. } => Some(QueueVerb::Redrive),
        Operation::Send { message, .. } => {
            let ends = message.envelope.expiry_time().is_ok_and(|time| time.is_some());
            ends.then_some(QueueVerb::Expirytime)
        }
        _ => None,
    }
}

fn without_position(outcome: &mut Outcome) {
    if let Outcome::Stored(receipt) | Outcome::Duplicate(receipt) = outcome {
        receipt.position = None;
    }
}

impl Model {
    async fn commit_all(&self, commit: Commit) -> Result<Committed, CommitError> {
        match self.bug {
            Some(Bug::TornCommit) => {
                let mut outcomes = Vec::new();
                for operation in commit.operations {
                    match self.changing(|state, now| state.commit(operation.into(), now))? {
                        Committed::Done(done) => outcomes.extend(done),
                        Committed::DoneBefore => outcomes.push(Outcome::Done),
                    }
                    tokio::task::yield_now().await;
                }
                Ok(Committed::Done(outcomes))
            }
            Some(Bug::CheckThenAct) => {
                let operations = commit.operations;
                let before = self.changing(|state, now| {
                    let before = state.is_done_before(&operations, now)?;
                    if before { Ok(before) } else { state.check_all(&operations, now).map(|()| before) }
                })?;
                tokio::task::yield_now().await;
                if before {
                    return Ok(Committed::DoneBefore);
                }
                Ok(Committed::Done(self.changing(|state, now| state.apply_all(operations, now))))
            }
            _ => self.changing(|state, now| state.commit(commit, now)),
        }
    }

    /// Whether it does what not every engine does.
    fn offers(&self, verb: QueueVerb) -> Result<(), EngineError> {
        let support = QueueEngine::support(self, QueueFeature::Verb(verb));
        match support.refusal(verb.name(), &self.id) {
            Some(refusal) if self.bug != Some(Bug::AllowUnoffered) => {
                Err(EngineError::Unsupported(Box::new(refusal)))
            }
            _ => Ok(()),
        }
    }
}

/// A consumer that waits, until this is dropped.
struct Waiting<'a> {
    model: &'a Model,
    request: &'a LeaseRequest,
}

impl<'a> Waiting<'a> {
    fn begin(model: &'a Model, request: &'a LeaseRequest) -> Self {
        model.state().0.waiting.push((request.queue.clone(), request.consumer.clone()));
        Self { model, request }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let (mut state, _) = self.model.state();
        let own = |(queue, consumer): &(Name, Name)| {
            (queue, consumer) == (&self.request.queue, &self.request.consumer)
        };
        if let Some(at) = state.waiting.iter().position(own) {
            state.waiting.swap_remove(at);
        }
    }
}

impl QueueEngine for Model {
    fn support(&self, feature: QueueFeature) -> Support {
        self.refusal(feature).unwrap_or_else(|| match feature {
            QueueFeature::Durability(required) => self.durability(required),
            _ => Support::Native,
        })
    }

    fn declare_queue<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a QueueSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        Box::pin(async move {
            if self.bug != Some(Bug::DeclareAnything) {
                spec.check().map_err(DeclareError::Invalid)?;
            }
            let support = |feature| QueueEngine::support(self, feature);
            let declared = resolve(name, spec.features(), spec.emulation, &self.id, support);
            let mut declared = declared.map_err(|refusals| DeclareError::Refused(self.told(refusals)))?;
            if self.bug == Some(Bug::DropPromise) {
                declared.kept.pop();
            }
            self.changing(|state, now| state.declare_queue(name, spec, now))?;
            Ok(declared
                .with_verbs(spec.emulation, support)
                .with_commits(|together| self.commit_support(together)))
        })
    }

    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.changing(|state, _| state.delete_queue(name)) })
    }

    fn queues<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move { Ok(self.state().0.queue_names(listing)) })
    }

    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Lease>, EngineError>> {
        Box::pin(async move {
            if request.visibility_timeout.is_some() {
                self.offers(QueueVerb::LeaseTime)?;
            }
            let waiting = Waiting::begin(self, request);
            let leased = self.wait_for(request.wait, |state, now| {
                let leased = state.lease(request, now);
                if !leased.as_ref().is_ok_and(Vec::is_empty) {
                    return Ok(leased);
                }
                let due = state.queue(&request.queue).ok().and_then(|queue| queue.next_event(now));
                Err((leased, due))
            });
            let leased = leased.await;
            drop(waiting);
            if self.bug == Some(Bug::LeakDropped) {
                tokio::task::yield_now().await;
            }
            let mut leased = leased?;
            if self.offers(QueueVerb::Positions).is_err() {
                leased.iter_mut().for_each(|lease| lease.position = None);
            }
            Ok(leased)
        })
    }

    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        Box::pin(async move {
            self.offers(QueueVerb::Extend)?;
            self.changing(|state, now| state.extend(queue, lease, time, now))
        })
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        Box::pin(async move {
            let (mut state, now) = self.state();
            state.depth(queue, now)
        })
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        Box::pin(async move {
            self.offers(QueueVerb::Browse)?;
            Ok(self.state().0.queue(&browse.queue)?.browse(browse, self.bug))
        })
    }
}

impl LogEngine for Model {
    fn support(&self, feature: TopicFeature) -> Support {
        self.refusal(feature).unwrap_or_else(|| match feature {
            TopicFeature::Durability(required) => self.durability(required),
            TopicFeature::Replicas(replicas)
                if replicas.get() > 1 && self.bug != Some(Bug::PretendToSync) =>
            {
                Support::refused("it keeps one copy", "ask for `replicas = 1`")
            }
            _ => Support::Native,
        })
    }

    fn declare_topic<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a TopicSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        Box::pin(async move {
            if self.bug != Some(Bug::DeclareAnything) {
                spec.check().map_err(DeclareError::Invalid)?;
            }
            let support = |feature| LogEngine::support(self, feature);
            let declared = resolve(name, spec.features(), spec.emulation, &self.id, support);
            let mut declared = declared.map_err(|refusals| DeclareError::Refused(self.told(refusals)))?;
            if self.bug == Some(Bug::DropPromise) {
                declared.kept.pop();
            }
            self.changing(|state, _| state.declare_topic(name, spec))?;
            Ok(declared.with_commits(|together| self.commit_support(together)))
        })
    }

    fn delete_topic<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.changing(|state, _| state.delete_topic(name)) })
    }

    fn topics<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move { Ok(self.state().0.topic_names(listing)) })
    }

    fn read<'a>(&'a self, read: &'a Read) -> Pending<'a, Result<Records, EngineError>> {
        Box::pin(self.wait_for(read.wait, |state, _| {
            let records = match state.partition(&read.topic, read.partition) {
                Ok(topic) => topic.read(read, self.bug),
                Err(error) => return Ok(Err(error)),
            };
            if records.records.is_empty() { Err((Ok(records), None)) } else { Ok(Ok(records)) }
        }))
    }

    fn find<'a>(
        &'a self,
        topic: &'a Name,
        partition: u32,
        at: StartAt,
    ) -> Pending<'a, Result<u64, EngineError>> {
        Box::pin(async move { Ok(self.state().0.partition(topic, partition)?.find(partition, at, self.bug)) })
    }

    fn join<'a>(&'a self, join: &'a Join) -> Pending<'a, Result<Assignment, EngineError>> {
        Box::pin(async move {
            self.changing(|state, now| state.topic(&join.member.topic)?.join(join, now, self.bug))
        })
    }

    fn heartbeat<'a>(&'a self, heartbeat: &'a Heartbeat) -> Pending<'a, Result<Assignment, EngineError>> {
        Box::pin(async move {
            let topic = &heartbeat.membership.member.topic;
            self.changing(|state, now| state.topic(topic)?.heartbeat(heartbeat, now, self.bug))
        })
    }

    fn leave<'a>(&'a self, membership: &'a Membership) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            self.changing(|state, now| {
                state.topic(&membership.member.topic)?.leave(membership, now);
                Ok(())
            })
        })
    }

    fn groups<'a>(
        &'a self,
        topic: &'a Name,
        listing: &'a Listing,
    ) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move { self.state().0.group_names(topic, listing) })
    }

    fn seek<'a>(&'a self, seek: &'a Seek) -> Pending<'a, Result<Vec<(u32, u64)>, EngineError>> {
        Box::pin(async move {
            self.changing(|state, _| {
                Ok(state.partition(&seek.topic, seek.partition.unwrap_or(0))?.seek(seek, self.bug))
            })
        })
    }

    fn lag<'a>(&'a self, topic: &'a Name, group: &'a Name) -> Pending<'a, Result<Vec<Lag>, EngineError>> {
        Box::pin(async move { Ok(self.state().0.topic(topic)?.lag(group, self.bug)) })
    }
}

impl InboxEngine for Model {
    fn is_marked<'a>(&'a self, inbox: &'a Name, key: &'a str) -> Pending<'a, Result<bool, EngineError>> {
        Box::pin(async move { Ok(self.state().0.is_marked(inbox, key)) })
    }
}
