use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::model::{Bug, Model};
use crate::queue::QueueVerb;

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
    paused().block_on(run(Arc::new(subject), config))
}

fn few_messages() -> ConformanceConfig {
    let few = |count: u32| count.try_into().expect("not zero");
    ConformanceConfig { messages: few(100), consumers: few(10), ..ConformanceConfig::default() }
}

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn is_skipped(tried: &&Tried) -> bool {
    matches!(tried.verdict, Verdict::NotApplicable { .. })
}

#[test]
fn the_model_keeps_every_promise() {
    let certificate = certify(Modelled::default(), &ConformanceConfig::default());
    assert_eq!(certificate.failures().count(), 0, "{}", certificate.report());
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
    (Bug::LeakDropped, "a_dropped_wait_loses_and_keeps_nothing"),
    (Bug::WindowTooLong, "the_window_ends_at_its_edge"),
    (Bug::IgnoreSource, "the_same_id_of_another_source_is_another_message"),
    (Bug::PrioritiesReversed, "higher_priorities_come_first"),
    (Bug::GroupLeapfrog, "a_group_waits_while_its_first_message_is_repeated"),
    (Bug::HalfBatch, "one_bad_message_refuses_the_batch_and_names_itself"),
    (Bug::TornCommit, "a_commit_that_is_dropped_is_done_whole_or_not_at_all"),
    (Bug::CheckThenAct, "of_marks_that_race_one_wins"),
    (Bug::CheckThenAct, "sends_that_race_do_not_overfill"),
    (Bug::CheckThenAct, "of_sends_that_race_with_one_id_one_is_stored"),
    (Bug::SettleOnce, "of_settlements_that_race_one_is_done"),
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
    (Bug::MarkForEver, "a_mark_is_forgotten_after_its_time"),
    (Bug::SleepThroughChange, "a_waiting_consumer_wakes_when_a_message_is_sent"),
    (Bug::SleepThroughChange, "a_waiting_reader_wakes_when_a_record_is_appended"),
    (Bug::WaitForEver, "a_wait_for_nothing_ends_in_time"),
    (Bug::TakeLateSettlement, "a_settlement_that_comes_late_is_stale"),
    (Bug::KeepForEver, "records_are_kept_for_their_time_and_then_removed"),
    (Bug::KeepForEver, "the_oldest_records_make_room"),
    (Bug::IgnoreSize, "a_message_that_is_too_large_is_refused"),
    (Bug::IgnoreSize, "a_record_that_is_too_large_is_refused"),
    (Bug::AllowUndeclared, "a_priority_that_is_not_declared_is_refused"),
    (Bug::AllowUndeclared, "a_queue_without_delays_refuses_them"),
    (Bug::FullOfDuplicates, "a_duplicate_fits_into_a_full_queue"),
    (Bug::ForgetOnRestart, "an_id_is_remembered_over_a_restart"),
    (Bug::ForgetOnRestart, "a_mark_outlasts_a_restart"),
    (Bug::ForgetOnRestart, "records_outlast_a_restart"),
    (Bug::OutlastRestart, "a_transient_queue_does_not_outlast_a_restart"),
    (Bug::DeclareEmpties, "a_queue_that_is_declared_again_is_left_alone"),
    (Bug::DeclareEmpties, "a_topic_that_is_declared_again_is_left_alone"),
    (Bug::LoseExtensions, "messages_come_as_they_were_sent"),
    (Bug::LoseExtensions, "records_are_read_as_they_were_appended"),
    (Bug::SkipRecord, "records_are_read_in_the_order_in_which_they_were_appended"),
    (Bug::SkipRecord, "positions_are_found"),
    (Bug::IgnoreBytesMax, "pages_are_no_larger_than_asked"),
    (Bug::EmptyPage, "the_first_record_comes_however_large"),
    (Bug::IgnorePartition, "a_record_goes_to_the_partition_that_it_names"),
    (Bug::LoseNewPartitions, "a_new_partition_is_given_to_the_group"),
    (Bug::ShareGroups, "groups_do_not_share_positions"),
    (Bug::StartAgain, "a_group_begins_where_it_was_told_to_once"),
    (Bug::LagByPositions, "lag_counts_what_is_kept"),
    (Bug::PretendToSync, "receipts_are_as_durable_as_asked"),
    (Bug::PretendToSync, "receipts_of_records_are_as_durable_as_asked"),
    (Bug::PretendToSync, "what_can_not_be_replicated_is_refused"),
    (Bug::DropPromise, "each_key_of_a_queue_is_kept_or_refused"),
    (Bug::DropPromise, "any_topic_is_kept_or_refused_in_every_part"),
    (Bug::DeclareAnything, "a_specification_that_can_not_work_is_refused"),
    (Bug::DeclareAnything, "any_queue_is_kept_or_refused_in_every_part"),
    (Bug::DeadLettersNowhere, "a_named_queue_of_dead_letters_must_be_there"),
    (Bug::DeleteNothing, "a_deleted_queue_is_gone"),
    (Bug::DeleteNothing, "unknown_topics_and_partitions_are_refused"),
    (Bug::NoNearest, "an_unknown_queue_is_refused_with_the_nearest_name"),
    (Bug::NoNearest, "unknown_topics_and_partitions_are_refused"),
    (Bug::ReverseBatch, "a_batch_is_stored_in_its_order"),
    (Bug::RefuseWithoutHint, "each_key_of_a_topic_is_kept_or_refused"),
    (Bug::CommitAgain, "a_commit_that_was_done_is_not_done_again"),
    (Bug::SkipOthers, "a_commit_of_which_some_was_done_is_refused"),
    (Bug::SettleOnce, "of_commits_that_race_one_is_done"),
    (Bug::AdvanceBack, "an_advance_and_its_appends_are_not_done_again"),
    (Bug::PromiseCommits, "what_can_be_committed_together_is_said_before"),
    (Bug::CompleteNothing, "a_request_is_completed_with_what_it_sends"),
    (Bug::CompleteAgain, "a_request_that_was_completed_sends_nothing_again"),
    (Bug::CompleteUnfenced, "a_request_that_is_anothers_sends_nothing"),
    (Bug::ForgetOnRestart, "a_completed_request_outlasts_a_restart"),
    (Bug::RedriveLiving, "only_a_dead_letter_that_waits_is_redriven"),
    (Bug::RedriveDeduplicates, "a_redrive_goes_past_the_deduplication_window"),
    (Bug::ForgetRedrives, "a_redriven_message_comes_again_and_is_counted"),
    (Bug::BuryWithoutCause, "what_can_not_be_read_is_buried_as_it_came"),
    (Bug::AdvanceBack, "what_a_group_could_not_handle_is_buried_with_its_advance"),
    (Bug::LoseDeadLetters, "a_queue_of_dead_letters_is_not_deleted"),
    (Bug::LoseDeadLetters, "a_queue_of_dead_letters_outlasts_the_process_like_its_sources"),
    (Bug::LoseDeadLetters, "a_queue_of_dead_letters_is_not_removed_for_idleness"),
    (Bug::LoseDeadLetters, "dead_letters_do_not_go_in_a_circle"),
    (Bug::KeepDeadLetters, "empty_dead_letters_go_with_their_queue"),
    (Bug::KeepDeadLetters, "the_last_dead_letter_takes_its_queue_along"),
    (Bug::LoseDeadLetters, "a_queue_of_dead_letters_is_as_durable_as_its_sources"),
    (Bug::AnyQueue, "a_lease_of_another_queue_is_stale"),
    (Bug::GuessableLeases, "a_lease_can_not_be_guessed"),
    (Bug::RememberSettled, "a_settlement_is_known_for_its_window"),
    (Bug::RememberSettled, "no_more_settlements_are_known_than_settlements_max"),
    (Bug::OneTakesAll, "one_consumer_holds_no_more_than_its_share"),
    (Bug::LeaseForEver, "no_lease_is_longer_than_visibility_timeout_max"),
    (Bug::LeaseForEver, "no_extension_is_longer_than_visibility_timeout_max"),
    (Bug::IgnoreBytesMax, "leases_are_no_larger_than_asked"),
    (Bug::IgnoreBytesMax, "pages_of_messages_are_no_larger_than_asked"),
    (Bug::RememberCancelled, "a_cancelled_message_can_be_sent_again"),
    (Bug::IgnoreTtl, "the_age_of_a_message_goes_on_while_it_is_repeated"),
    (Bug::FullOfDuplicates, "duplicates_in_a_batch_take_no_room"),
    (Bug::ListAll, "queues_are_listed_page_by_page"),
    (Bug::ListAll, "topics_are_listed_page_by_page"),
    (Bug::ListAll, "groups_are_listed_page_by_page"),
    (Bug::ShareMembership, "who_joins_again_takes_its_own_place"),
    (Bug::HeartbeatUnfenced, "a_member_that_was_replaced_neither_stays_nor_hands_back"),
    (Bug::ForgetMembers, "members_outlast_a_restart"),
    (Bug::SeekUnfenced, "a_group_goes_on_where_somebody_says"),
    (Bug::GenerationsAgain, "who_was_in_a_topic_that_was_deleted_is_not_in_the_one_of_its_name"),
    (Bug::AdvanceBeyond, "nobody_advances_beyond_the_end"),
    (Bug::MissNewPartitions, "a_group_begins_a_new_partition_at_its_beginning"),
    (Bug::TombstoneByMistake, "an_empty_record_ends_no_key_by_mistake"),
    (Bug::SessionForEver, "no_session_is_longer_than_session_timeout_max"),
    (Bug::AllowUnoffered, "what_is_not_offered_is_refused_when_it_is_used"),
    (Bug::RefuseWithoutHint, "any_queue_is_kept_or_refused_in_every_part"),
];

