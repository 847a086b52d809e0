use std::collections::BTreeSet;

use intertie_core::clock::Instant;
use proptest::prelude::*;

use super::super::intake::{Bounds, Entry, Intake};

/// What the driver of a consumer does.
#[derive(Debug, Clone)]
enum Step {
    /// A message of this group, which is overdue then; group 0 is none.
    TakeIn {
        group: u8,
        overdue_at: u64,
    },
    Begin,
    /// The unit that was begun so long ago ends, and its messages were done, or not, or not begun.
    End {
        unit: usize,
        as_what: Vec<u8>,
    },
    Overdue {
        now: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8, 1..100u64).prop_map(|(group, overdue_at)| Step::TakeIn { group, overdue_at }),
        3 => Just(Step::Begin),
        3 => (0..4usize, prop::collection::vec(0..6u8, 3))
            .prop_map(|(unit, as_what)| Step::End { unit, as_what }),
        1 => (1..100u64).prop_map(|now| Step::Overdue { now }),
    ]
}

/// All messages that are held, in the order in which they came, each with whether it is handled.
#[derive(Debug, Default)]
struct Naive {
    held: Vec<(Entry<u32>, bool)>,
}

impl Naive {
    /// Whether an earlier message of its group is held.
    fn is_behind(&self, at: usize) -> bool {
        let group = &self.held[at].0.group;
        group.is_some() && self.held[..at].iter().any(|(earlier, _)| earlier.group == *group)
    }

    fn remove(&mut self, number: u32) -> Entry<u32> {
        let at = self.held.iter().position(|(entry, _)| entry.value == number).expect("held");
        self.held.remove(at).0
    }

    /// Takes out what waits behind a message of `group`.
    fn behind(&mut self, entry: &Entry<u32>) -> BTreeSet<u32> {
        let own = |(held, _): &(Entry<u32>, bool)| held.group.is_some() && held.group == entry.group;
        let (behind, rest) = std::mem::take(&mut self.held).into_iter().partition(|held| own(held));
        self.held = rest;
        behind.iter().map(|(entry, _): &(Entry<u32>, bool)| entry.value).collect()
    }
}

fn numbers(entries: &[Entry<u32>]) -> BTreeSet<u32> {
    entries.iter().map(|entry| entry.value).collect()
}

proptest! {
    #[test]
    fn it_is_a_list_in_which_groups_go_one_by_one(
        steps in prop::collection::vec(step(), 0..80),
        held in 1..8usize,
        units in 1..4usize,
        unit in 1..4usize,
    ) {
        let mut intake = Intake::new(Bounds { held, units, unit });
        let mut naive = Naive::default();
        let mut running: Vec<Vec<Entry<u32>>> = Vec::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::TakeIn { group, overdue_at } if intake.credit() > 0 => {
                    let group = (group > 0).then(|| group.to_string().into());
                    let overdue_at = Instant::from_nanos(overdue_at);
                    let entry = Entry { turn: next.into(), group, overdue_at, value: next };
                    next += 1;
                    intake.take_in(entry.clone());
                    naive.held.push((entry, false));
                }
                Step::TakeIn { .. } => {}
                Step::Begin => {
                    let ready: Vec<_> = (0..naive.held.len())
                        .filter(|at| !naive.held[*at].1 && !naive.is_behind(*at))
                        .map(|at| naive.held[at].0.value)
                        .collect();
                    let begun = intake.next_unit();
                    if running.len() == units || ready.is_empty() {
                        prop_assert!(begun.is_none());
                        continue;
                    }
                    let begun = begun.expect("there is room and something is ready");
                    prop_assert_eq!(begun.len(), ready.len().min(unit));
                    for entry in &begun {
                        prop_assert!(ready.contains(&entry.value), "{} is not ready", entry.value);
                        let at = naive.held.iter().position(|(held, _)| held == entry).expect("held");
                        naive.held[at].1 = true;
                    }
                    running.push(begun);
                }
                Step::End { unit, as_what } if unit < running.len() => {
                    intake.unit_ended();
                    for (entry, as_what) in running.remove(unit).into_iter().zip(as_what) {
                        if as_what == 0 {
                            let held = naive.held.iter_mut().find(|(held, _)| *held == entry);
                            held.expect("held").1 = false;
                            intake.put_back(entry);
                            continue;
                        }
                        let done = as_what > 1;
                        naive.remove(entry.value);
                        let behind = intake.ended(&entry.group, done);
                        let expected = if done { BTreeSet::new() } else { naive.behind(&entry) };
                        prop_assert_eq!(numbers(&behind), expected);
                    }
                }
                Step::End { .. } => {}
                Step::Overdue { now } => {
                    let now = Instant::from_nanos(now);
                    let mut expected = BTreeSet::new();
                    let mut at = 0;
                    while at < naive.held.len() {
                        let (entry, handled) = naive.held[at].clone();
                        let gone = !handled && entry.overdue_at <= now;
                        let follows = entry.group.is_some() && naive.held.iter().any(|(held, _)| {
                            held.group == entry.group && expected.contains(&held.value)
                        });
                        if gone || follows {
                            expected.insert(entry.value);
                        }
                        at += 1;
                    }
                    let overdue = intake.overdue(now);
                    prop_assert_eq!(numbers(&overdue), expected.clone());
                    naive.held.retain(|(entry, _)| !expected.contains(&entry.value));
                }
            }
            prop_assert_eq!(intake.held(), naive.held.len());
            prop_assert_eq!(intake.credit(), held - naive.held.len());
            prop_assert_eq!(intake.units(), running.len());
            let waiting = naive.held.iter().filter(|(_, handled)| !handled);
            prop_assert_eq!(intake.next_overdue(), waiting.map(|(entry, _)| entry.overdue_at).min());
        }
    }
}
