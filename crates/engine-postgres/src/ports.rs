//! The ports of queues and inboxes.

use std::collections::BTreeSet;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_messaging::commit::{Commit, CommitError, Committed, Kind, Operation, Refused, Together};
use intertie_messaging::queue::{
    Browse, Depth, Lease as Leased, LeaseId, LeaseRequest, Page, QueueEngine, QueueFeature, QueueSpec,
};
use intertie_messaging::support::{Declared, EngineId, Support, resolve};
use intertie_messaging::{DeclareError, Engine, EngineError, InboxEngine, Listing, Name, Pending};
use tokio::time::Instant;

use crate::bells::Place;
use crate::commit::{Change, Committing, Lease};
use crate::declare::{Declaring, Deleting};
use crate::engine::{Postgres, Shared, commit_error, engine_error};
use crate::lease::{Extending, Leasing};
use crate::look::{Browsing, Counting, ListingNames, Recalling};
use crate::moment::{moment, span};
use crate::pass::{Abandoning, Interesting, Passing};
use crate::schema::digest_of;

/// So many steps of what is due a caller does before it asks; what is left is the keeper's.
const STEPS_MAX: u32 = 8;

/// How long other nodes know that somebody waits here.
const INTEREST: Duration = Duration::from_secs(30);

const TOPICS: (&str, &str) =
    ("it keeps queues and no topics yet", "send to a queue, or keep the topic on the embedded engine");

impl Engine for Postgres {
    fn id(&self) -> &EngineId {
        &self.shared.id
    }

    fn commit_support(&self, together: Together) -> Support {
        if together.has(Kind::Append) || together.has(Kind::Advance) {
            let (why, hint) = TOPICS;
            return Support::refused(why, hint);
        }
        Support::Native
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let shared = &self.shared;
            let (why, hint) = TOPICS;
            let refusal = || Support::refused(why, hint).refusal("commit", &shared.id).map(Box::new);
            let is_topics = |operation: &Operation| matches!(operation.kind(), Kind::Append | Kind::Advance);
            if let (Some(at), Some(refusal)) = (commit.operations.iter().position(is_topics), refusal()) {
                let cause = Refused::Engine(EngineError::Unsupported(refusal.clone()));
                let one = CommitError::Refused { operation: at, cause };
                return Err(commit.together().map_or(one, |_| CommitError::Unsupported(refusal)));
            }
            let (is, limit) = (commit.operations.len() as u64, shared.config.operations_max.get().into());
            if is > limit {
                return Err(CommitError::TooLarge { bound: "operations_max", is, limit });
            }
            if is == 0 {
                return Ok(Committed::Done(Vec::new()));
            }
            let changes: Vec<Change> = commit.operations.into_iter().map(Change::from).collect();
            let is = changes.iter().map(Change::bytes).sum::<usize>() as u64;
            let limit = shared.config.commit_bytes_max.bytes();
            if is > limit {
                return Err(CommitError::TooLarge { bound: "commit_bytes_max", is, limit });
            }
            let named: BTreeSet<Name> = changes.iter().flat_map(Change::queues).cloned().collect();
            let committing = Committing {
                changes: changes.into(),
                locks: shared.locks,
                durability: shared.durability(),
                bounds: shared.bounds(),
            };
            let done = shared.perform(committing, move |shared, done| {
                if matches!(done.committed, Ok(Committed::Done(_))) {
                    named.iter().for_each(|queue| shared.bells.ring(queue));
                    if let Some((now, next)) = done.due {
                        shared.errands.expect(now, next);
                    }
                    shared.errands.announce(named);
                }
            });
            done.await.map_err(commit_error)?.committed
        })
    }
}

impl QueueEngine for Postgres {
    fn support(&self, feature: QueueFeature) -> Support {
        let durability = self.shared.durability();
        match feature {
            QueueFeature::Durability(required) if !durability.satisfies(required) => {
                if required.copies > 1 {
                    Support::refused(
                        "how many standbys hold what it has committed is a setting of the server, which does not tell",
                        "ask for `durability = { copies = 1, synced = 1 }`, and set `synchronous_standby_names`",
                    )
                } else {
                    Support::refused(
                        "the server runs with `fsync = off`",
                        "set `fsync = on`, or ask for `durability = { copies = 1, synced = 0 }`",
                    )
                }
            }
            QueueFeature::Transient => Support::refused(
                "several nodes share a queue, and it outlasts each of them",
                "leave `durable = true`, or keep the queue on the embedded engine",
            ),
            QueueFeature::DepthMax => Support::emulated(
                "counting the messages of the queue in each commit that sends to it, one after the other",
                "a walk of an index over as many messages as there are, and a sync for each commit",
            ),
            QueueFeature::LeasesMax(_) | QueueFeature::LeasesPerConsumerMax(_) => Support::emulated(
                "counting the leases of the queue in each lease, one after the other",
                "a walk of an index over as many messages as are held",
            ),
            QueueFeature::AutoDelete => {
                Support::emulated("a look at queues that nobody uses", "a row written by each use")
            }
            _ => Support::Native,
        }
    }

