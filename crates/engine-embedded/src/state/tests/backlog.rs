//! Groups that do a step of what is due and then what is asked, as the writer has them: what waits may be long dead.

use std::collections::BTreeMap;

use intertie_messaging::queue::Origin;

use super::bounds::{at, declare, request};
use super::*;

/// The parts, and what became of each message that was stored.
struct Trial {
    kept: Kept,
    now: u64,
    leases: Vec<(Name, LeaseToken, u64)>,
    /// By position in the first queue: how often it ended.
    ends: BTreeMap<u64, u32>,
}

impl Trial {
    fn new(spec: &QueueSpec, step: u32) -> Self {
        let mut kept = Kept::new(step);
        declare(&mut kept, "orders", spec);
        Self { kept, now: 0, leases: Vec::new(), ends: BTreeMap::new() }
    }

    fn group(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.now += 1;
        let now = at(self.now);
        if self.kept.parts.next_due().is_some_and(|due| due <= now) {
            self.kept.parts.run_due(&self.kept.connection, now).expect("runs");
        }
        let reply = self.kept.ask_in_group(command, now);
        self.kept.end_group();
        reply
    }

    fn commit(&mut self, operation: Operation) -> Option<Outcome> {
        match self.group(Command::Commit(vec![operation.into()])) {
            Ok(Reply::Committed(Committed::Done(outcomes))) => Some(outcomes[0]),
            Ok(_) | Err(Refusal::Commit(_)) => None,
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, sent: &Sent) {
        let mut envelope = Envelope::new(&sent.id.to_string(), "/test", "tested").expect("an event");
        if let Some(group) = sent.group {
            envelope = envelope.with_partition_key(&group.to_string()).expect("a key");
        }
        if let Some(expires) = sent.expires {
            envelope = envelope.with_expiry_time(at(self.now + expires));
        }
        let due = sent.delay.map_or(Due::Now, |delay| Due::After(millis(delay)));
        let message = Message { envelope, priority: sent.priority, due };
        let stored = self.commit(Operation::Send { queue: name("orders"), message });
        if let Some(Outcome::Stored(receipt)) = stored {
            self.ends.insert(receipt.position.expect("it is told"), 0);
        }
    }

    /// Leases, and notes of each message where it stood first.
    fn lease(&mut self, queue: &str, consumer: u8, most: u32) {
        let request = request(queue, &format!("consumer-{consumer}"), most);
        let Ok(Reply::Leased { leased, .. }) = self.group(request) else { return };
        for leased in leased {
            let token = leased.token;
            let lease = crate::embedded::lease_of(leased);
            let origin = match lease.dead_letter.map(|dead| dead.origin) {
                Some(Origin::Queue { position, .. }) => position.expect("it is told"),
                _ => token.position,
            };
            self.leases.push((name(queue), token, origin));
        }
    }

    fn settle(&mut self, at: usize, settlement: &Settlement) {
        let (queue, token, origin) = self.leases[at].clone();
        let settle = Operation::Settle { queue, lease: token.into(), settlement: settlement.clone() };
        if self.commit(settle).is_some() && *settlement == Settlement::Ack {
            *self.ends.get_mut(&origin).expect("it was stored") += 1;
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send(messages) => messages.iter().for_each(|sent| self.send(sent)),
            Step::Lease { consumer, most, .. } => self.lease("orders", *consumer, *most),
            Step::Settle { lease, settlement, .. } if !self.leases.is_empty() => {
                self.settle(lease.index(self.leases.len()), settlement);
            }
            Step::Cancel { position } => {
                let cancel = Operation::Cancel { queue: name("orders"), position: *position };
                if self.commit(cancel).is_some() {
                    *self.ends.get_mut(position).expect("it was stored") += 1;
                }
            }
            Step::Pass { millis } => self.now += millis,
            Step::Restart => self.kept.restart(),
            _ => {}
        }
    }

    /// Handles all that comes until nothing is left of anything.
    fn drain(&mut self) {
        for _ in 0..2000 {
            self.leases.clear();
            self.now += 50;
            self.lease("orders", 9, 1000);
            self.lease("orders.dead", 9, 1000);
            (0..self.leases.len()).for_each(|at| self.settle(at, &Settlement::Ack));
            if self.leases.is_empty() && self.kept.parts.next_due().is_none() {
                return;
            }
        }
        panic!("it does not end: {:?}", self.kept.parts);
    }
}

const TABLES: [&str; 8] = [
    "message",
    "message_ready",
    "message_waits",
    "message_timer",
    "message_member",
    "message_lease",
    "message_seen",
    "inbox_mark",
];

proptest! {
    #[test]
    fn with_much_overdue_nothing_is_lost_or_doubled_and_all_ends_empty(
        spec in spec(),
        step_max in 1..3_u32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let spec = QueueSpec { exclusive: false, auto_delete: None, ..spec };
        let mut trial = Trial::new(&spec, step_max);
        for step in &steps {
            trial.take(step);
        }
        trial.drain();
        prop_assert!(trial.ends.values().all(|ends| *ends == 1), "one end each: {:?}", trial.ends);
        for queue in ["orders", "orders.dead"] {
            let depth = trial.kept.depth(&name(queue), at(trial.now)).expect("there");
            prop_assert_eq!(depth, Depth { bytes: None, consumers: Some(0), ..Depth::default() });
        }
        for table in TABLES {
            let sql = format!("SELECT count(*) FROM {table}");
            let rows: i64 = trial.kept.connection.query_row(&sql, [], |row| row.get(0)).expect("counts");
            prop_assert_eq!(rows, 0, "{}", table);
        }
        let sql = "SELECT sum(bytes), sum(ready), sum(delayed) FROM queue";
        let read = |row: &rusqlite::Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
        prop_assert_eq!(trial.kept.connection.query_row(sql, [], read).expect("counts"), [0; 3]);
        let sql = "SELECT ids FROM message_seen_count";
        let ids: i64 = trial.kept.connection.query_row(sql, [], |row| row.get(0)).expect("counts");
        prop_assert_eq!(ids, 0);
    }
}
