//! One data thread's own world.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use http::header::{CONNECTION, HeaderValue};
use intertie_core::clock::WallClock;
use intertie_core::telemetry::Events;
use tokio::sync::watch;

use super::access::AccessLogging;
use super::audit::Auditor;
use super::pool::Pool;
use super::seldom::Seldom;
use super::signature::Signature;
use super::trace::Tracing;
use crate::config::ClientLimitsConfig;
use crate::forwarded::Trust;
use crate::plan::{Plan, Route};
use crate::proxy_protocol::ProxyProtocolStats;
use crate::stats::RouteStats;
use crate::wire::WireStats;

/// What the exchanges of one data thread share without locks.
pub(super) struct Worker {
    pub(super) pool: Pool,
    pub(super) access: Option<AccessLogging>,
    pub(super) tracing: Option<Tracing>,
    pub(super) auditor: Option<Auditor>,
    pub(super) events: Events,
    pub(super) clock: WallClock,
    pub(super) client_limits: ClientLimitsConfig,
    pub(super) signature: Signature,
    /// Whose word counts for who a client is.
    pub(super) trust: Trust,
    /// Connections that no proxy introduced well.
    pub(super) introductions: Arc<ProxyProtocolStats>,
    /// What was refused unread.
    pub(super) refused: Arc<WireStats>,
    /// What requests without a route did.
    pub(super) unrouted: Arc<RouteStats>,
    pub(super) plan: FollowedPlan,
    /// Turns true once, when this thread accepts no more and its connections should go. Nobody marks what it
    /// says here as seen.
    pub(super) leaving: watch::Receiver<bool>,
    /// What [`Self::tell_seldom`] told.
    pub(super) seldom: Seldom,
}

impl Worker {
    /// Tells the client of an answer that its connection ends with it, if this thread is to leave. HTTP/2 has
    /// been told by GOAWAY, and hyper writes no such header there.
    pub(super) fn farewell<B>(&self, mut answer: Response<B>) -> Response<B> {
        // Not `borrow`, whose lock the threads would pass from core to core with each answer.
        let leaving = self.leaving.has_changed().unwrap_or(true);
        if leaving {
            answer.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        }
        answer
    }

    /// Tells an event that any stranger can cause, at most one of its name a second.
    pub(super) fn tell_seldom(
        &self,
        name: &'static str,
        fields: impl FnOnce() -> Vec<(&'static str, String)>,
    ) {
        self.seldom.tell(&self.events, name, fields);
    }
}

/// The plan as this thread knows it.
pub(super) struct FollowedPlan(RefCell<Followed>);

struct Followed {
    updates: watch::Receiver<Arc<Plan>>,
    current: Rc<LocalPlan>,
}

/// A plan behind a reference count of this thread's own: requests that counted on the shared one would
/// pass its cache line from core to core.
#[derive(Debug)]
pub(super) struct LocalPlan {
    plan: Arc<Plan>,
    /// `RateLimit-Policy` of each route.
    policies: Vec<Option<HeaderValue>>,
}

impl LocalPlan {
    fn new(plan: Arc<Plan>) -> Self {
        let policy = |text: &String| HeaderValue::from_str(text).ok();
        let policies =
            plan.routes.iter().map(|route| route.rate_limit_policy.as_ref().and_then(policy)).collect();
        Self { plan, policies }
    }
}

impl Deref for LocalPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl FollowedPlan {
    pub(super) fn new(mut updates: watch::Receiver<Arc<Plan>>) -> Self {
        let current = Rc::new(LocalPlan::new(Arc::clone(&updates.borrow_and_update())));
        Self(RefCell::new(Followed { updates, current }))
    }

    /// The newest plan. A request keeps the one that it began with.
    pub(super) fn get(&self) -> Rc<LocalPlan> {
        let mut followed = self.0.borrow_mut();
        if followed.updates.has_changed().unwrap_or(false) {
            let newest = Arc::clone(&followed.updates.borrow_and_update());
            followed.current = Rc::new(LocalPlan::new(newest));
        }
        Rc::clone(&followed.current)
    }
}

#[cfg(test)]
impl Worker {
    /// A thread that serves `traffic` and tells nobody.
    pub(super) fn serving(traffic: &crate::config::TrafficConfig) -> Self {
        use crate::config::AnswersConfig;
        use crate::tls::ServiceTerms;

        let compiled = Plan::compile(traffic, &ServiceTerms::default(), None, &Events::default());
        let (plan, _) = compiled.expect("a good file");
        Self {
            pool: Pool::default(),
            access: None,
            tracing: None,
            auditor: None,
            events: Events::default(),
            clock: WallClock::system(),
            client_limits: ClientLimitsConfig::default(),
            signature: Signature::new(AnswersConfig::default()),
            trust: Trust::default(),
            introductions: Arc::default(),
            refused: Arc::default(),
            unrouted: Arc::default(),
            plan: FollowedPlan::new(watch::channel(Arc::new(plan)).1),
            leaving: watch::channel(false).1,
            seldom: Seldom::default(),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// A route, held by the plan that a request began with.
#[derive(Clone)]
pub(super) struct RouteRef {
    plan: Rc<LocalPlan>,
    index: usize,
}

impl RouteRef {
    pub(super) fn new(plan: Rc<LocalPlan>, index: usize) -> Self {
        Self { plan, index }
    }

    /// How `RateLimit-Policy` tells of its limiters.
    pub(super) fn rate_limit_policy(&self) -> Option<&HeaderValue> {
        self.plan.policies[self.index].as_ref()
    }
}

impl Deref for RouteRef {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.plan.routes[self.index]
    }
}

impl fmt::Debug for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteRef").field(&self.name).finish()
    }
}
