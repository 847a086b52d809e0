use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};

use super::*;
use crate::model::{Bug, Model};

/// The model, in time that passes as fast as the suite wants.
#[derive(Default)]
struct Modelled {
    bug: Option<Bug>,
    refusing: Vec<&'static str>,
    now: Mutex<Option<Arc<Model>>>,
}

impl Subject for Modelled {
    fn open(&self) -> Pending<'_, Ports> {
        Box::pin(async {
            let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_755_945_000));
            let mut model = Model::new(&clock).refusing(self.refusing.iter().copied());
            if let Some(bug) = self.bug {
                model = model.with_bug(bug);
            }
            let model = Arc::new(model);
            *self.now.lock().expect("no test panics with it") = Some(model.clone());
            Ports::all(&model)
        })
    }

    fn restart(&self, ports: Ports) -> Pending<'_, Option<Ports>> {
        Box::pin(async {
            let model = self.now.lock().expect("no test panics with it").clone();
            model.expect("it was opened").restart();
            Some(ports)
        })
    }

    fn pass(&self, time: Duration) -> Pending<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn now(&self) -> Timestamp {
        self.now.lock().expect("no test panics with it").as_ref().expect("it was opened").now()
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn is_exact(&self) -> bool {
        true
    }
}

fn certify(subject: Modelled, config: &ConformanceConfig) -> Certificate {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(Arc::new(subject), config))
}

#[test]
fn the_model_keeps_every_promise() {
    let certificate = certify(Modelled::default(), &ConformanceConfig::default());
    assert_eq!(certificate.failures().count(), 0, "{}", certificate.report());
    let is_skipped = |tried: &&Tried| matches!(tried.verdict, Verdict::NotApplicable { .. });
    let skipped: Vec<_> = certificate.cases.iter().filter(is_skipped).collect();
    assert!(skipped.is_empty(), "{skipped:?}");
}

/// Each bug, and the case that is there to find it. Others may find it, too.
const FOUND: &[(Bug, &str)] = &[
    (Bug::DeliverTwice, "competing_consumers_get_each_message_once"),
    (Bug::LoseOnRetry, "after_max_deliveries_there_is_one_dead_letter"),
    (Bug::RetryEarly, "a_retry_comes_no_earlier_than_asked"),
    (Bug::LoseRetryOnRestart, "a_retry_outlasts_a_restart"),
    (Bug::CountRelease, "a_release_does_not_count"),
    (Bug::OneDeliveryMore, "leases_that_end_in_silence_count_to_max_deliveries"),
    (Bug::BuryTwice, "a_rejected_message_is_dead_at_once_with_its_reason"),
    (Bug::NoFence, "a_stale_settlement_harms_nobody"),
    (Bug::LeaseForEver, "a_lease_that_ends_counts_and_its_message_comes_again"),
    (Bug::SettleOnce, "the_same_settlement_again_is_done_before"),
    (Bug::ExtendNothing, "an_extended_lease_lasts_past_its_first_end"),
    (Bug::LeakDropped, "a_dropped_lease_loses_and_keeps_nothing"),
    (Bug::WindowTooLong, "the_window_ends_at_its_edge"),
    (Bug::IgnoreSource, "the_same_id_of_another_source_is_another_message"),
    (Bug::PrioritiesReversed, "higher_priorities_come_first"),
    (Bug::GroupLeapfrog, "a_group_waits_while_its_first_message_is_repeated"),
    (Bug::HalfBatch, "one_bad_message_refuses_the_batch_and_names_itself"),
    (Bug::TornCommit, "a_commit_that_is_dropped_is_done_whole_or_not_at_all"),
    (Bug::IgnoreTtl, "what_waits_longer_than_ttl_is_dead"),
    (Bug::IgnoreDelay, "a_delayed_message_comes_when_it_is_due"),
    (Bug::CancelHeld, "what_a_consumer_holds_is_not_cancelled"),
    (Bug::DropOldest, "a_full_queue_refuses_and_drops_nothing"),
    (Bug::SleepThroughDue, "a_waiting_consumer_wakes_when_a_message_is_due"),
    (Bug::AdvanceUnfenced, "a_member_that_was_replaced_can_not_advance"),
    (Bug::RebalanceSteals, "a_long_handler_keeps_its_partition_until_it_hands_it_back"),
    (Bug::CompactLast, "compaction_keeps_the_last_record_of_each_key"),
    (Bug::SkipTies, "a_moment_is_found_before_all_that_was_stored_at_it"),
    (Bug::KeyWanders, "records_of_a_key_stay_in_its_partition"),
    (Bug::ForgetPositions, "positions_outlast_a_restart"),
    (Bug::MarkAgain, "a_message_is_marked_once"),
];

#[test]
fn the_suite_finds_every_bug_by_the_case_that_is_there_for_it() {
    let few = |count: u32| count.try_into().expect("not zero");
    let config = ConformanceConfig { messages: few(200), consumers: few(10), ..ConformanceConfig::default() };
    for (bug, case) in FOUND {
        let certificate = certify(Modelled { bug: Some(*bug), ..Modelled::default() }, &config);
        let found = certificate.failures().any(|tried| tried.name == *case);
        assert!(found, "{bug:?} is not found by {case}, but by:\n{}", certificate.report());
    }
}

#[test]
fn an_engine_that_refuses_is_certified_for_the_rest() {
    let refusing = vec!["groups", "priorities", "delays", "deduplication_window", "cleanup", "exclusive"];
    let certificate = certify(Modelled { refusing, ..Modelled::default() }, &ConformanceConfig::default());
    assert_eq!(certificate.failures().count(), 0, "{}", certificate.report());
    let not_applicable = |name: &str| {
        let tried = certificate.cases.iter().find(|tried| tried.name == name).expect(name);
        match &tried.verdict {
            Verdict::NotApplicable { why } => why.clone(),
            other => panic!("{name}: {other:?}"),
        }
    };
    for (name, key) in [
        ("a_group_is_in_order_one_at_a_time", "groups"),
        ("higher_priorities_come_first", "priorities"),
        ("what_waits_is_cancelled_once", "delays"),
        ("the_window_ends_at_its_edge", "deduplication_window"),
        ("compaction_keeps_the_last_record_of_each_key", "cleanup"),
    ] {
        assert!(not_applicable(name).contains(key), "{name}: {}", not_applicable(name));
    }
}

#[test]
fn names_of_cases_are_used_once() {
    let mut names: Vec<_> = cases().iter().map(|case| (case.port.name(), case.feature, case.name)).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(FOUND.iter().all(|(_, case)| names.iter().any(|(_, _, name)| name == case)));
}
