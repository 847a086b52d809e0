use std::collections::BTreeMap;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::super::lease::{Coordinator, Grant, LeaseConfig, Node, Question, Refused, Unreachable, Verdict};
use super::*;

fn config(limit: &str, lease: u64, nodes_max: u32) -> LeaseConfig {
    let lease = NonZeroU64::new(lease).expect("not zero");
    LeaseConfig::new(rate(limit), lease, NonZeroU32::new(nodes_max).expect("not zero"))
}

fn first(config: LeaseConfig) -> Coordinator {
    Coordinator::first(config, NOW).expect("valid")
}

fn node(config: LeaseConfig) -> Node {
    Node::new(config, 1).expect("valid")
}

fn question(node: u64, number: u64) -> Question {
    Question { node, number, asked_at: NOW }
}

#[test]
fn a_window_grants_its_limit_and_no_more() {
    let mut coordinator = first(config("10/s", 4, 9));
    let mut permits = |node, at| coordinator.answer(question(node, 1), at).expect("an answer").permits;
    assert_eq!([1, 2, 3, 4].map(|node| permits(node, NOW)), [4, 4, 2, 0]);
    assert_eq!(permits(5, NOW + ms(999)), 0);
    assert_eq!(permits(6, NOW + ms(1_000)), 4);
}

#[test]
fn a_question_that_comes_twice_is_granted_once() {
    let mut coordinator = first(config("10/s", 4, 9));
    let granted = coordinator.answer(question(1, 1), NOW).expect("an answer");
    assert_eq!(granted.expires_in, ms(1_000));
    let again = coordinator.answer(question(1, 1), NOW + ms(300)).expect("an answer");
    assert_eq!((again.permits, again.expires_in), (4, ms(700)));
    assert_eq!(coordinator.granted(), 4);
    assert_eq!(coordinator.answer(question(1, 2), NOW).expect("an answer").permits, 4);
    assert_eq!(coordinator.answer(question(1, 1), NOW), Err(Refused::Stale));
    assert_eq!(coordinator.granted(), 8);
}

#[test]
fn nodes_are_bounded_and_forgotten_after_two_windows() {
    let mut coordinator = first(config("10/s", 1, 2));
    for node in [1, 2] {
        coordinator.answer(question(node, 1), NOW).expect("room");
    }
    assert_eq!(coordinator.answer(question(3, 1), NOW + ms(1_999)), Err(Refused::Nodes));
    coordinator.answer(question(2, 2), NOW + ms(1_999)).expect("known");
    coordinator.answer(question(3, 1), NOW + ms(2_000)).expect("the first may hold nothing any more");
    assert_eq!(coordinator.answer(question(4, 1), NOW + ms(2_000)), Err(Refused::Nodes));
}

#[test]
fn a_node_spends_its_lease_and_asks_again() {
    let mut node = node(config("10/s", 4, 9));
    let mut coordinator = first(config("10/s", 4, 9));
    assert_eq!(node.decide(NOW, 1), Verdict::Asking);
    let asked = node.question(NOW).expect("a question");
    assert_eq!(node.question(NOW + ms(99)), None, "the answer may be under way");
    assert!(node.receive(coordinator.answer(asked, NOW + ms(50)).expect("an answer"), NOW + ms(100)));
    assert_eq!(node.permits(), 4);
    assert!((0..4).all(|_| node.decide(NOW + ms(100), 1) == Verdict::Admitted));
    assert_eq!(node.decide(NOW + ms(100), 1), Verdict::Asking);
    assert_eq!(node.question(NOW + ms(100)).map(|question| question.number), Some(2));
    assert_eq!(node.decide(NOW, 5), Verdict::Rejected { retry_after: None });
}

#[test]
fn a_lease_ends_with_the_window_counted_from_the_question() {
    let mut node = node(config("10/s", 4, 9));
    let mut coordinator = first(config("10/s", 4, 9));
    node.decide(NOW, 1);
    let asked = node.question(NOW).expect("a question");
    // The question took 300 ms, so 700 ms of the window were left when it was answered.
    let grant = coordinator.answer(asked, NOW + ms(300)).expect("an answer");
    assert!(node.receive(grant, NOW + ms(600)));
    assert_eq!(node.decide(NOW + ms(699), 1), Verdict::Admitted);
    assert_eq!(node.decide(NOW + ms(700), 1), Verdict::Asking);
    let asked = node.question(NOW + ms(700)).expect("a question");
    let grant = coordinator.answer(asked, NOW + ms(900)).expect("an answer");
    assert!(!node.receive(grant, NOW + ms(800)), "100 ms were left, and they are over");
}

