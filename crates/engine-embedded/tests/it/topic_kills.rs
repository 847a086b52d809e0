//! A process that is killed while it appends and advances.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use intertie_core::clock::WallClock;
use intertie_core::envelope::Envelope;
use intertie_core::quantity::ByteSize;
use intertie_core::telemetry::Events;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::commit::{Committed, Operation, Outcome};
use intertie_messaging::log::{Assignment, Join, LogEngine, Member, Read, StartAt, Stored, TopicSpec};
use intertie_messaging::{Content, Engine, Name};

use crate::workload::runtime;

/// Set for the process that is killed: where it writes, and by which seed.
const DIRECTORY: &str = "INTERTIE_TEST_KILLED_TOPIC_DIRECTORY";
const SEED: &str = "INTERTIE_TEST_KILLED_TOPIC_SEED";

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn open(directory: &Path) -> Embedded {
    let config = EmbeddedConfig::default();
    Embedded::open(directory, &config, WallClock::system(), Events::default()).expect("opens")
}

fn join(engine: &Embedded) -> Assignment {
    let member = Member { topic: name("facts"), group: name("readers"), member: name("one") };
    let session_timeout = Duration::from_secs(600);
    let join = Join { member, session_timeout, start: StartAt::Beginning };
    runtime().block_on(engine.join(&join)).expect("joins")
}

/// Appends a few at once, goes on by some of them, and tells what was acknowledged.
fn write_until_killed(directory: &Path, seed: u64) {
    let (engine, runtime) = (open(directory), runtime());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut out = std::io::stdout();
    runtime.block_on(engine.declare_topic(&name("facts"), &TopicSpec::default())).expect("declares");
    let member = join(&engine);
    loop {
        let ids: Vec<u64> = (0..random.u64(1..8)).map(|_| random.u64(1..1 << 40)).collect();
        let append = |id: &u64| {
            let record = Envelope::new(&id.to_string(), "/test", "tested").expect("an event").into();
            Operation::Append { topic: name("facts"), record }
        };
        let committed = runtime.block_on(engine.commit(ids.iter().map(append).collect()));
        let Committed::Done(outcomes) = committed.expect("stores") else { panic!("it was not done before") };
        let mut last = 0;
        for (id, outcome) in ids.iter().zip(outcomes) {
            let Outcome::Stored(receipt) = outcome else { panic!("{outcome:?}") };
            last = receipt.position.expect("records have one");
            writeln!(out, "acknowledged record {last} {id}").expect("the test reads");
        }
        let membership = member.membership.clone();
        let advance = Operation::Advance { membership, partition: 0, next: last + 1 };
        runtime.block_on(engine.commit(advance.into())).expect("advances");
        writeln!(out, "acknowledged advance {} 0", last + 1).expect("the test reads");
    }
}

fn records(engine: &Embedded) -> Vec<Stored> {
    let read = Read {
        topic: name("facts"),
        partition: 0,
        from: 0,
        most: 1000.try_into().expect("not zero"),
        bytes_max: ByteSize::from_bytes(1 << 20),
        wait: Duration::ZERO,
    };
    let (mut records, mut from) = (Vec::new(), 0);
    loop {
        let page = runtime().block_on(engine.read(&Read { from, ..read.clone() })).expect("reads");
        if page.records.is_empty() {
            return records;
        }
        from = page.next;
        records.extend(page.records);
    }
}

#[test]
fn a_killed_process_loses_no_record_and_no_position_that_it_acknowledged() {
    if let (Some(directory), Ok(seed)) = (env::var_os(DIRECTORY), env::var(SEED)) {
        return write_until_killed(Path::new(&directory), seed.parse().expect("a seed"));
    }
    let place = tempfile::tempdir().expect("a directory");
    let (mut known, mut position): (BTreeMap<u64, String>, u64) = (BTreeMap::new(), 0);
    for seed in 0..20 {
        let test = "topic_kills::a_killed_process_loses_no_record_and_no_position_that_it_acknowledged";
        let mut child = Process::new(env::current_exe().expect("this test"))
            .args(["--exact", test, "--nocapture"])
            .env(DIRECTORY, place.path())
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test runs again");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut told = |count| {
            let acknowledged = lines.by_ref().map_while(Result::ok).filter_map(|line| {
                let mut words = line.split("acknowledged ").nth(1)?.split(' ');
                Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned()))
            });
            for (what, at, id) in acknowledged.take(count) {
                match what.as_str() {
                    "record" => drop(known.insert(at, id)),
                    _ => position = position.max(at),
                }
            }
        };
        told(fastrand::usize(1..200));
        child.kill().expect("runs until it is killed");
        child.wait().expect("ends");
        told(usize::MAX);

        let engine = open(place.path());
        let found = records(&engine);
        for (expected, record) in (0..).zip(&found) {
            assert_eq!(record.position, expected, "no gap");
        }
        for (at, id) in &known {
            let found = found.get(*at as usize).map(|record| &record.content);
            let is_there = matches!(found, Some(Content::Envelope(envelope)) if envelope.id() == id);
            assert!(is_there, "record {id} at {at} was acknowledged, and there is {found:?}");
        }
        let end = found.len() as u64;
        let goes_on = join(&engine).partitions[0].1;
        assert!((position..=end).contains(&goes_on), "the group is at {goes_on}, not in {position}..={end}");
    }
    assert!(known.len() > 20, "each process acknowledged something");
}
