use std::collections::BTreeMap;
use std::time::Duration;

use intertie_core::clock::Instant;

use crate::Name;

/// Which member of a group has which partition, for engines that do not decide it themselves.
///
/// Three invariants: a partition has at most one owner; it goes from one member to another only after the first has
/// handed it back, has left, or was not heard of for its session; and as few partitions move as an even share
/// needs. Kafka calls this cooperative and sticky (KIP-429). A member that joins under the name of another one is taken
/// for the same one that was started again: it gets the partitions, and the other one is out.
///
/// It keeps no clock: whoever asks says what time it is. It keeps nothing on a disk either: whoever has one writes down
/// what is [`held`](Coordinator::held) when that changes, which heartbeats do seldom, and goes on from there by
/// [`Coordinator::resume`].
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// By partition.
    owners: Vec<Option<Name>>,
    members: BTreeMap<Name, Session>,
    /// Of the next member that joins.
    generation: u64,
}

#[derive(Debug, Clone)]
struct Session {
    generation: u64,
    lasts: Duration,
    ends: Instant,
}

/// What a member has: all that a coordinator must know to go on where another one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub member: Name,
    /// As which joining.
    pub generation: u64,
    /// How long its session lasts when it is not heard of.
    pub session: Duration,
    /// All partitions that are its own.
    pub partitions: Vec<u32>,
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which joining this is; what was said under another one is void.
    pub generation: u64,
    /// All partitions that are its own.
    pub partitions: Vec<u32>,
    /// Those of them that it should hand back.
    pub to_release: Vec<u32>,
}

impl Coordinator {
    /// A group without members over so many partitions. `generation` is above all that an earlier coordinator of the
    /// same group gave out.
    pub fn new(partitions: u32, generation: u64) -> Self {
        Self { owners: vec![None; partitions as usize], members: BTreeMap::new(), generation }
    }

    /// Goes on where another coordinator ended, which may be some time ago. Each member has one session time from `now`
    /// to be heard of, and keeps its generation and its partitions for that long.
    pub fn resume(
        partitions: u32,
        generation: u64,
        held: impl IntoIterator<Item = Held>,
        now: Instant,
    ) -> Self {
        let mut resumed = Self::new(partitions, generation);
        for Held { member, generation, session, partitions } in held {
            for partition in partitions {
                if let Some(owner) = resumed.owners.get_mut(partition as usize) {
                    *owner = Some(member.clone());
                }
            }
            resumed.members.insert(member, Session { generation, lasts: session, ends: now + session });
        }
        resumed
    }