#[test]
fn a_used_up_limit_says_when_the_next_window_begins() {
    let mut node = node(config("10/s", 4, 9));
    node.decide(NOW, 1);
    let Question { number, asked_at, .. } = node.question(NOW).expect("a question");
    let denied = Grant { node: 1, number, asked_at, epoch: 1, permits: 0, expires_in: ms(400) };
    assert!(node.receive(denied, NOW + ms(10)));
    assert_eq!(node.decide(NOW + ms(100), 1), Verdict::Rejected { retry_after: Some(ms(300)) });
    assert_eq!(node.question(NOW + ms(100)), None);
    assert_eq!(node.decide(NOW + ms(400), 1), Verdict::Asking);
}

#[test]
fn a_grant_of_a_deposed_coordinator_is_refused() {
    let mut node = node(config("10/s", 4, 9));
    node.decide(NOW, 1);
    let Question { number, asked_at, .. } = node.question(NOW).expect("a question");
    let grant = |epoch, number| Grant { node: 1, number, asked_at, epoch, permits: 4, expires_in: ms(900) };
    assert!(!node.receive(grant(2, number + 7), NOW), "not awaited, but its epoch is noted");
    assert!(!node.receive(grant(1, number), NOW));
    assert!(node.receive(grant(2, number), NOW));
    assert!(!node.receive(grant(2, number), NOW), "it came twice");
}

#[test]
fn a_successor_grants_nothing_for_one_window() {
    let mut successor = Coordinator::successor(config("10/s", 4, 9), 2, NOW).expect("valid");
    let early = successor.answer(question(1, 1), NOW + ms(999)).expect("an answer");
    assert_eq!((early.permits, early.epoch), (0, 2));
    assert_eq!(successor.answer(question(1, 1), NOW + ms(1_000)).expect("an answer").permits, 4);
}

#[test]
fn without_an_answer_a_node_does_what_its_settings_say() {
    let alone = |unreachable| {
        let mut node = node(LeaseConfig { unreachable, ..config("40/s", 2, 10) });
        assert_eq!(node.decide(NOW, 1), Verdict::Asking);
        assert_eq!(node.decide(NOW + ms(999), 1), Verdict::Asking);
        (0..100).filter(|call| node.decide(NOW + ms(1_000 + call * 10), 1) == Verdict::Admitted).count()
    };
    assert_eq!(alone(Unreachable::Closed), 0);
    assert_eq!(alone(Unreachable::Open), 100);
    assert_eq!(alone(Unreachable::LocalShare), 5, "two at once, then one each 250 ms");
}

#[test]
fn settings_that_can_not_work_are_refused_by_name() {
    let refused = |config: LeaseConfig| config.validate().expect_err("contradictory").field;
    assert_eq!(refused(config("10/s", 11, 9)), "lease");
    let shared = LeaseConfig { unreachable: Unreachable::LocalShare, ..config("10/s", 1, 11) };
    assert_eq!(refused(shared), "nodes_max");
    assert_eq!(refused(LeaseConfig { ask_again: ms(1_001), ..config("10/s", 1, 1) }), "ask_again");
    assert_eq!(refused(LeaseConfig { ask_again: ms(0), ..config("10/s", 1, 1) }), "ask_again");
    let read = r#"{ "limit": "10/s", "lease": 5, "nodes_max": 3, "unreachable": "local_share" }"#;
    let read: LeaseConfig = serde_json::from_str(read).expect("valid");
    assert_eq!(read, LeaseConfig { unreachable: Unreachable::LocalShare, ..config("10/s", 5, 3) });
}