#[test]
fn every_bug_is_found_by_the_case_that_is_there_for_it() {
    let config = few_messages();
    for (bug, name) in FOUND {
        let case = cases().into_iter().find(|case| case.name == *name).expect(name);
        // This one needs something that is not offered.
        let refusing = if *bug == Bug::AllowUnoffered { vec!["extend"] } else { Vec::new() };
        let subject: Arc<dyn Subject> =
            Arc::new(Modelled { bug: Some(*bug), refusing, ..Modelled::default() });
        let verdict = paused().block_on(case.run(&subject, &config));
        assert!(matches!(verdict, Verdict::Failed { .. }), "{bug:?} and {name}: {verdict:?}");
    }
}

#[test]
fn every_bug_has_a_case_that_finds_it() {
    let missing = Bug::ALL.iter().filter(|bug| !FOUND.iter().any(|(found, _)| found == *bug));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Bug>::new());
}

#[test]
fn an_engine_that_refuses_is_certified_for_the_rest() {
    let mut refusing = vec!["groups", "priorities", "delays", "deduplication_window", "cleanup", "commit"];
    refusing.extend(QueueVerb::ALL.map(QueueVerb::name));
    let certificate = certify(Modelled { refusing, ..Modelled::default() }, &few_messages());
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
        ("an_extended_lease_lasts_past_its_first_end", "extend"),
        ("a_consumer_may_ask_for_another_time", "lease_time"),
        ("messages_are_browsed_page_by_page", "browse"),
        ("what_waits_longer_than_ttl_is_dead", "browse"),
        ("a_redrive_needs_room", "redrive"),
        ("a_handler_acknowledges_marks_sends_and_appends_at_once", "commit"),
    ] {
        assert!(not_applicable(name).contains(key), "{name}: {}", not_applicable(name));
    }
}

