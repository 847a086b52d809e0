//! The queue against a list of calls and a list of turns.

use std::time::Duration;

use intertie_core::clock::Instant;
use intertie_core::criticality::Criticality;
use proptest::prelude::*;

use crate::bulkhead::{Arrival, Order, Queue, Served, Ticket};

const fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// A call with `key` arrives in `queue`, not critical, without a deadline.
fn join(queue: &mut Queue, key: u64) -> Arrival {
    queue.arrive(Criticality::Default, Some(key), None)
}

fn served(queue: &mut Queue) -> Vec<u64> {
    std::iter::from_fn(|| match queue.serve(at(0))? {
        Served::Runs(number) | Served::Late(number) => Some(number),
    })
    .collect()
}

#[test]
fn a_burst_under_one_key_does_not_starve_the_others() {
    let mut queue = Queue::new(Order::Fifo, 10, Duration::ZERO);
    for _ in 0..10 {
        assert!(matches!(join(&mut queue, 1), Arrival::Seated { turned_out: None, .. }));
    }
    assert_eq!(join(&mut queue, 1), Arrival::Full);
    // The latest of the burst yield, until both have five.
    for burst in (5..10).rev() {
        assert!(matches!(join(&mut queue, 2), Arrival::Seated { turned_out: Some(out), .. } if out == burst));
    }
    assert_eq!(join(&mut queue, 2), Arrival::Full);
    assert_eq!(served(&mut queue), [0, 10, 1, 11, 2, 12, 3, 13, 4, 14]);
}

#[test]
fn the_freshest_are_served_first_and_the_oldest_yield() {
    let mut queue = Queue::new(Order::Lifo, 3, Duration::ZERO);
    for number in 0..5 {
        let turned_out = (number >= 3).then(|| number - 3);
        assert!(
            matches!(join(&mut queue, 1), Arrival::Seated { turned_out: out, .. } if out == turned_out),
            "{number}"
        );
    }
    assert_eq!(served(&mut queue), [4, 3, 2]);
}

#[test]
fn the_critical_go_first_and_take_the_seats_of_the_lowest() {
    let mut queue = Queue::new(Order::Fifo, 2, Duration::ZERO);
    let mut arrive = |criticality| match queue.arrive(criticality, None, None) {
        Arrival::Seated { turned_out, .. } => Ok(turned_out),
        Arrival::Full => Err(()),
    };
    assert_eq!(arrive(Criticality::Default), Ok(None));
    assert_eq!(arrive(Criticality::Sheddable), Ok(None));
    assert_eq!(arrive(Criticality::Sheddable), Err(()));
    assert_eq!(arrive(Criticality::Critical), Ok(Some(1)), "the sheddable one, not the older default one");
    assert_eq!(arrive(Criticality::Default), Err(()), "no equal one yields in order of arrival");
    assert_eq!(served(&mut queue), [2, 0]);
}

#[derive(Debug, Clone)]
struct Call {
    number: u64,
    criticality: Criticality,
    key: Option<u64>,
    deadline: Option<Instant>,
}

/// Calls in the order of arrival, and whose turn it is.
struct Model {
    order: Order,
    seats: usize,
    run_min: Duration,
    calls: Vec<Call>,
    turns: Vec<(Criticality, Option<u64>)>,
    next: u64,
}

impl Model {
    fn line(&self, turn: (Criticality, Option<u64>)) -> Vec<u64> {
        let mut line: Vec<u64> = self
            .calls
            .iter()
            .filter(|call| (call.criticality, call.key) == turn)
            .map(|call| call.number)
            .collect();
        if self.order == Order::Lifo {
            line.reverse();
        }
        line
    }

    fn remove(&mut self, number: u64) -> Call {
        let at = self.calls.iter().position(|call| call.number == number).expect("it waits");
        let call = self.calls.remove(at);
        if self.line((call.criticality, call.key)).is_empty() {
            self.turns.retain(|turn| *turn != (call.criticality, call.key));
        }
        call
    }

