use std::net::IpAddr;
use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use intertie_core::rejection::{Policy, Rejection};
use intertie_gateway::plan::{LimitKey, Route};
use intertie_resilience::deadline::{Deadline, LimitedBy};
use intertie_resilience::rate_limiter::Count;
use intertie_resilience::retry::Retry;
use intertie_resilience::{MonotonicClock, RateLimiter};

use super::behaviour::{Behaviour, Reply};
use super::place::{self, Place};
use super::tally::Outcome;

/// A request as its route's policies see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// `None` when the log does not tell it.
    pub(super) client: Option<IpAddr>,
    /// Whether sending it twice does no harm.
    pub(super) idempotent: bool,
    /// The position, among the service's endpoints, of the one that its line names.
    pub(super) endpoint: Option<usize>,
    pub(super) behaviour: Behaviour,
}

/// How one attempt ended.
struct Ended {
    class: Class,
    unsent: bool,
    outcome: Outcome,
}

impl Call {
    /// The call under the policies of `route`, in their order: what the data plane does with it, but for
    /// the sockets. `attempts` counts those that are made.
    pub(super) async fn run(&self, route: &Route, attempts: &mut u32) -> Outcome {
        let Some(leaves_after) = self.behaviour.leaves_after else {
            return self.serve(route, attempts).await.unwrap_or_else(|rejection| outcome_of(&rejection));
        };
        match tokio::time::timeout(leaves_after, self.serve(route, attempts)).await {
            Ok(served) => served.unwrap_or_else(|rejection| outcome_of(&rejection)),
            Err(_) => Outcome::ClientLeft,
        }
    }

    async fn serve(&self, route: &Route, attempts: &mut u32) -> Result<Outcome, Rejection> {
        let mut now = MonotonicClock::now();
        let deadline = Deadline::new(now, route.settings.deadline, None);
        self.acquire(route, Count::Calls, now)?;
        let mut bulkhead = None;
        if let Some(shared) = &route.bulkhead {
            bulkhead = Some(shared.acquire_owned(deadline.remaining(now)).await?);
            now = MonotonicClock::now();
        }
        if let Some(budget) = &route.budget {
            budget.deposit(now);
        }
        let mut tried = Vec::new();
        let mut retry = route.settings.retry.as_deref().map(Retry::new);
        let observe = |began: Instant, ended: &Ended| {
            let now = MonotonicClock::now();
            if let Some(permit) = &bulkhead {
                permit.observe(now, ended.class, now.saturating_since(began));
            }
        };
        let mut ended = self.attempt(route, &mut tried, deadline, attempts, now).await?;
        observe(now, &ended);
        loop {
            let now = MonotonicClock::now();
            let random = Ratio::from_millionths(fastrand::u32(0..=1_000_000));
            let next = retry
                .as_mut()
                .filter(|_| ended.class.is_retriable() && (ended.unsent || self.idempotent))
                .and_then(|retry| retry.next(now, deadline, ended.class, None, random).ok())
                .filter(|wait| place::is_possible(route, now + *wait));
            let Some(wait) = next else { return Ok(self.deliver(ended.outcome, deadline).await) };
            // In flight until the attempt ended.
            let _repetition = match &route.budget {
                None => None,
                Some(budget) => match budget.withdraw(now) {
                    None => return Ok(ended.outcome),
                    repetition => repetition,
                },
            };
            tokio::time::sleep(wait).await;
            let began = MonotonicClock::now();
            match self.attempt(route, &mut tried, deadline, attempts, began).await {
                Ok(newer) => ended = newer,
                // A repetition that nobody admits leaves the call with what it had.
                Err(_) => return Ok(ended.outcome),
            }
            observe(began, &ended);
        }
    }

    /// The body of an answer, which keeps its place in the bulkhead, within the deadline.
    async fn deliver(&self, outcome: Outcome, deadline: Deadline) -> Outcome {
        if outcome != Outcome::Answered {
            return outcome;
        }
        let remaining = deadline.remaining(MonotonicClock::now());
        match (self.behaviour.body, remaining) {
            (Some(body), Some(remaining)) if body > remaining => {
                pause(remaining).await;
                Outcome::Deadline
            }
            (None, Some(remaining)) => {
                pause(remaining).await;
                Outcome::Deadline
            }
            (body, _) => {
                pause(body.unwrap_or_default()).await;
                outcome
            }
        }
    }

    /// One attempt within its limit.
    ///
    /// # Errors
    /// When nobody admits it.
    async fn attempt(
        &self,
        route: &Route,
        tried: &mut Vec<usize>,
        deadline: Deadline,
        attempts: &mut u32,
        now: Instant,
    ) -> Result<Ended, Rejection> {
        if deadline.is_over(now) {
            return Err(Rejection { by: Policy::Deadline, bound: "deadline", retry_after: None });
        }
        let preferred = self.endpoint.filter(|_| *attempts == 0);
        let place = Place::take(route, preferred, tried, now)?;
        self.acquire(route, Count::Attempts, now)?;
        *attempts += 1;
        let limit = deadline.attempt(now, route.settings.attempt_timeout);
        let allowed = limit.at.map(|at| at.saturating_since(now));
        let reply = self.behaviour.reply(*attempts);
        let took = self.behaviour.took;
        let (class, evidence, outcome) = match (reply, allowed) {
            (Reply::Hang, Some(allowed)) => {
                pause(allowed).await;
                timed_out(limit.by, limit.judges)
            }
            (_, Some(allowed)) if took > allowed => {
                pause(allowed).await;
                timed_out(limit.by, limit.judges)
            }
            (Reply::Answer(class), _) => {
                pause(took).await;
                let outcome = if class.is_retriable() { Outcome::Failed } else { Outcome::Answered };
                (class, class, outcome)
            }
            (Reply::Unreachable | Reply::Hang, _) => {
                pause(took).await;
                (Class::Transient, Class::Transient, Outcome::Failed)
            }
        };
        let answered = matches!((reply, outcome), (Reply::Answer(_), Outcome::Answered | Outcome::Failed));
        place.record(evidence, answered, MonotonicClock::now());
        Ok(Ended { class, unsent: reply == Reply::Unreachable, outcome })
    }

    /// Asks the limiters that count `what`, but for those by header: the log holds none.
    fn acquire(&self, route: &Route, what: Count, now: Instant) -> Result<(), Rejection> {
        let counted = route.limiters.iter().filter(|limiter| limiter.limiter.config().count == what);
        let claims = counted.filter_map(|limiter| match &limiter.by {
            LimitKey::All => Some(limiter.limiter.quotas.claim(())),
            LimitKey::ClientAddress => Some(limiter.limiter.quotas.claim(self.client?)),
            LimitKey::Header(_) => None,
        });
        RateLimiter::try_acquire_all(claims, now, 1).map(drop)
    }
}

/// What a limit that ran out means: to the retry, to the breaker, and to the client.
fn timed_out(by: LimitedBy, judges: bool) -> (Class, Class, Outcome) {
    let evidence = if judges { Class::Transient } else { Class::Unjudged };
    match by {
        LimitedBy::AttemptTimeout => (Class::Transient, evidence, Outcome::AttemptTimeout),
        LimitedBy::Deadline => (Class::Unjudged, evidence, Outcome::Deadline),
    }
}

fn outcome_of(rejection: &Rejection) -> Outcome {
    match rejection.by {
        Policy::Deadline => Outcome::Deadline,
        policy => Outcome::Rejected(policy),
    }
}

/// Nothing takes no time: a timer would take a millisecond.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