#[test]
fn with_a_perfect_network_the_whole_limit_is_admitted() {
    let mut cluster =
        Cluster::new(config("90/s", 8, 3), 7, Network { loss: 0, twice: 0, delay_max: 0, faults: 0 });
    for node in &mut cluster.nodes {
        node.rate_percent = 100;
    }
    cluster.cost_max = 1;
    cluster.run(20_000);
    let windows: Vec<u64> = cluster.admitted.values().copied().collect();
    assert!(windows.len() > 5);
    assert!(windows[..windows.len() - 1].iter().all(|admitted| *admitted == 90), "{windows:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the network, the clocks and the coordinators do, no window admits more than its bound.
    #[test]
    fn no_window_admits_more_than_the_limit_and_the_leases(
        seed in any::<u64>(),
        nodes in 1_u32..6,
        amount in 20_u64..200,
        lease in 1_u64..20,
        loss in 0_u64..60,
        twice in 0_u64..60,
        delay_max in 0_u64..3_000,
        faults in 0_u64..30,
        local_share in any::<bool>(),
    ) {
        let unreachable = if local_share { Unreachable::LocalShare } else { Unreachable::Closed };
        let config = LeaseConfig { unreachable, ..config(&format!("{amount}/s"), lease, nodes) };
        let mut cluster = Cluster::new(config, seed, Network { loss, twice, delay_max, faults });
        cluster.run(4_000);
        let alone = if local_share { lease + 2 * (amount / u64::from(nodes)) } else { 0 };
        let bound = amount + u64::from(nodes) * (lease + alone);
        for (window, admitted) in &cluster.admitted {
            prop_assert!(*admitted <= bound, "{admitted} above {bound} in window {window:?}");
        }
    }
}

/// Nodes and coordinators on a bad network, in simulated time.
struct Cluster {
    config: LeaseConfig,
    network: Network,
    cost_max: u64,
    random: Random,
    now: Instant,
    coordinator: Coordinator,
    /// When the present coordinator began; its clock is the true one.
    epoch_began: Instant,
    nodes: Vec<Member>,
    wire: Vec<(Instant, Message)>,
    /// Permits admitted, by the coordinator's epoch and window.
    admitted: BTreeMap<(u64, u64), u64>,
}

/// Chances in percent, times in milliseconds.
#[derive(Clone, Copy)]
struct Network {
    loss: u64,
    twice: u64,
    delay_max: u64,
    /// In each thousand steps: a partition begins or ends; a tenth of them, a coordinator fails.
    faults: u64,
}

struct Member {
    node: Node,
    /// A clock of its own: any time, at 51 to 200 percent of the true speed.
    clock_began: Instant,
    rate_percent: u64,
    is_cut_off: bool,
}

enum Message {
    Question(Question),
    Grant(Grant),
}

impl Cluster {
    fn new(config: LeaseConfig, seed: u64, network: Network) -> Self {
        let mut random = Random(seed);
        let nodes = (0..u64::from(config.nodes_max.get())).map(|identity| Member {
            node: Node::new(config, identity).expect("valid"),
            clock_began: Instant::from_nanos(random.below(1 << 60)),
            rate_percent: 51 + random.below(150),
            is_cut_off: false,
        });
        let nodes = nodes.collect();
        let coordinator = first(config);
        let (wire, admitted) = (Vec::new(), BTreeMap::new());
        Self {
            config,
            network,
            cost_max: 2,
            random,
            now: NOW,
            coordinator,
            epoch_began: NOW,
            nodes,
            wire,
            admitted,
        }
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.now = self.now + Duration::from_micros(self.random.below(2_000));
            if self.random.below(1_000) < self.network.faults {
                self.fail();
            }
            self.deliver();
            let which = self.random.below(self.nodes.len() as u64) as usize;
            self.call(which);
        }
    }

    fn fail(&mut self) {
        if self.random.below(10) == 0 {
            let epoch = self.coordinator.epoch() + 1;
            self.coordinator = Coordinator::successor(self.config, epoch, self.now).expect("valid");
            self.epoch_began = self.now;
        } else {
            let which = self.random.below(self.nodes.len() as u64) as usize;
            self.nodes[which].is_cut_off ^= true;
        }
    }

    /// A few calls come to one node.
    fn call(&mut self, which: usize) {
        for _ in 0..self.random.below(8) {
            let cost = 1 + self.random.below(self.cost_max);
            let member = &mut self.nodes[which];
            let local = member.clock(self.now);
            if member.node.decide(local, cost) == Verdict::Admitted {
                let window = self.now.saturating_since(self.epoch_began).as_nanos() / 1_000_000_000;
                *self.admitted.entry((self.coordinator.epoch(), window as u64)).or_default() += cost;
            }
            if let Some(question) = self.nodes[which].node.question(local) {
                self.send(which, || Message::Question(question));
            }
        }
        self.deliver();
    }

    fn send(&mut self, which: usize, message: impl Fn() -> Message) {
        let copies = 1 + u64::from(self.random.below(100) < self.network.twice);
        for _ in 0..copies {
            let is_lost = self.nodes[which].is_cut_off || self.random.below(100) < self.network.loss;
            // Half of the messages are quick, so that leases are spent and not only late.
            let delay_max =
                if self.random.below(2) == 0 { self.network.delay_max / 50 } else { self.network.delay_max };
            let due = self.now + ms(self.random.below(delay_max + 1));
            if !is_lost {
                self.wire.push((due, message()));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(next) = self.wire.iter().position(|(due, _)| *due <= self.now) {
            match self.wire.swap_remove(next).1 {
                Message::Question(question) => {
                    if let Ok(grant) = self.coordinator.answer(question, self.now) {
                        self.send(question.node as usize, || Message::Grant(grant));
                    }
                }
                Message::Grant(grant) => {
                    let member = &mut self.nodes[grant.node as usize];
                    let local = member.clock(self.now);
                    member.node.receive(grant, local);
                }
            }
        }
    }
}

impl Member {
    fn clock(&self, now: Instant) -> Instant {
        let passed = now.saturating_since(NOW).as_nanos() as u64;
        self.clock_began + Duration::from_nanos(passed / 100 * self.rate_percent)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