    /// The number of the seated call, and of the one whose seat it has.
    fn arrive(
        &mut self,
        criticality: Criticality,
        key: Option<u64>,
        deadline: Option<Instant>,
    ) -> Option<(u64, Option<u64>)> {
        let turn = (criticality, key);
        let mut turned_out = None;
        if self.calls.len() == self.seats {
            let lowest = self.calls.iter().map(|call| call.criticality).min()?;
            let lines = self.turns.iter().filter(|turn| turn.0 == lowest).map(|turn| self.line(*turn));
            let longest = lines.max_by_key(Vec::len)?;
            let own = self.line(turn);
            let yields = if lowest < criticality || lowest == criticality && longest.len() > own.len() + 1 {
                longest
            } else if lowest == criticality && self.order == Order::Lifo {
                own
            } else {
                return None;
            };
            turned_out = Some(*yields.last()?);
            self.remove(*yields.last()?);
        }
        if !self.turns.contains(&turn) {
            self.turns.push(turn);
        }
        let number = self.next;
        self.next += 1;
        self.calls.push(Call { number, criticality, key, deadline });
        Some((number, turned_out))
    }

    fn serve(&mut self, now: Instant) -> Option<Served> {
        let highest = self.calls.iter().map(|call| call.criticality).max()?;
        let turn = *self.turns.iter().find(|turn| turn.0 == highest)?;
        let call = self.remove(*self.line(turn).first()?);
        if call.deadline.is_some_and(|deadline| now + self.run_min >= deadline) {
            return Some(Served::Late(call.number));
        }
        if let Some(at) = self.turns.iter().position(|other| *other == turn) {
            let turn = self.turns.remove(at);
            self.turns.push(turn);
        }
        Some(Served::Runs(call.number))
    }
}

proptest! {
    #[test]
    fn the_queue_equals_two_lists(
        lifo in any::<bool>(),
        seats in 0_u32..8,
        run_min in 0_u64..3,
        steps in prop::collection::vec((0_u8..9, 0_usize..3, 0_u64..4, 0_u64..12), 1..200),
    ) {
        let order = if lifo { Order::Lifo } else { Order::Fifo };
        let run_min = Duration::from_secs(run_min);
        let mut queue = Queue::new(order, seats, run_min);
        let (calls, turns) = (Vec::new(), Vec::new());
        let mut model = Model { order, seats: seats as usize, run_min, calls, turns, next: 0 };
        let mut tickets: Vec<Ticket> = Vec::new();
        for (step, (what, criticality, key, time)) in steps.into_iter().enumerate() {
            let now = at(step as u64 / 8);
            match what {
                0..=4 => {
                    let criticality = Criticality::ALL[criticality];
                    let key = (key > 0).then_some(key);
                    let deadline = (time < 8).then(|| now + Duration::from_secs(time));
                    match queue.arrive(criticality, key, deadline) {
                        Arrival::Seated { ticket, turned_out } => {
                            prop_assert_eq!(
                                model.arrive(criticality, key, deadline),
                                Some((ticket.number(), turned_out))
                            );
                            tickets.push(ticket);
                        }
                        Arrival::Full => {
                            prop_assert_eq!(model.arrive(criticality, key, deadline), None);
                        }
                    }
                }
                5..=7 => prop_assert_eq!(queue.serve(now), model.serve(now)),
                _ if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(time as usize % tickets.len());
                    let waits = model.calls.iter().any(|call| call.number == ticket.number());
                    if waits {
                        model.remove(ticket.number());
                    }
                    prop_assert_eq!(queue.abandon(ticket), waits);
                    prop_assert!(!queue.abandon(ticket));
                }
                _ => {}
            }
            prop_assert_eq!(queue.len(), model.calls.len());
            prop_assert_eq!(queue.is_empty(), model.calls.is_empty());
            prop_assert!(queue.len() <= seats as usize);
        }
    }
}