    /// What each member has.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        self.members.iter().map(|(member, session)| Held {
            member: member.clone(),
            generation: session.generation,
            session: session.lasts,
            partitions: self.owned(member),
        })
    }

    /// `member` joins, as nobody or in the place of the one of its name.
    pub fn join(&mut self, now: Instant, member: &Name, session: Duration) -> Turn {
        self.expire(now);
        let generation = self.generation;
        self.generation += 1;
        let session = Session { generation, lasts: session, ends: now + session };
        self.members.insert(member.clone(), session);
        self.give_out();
        self.turn(member, generation)
    }

    /// `member`, which joined in `generation`, is still there, and hands back `released`; what others own is not its to
    /// hand back and stays.
    ///
    /// # Errors
    /// When it is not: with the generation that the group is in.
    pub fn heartbeat(
        &mut self,
        now: Instant,
        member: &Name,
        generation: u64,
        released: &[u32],
    ) -> Result<Turn, u64> {
        self.expire(now);
        let current = self.current();
        let session = self.members.get_mut(member).filter(|session| session.generation == generation);
        let session = session.ok_or(current)?;
        session.ends = now + session.lasts;
        for partition in released {
            self.release(*partition, member);
        }
        self.give_out();
        Ok(self.turn(member, generation))
    }

    /// Everyone is out and has to join again, in a later generation.
    pub fn dismiss(&mut self) {
        self.members.clear();
        self.owners.fill(None);
        self.generation += 1;
    }

    /// `member` leaves, if it is still the one that joined in `generation`.
    pub fn leave(&mut self, now: Instant, member: &Name, generation: u64) {
        self.expire(now);
        if self.members.get(member).is_some_and(|session| session.generation == generation) {
            self.remove(member);
            self.give_out();
        }
    }

    /// Whether `partition` is `member`'s, which joined in `generation`. What another one whose session has ended leaves
    /// is nobody's until somebody joins, stays or leaves.
    pub fn owns(&self, now: Instant, member: &Name, generation: u64, partition: u32) -> bool {
        let is_member = |session: &Session| session.generation == generation && session.ends > now;
        self.members.get(member).is_some_and(is_member)
            && self.owners.get(partition as usize).is_some_and(|owner| owner.as_ref() == Some(member))
    }

    /// Who has each partition.
    pub fn owners(&self) -> &[Option<Name>] {
        &self.owners
    }

    /// Each member with its generation, and how long its session lasts when it is not heard of.
    pub fn sessions(&self) -> impl Iterator<Item = (&Name, u64, Duration)> {
        self.members.iter().map(|(member, session)| (member, session.generation, session.lasts))
    }

    /// Whether one more may join, of so many members at most: `member` takes the place of the one of its name, and
    /// those whose sessions have ended take none.
    pub fn has_room(&self, now: Instant, member: &Name, most: usize) -> bool {
        let others = self.members.iter().filter(|(name, session)| *name != member && session.ends > now);
        others.count() < most
    }

    /// There are more partitions now. Fewer than before changes nothing.
    pub fn grow(&mut self, partitions: u32) {
        let partitions = self.owners.len().max(partitions as usize);
        self.owners.resize(partitions, None);
        self.give_out();
    }

    /// The generation that the next member to join will have.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation that the group is in.
    pub fn current(&self) -> u64 {
        self.generation.saturating_sub(1)
    }

    fn turn(&self, member: &Name, generation: u64) -> Turn {
        let partitions = self.owned(member);
        let share = self.shares().into_iter().find(|share| share.name == *member);
        let surplus = share.map_or(0, |share| share.has.saturating_sub(share.should));
        let to_release = partitions[partitions.len() - surplus..].to_vec();
        Turn { generation, partitions, to_release }
    }

    fn expire(&mut self, now: Instant) {
        let over: Vec<_> = self
            .members
            .iter()
            .filter(|(_, session)| session.ends <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for member in &over {
            self.remove(member);
        }
        if !over.is_empty() {
            self.give_out();
        }
    }

    fn remove(&mut self, member: &Name) {
        self.members.remove(member);
        for owner in self.owners.iter_mut().filter(|owner| owner.as_ref() == Some(member)) {
            *owner = None;
        }
    }

    fn release(&mut self, partition: u32, member: &Name) {
        if let Some(owner) =
            self.owners.get_mut(partition as usize).filter(|owner| owner.as_ref() == Some(member))
        {
            *owner = None;
        }
    }

    fn owned(&self, member: &Name) -> Vec<u32> {
        let owners = (0..).zip(&self.owners);
        owners.filter(|(_, owner)| owner.as_ref() == Some(member)).map(|(partition, _)| partition).collect()
    }

    /// How many partitions each member has, and how many it should have. When they do not divide evenly, one more is
    /// for those that have the most already, so that they keep it.
    fn shares(&self) -> Vec<Share> {
        let mut owned: BTreeMap<&Name, usize> = self.members.keys().map(|name| (name, 0)).collect();
        for owner in self.owners.iter().flatten() {
            *owned.entry(owner).or_default() += 1;
        }
        let mut shares: Vec<_> =
            owned.into_iter().map(|(name, has)| Share { name: name.clone(), has, should: 0 }).collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.has));
        let (members, partitions) = (shares.len(), self.owners.len());
        for (at, share) in shares.iter_mut().enumerate() {
            share.should = partitions / members + usize::from(at < partitions % members);
        }
        shares
    }

    /// Gives partitions that nobody owns to those who have too few.
    fn give_out(&mut self) {
        let mut missing = self
            .shares()
            .into_iter()
            .flat_map(|share| std::iter::repeat_n(share.name, share.should.saturating_sub(share.has)));
        for owner in self.owners.iter_mut().filter(|owner| owner.is_none()) {
            *owner = missing.next();
        }
    }
}

