use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn at(secs: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(secs)
}

/// Three failures eject, for 10 s at first and 25 s at most.
fn config() -> OutlierConfig {
    OutlierConfig {
        consecutive_failures: NonZeroU32::new(3).expect("not zero"),
        ejection: Duration::from_secs(10),
        ejection_max: Duration::from_secs(25),
        max_ejected: Ratio::from_percent(50),
    }
}

/// Fails at `now` until ejected.
fn eject(outlier: &mut Outlier, now: Instant) -> Ejection {
    (0..3)
        .find_map(|_| outlier.record(&config(), now, Evidence::Failure, true))
        .expect("three failures eject")
}

#[test]
fn defaults_are_those_of_the_page() {
    let read: OutlierConfig = serde_json::from_str("{}").expect("every key has a default");
    assert_eq!(read, OutlierConfig::default());
    assert_eq!(read.validate(), Ok(()));
    assert_eq!(
        serde_json::to_value(&read).expect("serializes"),
        serde_json::json!({
            "consecutive_failures": 5, "ejection": "30s", "ejection_max": "5m", "max_ejected": "50%"
        })
    );
}

#[test]
fn options_that_can_not_work_are_refused() {
    let check = |change: fn(&mut OutlierConfig), field| {
        let mut config = config();
        change(&mut config);
        assert_eq!(config.validate().expect_err(field).field, field);
    };
    check(|config| config.ejection = Duration::ZERO, "ejection");
    check(|config| config.ejection_max = Duration::from_secs(9), "ejection_max");
    check(|config| config.max_ejected = Ratio::ZERO, "max_ejected");
    let constant = OutlierConfig { ejection_max: config().ejection, ..config() };
    assert_eq!(constant.validate(), Ok(()), "every ejection may last equally long");
    assert!(serde_json::from_str::<OutlierConfig>(r#"{ "failures": 5 }"#).is_err());
    assert!(serde_json::from_str::<OutlierConfig>(r#"{ "consecutive_failures": 0 }"#).is_err());
}

#[test]
fn an_ejection_ends_exactly_when_it_says() {
    let mut outlier = Outlier::default();
    assert_eq!(eject(&mut outlier, at(100)), Ejection { until: at(110), times: 1 });
    assert!(outlier.is_ejected(at(100)));
    assert!(outlier.is_ejected(Instant::from_nanos(at(110).as_nanos() - 1)));
    assert!(!outlier.is_ejected(at(110)));
}

#[test]
fn ejections_in_a_row_last_longer_up_to_the_longest() {
    let mut outlier = Outlier::default();
    assert_eq!(eject(&mut outlier, at(0)), Ejection { until: at(10), times: 1 });
    assert_eq!(eject(&mut outlier, at(10)), Ejection { until: at(30), times: 2 });
    assert_eq!(eject(&mut outlier, at(30)), Ejection { until: at(55), times: 3 });
    assert_eq!(eject(&mut outlier, at(55)), Ejection { until: at(80), times: 3 });
}

#[test]
fn each_period_in_service_forgives_one_ejection() {
    let ejected_three_times = || {
        let mut outlier = Outlier::default();
        for now in [0, 10, 30] {
            eject(&mut outlier, at(now));
        }
        outlier
    };
    for (now, times) in [(64, 3), (65, 3), (74, 3), (75, 2), (84, 2), (85, 1), (9_999, 1)] {
        assert_eq!(eject(&mut ejected_three_times(), at(now)).times, times, "at {now} s, out until 55 s");
    }
}

#[test]
fn failures_count_on_while_no_ejection_is_allowed() {
    let mut outlier = Outlier::default();
    for _ in 0..5 {
        assert_eq!(outlier.record(&config(), at(0), Evidence::Failure, false), None);
    }
    assert!(outlier.record(&config(), at(0), Evidence::Failure, true).is_some());
}

#[test]
fn a_success_never_ejects_even_after_failures_that_could_not() {
    let mut outlier = Outlier::default();
    for _ in 0..5 {
        outlier.record(&config(), at(0), Evidence::Failure, false);
    }
    assert_eq!(outlier.record(&config(), at(0), Evidence::None, true), None);
    assert_eq!(outlier.record(&config(), at(0), Evidence::Success, true), None);
    assert_eq!(outlier.record(&config(), at(0), Evidence::Failure, true), None);
}

#[test]
fn the_largest_share_holds_after_one_more_ejection() {
    let half = config();
    for (ejected, endpoints, allowed) in [
        (0, 0, false),
        (0, 1, false),
        (0, 2, true),
        (1, 2, false),
        (0, 3, true),
        (1, 3, false),
        (1, 4, true),
        (2, 4, false),
    ] {
        assert_eq!(may_eject(&half, ejected, endpoints), allowed, "{ejected} of {endpoints}");
    }
    let all = OutlierConfig { max_ejected: Ratio::ONE, ..config() };
    assert!(!may_eject(&all, 0, 1), "a lone endpoint stays");
    assert!(may_eject(&all, 1, 2));
}

/// One call's end in the log of the model.
#[derive(Debug, Clone, Copy)]
struct Entry {
    now: Instant,
    evidence: Evidence,
}

/// The model keeps everything that ever happened and reads it anew each time.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    ejections: Vec<Ejection>,
}

impl Log {
    fn record(&mut self, config: &OutlierConfig, entry: Entry, may_eject: bool) -> Option<Ejection> {
        if self.ejections.iter().any(|past| entry.now < past.until) {
            return None;
        }
        self.entries.push(entry);
        let failing = self
            .entries
            .iter()
            .rev()
            .filter(|it| it.evidence != Evidence::None)
            .take_while(|it| it.evidence == Evidence::Failure);
        let enough = failing.count() >= config.consecutive_failures.get() as usize;
        if entry.evidence != Evidence::Failure || !may_eject || !enough {
            return None;
        }
        let mut times = 1;
        if let Some(last) = self.ejections.last() {
            times += last.times;
            let mut forgiven_at = last.until + config.ejection;
            while times > 1 && forgiven_at <= entry.now {
                times -= 1;
                forgiven_at = forgiven_at + config.ejection;
            }
        }
        while times > 1 && config.ejection * (times - 1) >= config.ejection_max {
            times -= 1;
        }
        let ejection =
            Ejection { until: entry.now + (config.ejection * times).min(config.ejection_max), times };
        self.entries.clear();
        self.ejections.push(ejection);
        Some(ejection)
    }
}

proptest! {
    #[test]
    fn ejections_follow_from_the_log_of_all_calls(
        calls in vec((0_u64..12, prop_oneof![
            4 => Just(Evidence::Failure), 1 => Just(Evidence::Success), 1 => Just(Evidence::None)
        ], proptest::bool::weighted(0.8)), 0..200),
        ejection in 1_u64..30,
        longer in 0_u64..90,
    ) {
        let config = OutlierConfig {
            ejection: Duration::from_secs(ejection),
            ejection_max: Duration::from_secs(ejection + longer),
            ..config()
        };
        let (mut outlier, mut log) = (Outlier::default(), Log::default());
        let mut now = Instant::ORIGIN;
        for (after, evidence, may_eject) in calls {
            now = now + Duration::from_secs(after);
            let expected = log.record(&config, Entry { now, evidence }, may_eject);
            prop_assert_eq!(outlier.record(&config, now, evidence, may_eject), expected);
            prop_assert_eq!(outlier.is_ejected(now), log.ejections.last().is_some_and(|last| now < last.until));
        }
    }

    #[test]
    fn what_may_eject_allows_stays_within_the_largest_share(percent in 1_u32..=100, endpoints in 0_usize..500) {
        let config = OutlierConfig { max_ejected: Ratio::from_percent(percent), ..config() };
        let ejected = (0..endpoints).take_while(|ejected| may_eject(&config, *ejected, endpoints)).count();
        prop_assert!(ejected * 100 <= percent as usize * endpoints);
        prop_assert!(endpoints < 2 || (ejected + 1) * 100 > percent as usize * endpoints, "stopped too early");
    }
}
