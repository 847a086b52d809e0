//! Bounds, each by its name: of what one group does, and of what is kept.

use std::num::NonZeroU64;

use intertie_messaging::queue::{DeadLetter, Origin};

use super::*;

const ORDERS: &str = "orders";

/// What the messages of these tests weigh, and a little less than that.
const BYTES: u64 = 1000;

/// The parts with groups of so many bytes.
pub(super) fn kept(set: impl FnOnce(&mut EmbeddedConfig)) -> Kept {
    let mut config = EmbeddedConfig::default();
    set(&mut config);
    Kept::with(Connection::open_in_memory().expect("opens"), config)
}

fn small_groups(config: &mut EmbeddedConfig) {
    config.store.group_bytes_max = ByteSize::from_bytes(4 * BYTES + BYTES / 2);
}

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_nanos(1_755_945_000_000_000_000 + millis * 1_000_000)
}

pub(super) fn declare(kept: &mut Kept, queue: &str, spec: &QueueSpec) {
    let command = Command::Declare { name: name(queue), spec: Box::new(spec.clone()) };
    kept.ask(command, at(0)).expect("declared");
}

pub(super) fn message(id: &str, bytes: u64) -> Envelope {
    let data = intertie_core::envelope::Data::text("x".repeat(usize::try_from(bytes).expect("small")));
    let envelope = Envelope::new(id, "/test", "tested").expect("an event");
    envelope.with_data(data, Some("text/plain")).expect("data")
}

pub(super) fn send(queue: &str, envelope: Envelope) -> Operation {
    Operation::Send { queue: name(queue), message: envelope.into() }
}

fn fill(kept: &mut Kept, queue: &str, messages: u32) {
    for id in 0..messages {
        kept.commit(send(queue, message(&id.to_string(), BYTES - 100)).into(), at(0)).expect("stored");
    }
}

pub(super) fn request(queue: &str, consumer: &str, most: u32) -> Command {
    let request = LeaseRequest {
        queue: name(queue),
        consumer: name(consumer),
        most: NonZeroU32::new(most).expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 30),
        visibility_timeout: None,
        wait: Duration::ZERO,
    };
    Command::Lease { request, secret: fastrand::u64(..) }
}

pub(super) fn leased(reply: Result<Reply, Refusal>) -> (Vec<Leased>, Then) {
    match reply {
        Ok(Reply::Leased { leased, then, .. }) => (leased, then),
        other => panic!("{other:?}"),
    }
}

pub(super) fn lease(kept: &mut Kept, queue: &str, most: u32, now: Timestamp) -> Vec<Leased> {
    leased(kept.ask(request(queue, "worker", most), now)).0
}

fn settle(queue: &str, leased: &Leased, settlement: Settlement) -> Operation {
    Operation::Settle { queue: name(queue), lease: leased.token.into(), settlement }
}

fn rejected(reason: &str) -> Settlement {
    Settlement::DeadLetter { cause: Cause::Rejected, reason: reason.to_owned() }
}

