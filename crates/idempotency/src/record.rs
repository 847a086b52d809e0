//! What is remembered of a key, and what is decided by it: functions of the record and the time.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use intertie_core::clock::Timestamp;

use crate::Fingerprint;

/// What is remembered of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of the request that came first.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub state: State,
    /// When the record is as if it were not there.
    pub until: Timestamp,
    /// The number of whoever began it last.
    pub fence: u64,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody works on it.
    InFlight,
    /// It was answered, in bytes that only those who answer can read; without them, the answer was too large to be
    /// kept.
    Done(Option<Bytes>),
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Do it, and complete it with this fence.
    Begin {
        /// The right to complete it.
        fence: u64,
    },
    /// Another one is under way, until then at most unless it asks for more time.
    InFlight {
        /// When its time is over.
        until: Timestamp,
    },
    /// The key belongs to another request.
    Mismatch,
    /// It was done: this was the answer, if it is kept.
    Replay(Option<Bytes>),
}

/// The record is another's by now: the time was over and somebody else began, or it is no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request took longer than its time, and is another's by now")
    }
}

impl std::error::Error for Lost {}

/// Decides about a request with `fingerprint`, and what to remember of it from now on: unset, what was. `fence` is a
/// number that nobody had before, under this key or another: a record may be forgotten while somebody slow still
/// means to complete it.
///
/// Who begins has `time` to complete or to ask for more. After that another one may begin: what the first has done by
/// then may be done again, unless it is done in the transaction that completes the record.
pub fn begin(
    record: Option<&Record>,
    fingerprint: Fingerprint,
    now: Timestamp,
    time: Duration,
    fence: u64,
) -> (Decision, Option<Record>) {
    if let Some(record) = record.filter(|record| record.until > now) {
        let decision = match &record.state {
            _ if record.fingerprint != fingerprint => Decision::Mismatch,
            State::InFlight => Decision::InFlight { until: record.until },
            State::Done(answer) => Decision::Replay(answer.clone()),
        };
        return (decision, None);
    }
    let record = Record { fingerprint, state: State::InFlight, until: after(now, time), fence };
    (Decision::Begin { fence }, Some(record))
}

/// Gives who began with `fence` another `time` from now on; what to remember from now on.
///
/// # Errors
/// When the record is another's.
pub fn extend(record: Option<&Record>, fence: u64, now: Timestamp, time: Duration) -> Result<Record, Lost> {
    let record = in_flight(record, fence)?;
    Ok(Record { until: after(now, time), ..record.clone() })
}

/// Keeps the answer for `kept`, or without it only that there was one; what to remember from now on. Nothing new when
/// it was completed with this fence before, and is still remembered: what was to be done with it is done.
///
/// # Errors
/// When the record is another's.
pub fn complete(
    record: Option<&Record>,
    fence: u64,
    answer: Option<Bytes>,
    now: Timestamp,
    kept: Duration,
) -> Result<Option<Record>, Lost> {
    if record.is_some_and(|record| record.fence == fence && matches!(record.state, State::Done(_))) {
        return Ok(None);
    }
    let record = in_flight(record, fence)?;
    Ok(Some(Record { state: State::Done(answer), until: after(now, kept), ..record.clone() }))
}

/// Gives up: the request was not done, and may be begun at once; what to remember from now on.
///
/// # Errors
/// When the record is another's.
pub fn abandon(record: Option<&Record>, fence: u64, now: Timestamp) -> Result<Record, Lost> {
    let record = in_flight(record, fence)?;
    Ok(Record { until: now, ..record.clone() })
}