struct Share {
    name: Name,
    has: usize,
    should: usize,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SESSION: Duration = Duration::from_secs(10);

    fn name(member: usize) -> Name {
        format!("m{member}").parse().expect("a name")
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    /// Joins once, and says that it is still there from then on.
    fn turn(coordinator: &mut Coordinator, now: Instant, member: &Name, released: &[u32]) -> Turn {
        let joined = coordinator.members.get(member).map(|session| session.generation);
        let stayed = joined.and_then(|joined| coordinator.heartbeat(now, member, joined, released).ok());
        stayed.unwrap_or_else(|| coordinator.join(now, member, SESSION))
    }

    /// Everyone says that it is there, and hands back what it is told to, until nothing moves.
    fn settle(coordinator: &mut Coordinator, now: Instant, members: &[usize]) -> Vec<Vec<u32>> {
        let mut told: Vec<Turn> = Vec::new();
        for _ in 0..members.len() + 2 {
            told = members
                .iter()
                .map(|member| {
                    let told = turn(coordinator, now, &name(*member), &[]);
                    turn(coordinator, now, &name(*member), &told.to_release)
                })
                .collect();
        }
        told.into_iter().map(|turn| turn.partitions).collect()
    }

    #[test]
    fn a_partition_waits_until_its_owner_has_handed_it_back() {
        let mut coordinator = Coordinator::new(2, 7);
        let first = turn(&mut coordinator, at(0), &name(1), &[]);
        assert_eq!(first, Turn { generation: 7, partitions: vec![0, 1], to_release: vec![] });
        // The second has nothing before the first lets go, however long its handler takes.
        let second = turn(&mut coordinator, at(1), &name(2), &[]);
        assert_eq!((second.generation, second.partitions.as_slice()), (8, &[][..]));
        for second in 2..9 {
            let first = turn(&mut coordinator, at(second), &name(1), &[]);
            assert_eq!((first.generation, first.to_release), (7, vec![1]));
            assert!(turn(&mut coordinator, at(second), &name(2), &[]).partitions.is_empty());
            assert!(coordinator.owns(at(second), &name(1), 7, 1));
        }
        assert_eq!(turn(&mut coordinator, at(9), &name(1), &[1]).partitions, [0]);
        assert_eq!(turn(&mut coordinator, at(9), &name(2), &[]).partitions, [1]);
        assert!(!coordinator.owns(at(9), &name(1), 7, 1));
    }

    #[test]
    fn who_is_not_heard_of_has_left_and_comes_back_as_another() {
        let mut coordinator = Coordinator::new(2, 0);
        let first = turn(&mut coordinator, at(0), &name(1), &[]);
        assert!(coordinator.owns(at(9), &name(1), first.generation, 0));
        let second = turn(&mut coordinator, at(10), &name(2), &[]);
        assert_eq!(second.partitions, [0, 1]);
        assert!(!coordinator.owns(at(10), &name(1), first.generation, 0));
        let stale = coordinator.heartbeat(at(10), &name(1), first.generation, &[0, 1]);
        assert_eq!(stale, Err(second.generation));
        let again = coordinator.join(at(10), &name(1), SESSION);
        assert!(again.generation > second.generation);
        assert!(again.partitions.is_empty(), "what is another's was not handed back");
        coordinator.leave(at(11), &name(1), first.generation);
        assert!(!coordinator.owns(at(11), &name(2), first.generation, 0));
        coordinator.leave(at(11), &name(2), second.generation);
        assert_eq!(turn(&mut coordinator, at(11), &name(1), &[]).partitions, [0, 1]);
    }

    #[test]
    fn who_joins_again_takes_its_own_place_and_the_other_is_out() {
        let mut coordinator = Coordinator::new(3, 1);
        let first = coordinator.join(at(0), &name(1), SESSION);
        coordinator.join(at(0), &name(2), SESSION);
        let twin = coordinator.join(at(1), &name(1), SESSION);
        assert_eq!((twin.generation, &twin.partitions), (3, &first.partitions));
        // Neither stays, hands back, advances nor leaves as the one that was replaced.
        assert_eq!(coordinator.heartbeat(at(2), &name(1), first.generation, &[0]), Err(3));
        assert!(!coordinator.owns(at(2), &name(1), first.generation, 0));
        coordinator.leave(at(2), &name(1), first.generation);
        assert!(coordinator.owns(at(2), &name(1), twin.generation, 0));
    }

    #[test]
    fn who_was_there_before_a_restart_has_one_session_to_be_heard_of() {
        let mut before = Coordinator::new(4, 1);
        let first = before.join(at(0), &name(1), SESSION);
        before.join(at(1), &name(2), SESSION);
        before.heartbeat(at(2), &name(1), first.generation, &[3]).expect("a member");
        let held: Vec<_> = before.held().collect();
        assert_eq!(
            held.iter().map(|held| held.partitions.as_slice()).collect::<Vec<_>>(),
            [&[0, 1, 2][..], &[3]]
        );
        let mut after = Coordinator::resume(4, before.generation(), held, at(100));
        let third = after.join(at(101), &name(3), SESSION);
        assert_eq!((third.generation, third.partitions), (3, vec![]));
        let stayed = after.heartbeat(at(109), &name(1), first.generation, &[]).expect("still a member");
        assert_eq!((stayed.partitions.as_slice(), stayed.to_release.as_slice()), (&[0, 1, 2][..], &[2][..]));
        assert_eq!(after.heartbeat(at(110), &name(2), 2, &[]), Err(3), "its session is over");
    }

    #[test]
    fn there_is_room_for_who_comes_back_and_in_the_places_of_those_who_are_gone() {
        let mut coordinator = Coordinator::new(2, 1);
        let first = coordinator.join(at(0), &name(1), SESSION);
        coordinator.join(at(5), &name(2), SESSION);
        assert!(coordinator.has_room(at(9), &name(1), 2) && !coordinator.has_room(at(9), &name(3), 2));
        assert!(coordinator.has_room(at(10), &name(3), 2));
        // Nobody heard yet that the first is gone, and nobody takes it for one that is there.
        assert_eq!(coordinator.sessions().count(), 2);
        assert!(!coordinator.owns(at(10), &name(1), first.generation, 0));
        assert_eq!(coordinator.owners(), [Some(name(1)), Some(name(1))]);
    }

    #[test]
    fn who_is_dismissed_joins_again() {
        let mut coordinator = Coordinator::new(2, 1);
        let first = coordinator.join(at(0), &name(1), SESSION);
        coordinator.dismiss();
        assert!(!coordinator.owns(at(0), &name(1), first.generation, 0));
        assert_eq!(coordinator.heartbeat(at(0), &name(1), first.generation, &[]), Err(2));
        assert_eq!(coordinator.join(at(0), &name(1), SESSION).generation, 3);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join(usize, Vec<u32>),
        Obey(usize),
        Leave(usize),
        Wait(u64),
        Grow(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5usize, prop::collection::vec(0..8u32, 0..3))
                .prop_map(|(member, back)| Step::Join(member, back)),
            (0..5usize).prop_map(Step::Obey),
            (0..5usize).prop_map(Step::Leave),
            (1..6u64).prop_map(Step::Wait),
            (1..10u32).prop_map(Step::Grow),
        ]
    }