    fn declare_queue<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a QueueSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        Box::pin(async move {
            spec.check().map_err(DeclareError::Invalid)?;
            let support = |feature| self.support(feature);
            let declared = resolve(name, spec.features(), spec.emulation, &self.shared.id, support);
            let declared = declared.map_err(DeclareError::Refused)?;
            let (locks, queues_max) = (self.shared.locks, self.shared.config.queues_max.get());
            let declaring = Declaring { name: name.clone(), spec: spec.clone(), locks, queues_max };
            let queue = name.clone();
            let done = self.shared.perform(declaring, move |shared, _| shared.bells.ring_all(&queue));
            done.await.map_err(|undone| DeclareError::Engine(engine_error(undone)))??;
            Ok(declared
                .with_verbs(spec.emulation, support)
                .with_commits(|together| self.commit_support(together)))
        })
    }

    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let deleting = Deleting { name: name.clone(), locks: self.shared.locks };
            let queue = name.clone();
            let done = self.shared.perform(deleting, move |shared, _| {
                shared.bells.ring_all(&queue);
                shared.errands.announce([queue]);
            });
            done.await.map_err(engine_error)?
        })
    }

    fn queues<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        Box::pin(async move {
            let listing = ListingNames { listing: listing.clone() };
            self.shared.perform(listing, |_, _| ()).await.map_err(engine_error)
        })
    }

    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Leased>, EngineError>> {
        Box::pin(async move {
            let shared = &self.shared;
            let end = Instant::now().checked_add(request.wait);
            let leased = self.lease_now(request).await?;
            if !leased.is_empty() || request.wait.is_zero() {
                return Ok(leased);
            }
            let place = shared.bells.begin(&request.queue).ok_or_else(|| EngineError::Limit {
                key: "waiting_max",
                limit: shared.bells.most().to_string(),
            })?;
            loop {
                let mut rung = std::pin::pin!(place.bell().notified());
                // Before the question: what comes between it and the sleep rings too.
                rung.as_mut().enable();
                self.make_known(&place, request).await?;
                let leased = self.lease_now(request).await?;
                if !leased.is_empty() {
                    return Ok(leased);
                }
                let over = async {
                    match end {
                        Some(end) => tokio::time::sleep_until(end).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = rung => {}
                    () = over => return Ok(Vec::new()),
                    () = tokio::time::sleep(INTEREST / 3) => {}
                }
            }
        })
    }

    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        Box::pin(async move {
            let (lease, locks) = (Lease::read(lease), self.shared.locks);
            let extending = Extending { queue: queue.clone(), lease, time, locks };
            let done = self.shared.perform(extending, |shared, extended| {
                if let Ok((until, time)) = extended {
                    let until = moment(*until);
                    shared.errands.expect(until.saturating_sub(span(*time)), until);
                }
            });
            done.await.map_err(engine_error)?.map(|(until, _)| until)
        })
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        Box::pin(async move {
            self.catch_up(queue).await?;
            let counting = Counting { queue: queue.clone() };
            self.shared.perform(counting, |_, _| ()).await.map_err(engine_error)?
        })
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        Box::pin(async move {
            self.catch_up(&browse.queue).await?;
            let browsing = Browsing { browse: browse.clone() };
            self.shared.perform(browsing, |_, _| ()).await.map_err(engine_error)?
        })
    }
}

impl Postgres {
    /// Leases what there is. Where that is nothing, time may have something to do first.
    async fn lease_now(&self, request: &LeaseRequest) -> Result<Vec<Leased>, EngineError> {
        let shared = &self.shared;
        let leasing = || Leasing { request: request.clone(), locks: shared.locks };
        for step in 0..=STEPS_MAX {
            let answer = shared.lease(leasing()).await.map_err(engine_error)??;
            if !answer.leases.is_empty() {
                // There may be more for the next one who waits.
                shared.bells.ring(&request.queue);
                return Ok(answer.leases);
            }
            if answer.is_abandoned {
                self.abandon(&request.queue).await?;
            } else if step == STEPS_MAX || !self.pass().await? {
                break;
            }
        }
        Ok(Vec::new())
    }

    /// Does a step of what is due; whether something of it made a difference.
    async fn pass(&self) -> Result<bool, EngineError> {
        let (locks, step) = (self.shared.locks, self.shared.config.step.get().into());
        let passed = self.shared.perform(Passing { locks, step }, tell_passed).await.map_err(engine_error)?;
        Ok(passed.more || !passed.ready.is_empty())
    }

    async fn abandon(&self, queue: &Name) -> Result<(), EngineError> {
        let abandoning = Abandoning { locks: self.shared.locks, only: Some(queue.clone()) };
        let done = self.shared.perform(abandoning, |shared, gone| {
            gone.iter().for_each(|queue| shared.bells.ring_all(queue));
        });
        done.await.map(|_| ()).map_err(engine_error)
    }

    /// Has what is looked at be as the time says.
    async fn catch_up(&self, queue: &Name) -> Result<(), EngineError> {
        for _ in 0..STEPS_MAX {
            if !self.pass().await? {
                break;
            }
        }
        self.abandon(queue).await
    }

    /// Has other nodes know that somebody waits here for messages of this queue.
    async fn make_known(&self, place: &Place, request: &LeaseRequest) -> Result<(), EngineError> {
        let now = Instant::now();
        if !place.is_unknown(now + INTEREST / 2) {
            return Ok(());
        }
        let interesting =
            Interesting { queue: request.queue.clone(), node: self.shared.node, time: INTEREST };
        self.shared.perform(interesting, |_, ()| ()).await.map_err(engine_error)?;
        place.make_known(now + INTEREST);
        Ok(())
    }
}

/// Has those look who wait for what has become ready.
fn tell_passed(shared: &Shared, passed: &crate::pass::Passed) {
    passed.ready.iter().for_each(|queue| shared.bells.ring(queue));
    shared.errands.announce(passed.ready.iter().cloned());
    if let Some(next) = passed.next {
        shared.errands.expect(passed.now, next);
    }
}

impl InboxEngine for Postgres {
    fn is_marked<'a>(&'a self, inbox: &'a Name, key: &'a str) -> Pending<'a, Result<bool, EngineError>> {
        Box::pin(async move {
            let recalling = Recalling { inbox: inbox.clone(), digest: digest_of(&[key.as_bytes()]) };
            self.shared.perform(recalling, |_, _| ()).await.map_err(engine_error)
        })
    }
}
