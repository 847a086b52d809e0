//! What verbs write, as the table in `tables.rs` says it: rows, counted by SQLite.

use std::num::NonZeroU32;
use std::time::Duration;

use intertie_core::clock::Timestamp;
use intertie_core::envelope::{Data, Envelope};
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_messaging::commit::{Committed, Operation};
use intertie_messaging::log::{Assignment, Cleanup, Heartbeat, Join, Member, Record, StartAt, TopicSpec};
use rusqlite::Connection;

use crate::damage::Damages;
use crate::embedded::EmbeddedConfig;
use crate::log::{Ask, Published, Said};
use crate::state::{Change, Command, Parts, Reply};
use crate::store::{State, StoreConfig};
use crate::wakes::Waiting;

const RETENTION: Duration = Duration::from_secs(500);

struct Counted {
    parts: Parts,
    connection: Connection,
    now: Timestamp,
}

impl Counted {
    fn new(partitions: u32, cleanup: Cleanup) -> Self {
        Self::with(partitions, cleanup, &EmbeddedConfig::default())
    }

    fn with(partitions: u32, cleanup: Cleanup, config: &EmbeddedConfig) -> Self {
        let connection = Connection::open_in_memory().expect("opens");
        let damages = Damages::new(1, Events::default());
        let parts =
            Parts::load(&connection, config, Waiting::new(1), Published::new(1), damages).expect("loads");
        let mut counted = Self { parts, connection, now: Timestamp::from_unix_seconds(1) };
        let partitions = NonZeroU32::new(partitions).expect("not zero");
        let spec = Box::new(TopicSpec { partitions, cleanup, retention: RETENTION, ..TopicSpec::default() });
        counted.ask([Command::Topic(Ask::Declare { name: "facts".parse().expect("a name"), spec })]);
        counted
    }

    /// One group of commands: what is said to the last of them, and how many rows were written.
    fn ask(&mut self, commands: impl IntoIterator<Item = Command>) -> (Option<Reply>, u64) {
        let (before, now) = (self.connection.total_changes(), self.now);
        self.parts.run_due(&self.connection, now).expect("runs");
        let mut said = None;
        for command in commands {
            self.parts.check(&self.connection, &command, now).expect("checks").expect("it can be done");
            said = Some(self.parts.apply(&self.connection, command, now).expect("applies"));
        }
        self.parts.flush(&self.connection).expect("flushes");
        self.parts.committed();
        (said, self.connection.total_changes() - before)
    }

    fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.connection.query_row(&sql, [], |row| row.get(0)).expect(table)
    }

    fn join(&mut self, member: &str) -> (Assignment, u64) {
        let name = |text: &str| text.parse().expect("a name");
        let member = Member { topic: name("facts"), group: name("readers"), member: name(member) };
        let session_timeout = Duration::from_secs(60);
        let join = Join { member, session_timeout, start: StartAt::Beginning };
        match self.ask([Command::Topic(Ask::Join { join, starts: Vec::new() })]) {
            (Some(Reply::Topic(Said::Joined(Ok(assignment)))), rows) => (assignment, rows),
            other => panic!("{other:?}"),
        }
    }
}

fn append(key: &str) -> Command {
    let event = Envelope::new("1", "/test", "tested").expect("an event").with_partition_key(key);
    let event = event.expect("a key").with_data(Data::text("data"), Some("text/plain")).expect("data");
    let record = Record { partition: Some(0), ..event.into() };
    Command::Commit(vec![Change::from(Operation::Append { topic: "facts".parse().expect("a name"), record })])
}

#[test]
fn an_append_is_one_row_and_a_group_one_more_for_each_partition() {
    let mut counted = Counted::new(1, Cleanup::Delete);
    for records in [1, 31, 32, 33, 64, 200] {
        let (_, rows) = counted.ask((0..records).map(|_| append("a")));
        assert_eq!(rows, records + 1);
    }
}

