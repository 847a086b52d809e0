//! Random schedules: the pure core against its promises, and the shell on an executor driven by hand.

use std::collections::HashSet;

use intertie_core::clock::Instant;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Arrive {
        item: u64,
        wait: u64,
    },
    Poll(usize),
    Cancel(usize),
    /// Kept, and not polled until the end.
    Sleep(usize),
    Advance(usize),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![6 => Just(0_u64), 1 => Just(1000), 1 => Just(666), 1 => Just(667)];
    prop_oneof![
        6 => (kind, 0_u64..30).prop_map(|(item, wait)| Event::Arrive { item, wait }),
        8 => any::<usize>().prop_map(Event::Poll),
        2 => any::<usize>().prop_map(Event::Cancel),
        1 => any::<usize>().prop_map(Event::Sleep),
        5 => any::<usize>().prop_map(Event::Advance),
        3 => (0_u64..8).prop_map(Event::Time),
    ]
}

fn options() -> impl Strategy<Value = BatchConfig> {
    (2_u32..5, 1_u32..4, 0_u64..6, any::<bool>(), 0_u32..6).prop_map(
        |(size_max, concurrent, window, bisect, more)| BatchConfig {
            concurrent: NonZeroU32::new(concurrent).expect("not zero"),
            window: if concurrent > 1 { Duration::from_millis(window) } else { Duration::ZERO },
            queue: NonZeroU32::new(size_max + more),
            wait: Duration::from_millis(20),
            bisect,
            ..config(size_max)
        },
    )
}

struct Caller {
    call: Call<Outcome>,
    item: u64,
    is_polled: bool,
}

/// Runs what woke up, and checks what must hold at any time.
fn run(callers: &mut [Caller], service: &Service, config: &BatchConfig) {
    settle(callers.iter_mut().filter(|caller| caller.is_polled).map(|caller| &mut caller.call));
    let running = service.running.lock().expect("no panic").len();
    assert!(running <= config.concurrent.get() as usize, "{running} batches in flight");
}

fn answer_is_right(caller: &Caller) -> bool {
    match caller.call.output() {
        None => true,
        Some(Ok(result)) => caller.item < 1000 && *result == caller.item * 10,
        Some(Err(BatchError::Item(error))) => caller.item >= 1000 && *error == "bad item",
        Some(Err(BatchError::Batch(error))) => *error == "poison",
        Some(Err(BatchError::Panicked)) => true,
        Some(Err(BatchError::Rejected(rejection))) => ["queue", "wait"].contains(&rejection.bound),
        Some(Err(BatchError::Count { .. })) => false,
    }
}

async fn schedule(config: BatchConfig, events: Vec<Event>) {
    let service = Service::default();
    let batcher = service.batcher(config.clone(), 2);
    let mut callers: Vec<Caller> = Vec::new();
    for event in events {
        let count = callers.len();
        match event {
            Event::Arrive { item, wait } => {
                // 666 and 667 keep their meaning; all others are told apart by their number.
                let item = if item == 666 || item == 667 { item } else { item + 1 + count as u64 };
                let batcher = batcher.clone();
                let call =
                    Call::new(async move { batcher.call_within(item, Duration::from_millis(wait)).await });
                callers.push(Caller { call, item, is_polled: true });
            }
            Event::Poll(which) if count > 0 => {
                let caller = &mut callers[which % count];
                if caller.is_polled {
                    caller.call.poll();
                }
            }
            Event::Cancel(which) if count > 0 => callers[which % count].call.cancel(),
            Event::Sleep(which) if count > 0 => callers[which % count].is_polled = false,
            Event::Advance(which) => {
                let batches = service.batches().len();
                if batches > 0 {
                    service.steps(which % batches).advance();
                }
            }
            Event::Time(time) => {
                advance(Duration::from_millis(time)).await;
                run(&mut callers, &service, &config);
            }
            _ => {}
        }
    }
    for caller in callers.iter_mut().filter(|caller| !caller.is_polled) {
        caller.call.cancel();
    }
    // A batch in flight is finished in each round, and items wait for 20 ms at most.
    for _ in 0..4 * callers.len() + 2 {
        run(&mut callers, &service, &config);
        for batch in 0..service.batches().len() {
            service.steps(batch).finish();
        }
    }
    advance(Duration::from_millis(40)).await;
    run(&mut callers, &service, &config);
    for caller in &callers {
        assert!(!caller.call.is_waiting(), "the caller of {} hangs", caller.item);
        assert!(answer_is_right(caller), "{}: {:?}", caller.item, caller.call.output());
    }
    let stats = batcher.stats();
    assert_eq!((stats.running, stats.waiting), (0, 0));
    assert_eq!(stats.batches, stats.sent_size + stats.sent_idle + stats.sent_ended + stats.sent_window);
    assert!(service.running.lock().expect("no panic").is_empty());
    let mut seen = HashSet::new();
    for batch in service.batches() {
        assert!(batch.len() <= config.size_max.get() as usize);
        for item in batch.into_iter().filter(|item| !config.bisect && ![666, 667].contains(item)) {
            assert!(seen.insert(item), "{item} was sent twice");
        }
    }
}