fn commit_in_group(kept: &mut Kept, commit: Commit) -> Result<(), CommitError> {
    let changes = commit.operations.into_iter().map(Change::from).collect();
    match kept.ask_in_group(Command::Commit(changes), at(1)) {
        Ok(_) => Ok(()),
        Err(Refusal::Commit(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

fn ready(kept: &mut Kept, queue: &str) -> u64 {
    kept.depth(&name(queue), at(1)).expect("there").ready
}

#[test]
fn a_group_delivers_no_more_bytes_than_it_takes() {
    let mut kept = kept(small_groups);
    declare(&mut kept, ORDERS, &QueueSpec::default());
    fill(&mut kept, ORDERS, 12);
    let mut groups = Vec::new();
    for _ in 0..3 {
        let own: Vec<_> = (0..5)
            .map(|consumer| {
                let lease = request(ORDERS, &format!("worker-{consumer}"), 3);
                leased(kept.ask_in_group(lease, at(1)))
            })
            .map(|(leased, then)| (leased.len(), then))
            .collect();
        kept.end_group();
        groups.push(own.iter().map(|(count, _)| count).sum::<usize>());
        let nothing = if groups.len() < 3 { Then::AskAgain } else { Then::Wait };
        assert!(own.iter().all(|(count, then)| *count > 0 || *then == nothing), "{own:?}");
    }
    assert_eq!(groups, [4, 4, 4]);
}

#[test]
fn a_message_that_is_larger_than_a_group_comes_alone() {
    let mut kept = kept(|_| {});
    declare(&mut kept, ORDERS, &QueueSpec::default());
    fill(&mut kept, ORDERS, 2);
    kept.config.store.group_bytes_max = ByteSize::from_bytes(BYTES / 2);
    kept.restart();
    assert_eq!(leased(kept.ask_in_group(request(ORDERS, "worker", 2), at(1))).0.len(), 1);
    assert_eq!(leased(kept.ask_in_group(request(ORDERS, "worker", 2), at(1))), (Vec::new(), Then::AskAgain));
    kept.end_group();
    let last = lease(&mut kept, ORDERS, 2, at(1)).remove(0);
    kept.commit(settle(ORDERS, &last, rejected("")).into(), at(1)).expect("it can die too");
}

#[test]
fn a_commit_moves_no_more_than_a_group_takes_and_neither_do_several() {
    let mut kept = kept(small_groups);
    declare(&mut kept, ORDERS, &QueueSpec::default());
    fill(&mut kept, ORDERS, 10);
    for _ in 0..10 {
        let leased = lease(&mut kept, ORDERS, 1, at(0));
        kept.commit(settle(ORDERS, &leased[0], rejected("")).into(), at(0)).expect("it dies");
    }
    let redrive = |positions: std::ops::Range<u64>| {
        positions
            .map(|position| Operation::Redrive { queue: name("orders.dead"), position, to: name(ORDERS) })
            .collect::<Commit>()
    };
    let too_large = commit_in_group(&mut kept, redrive(0..10));
    let limit = 4 * BYTES + BYTES / 2;
    assert!(
        matches!(too_large, Err(CommitError::TooLarge { bound: "group_bytes_max", is, limit: own })
            if own == limit && is > 9 * BYTES),
        "{too_large:?}"
    );
    commit_in_group(&mut kept, redrive(0..3)).expect("moved");
    let overloaded = CommitError::Overloaded { bound: "group_bytes_max", limit };
    assert_eq!(commit_in_group(&mut kept, redrive(3..6)), Err(overloaded));
    kept.end_group();
    commit_in_group(&mut kept, redrive(3..6)).expect("it is another group");
    kept.end_group();
    assert_eq!((ready(&mut kept, ORDERS), ready(&mut kept, "orders.dead")), (6, 4));
}

#[test]
fn what_dies_in_one_commit_is_bounded_and_what_is_done_is_not() {
    let mut kept = kept(small_groups);
    let retry_once = QueueSpec { max_deliveries: NonZeroU32::MIN, ..QueueSpec::default() };
    declare(&mut kept, ORDERS, &retry_once);
    fill(&mut kept, ORDERS, 10);
    let mut own = Vec::new();
    while own.len() < 10 {
        own.extend(lease(&mut kept, ORDERS, 10, at(0)));
    }
    for settlement in [rejected("no stock"), Settlement::Retry { after: None }] {
        let all = own.iter().map(|leased| settle(ORDERS, leased, settlement.clone())).collect();
        let refused = commit_in_group(&mut kept, all);
        assert!(matches!(refused, Err(CommitError::TooLarge { .. })), "{settlement:?}: {refused:?}");
    }
    let acks = own.iter().map(|leased| settle(ORDERS, leased, Settlement::Ack)).collect();
    commit_in_group(&mut kept, acks).expect("acknowledged");
}

#[test]
fn what_time_ends_at_once_is_moved_a_group_at_a_time() {
    let mut kept = kept(small_groups);
    declare(&mut kept, ORDERS, &QueueSpec { ttl: Some(millis(100)), ..QueueSpec::default() });
    declare(&mut kept, "jobs", &QueueSpec { max_deliveries: NonZeroU32::MIN, ..QueueSpec::default() });
    fill(&mut kept, ORDERS, 10);
    fill(&mut kept, "jobs", 10);
    while !lease(&mut kept, "jobs", 10, at(1)).is_empty() {}
    for (queue, now) in [("orders.dead", at(1000)), ("jobs.dead", at(60_000))] {
        let mut dead = 0;
        while dead < 10 {
            kept.parts.run_due(&kept.connection, now).expect("runs");
            kept.end_group();
            let depth = leased_depth(&kept, queue);
            assert!(depth > dead && depth <= dead + 5, "{queue}: {depth} after {dead}");
            dead = depth;
        }
    }
}

/// The depth, with nothing done that is due.
fn leased_depth(kept: &Kept, queue: &str) -> u64 {
    let found = kept.parts.queues.depth(&kept.connection, &name(queue)).expect("reads");
    found.expect("there").depth.ready
}

#[test]
fn a_lease_that_met_only_the_dead_is_to_ask_again() {
    let mut kept = kept(|config| config.step = NonZeroU32::new(4).expect("not zero"));
    declare(&mut kept, ORDERS, &QueueSpec::default());
    for id in 0..10 {
        let expired = message(&id.to_string(), 1).with_expiry_time(at(1));
        let changes = vec![Change::from(send(ORDERS, expired))];
        kept.ask_in_group(Command::Commit(changes), at(0)).expect("stored");
    }
    kept.ask_in_group(Command::Commit(vec![send(ORDERS, message("alive", 1)).into()]), at(0))
        .expect("stored");
    let mut asked = 0;
    let own = loop {
        asked += 1;
        match leased(kept.ask_in_group(request(ORDERS, "worker", 1), at(2))) {
            (own, _) if !own.is_empty() => break own,
            (_, then) => assert_eq!(then, Then::AskAgain),
        }
    };
    assert_eq!((own[0].token.position, asked), (10, 3));
}

#[test]
fn of_a_rejection_as_much_is_remembered_as_tells_it_again() {
    let mut kept = kept(|_| {});
    declare(&mut kept, ORDERS, &QueueSpec::default());
    fill(&mut kept, ORDERS, 1);
    let own = lease(&mut kept, ORDERS, 1, at(0)).remove(0);
    let reason = "x".repeat(1 << 20);
    let done =
        |kept: &mut Kept, reason: &str| kept.commit(settle(ORDERS, &own, rejected(reason)).into(), at(1));
    assert!(matches!(done(&mut kept, &reason), Ok(Committed::Done(_))));
    let sql = "SELECT length(settlement) FROM message_lease";
    let bytes: i64 = kept.connection.query_row(sql, [], |row| row.get(0)).expect("it is remembered");
    assert!(bytes < 64, "{bytes}");
    assert_eq!(done(&mut kept, &reason), Ok(Committed::DoneBefore));
    // Also beyond what of a reason is kept with the dead.
    let stale = Refused::Engine(EngineError::StaleLease);
    let other = CommitError::Refused { operation: 0, cause: stale };
    assert_eq!(done(&mut kept, &format!("{}y", &reason[1..])), Err(other));
}

#[test]
fn a_longer_key_than_is_taken_is_refused_by_the_name_of_its_bound() {
    let mut kept = kept(|config| config.key_bytes_max = NonZeroU32::new(20).expect("not zero"));
    let window = Some(millis(100));
    declare(&mut kept, ORDERS, &QueueSpec { groups: true, ..QueueSpec::default() });
    declare(&mut kept, "jobs", &QueueSpec { deduplication_window: window, ..QueueSpec::default() });
    declare(&mut kept, "plain", &QueueSpec::default());
    let long = "k".repeat(21);
    let grouped = || message("1", 1).with_partition_key(&long).expect("a key");
    let mark = |key: &str| Operation::Mark { inbox: name("inbox"), key: key.to_owned(), kept: millis(100) };
    let limit = EngineError::Limit { key: "key_bytes_max", limit: "20".to_owned() };
    let refused = CommitError::Refused { operation: 0, cause: limit.into() };
    for operation in [send(ORDERS, grouped()), send("jobs", message(&long, 1)), mark(&long)] {
        assert_eq!(kept.commit(operation.clone().into(), at(0)), Err(refused.clone()), "{operation:?}");
    }
    for operation in [send("plain", grouped()), send("jobs", message("1", 1)), mark("short")] {
        kept.commit(operation.into(), at(0)).expect("taken");
    }
    // The dead are taken whatever they are; with such a key they wait for nobody.
    let dead_letter = DeadLetter {
        cause: Cause::Rejected,
        reason: None,
        origin: Origin::Queue { queue: name("elsewhere"), position: None },
        deliveries: 1,
        at: at(0),
        redrives: 0,
    };
    for _ in 0..2 {
        let content = Content::Envelope(grouped());
        let bury =
            Operation::Bury { queue: name(ORDERS), content, dead_letter: Box::new(dead_letter.clone()) };
        kept.commit(bury.into(), at(0)).expect("taken");
    }
    assert_eq!(lease(&mut kept, ORDERS, 2, at(0)).len(), 2);
}

#[test]
fn ids_and_marks_are_counted_over_a_restart_and_forgotten() {
    let two = NonZeroU64::new(2).expect("not zero");
    let mut kept = kept(|config| (config.ids_max, config.marks_max) = (two, two));
    declare(
        &mut kept,
        ORDERS,
        &QueueSpec { deduplication_window: Some(millis(100)), ..QueueSpec::default() },
    );
    declare(&mut kept, "plain", &QueueSpec::default());
    let sent = |id: &str| send(ORDERS, message(id, 1));
    let mark = |key: &str| Operation::Mark { inbox: name("inbox"), key: key.to_owned(), kept: millis(100) };
    let full = |bound, operation| {
        let cause = EngineError::Overloaded { bound, limit: 2 }.into();
        Err(CommitError::Refused { operation, cause })
    };
    for now in [0, 1000] {
        let three = ["1", "2", "3"];
        assert_eq!(kept.commit(three.map(sent).into_iter().collect(), at(now)), full("ids_max", 2));
        assert_eq!(kept.commit(three.map(mark).into_iter().collect(), at(now)), full("marks_max", 2));
        kept.commit(["1", "2", "1"].map(sent).into_iter().collect(), at(now)).expect("there is room for two");
        kept.commit(["1", "2"].map(mark).into_iter().collect(), at(now)).expect("there is room for two");
        kept.restart();
        assert_eq!(kept.commit(sent("3").into(), at(now)), full("ids_max", 0));
        assert_eq!(kept.commit(mark("3").into(), at(now)), full("marks_max", 0));
        kept.commit(sent("2").into(), at(now)).expect("it is a duplicate");
        kept.commit(send("plain", message("3", 1)).into(), at(now)).expect("it remembers none");
    }
    // What is cancelled makes room, and so does a queue that is gone.
    let waiting = kept.browse(&name(ORDERS), at(1000));
    let position = waiting.last().expect("one").position;
    kept.commit(Operation::Cancel { queue: name(ORDERS), position }.into(), at(1000)).expect("cancelled");
    kept.commit(sent("3").into(), at(1000)).expect("there is room again");
    kept.ask(Command::Delete { name: name(ORDERS) }, at(1000)).expect("deleted");
    kept.pass(at(1001));
    declare(
        &mut kept,
        ORDERS,
        &QueueSpec { deduplication_window: Some(millis(100)), ..QueueSpec::default() },
    );
    kept.commit(["4", "5"].map(sent).into_iter().collect(), at(1001)).expect("there is room for two");
}

#[test]
fn a_queue_that_is_at_its_last_positions_takes_only_what_dies() {
    let mut kept = kept(|_| {});
    declare(&mut kept, ORDERS, &QueueSpec::default());
    fill(&mut kept, ORDERS, 1);
    let own = lease(&mut kept, ORDERS, 1, at(0)).remove(0);
    let last = (1_i64 << 44) - (1 << 32);
    kept.connection.execute("UPDATE queue SET next = ?1", [last]).expect("written");
    kept.restart();
    let limit = EngineError::Limit { key: "positions", limit: last.to_string() };
    let refused = Err(CommitError::Refused { operation: 0, cause: limit.into() });
    assert_eq!(kept.commit(send(ORDERS, message("2", 1)).into(), at(1)), refused);
    kept.commit(settle(ORDERS, &own, rejected("")).into(), at(1)).expect("it dies");
    assert_eq!(kept.browse(&name("orders.dead"), at(1))[0].position, last.cast_unsigned());
    kept.connection.execute("UPDATE queue SET deliveries = ?1", [last]).expect("written");
    kept.restart();
    let limit = EngineError::Limit { key: "deliveries", limit: last.to_string() };
    match kept.ask(request("orders.dead", "worker", 1), at(1)) {
        Err(Refusal::Engine(error)) => assert_eq!(error, limit),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_what_is_held_as_much_is_told_as_a_page_has() {
    let mut kept = kept(|_| {});
    declare(&mut kept, ORDERS, &QueueSpec::default());
    fill(&mut kept, ORDERS, 10);
    assert_eq!(lease(&mut kept, ORDERS, 8, at(0)).len(), 8);
    let browse = Browse { from: 3, most: NonZeroU32::new(2).expect("not zero"), ..all(&name(ORDERS)) };
    match kept.ask(Command::Held { browse }, at(0)) {
        Ok(Reply::Held(Some((_, held)))) => assert_eq!(held.into_keys().collect::<Vec<_>>(), [3, 4]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_wakes_nobody_whose_share_is_used_up() {
    let mut kept = kept(|_| {});
    let share = NonZeroU32::new(2);
    declare(&mut kept, ORDERS, &QueueSpec { leases_per_consumer_max: share, ..QueueSpec::default() });
    let waiting = Waiting::new(10);
    kept.parts.waiting = waiting.clone();
    fill(&mut kept, ORDERS, 3);
    for (consumer, most) in [("full", 2), ("one", 1)] {
        assert_eq!(leased(kept.ask(request(ORDERS, consumer, most), at(0))).0.len(), most as usize);
    }
    let consumers = ["full", "one", "one", "none", "none", "none"];
    let begin = |consumer| waiting.begin(&name(ORDERS), &name(consumer)).expect("room");
    let mut places = consumers.map(begin);
    let messages = (10..20).map(|id| send(ORDERS, message(&id.to_string(), 1)));
    kept.commit(messages.collect(), at(1)).expect("stored");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let told = places.each_mut().map(|place| std::pin::pin!(place.told()).poll(&mut context).is_ready());
    assert_eq!(told, [false, true, false, true, true, false]);
}

#[test]
fn the_standard_share_leaves_something_for_others() {
    let mut kept = kept(|_| {});
    declare(&mut kept, ORDERS, &QueueSpec::default());
    let messages = (0..300).map(|id| send(ORDERS, message(&id.to_string(), 1)));
    kept.commit(messages.collect(), at(0)).expect("stored");
    for consumer in ["a", "b"] {
        let (own, _) = leased(kept.ask(request(ORDERS, consumer, 300), at(0)));
        assert_eq!(own.len(), 100, "{consumer}");
        let more = leased(kept.ask(request(ORDERS, consumer, 300), at(0)));
        assert_eq!(more, (Vec::new(), Then::PassOn));
    }
}
