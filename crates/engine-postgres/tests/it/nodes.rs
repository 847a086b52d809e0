//! Two nodes that share a schema, as one engine: each verb goes to the other one than the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use intertie_core::clock::Timestamp;
use intertie_engine_postgres::{Postgres, PostgresConfig, ServerConfig};
use intertie_idempotency::{Decision, Fingerprint, Key, Store, StoreError};
use intertie_messaging::commit::{Commit, CommitError, Committed, Together};
use intertie_messaging::queue::{
    Browse, Depth, Lease, LeaseId, LeaseRequest, Page, QueueEngine, QueueFeature, QueueSpec,
};
use intertie_messaging::support::{Declared, EngineId, Support};
use intertie_messaging::{DeclareError, Engine, EngineError, InboxEngine, Listing, Name, Pending};

#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: [Arc<Postgres>; 2],
    turn: AtomicUsize,
}

impl Nodes {
    pub(crate) async fn open(server: &ServerConfig, config: &PostgresConfig) -> Self {
        // Both at once: one of them makes the schema.
        let (first, second) = tokio::join!(Postgres::open(server, config), Postgres::open(server, config));
        let nodes = [first, second].map(|node| Arc::new(node.expect("opens")));
        Self { nodes, turn: AtomicUsize::new(0) }
    }

    fn next(&self) -> &Postgres {
        &self.nodes[self.turn.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

impl Engine for Nodes {
    fn id(&self) -> &EngineId {
        self.next().id()
    }

    fn commit_support(&self, together: Together) -> Support {
        self.next().commit_support(together)
    }

    fn commit(&self, commit: Commit) -> Pending<'_, Result<Committed, CommitError>> {
        self.next().commit(commit)
    }
}

impl QueueEngine for Nodes {
    fn support(&self, feature: QueueFeature) -> Support {
        self.next().support(feature)
    }

    fn declare_queue<'a>(
        &'a self,
        name: &'a Name,
        spec: &'a QueueSpec,
    ) -> Pending<'a, Result<Declared, DeclareError>> {
        self.next().declare_queue(name, spec)
    }

    fn delete_queue<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<(), EngineError>> {
        self.next().delete_queue(name)
    }

    fn queues<'a>(&'a self, listing: &'a Listing) -> Pending<'a, Result<Vec<Name>, EngineError>> {
        self.next().queues(listing)
    }

    fn lease<'a>(&'a self, request: &'a LeaseRequest) -> Pending<'a, Result<Vec<Lease>, EngineError>> {
        self.next().lease(request)
    }

    fn extend<'a>(
        &'a self,
        queue: &'a Name,
        lease: &'a LeaseId,
        time: Duration,
    ) -> Pending<'a, Result<Timestamp, EngineError>> {
        QueueEngine::extend(self.next(), queue, lease, time)
    }

    fn depth<'a>(&'a self, queue: &'a Name) -> Pending<'a, Result<Depth, EngineError>> {
        self.next().depth(queue)
    }

    fn browse<'a>(&'a self, browse: &'a Browse) -> Pending<'a, Result<Page, EngineError>> {
        self.next().browse(browse)
    }
}

impl InboxEngine for Nodes {
    fn is_marked<'a>(&'a self, inbox: &'a Name, key: &'a str) -> Pending<'a, Result<bool, EngineError>> {
        self.next().is_marked(inbox, key)
    }
}

impl Store for Nodes {
    fn begin<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fingerprint: Fingerprint,
        time: Duration,
    ) -> Pending<'a, Result<Decision, StoreError>> {
        self.next().begin(scope, key, fingerprint, time)
    }

    fn extend<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        time: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        Store::extend(self.next(), scope, key, fence, time)
    }

    fn complete<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
        answer: Option<Bytes>,
        kept: Duration,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.next().complete(scope, key, fence, answer, kept)
    }

    fn abandon<'a>(
        &'a self,
        scope: &'a str,
        key: &'a Key,
        fence: u64,
    ) -> Pending<'a, Result<(), StoreError>> {
        self.next().abandon(scope, key, fence)
    }
}
