//! What a node does by itself: it does what is due, tells other nodes what was sent, and hears what they tell.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use intertie_messaging::Name;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::AsyncMessage;

use crate::Shared;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::pass::{Abandoning, Passing, Sweeping};
use crate::session::{Session, connect};
use crate::transaction::once;

/// So often what is remembered is looked through for what can be forgotten, in looks.
const SWEEP_LOOKS: u32 = 5;

/// A connection that broke is made anew after so long, and after `look_every` if that is shorter.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// What is due and others have is asked for again after so long.
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// What callers leave to the keeper.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    told: Mutex<Told>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Told {
    /// Queues in which there may be something for other nodes.
    announced: BTreeSet<Name>,
    next: Option<Instant>,
}

impl Errands {
    /// Has other nodes told of these queues, and of nothing twice.
    pub(crate) fn announce(&self, queues: impl IntoIterator<Item = Name>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.announced.extend(queues);
        if !told.announced.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Something is due at a moment of the database's clock, which has shown `now` a moment ago.
    pub(crate) fn expect(&self, now: Moment, due: Moment) {
        let wait = Duration::from_nanos(due.saturating_sub(now).max(0).cast_unsigned());
        let Some(at) = Instant::now().checked_add(wait) else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.next.is_none_or(|next| at < next) {
            told.next = Some(at);
            self.changed.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<Name> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner).announced)
    }

    fn forget_next(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).next = None;
    }

    /// Waits until `at`, or until something is due or to be told before.
    async fn wait(&self, at: Instant) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = {
                let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if !told.announced.is_empty() {
                    return;
                }
                told.next.map_or(at, |next| next.min(at))
            };
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }
}

/// Keeps at it until the task ends; a connection that fails is made anew.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let every = shared.config.look_every.min(CONNECT_AGAIN);
    loop {
        if let Ok(session) = listen(&shared).await {
            // What was told while nobody listened.
            shared.bells.ring_each();
            let mut looks = 0;
            while round(&shared, &session, &mut looks).await.is_ok() {}
        }
        tokio::time::sleep(every).await;
    }
}

/// A connection on which other nodes are heard.
async fn listen(shared: &Arc<Shared>) -> Result<Session, Failure> {
    let made = async {
        let (session, mut connection) = connect(&shared.server, &shared.config).await?;
        let hearing = Arc::clone(shared);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(told) = message
                    && let Ok(queue) = told.payload().parse()
                {
                    hearing.bells.ring(&queue);
                }
            }
            // Nobody is heard any more: that is found when the keeper asks for what is due.
            hearing.errands.expect(0, 0);
        });
        let found = session.set_up(&shared.config).await?;
        crate::pool::check(&shared.found, &found)?;
        session.batch(&format!("LISTEN \"{}\"", channel(&shared.config.schema))).await?;
        Ok(session)
    };
    tokio::time::timeout(shared.config.pending_timeout, made).await.map_err(|_| Failure::Late)?
}

/// What nodes of one schema hear.
fn channel(schema: &str) -> String {
    format!("intertie_{schema}")
}

async fn round(shared: &Shared, session: &Session, looks: &mut u32) -> Result<(), Failure> {
    let timeout = shared.config.transaction_timeout;
    let announced = shared.errands.take();
    if !announced.is_empty() {
        let told = tell(shared, session, &announced);
        tokio::time::timeout(timeout, told).await.map_err(|_| Failure::Late)??;
    }
    shared.errands.forget_next();
    let (locks, step) = (shared.locks, shared.config.step.get().into());
    let passed = once(session, &Passing { locks, step }, timeout).await?.unwrap_or_default();
    passed.ready.iter().for_each(|queue| shared.bells.ring(queue));
    shared.errands.announce(passed.ready.iter().cloned());
    if passed.more {
        return Ok(());
    }
    if let Some(next) = passed.next {
        shared.errands.expect(passed.now, next);
    }
    let every = if passed.skipped { BUSY_WAIT } else { shared.config.look_every };
    if passed.skipped {
        shared.errands.forget_next();
    }
    let at = Instant::now() + every;
    shared.errands.wait(at).await;
    if at <= Instant::now() {
        // What nobody told.
        shared.bells.ring_each();
        *looks += 1;
        if *looks >= SWEEP_LOOKS {
            let gone = once(session, &Abandoning { locks, only: None }, timeout).await?;
            gone.into_iter().flatten().for_each(|queue| shared.bells.ring_all(&queue));
            let more = once(session, &Sweeping { locks, step }, timeout).await?;
            *looks = if more == Some(true) { SWEEP_LOOKS - 1 } else { 0 };
        }
    }
    Ok(())
}

/// Tells those nodes of queues whose consumers wait for something in them. Where nobody waits nothing is told: each
/// telling keeps all others of the database waiting for a moment.
async fn tell(shared: &Shared, session: &Session, queues: &BTreeSet<Name>) -> Result<(), Failure> {
    let now = crate::commit::now(session).await?;
    let queues: Vec<&str> = queues.iter().map(Name::as_str).collect();
    let sql = "SELECT pg_notify($1, t.name) FROM unnest($2::text[]) AS t (name) WHERE EXISTS (
                   SELECT 1 FROM interest AS i WHERE i.queue = t.name AND i.node <> $3 AND i.until > $4)";
    session.run(sql, &[&channel(&shared.config.schema), &queues, &shared.node, &now]).await.map(|_| ())
}