    proptest! {
        #[test]
        fn no_partition_is_taken_from_who_may_be_working_on_it(
            partitions in 1..8u32,
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let mut coordinator = Coordinator::new(partitions, 1);
            let mut seconds = 0;
            let mut told: BTreeMap<usize, (Turn, u64)> = BTreeMap::new();
            for step in steps {
                let now = at(seconds);
                let before = coordinator.owners.clone();
                let mut gave_back = Vec::new();
                match step {
                    Step::Join(member, back) => {
                        gave_back = back.into_iter().map(|partition| (name(member), partition)).collect();
                        let released: Vec<_> = gave_back.iter().map(|(_, partition)| *partition).collect();
                        let turn = turn(&mut coordinator, now, &name(member), &released);
                        told.insert(member, (turn, seconds));
                    }
                    Step::Obey(member) => {
                        let Some((turn, _)) = told.get(&member).cloned() else { continue };
                        gave_back = turn.to_release.iter().map(|partition| (name(member), *partition)).collect();
                        let turn = super::tests::turn(&mut coordinator, now, &name(member), &turn.to_release);
                        told.insert(member, (turn, seconds));
                    }
                    Step::Leave(member) => {
                        if let Some((turn, _)) = told.remove(&member) {
                            gave_back = (0..20).map(|partition| (name(member), partition)).collect();
                            coordinator.leave(now, &name(member), turn.generation);
                        }
                    }
                    Step::Wait(time) => seconds += time,
                    Step::Grow(to) => coordinator.grow(to),
                }
                for (at, (before, after)) in (0u32..).zip(before.iter().zip(&coordinator.owners)) {
                    let Some(before) = before.as_ref().filter(|before| Some(*before) != after.as_ref()) else {
                        continue;
                    };
                    let expired = (0..5).any(|member| {
                        name(member) == *before
                            && told.get(&member).is_none_or(|(_, heard)| heard + SESSION.as_secs() <= seconds)
                    });
                    // One that expired and joined in this very step was not heard of in time before it.
                    let rejoined = !coordinator.members.contains_key(before)
                        || coordinator.members[before].generation + 1 == coordinator.generation;
                    let handed_back = gave_back.contains(&(before.clone(), at));
                    prop_assert!(expired || rejoined || handed_back, "{at} was taken from {before}");
                }
                for (member, (turn, _)) in &told {
                    for partition in &turn.partitions {
                        if coordinator.owns(at(seconds), &name(*member), turn.generation, *partition) {
                            let others = told.iter().filter(|(other, _)| *other != member);
                            for (other, (turn, _)) in others {
                                prop_assert!(!coordinator.owns(at(seconds), &name(*other), turn.generation, *partition));
                            }
                        }
                    }
                }
            }
        }

        #[test]
        fn shares_are_even_and_few_partitions_move(
            partitions in 0..30u32,
            before in 1..7usize,
            joins: bool,
        ) {
            let mut coordinator = Coordinator::new(partitions, 1);
            let members: Vec<_> = (0..before).collect();
            let old = settle(&mut coordinator, at(0), &members);
            let members: Vec<_> = if joins { (0..=before).collect() } else { (1..before).collect() };
            if !joins {
                let generation = turn(&mut coordinator, at(0), &name(0), &[]).generation;
                coordinator.leave(at(0), &name(0), generation);
            }
            let new = settle(&mut coordinator, at(0), &members);
            let counts = new.iter().map(Vec::len);
            let total: usize = counts.clone().sum();
            prop_assert_eq!(total, if members.is_empty() { 0 } else { partitions as usize });
            prop_assert!(counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0) <= 1);
            let stayed: usize = members
                .iter()
                .zip(&new)
                .filter_map(|(member, new)| Some(old.get(*member)?.iter().filter(|at| new.contains(at)).count()))
                .sum();
            let moved = if joins { new.last().map_or(0, Vec::len) } else { old[0].len() };
            if !members.is_empty() {
                prop_assert_eq!(stayed, partitions as usize - moved);
            }
        }
    }
}
