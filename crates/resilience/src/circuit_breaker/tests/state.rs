use crate::circuit_breaker::outcomes::Outcomes;
use crate::circuit_breaker::state::State;

use super::*;

const NO_JITTER: Ratio = Ratio::from_percent(0);

fn closed() -> State {
    State::new(CircuitBreakerConfig::standard())
}

fn opened(now: Instant) -> State {
    let mut state = closed();
    state.trip(now, state.epoch(), Cause::Failures, None, NO_JITTER).expect("closed until now");
    state
}

/// They stand in metrics, logs and health answers: whoever reads those depends on them.
#[test]
fn names_do_not_change() {
    let phases = [Phase::Closed, Phase::Open, Phase::HalfOpen].map(Phase::name);
    assert_eq!(phases, ["closed", "open", "half_open"]);
    let counted = [Cause::Failures, Cause::FailureRate, Cause::SlowCallRate, Cause::ConsecutiveFailures];
    assert_eq!(
        counted.map(Cause::name),
        ["failures", "failure_rate", "slow_call_rate", "consecutive_failures"]
    );
    let others = [Cause::OpenElapsed, Cause::ProbeFailed, Cause::ProbesSucceeded, Cause::Reset];
    assert_eq!(others.map(Cause::name), ["open_elapsed", "probe_failed", "probes_succeeded", "reset"]);
}

/// The outcomes are counted without a lock: the verdict may come when its epoch is over, or when another
/// thread's verdict came first.
#[test]
fn only_the_epoch_that_was_counted_trips() {
    let mut state = closed();
    state.reset();
    assert_eq!(state.trip(at(1), 0, Cause::Failures, None, NO_JITTER), None, "counted before the reset");
    assert_eq!(state.phase(), Phase::Closed);

    let mut state = opened(at(1));
    let epoch = state.epoch();
    assert_eq!(state.trip(at(2), epoch, Cause::Failures, None, NO_JITTER), None, "open already");
    assert_eq!(state.open_until(), Some(at(31)), "the first verdict's time stands");
}

/// A call that was held up between its end and its counting may belong to an epoch that is over by then.
#[test]
fn failures_in_a_row_are_those_of_the_newest_epoch() {
    let config =
        CircuitBreakerConfig { consecutive_failures: NonZeroU32::new(2), ..CircuitBreakerConfig::standard() };
    let outcomes = Outcomes::new(&config);
    let fail = |epoch| outcomes.record(&config, at(0), epoch, Evidence::Failure, false);
    assert_eq!((fail(7), fail(6), fail(6)), (None, None, None), "those of 6 come too late");
    assert_eq!(fail(7), Some(Cause::ConsecutiveFailures), "and the one of 7 is still counted");
    assert_eq!(fail(8), None, "a new epoch begins anew");
}

#[test]
fn an_open_one_rejects_by_itself_until_its_time() {
    let mut state = opened(at(0));
    let rejection = state.admit(at(29)).expect_err("open for 30 s");
    assert_eq!((rejection.bound, rejection.retry_after), ("open", Some(SECOND)));
    let (_, transition) = state.admit(at(30)).expect("its time is over");
    assert_eq!(transition.map(|transition| transition.cause), Some(Cause::OpenElapsed));
    assert_eq!(state.open_until(), None);
}