/// Ticket, arrival, expiry.
type Waiting = (Ticket, Instant, Instant);

proptest! {
    #[test]
    fn no_schedule_makes_anybody_hang(config in options(), events in prop::collection::vec(event(), 1..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(schedule(config, events));
    }

    /// What the state promises, checked from outside after each event.
    #[test]
    fn items_go_in_order_in_time_and_for_a_reason(
        config in options(),
        steps in prop::collection::vec((0_u8..6, 0_u64..12, any::<usize>()), 1..300),
    ) {
        let mut state = State::new(&config);
        let mut now = Instant::from_nanos(1_000_000_000);
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut running = 0;
        for (what, amount, which) in steps {
            let mut ended = false;
            match what {
                0..=2 => {
                    let wait = Duration::from_millis(amount);
                    match state.arrive(now, wait) {
                        Some(ticket) => waiting.push((ticket, now, now + wait)),
                        None => prop_assert_eq!(waiting.len(), config.capacity() as usize),
                    }
                }
                3 if running > 0 => {
                    state.end();
                    running -= 1;
                    ended = true;
                }
                4 if !waiting.is_empty() => {
                    let (ticket, ..) = waiting.remove(which % waiting.len());
                    prop_assert!(state.withdraw(ticket));
                    prop_assert!(!state.withdraw(ticket));
                }
                5 => now = now + Duration::from_millis(amount),
                _ => {}
            }
            let (expired, alive): (Vec<Waiting>, Vec<Waiting>) = waiting.iter().partition(|item| item.2 < now);
            prop_assert_eq!(state.expire(now), expired.iter().map(|item| item.0).collect::<Vec<_>>());
            waiting = alive;
            while let Some(departure) = state.depart(now) {
                let size = departure.tickets.len();
                let cause = match departure.reason {
                    Reason::Size => size == config.size_max.get() as usize,
                    Reason::Ended => ended,
                    Reason::Idle => running == 0,
                    Reason::Window => now >= waiting[0].1 + config.window,
                };
                prop_assert!(cause, "{departure:?}");
                prop_assert!(size > 0 && size <= config.size_max.get() as usize);
                prop_assert!(size == config.size_max.get() as usize || size == waiting.len());
                prop_assert_eq!(departure.tickets, waiting.drain(..size).map(|item| item.0).collect::<Vec<_>>());
                running += 1;
                ended = false;
            }
            prop_assert!(running <= config.concurrent.get());
            prop_assert_eq!((state.running(), state.waiting()), (running, waiting.len()));
            if let Some((_, arrived, _)) = waiting.first() {
                let may_wait = running > 0
                    && now < *arrived + config.window
                    && waiting.len() < config.size_max.get() as usize;
                prop_assert!(running == config.concurrent.get() || may_wait, "an item waits for nothing");
            }
        }
    }
}
