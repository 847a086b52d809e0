use proptest::prelude::*;

use crate::request_reply::pending::{Discarded, Meant, NotBegun, Pending, Ticket};

#[derive(Debug, Clone)]
enum Step {
    Begin(u8),
    Answer(u8),
    /// The request that was begun as the nth.
    GiveUp(usize),
    Close,
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6u8).prop_map(Step::Begin),
        6 => (0..6u8).prop_map(Step::Answer),
        4 => (0..30usize).prop_map(Step::GiveUp),
        1 => Just(Step::Cut),
        1 => Just(Step::Close),
    ]
}

/// The same in lists that are looked through.
struct Naive {
    in_flight_max: usize,
    remembered_max: usize,
    waiting: Vec<(u8, usize)>,
    /// Oldest first; without the id where it is asked again.
    ended: Vec<(Option<u8>, Discarded)>,
    is_closed: bool,
}

impl Naive {
    fn begin(&mut self, id: u8, asker: usize) -> Result<(), NotBegun> {
        if self.is_closed {
            return Err(NotBegun::Closed);
        }
        if self.waiting.iter().any(|(of, _)| *of == id) {
            return Err(NotBegun::Twice);
        }
        if self.waiting.len() == self.in_flight_max {
            return Err(NotBegun::Full);
        }
        self.waiting.push((id, asker));
        self.ended.iter_mut().filter(|(of, _)| *of == Some(id)).for_each(|(of, _)| *of = None);
        Ok(())
    }

    fn end(&mut self, id: u8, how: Discarded) -> Option<usize> {
        let at = self.waiting.iter().position(|(of, _)| *of == id)?;
        self.ended.push((Some(id), how));
        let forgotten = self.ended.len().saturating_sub(self.remembered_max);
        self.ended.drain(..forgotten);
        Some(self.waiting.remove(at).1)
    }

    fn answer(&mut self, id: u8) -> Meant<usize> {
        if let Some(asker) = self.end(id, Discarded::Again) {
            return Meant::Waiting(asker);
        }
        let ended = self.ended.iter().rev().find(|(of, _)| *of == Some(id));
        Meant::Nobody(ended.map_or(Discarded::Unasked, |(_, how)| *how))
    }

    fn give_up(&mut self, id: u8, asker: usize) -> bool {
        self.waiting.contains(&(id, asker)) && self.end(id, Discarded::Late).is_some()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn replies_reach_who_waits_and_no_one_else(
        in_flight_max in 1..4usize,
        remembered_max in 0..4usize,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut pending = Pending::new(in_flight_max, remembered_max);
        let (waiting, ended) = (Vec::new(), Vec::new());
        let mut naive = Naive { in_flight_max, remembered_max, waiting, ended, is_closed: false };
        let mut begun: Vec<(u8, Ticket)> = Vec::new();
        for step in steps {
            match step {
                Step::Begin(id) => {
                    let asker = begun.len();
                    let ticket = pending.begin(&id.to_string(), asker);
                    prop_assert_eq!(ticket.map(|_| ()), naive.begin(id, asker));
                    begun.extend(ticket.map(|ticket| (id, ticket)));
                }
                Step::Answer(id) => prop_assert_eq!(pending.answer(&id.to_string()), naive.answer(id)),
                Step::GiveUp(asker) => {
                    if let Some((id, ticket)) = begun.get(asker) {
                        let given_up = pending.give_up(&id.to_string(), *ticket);
                        prop_assert_eq!(given_up, naive.give_up(*id, asker));
                    }
                }
                Step::Cut => prop_assert_eq!(pending.cut(), std::mem::take(&mut naive.waiting).len()),
                Step::Close => {
                    pending.close();
                    naive.is_closed = true;
                }
            }
            prop_assert_eq!(pending.len(), naive.waiting.len());
        }
    }
}