#[test]
fn a_case_that_panics_or_hangs_has_failed() {
    let plain =
        Case { port: Port::Queue, feature: "none", name: "none", test: |_| Box::pin(async { Ok(()) }) };
    let panics = Case { test: |_| Box::pin(async { panic!("no such lease") }), ..plain };
    let hangs = Case { test: |_| Box::pin(std::future::pending()), ..plain };
    for (case, problem) in [(plain, None), (panics, Some("no such lease")), (hangs, Some("`ticks_max`"))] {
        let subject: Arc<dyn Subject> = Arc::new(Modelled::default());
        match (paused().block_on(case.run(&subject, &few_messages())), problem) {
            (Verdict::Passed, None) => {}
            (Verdict::Failed { problem: found }, Some(problem)) if found.contains(problem) => {}
            (other, _) => panic!("{problem:?}: {other:?}"),
        }
    }
}

#[test]
fn names_of_cases_are_used_once() {
    let mut names: Vec<_> = cases().iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn certificates_are_written_read_and_laid_side_by_side() {
    let whole = certify(Modelled::default(), &few_messages());
    let mut part = certify(Modelled { refusing: vec!["groups"], ..Modelled::default() }, &few_messages());
    part.engine = "other".to_owned();
    part.cases[0].verdict = Verdict::Failed { problem: "it came twice".to_owned() };
    part.kept[0].keeping = Keeping::Emulated { by: "a | b".to_owned(), cost: "a write".to_owned() };
    assert_eq!(Certificate::from_json(&part.to_json()).expect("a certificate"), part);
    assert_eq!(
        part.report(),
        "queue/delivery/a_message_is_leased_once_and_gone_after_its_ack: it came twice\n"
    );
    let table = capability_table(&[whole.clone(), part.clone()]);
    let version = env!("CARGO_PKG_VERSION");
    let cases = whole.cases.len();
    let groups = part.cases.iter().filter(is_skipped).count();
    for line in [
        format!("| promise | model {version} | other {version} |"),
        "| queue: durable = true | native | emulated by a \\| b; costs a write |".to_owned(),
        "| queue: groups | native | refused: it was told to refuse this |".to_owned(),
        "| log: replicas, 3 | refused: it keeps one copy | refused: it keeps one copy |".to_owned(),
        format!(
            "| cases passed, failed, not applicable | {cases}, 0, 0 | {}, 1, {groups} |",
            cases - 1 - groups
        ),
    ] {
        assert!(table.lines().any(|other| other == line), "{line}\nis not in\n{table}");
    }
}
