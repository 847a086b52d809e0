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
    assert_eq!(state.open_until(), opened(at(1)).open_until(), "the first verdict's time stands");
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
