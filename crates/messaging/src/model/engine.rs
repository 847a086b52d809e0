//! The ports, each verb as a call of the state.

use std::time::Duration;

use intertie_core::clock::Timestamp;

use super::queue::after;
use super::{Bug, Model};
use crate::commit::{Commit, CommitError, Operation, Outcome};
use crate::log::{
    Assignment, Join, Lag, LogEngine, Membership, Read, Records, StartAt, TopicFeature, TopicSpec,
};
use crate::queue::{Browse, Depth, Lease, LeaseId, LeaseRequest, Page, QueueEngine, QueueFeature, QueueSpec};
use crate::support::{Declared, EngineId, Refusal, Support, resolve};
use crate::{DeclareError, Engine, EngineError, InboxEngine, Name, Pending};

impl Engine for Model {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Vec<Outcome>, CommitError>> {
        Box::pin(async move {
            if self.bug == Some(Bug::TornCommit) {
                let mut outcomes = Vec::new();
                for operation in commit.operations {
                    outcomes
                        .extend(self.changing(|state, now| state.commit(Operation::into(operation), now))?);
                    tokio::task::yield_now().await;
                }
                return Ok(outcomes);
            }
            if self.bug == Some(Bug::CheckThenAct) {
                self.changing(|state, now| state.check_all(&commit.operations, now))?;
                tokio::task::yield_now().await;
                return Ok(self.changing(|state, now| state.apply_all(commit.operations, now)));
            }
            let mut operations = commit.operations.iter().map(std::mem::discriminant);
            let first = operations.next();
            if self.refused.contains(&"commit") && operations.any(|other| Some(other) != first) {
                return Err(CommitError::Unsupported(Refusal {
                    feature: "commit",
                    engine: self.id.clone(),
                    why: "it was told to do nothing together that is of several kinds".into(),
                    hint: "take it back".into(),
                }));
            }
            self.changing(|state, now| state.commit(commit, now))
        })
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
            Ok(declared)
        })
    }

    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.changing(|state, _| state.delete_queue(name)) })
    }

    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Lease>, EngineError>> {
        Box::pin(async move {
            let leased = self.wait_for(request.wait, |state, now| {
                let leased = state.lease(request, now);
                if !leased.as_ref().is_ok_and(Vec::is_empty) {
                    return Ok(leased);
                }
                let due = state.queue(&request.queue).ok().and_then(|queue| queue.next_event(now));
                Err((leased, due))
            });
            let leased = leased.await;
            if self.bug == Some(Bug::LeakDropped) {
                tokio::task::yield_now().await;
            }
            leased
        })
    }

    fn extend<'a>(
        &'a self,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        Box::pin(async move {
            self.changing(|state, now| {
                let until = after(now, time);
                state.extend(lease, until, now)?;
                Ok(until)
            })
        })
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        Box::pin(async move {
            let (mut state, now) = self.state();
            Ok(state.queue(queue)?.depth(now))
        })
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        Box::pin(async move { Ok(self.state().0.queue(&browse.queue)?.browse(browse)) })
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
            Ok(declared)
        })
    }

    fn delete_topic<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.changing(|state, _| state.delete_topic(name)) })
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
            self.changing(|state, now| Ok(state.topic(&join.member.topic)?.join(join, now, self.bug)))
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

    fn lag<'a>(&'a self, topic: &'a Name, group: &'a Name) -> Pending<'a, Result<Vec<Lag>, EngineError>> {
        Box::pin(async move { Ok(self.state().0.topic(topic)?.lag(group, self.bug)) })
    }
}

impl InboxEngine for Model {
    fn is_marked<'a>(&'a self, inbox: &'a Name, key: &'a str) -> Pending<'a, Result<bool, EngineError>> {
        Box::pin(async move { Ok(self.state().0.is_marked(inbox, key)) })
    }
}