/// A record that is over by the clock and that nobody has taken is still its own.
fn in_flight(record: Option<&Record>, fence: u64) -> Result<&Record, Lost> {
    record.filter(|record| record.fence == fence && record.state == State::InFlight).ok_or(Lost)
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_unix_nanos(now.as_unix_nanos().saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Duration = Duration::from_secs(10);
    const KEPT: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    fn print(content: u8) -> Fingerprint {
        Fingerprint::of("POST", "/", &[content])
    }

    fn answer(status: u64) -> Option<Bytes> {
        Some(Bytes::from(status.to_string()))
    }

    #[test]
    fn the_first_does_it_and_others_hear_what_became_of_it() {
        let (decision, record) = begin(None, print(1), at(0), TIME, 1);
        assert_eq!(decision, Decision::Begin { fence: 1 });
        let under_way = record.expect("remembered");
        assert_eq!(begin(Some(&under_way), print(1), at(9), TIME, 2).0, Decision::InFlight { until: at(10) });
        assert_eq!(begin(Some(&under_way), print(2), at(9), TIME, 2).0, Decision::Mismatch);
        let longer = extend(Some(&under_way), 1, at(9), TIME).expect("its own");
        assert_eq!(begin(Some(&longer), print(1), at(18), TIME, 2).0, Decision::InFlight { until: at(19) });
        let done = complete(Some(&longer), 1, answer(201), at(18), KEPT).expect("its own").expect("done now");
        assert_eq!(begin(Some(&done), print(1), at(117), TIME, 2).0, Decision::Replay(answer(201)));
        assert_eq!(begin(Some(&done), print(2), at(117), TIME, 2).0, Decision::Mismatch);
        assert_eq!(begin(Some(&done), print(2), at(118), TIME, 2).0, Decision::Begin { fence: 2 });
        assert_eq!(complete(Some(&done), 1, answer(500), at(19), KEPT), Ok(None), "it was answered");
        assert_eq!(complete(Some(&done), 2, answer(500), at(19), KEPT), Err(Lost));
    }

    #[test]
    fn who_was_too_slow_can_not_complete_what_another_has_begun() {
        let (_, slow) = begin(None, print(1), at(0), TIME, 1);
        let slow = slow.expect("remembered");
        // Late, but nobody was waiting.
        assert!(complete(Some(&slow), 1, answer(200), at(50), KEPT).is_ok());
        let (decision, taken) = begin(Some(&slow), print(1), at(10), TIME, 2);
        assert_eq!(decision, Decision::Begin { fence: 2 });
        let taken = taken.expect("remembered");
        assert_eq!(extend(Some(&taken), 1, at(11), TIME), Err(Lost));
        assert_eq!(complete(Some(&taken), 1, answer(200), at(11), KEPT), Err(Lost));
        assert_eq!(abandon(Some(&taken), 1, at(11)), Err(Lost));
        assert_eq!(complete(None, 1, answer(200), at(11), KEPT), Err(Lost));
        let free = abandon(Some(&taken), 2, at(11)).expect("its own");
        assert_eq!(begin(Some(&free), print(3), at(11), TIME, 3).0, Decision::Begin { fence: 3 });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(u8),
        Extend(usize),
        Complete(usize),
        Abandon(usize),
        Wait(u64),
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2u8).prop_map(Step::Begin),
            (0..6usize).prop_map(Step::Extend),
            (0..6usize).prop_map(Step::Complete),
            (0..6usize).prop_map(Step::Abandon),
            (0..40u64).prop_map(Step::Wait),
            Just(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn only_the_last_who_began_completes_and_all_hear_one_answer(steps in prop::collection::vec(step(), 1..60)) {
            let (mut record, mut seconds, mut fences) = (None::<Record>, 0, 1);
            // Who began, in order, and whether each is still at it.
            let mut holders: Vec<(u64, bool)> = Vec::new();
            let mut kept: Option<(u8, Option<Bytes>, u64)> = None;
            for step in steps {
                let now = at(seconds);
                let chosen = |at: usize, holders: &[(u64, bool)]| holders.get(at).copied();
                match step {
                    Step::Wait(time) => seconds += time,
                    // The store forgets what is over.
                    Step::Forget => record = record.filter(|record| record.until > now),
                    Step::Begin(content) => {
                        let (decision, next) = begin(record.as_ref(), print(content), now, TIME, fences);
                        fences += 1;
                        match decision {
                            Decision::Begin { fence } => {
                                prop_assert!(holders.iter().all(|(other, _)| *other < fence));
                                holders.iter_mut().for_each(|holder| holder.1 = false);
                                holders.push((fence, true));
                                kept = None;
                            }
                            Decision::Replay(answer) => {
                                let (of, expected, until) = kept.clone().expect("completed before");
                                prop_assert_eq!((of, &answer), (content, &expected));
                                prop_assert!(seconds < until);
                            }
                            Decision::InFlight { until } => prop_assert!(until > now && kept.is_none()),
                            Decision::Mismatch => {
                                prop_assert_ne!(record.as_ref().expect("a record").fingerprint, print(content));
                            }
                        }
                        record = next.or(record);
                    }
                    Step::Extend(holder) => if let Some((fence, current)) = chosen(holder, &holders) {
                        let extended = extend(record.as_ref(), fence, now, TIME);
                        prop_assert!(current || extended.is_err());
                        record = extended.ok().or(record);
                    },
                    Step::Complete(holder) => if let Some((fence, current)) = chosen(holder, &holders) {
                        let answer = answer(fence);
                        let done = complete(record.as_ref(), fence, answer.clone(), now, KEPT);
                        prop_assert!(current || !matches!(done, Ok(Some(_))));
                        if let Ok(None) = done {
                            prop_assert_eq!(kept.as_ref().map(|(_, kept, _)| kept), Some(&answer));
                        }
                        if let Ok(Some(done)) = done {
                            holders[holder].1 = false;
                            let content = u8::from(done.fingerprint == print(1));
                            kept = Some((content, answer, seconds + KEPT.as_secs()));
                            record = Some(done);
                        }
                    },
                    Step::Abandon(holder) => if let Some((fence, current)) = chosen(holder, &holders) {
                        let free = abandon(record.as_ref(), fence, now);
                        prop_assert!(current || free.is_err());
                        record = free.ok().or(record);
                    },
                }
            }
        }
    }
}
