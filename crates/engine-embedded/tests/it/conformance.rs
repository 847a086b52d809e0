//! The suite of the ports, on real directories: each case on one of its own, many side by side, since most of
//! their time they wait for a real clock.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::telemetry::Events;
use intertie_engine_embedded::{Embedded, EmbeddedConfig};
use intertie_messaging::Pending;
use intertie_messaging::conformance::{self, ConformanceConfig, Ports, Subject, Verdict};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::workload::directory;

/// An engine in a directory of its own, which is opened again after a restart.
#[derive(Default)]
struct Directories {
    now: Mutex<Option<TempDir>>,
    /// Whether a restart finds what a killed process leaves, instead of what was closed.
    is_killed: bool,
    /// Whether it has the machine to itself, and can take its time.
    is_alone: bool,
}

fn open(directory: &Path) -> Ports {
    let config = EmbeddedConfig::default();
    let engine = Embedded::open(directory, &config, WallClock::system(), Events::default()).expect("opens");
    Ports::all(&Arc::new(engine))
}

/// What is in `directory`, as it would be found if its process were killed now.
fn copied(directory: &Path) -> TempDir {
    let copy = TempDir::new().expect("a directory");
    for file in std::fs::read_dir(directory).expect("is there") {
        let file = file.expect("is there");
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copies");
    }
    copy
}

impl Directories {
    /// Where a disk takes its time to sync, whoever counts from an answer counts from later than the engine
    /// does: so what looks at moments has no disk, and what looks at restarts has one.
    fn directory(&self) -> TempDir {
        if self.is_killed { TempDir::new().expect("a directory") } else { directory() }
    }
}

impl Subject for Directories {
    fn open(&self) -> Pending<'_, Ports> {
        Box::pin(async {
            let directory = self.directory();
            let ports = open(directory.path());
            *self.now.lock().expect("no test panics with it") = Some(directory);
            ports
        })
    }

    fn restart(&self, ports: Ports) -> Pending<'_, Option<Ports>> {
        Box::pin(async move {
            let mut now = self.now.lock().expect("no test panics with it");
            let directory = now.take().expect("it was opened");
            let directory = if self.is_killed { copied(directory.path()) } else { directory };
            drop(ports);
            let ports = open(directory.path());
            *now = Some(directory);
            Some(ports)
        })
    }

    fn pass(&self, time: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn now(&self) -> Timestamp {
        WallClock::system().now()
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(if self.is_alone { 1000 } else { 200 })
    }

    fn is_exact(&self) -> bool {
        false
    }
}

/// How many cases wait side by side.
const AT_ONCE: usize = 24;

fn certify(is_killed: bool, only: fn(&str) -> bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let few = |count: u32| count.try_into().expect("not zero");
    let config = ConformanceConfig { messages: few(500), consumers: few(20), ..ConformanceConfig::default() };
    let failed = runtime.expect("a runtime").block_on(async {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut cases = JoinSet::new();
        for case in conformance::cases().into_iter().filter(|case| only(case.name)) {
            let (places, config) = (places.clone(), config.clone());
            cases.spawn(async move {
                let _place = places.acquire_owned().await.expect("is not closed");
                let subject: Arc<dyn Subject> = Arc::new(Directories { is_killed, ..Directories::default() });
                (case, case.run(&subject, &config).await)
            });
        }
        let (mut late, mut failed, mut passed) = (Vec::new(), Vec::new(), 0);
        while let Some(case) = cases.join_next().await {
            let (case, verdict) = case.expect("cases are caught");
            match verdict {
                Verdict::Passed => passed += 1,
                Verdict::Failed { problem } => late.push((case, problem)),
                Verdict::NotApplicable { why } => {
                    assert!(why.contains("it keeps one copy"), "{case:?}: {why}");
                }
            }
        }
        assert!(passed > 5, "{passed} have passed");
        // Cases look shortly before and after moments, and beside many others they may come late to them.
        for (case, problem) in late {
            eprintln!("{case:?}, beside others: {problem}");
            let subject: Arc<dyn Subject> =
                Arc::new(Directories { is_killed, is_alone: true, ..Directories::default() });
            if let Verdict::Failed { problem } = case.run(&subject, &config).await {
                failed.push(format!("{case:?}: {problem}"));
            }
        }
        failed
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_engine_keeps_every_promise_of_its_ports() {
    certify(false, |_| true);
}

#[test]
fn what_is_promised_over_a_restart_is_kept_over_a_kill() {
    certify(true, |name| name.contains("restart"));
}
