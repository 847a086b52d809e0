//! A process that is killed while it writes.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use intertie_engine_embedded::store::StoreConfig;

use crate::ledger::{Command, Progress, audit};
use crate::workload::{open_with, runtime};

/// Set for the process that is killed: where it writes, and by which seed.
const DIRECTORY: &str = "INTERTIE_TEST_KILLED_DIRECTORY";
const SEED: &str = "INTERTIE_TEST_KILLED_SEED";

/// Enters what comes by a few at once, and tells each number and identity once it was acknowledged.
fn write_until_killed(directory: &Path, seed: u64) {
    let store = open_with(directory, &StoreConfig::default(), &Progress::default()).expect("opens");
    let runtime = runtime();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut out = std::io::stdout();
    loop {
        let identities: Vec<u64> = (0..random.u64(1..32)).map(|_| random.u64(1..1 << 40)).collect();
        let answers: Vec<_> =
            identities.iter().map(|identity| store.submit(Command::Enter { identity: *identity })).collect();
        for (identity, answer) in identities.into_iter().zip(answers) {
            let number = runtime.block_on(answer).expect("stores");
            writeln!(out, "acknowledged {number} {identity}").expect("the test reads");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    if let (Some(directory), Ok(seed)) = (env::var_os(DIRECTORY), env::var(SEED)) {
        return write_until_killed(Path::new(&directory), seed.parse().expect("a seed"));
    }
    let place = tempfile::tempdir().expect("a directory");
    let mut known: Vec<(usize, u64)> = Vec::new();
    for seed in 0..20 {
        let mut child = Process::new(env::current_exe().expect("this test"))
            .args(["--exact", "kill::a_killed_process_loses_nothing_that_it_acknowledged", "--nocapture"])
            .env(DIRECTORY, place.path())
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test runs again");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut told = |count| {
            let acknowledged = lines.by_ref().map_while(Result::ok).filter_map(|line| {
                let mut words = line.split("acknowledged ").nth(1)?.split(' ');
                Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
            });
            known.extend(acknowledged.take(count));
        };
        told(fastrand::usize(1..300));
        child.kill().expect("runs until it is killed");
        child.wait().expect("ends");
        told(usize::MAX);

        let store = open_with(place.path(), &StoreConfig::default(), &Progress::default());
        let store = store.expect("opens after the kill");
        let found = runtime().block_on(store.query(audit)).expect("the store can be read");
        for (number, identity) in &known {
            assert_eq!(found.get(number - 1), Some(identity), "entry {number} was acknowledged");
        }
    }
    assert!(known.len() > 20, "each process acknowledged something");
}