#[test]
fn who_joins_in_one_group_with_appends_begins_where_they_say() {
    let mut counted = Counted::new(1, Cleanup::Delete);
    counted.ask([append("a"), append("a")]);
    let name = |text: &str| text.parse().expect("a name");
    let member = Member { topic: name("facts"), group: name("readers"), member: name("first") };
    let start = StartAt::Time(Timestamp::from_unix_seconds(2));
    let join = Join { member, session_timeout: Duration::from_secs(60), start };
    counted.now = Timestamp::from_unix_seconds(2);
    let join = Command::Topic(Ask::Join { join, starts: Vec::new() });
    match counted.ask([append("a"), append("a"), join]).0 {
        Some(Reply::Topic(Said::Joined(Ok(assignment)))) => assert_eq!(assignment.partitions, [(0, 2)]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_replaces_another_is_three_rows() {
    let mut counted = Counted::new(1, Cleanup::Compact);
    assert_eq!(counted.ask([append("a")]).1, 2 + 1);
    assert_eq!(counted.ask([append("a")]).1, 3 + 1);
    assert_eq!(counted.ask([append("b"), append("b"), append("c")]).1, 2 + 3 + 2 + 1);
}

#[test]
fn a_heartbeat_is_none_an_advance_one_and_a_join_a_few() {
    let mut counted = Counted::new(4, Cleanup::Delete);
    let (first, rows) = counted.join("first");
    // The group is new: its row is made, and then written.
    assert_eq!(rows, 1 + 2 + 4);
    let stay = |assignment: &Assignment, released: &[u32]| {
        let membership = assignment.membership.clone();
        Command::Topic(Ask::Heartbeat(Heartbeat { membership, released: released.to_vec() }))
    };
    assert_eq!(counted.ask([stay(&first, &[])]).1, 0);
    assert_eq!(counted.join("second").1, 2, "nothing changes hands yet");
    assert_eq!(counted.ask([stay(&first, &[2, 3])]).1, 2);
    let membership = first.membership.clone();
    let advance = Operation::Advance { membership, partition: 0, next: 1 };
    let advance = || Command::Commit(vec![Change::from(advance.clone())]);
    counted.ask([append("a")]);
    assert_eq!(counted.ask([advance()]).1, 1);
    let again = counted.ask([advance()]);
    assert!(matches!(again, (Some(Reply::Committed(Committed::DoneBefore)), 0)), "{again:?}");
    let (_, rows) = counted.ask([Command::Topic(Ask::Leave(first.membership))]);
    assert_eq!(rows, 1 + 2);
}

#[test]
fn what_need_not_be_kept_is_removed_some_at_once_and_not_one_by_one() {
    let mut counted = Counted::new(1, Cleanup::Delete);
    for second in 1..=20 {
        counted.now = Timestamp::from_unix_seconds(second);
        counted.ask([append("a")]);
    }
    // The first goes when its time is over, and the next ones a hundredth of that time later.
    assert_eq!(counted.parts.next_due(), Some(Timestamp::from_unix_seconds(501)));
    for (second, removed) in [(500, 0), (501, 1), (502, 0), (505, 0), (506, 5), (511, 5), (521, 9)] {
        counted.now = Timestamp::from_unix_seconds(second);
        let due = counted.parts.next_due().is_some_and(|due| due <= counted.now);
        assert_eq!(due, removed > 0, "at {second}");
        let rows = counted.ask([]).1;
        assert_eq!(rows, if removed > 0 { removed + 1 } else { 0 }, "at {second}");
    }
    assert_eq!(counted.parts.next_due(), None);
}

fn few_at_once() -> EmbeddedConfig {
    EmbeddedConfig { step: NonZeroU32::new(3).expect("not zero"), ..EmbeddedConfig::default() }
}

#[test]
fn what_is_removed_keeps_up_with_what_is_appended_however_large_groups_are() {
    let mut counted = Counted::with(1, Cleanup::Delete, &few_at_once());
    for minute in 1..=200 {
        counted.now = Timestamp::from_unix_seconds(60 * minute);
        counted.ask((0..10).map(|_| append("a")));
    }
    // Eight minutes and a little are within the time.
    assert!(counted.rows("record") <= 120, "{} records are left", counted.rows("record"));
}

#[test]
fn what_a_deleted_topic_held_goes_while_another_one_has_much_to_remove() {
    let mut counted = Counted::with(4, Cleanup::Delete, &few_at_once());
    counted.ask((0..5).map(|_| append("a")));
    let name: intertie_messaging::Name = "facts".parse().expect("a name");
    counted.ask([Command::Topic(Ask::Delete { name: name.clone() })]);
    let spec = Box::new(TopicSpec { retention: RETENTION, ..TopicSpec::default() });
    counted.ask([Command::Topic(Ask::Declare { name, spec })]);
    counted.ask((0..900).map(|_| append("a")));
    counted.now = Timestamp::from_unix_seconds(1000);
    // The first of these may remove as many as were appended.
    let mut rounds = 0;
    while counted.rows("topic_partition") > 1 {
        counted.ask([append("a")]);
        rounds += 1;
        assert!(rounds < 20, "{} partitions are left", counted.rows("topic_partition"));
    }
}

#[test]
fn many_empty_partitions_of_a_deleted_topic_go_at_once() {
    let mut counted = Counted::new(500, Cleanup::Delete);
    counted.ask([Command::Topic(Ask::Delete { name: "facts".parse().expect("a name") })]);
    counted.ask([]);
    assert_eq!(counted.rows("topic_partition"), 0);
}

#[test]
fn what_time_removes_at_once_is_bounded_in_records_and_in_bytes() {
    let store = StoreConfig { group_bytes_max: ByteSize::from_bytes(250), ..StoreConfig::default() };
    let small = EmbeddedConfig { store, ..EmbeddedConfig::default() };
    for (config, most) in [(few_at_once(), 3), (small, 5)] {
        let mut counted = Counted::with(1, Cleanup::Delete, &config);
        counted.ask((0..20).map(|_| append("a")));
        // What a group appended counts for the next one alone.
        counted.ask([]);
        counted.now = Timestamp::from_unix_seconds(1000);
        let mut removed = Vec::new();
        while counted.parts.next_due().is_some_and(|due| due <= counted.now) {
            removed.push(counted.ask([]).1 - 1);
        }
        assert_eq!(removed.iter().sum::<u64>(), 20);
        assert!(
            removed.iter().all(|removed| (1..=most).contains(removed)) && removed.len() > 3,
            "{removed:?}"
        );
    }
}
