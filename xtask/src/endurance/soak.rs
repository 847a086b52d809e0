//! Whether something leaks: hours at half load, with reloads, restarts of the service, faults, and clients that
//! leave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::args::parse;
use super::clients::{Figures, Load, get};
use super::gateway::{Gateway, binary};
use super::random::Random;
use super::service::{CAPACITY, Service};

/// One answer of the service in so many is wrong.
const FAULTY: u64 = 50;

/// One client in so many leaves before its answer.
const LEAVING: u64 = 100;

/// A disturbance comes this often.
const DISTURBED_EVERY: Duration = Duration::from_secs(5);

/// How long a service stays away.
const AWAY: Duration = Duration::from_secs(1);

/// Rows of the table.
const ROWS: u32 = 12;

/// Memory may grow so much from the first quarter to the end.
const MEMORY_MORE_MAX_KIB: u64 = 16 * 1024;

/// What must be empty when all clients have gone.
const HELD: [&str; 4] = [
    "intertie_gateway_connections",
    "intertie_endpoint_in_flight",
    "intertie_bulkhead_running",
    "intertie_retry_budget_in_flight",
];

/// Longer than idle connections of clients and to services are kept.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// Runs it and prints the table.
///
/// # Errors
/// When something leaks, or nothing was served.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let args = parse(words, 60)?;
    let random = Random::new(args.seed);
    let service = Service::start(FAULTY, random.fork(u64::MAX))?;
    let gateway = Gateway::start(&binary(args.binary.as_deref())?, &traffic(&service, 0))?;
    let fresh = gateway.descriptors()?;
    let load = Load {
        to: gateway.address,
        rate: CAPACITY / 2,
        lasts: args.lasts,
        leaving: LEAVING,
        random: random.fork(u64::MAX - 1),
    };
    println!("{} requests/s for {:?}, seed {}.\n", load.rate, args.lasts, args.seed);
    println!(
        "| after | requests | good | refused | broken | left | reloads | restarts | memory MiB | descriptors | threads |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let (figures, stop) = (Figures::default(), AtomicBool::new(false));
    let memory = std::thread::scope(|scope| {
        let clients = scope.spawn(|| load.run(&figures, &stop));
        let watched = watch(&gateway, &service, &figures, args.lasts, random.fork(u64::MAX - 2));
        stop.store(watched.is_err(), Ordering::Relaxed);
        ensure!(clients.join().is_ok(), "a client failed");
        watched
    })?;
    settle(&gateway, fresh)?;
    ensure!(get(&figures.good) * 2 > figures.sent(), "less than half of the requests were served");
    let (first, last) = (memory[memory.len() / 4], memory[memory.len() - 1]);
    ensure!(last <= first + MEMORY_MORE_MAX_KIB, "memory grew from {first} KiB to {last} KiB");
    println!("\nNothing leaks: no memory, descriptor, connection, attempt or permit is left behind.");
    Ok(())
}

fn traffic(service: &Service, reload: u64) -> String {
    format!(
        "# reload {reload}\n[service.work]\nendpoints = [{{ at = \"{}\" }}]\nidle_timeout = \"{}s\"\n\n\
         [route.\"/**\"]\nto = \"work\"\ndeadline = \"2s\"\nattempt_timeout = \"500ms\"\n\
         retry = {{ attempts = 2, base = \"10ms\", budget = \"20%\" }}\n\
         circuit_breaker = {{ preset = \"sensitive\", failures = 50, open = \"1s\" }}\n\
         bulkhead = {{ concurrent = 50, queue = 50, wait = \"100ms\" }}\n",
        service.address,
        4 + reload % 2
    )
}

/// Disturbs and measures until the time is up; the memory of each row.
fn watch(
    gateway: &Gateway,
    service: &Service,
    figures: &Figures,
    lasts: Duration,
    mut random: Random,
) -> Result<Vec<u64>> {
    let started = Instant::now();
    let (mut reloads, mut restarts, mut memory) = (0, 0, Vec::new());
    let mut disturbed = Duration::ZERO;
    for row in 1..=ROWS {
        let until = lasts * row / ROWS;
        while started.elapsed() < until {
            if started.elapsed() >= disturbed + DISTURBED_EVERY {
                disturbed = started.elapsed();
                if random.below(2) == 0 {
                    reloads += 1;
                    gateway.reload(&traffic(service, reloads))?;
                } else {
                    restarts += 1;
                    service.set_away(true);
                    std::thread::sleep(AWAY);
                    service.set_away(false);
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        memory.push(gateway.resident_kib()?);
        println!(
            "| {:.0} s | {} | {} | {} | {} | {} | {reloads} | {restarts} | {:.1} | {} | {} |",
            started.elapsed().as_secs_f64(),
            figures.sent(),
            get(&figures.good) + get(&figures.late),
            get(&figures.refused),
            get(&figures.broken),
            get(&figures.left),
            memory[memory.len() - 1] as f64 / 1024.0,
            gateway.descriptors()?,
            gateway.threads()?,
        );
    }
    let told = gateway.events("config_reloaded")?;
    ensure!(reloads == 0 || told > 0, "{reloads} reloads, and none was told");
    Ok(memory)
}

/// Waits until nothing of the clients is left.
fn settle(gateway: &Gateway, fresh: usize) -> Result<()> {
    let started = Instant::now();
    loop {
        let mut left = Vec::new();
        for metric in HELD {
            let held = gateway.metric(metric).context("the server no longer answers")?;
            if held != 0.0 {
                left.push(format!("{metric} is {held}"));
            }
        }
        let descriptors = gateway.descriptors()?;
        if descriptors > fresh {
            left.push(format!("{descriptors} descriptors are open, where {fresh} were at the beginning"));
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(started.elapsed() < SETTLED_WITHIN, "left behind: {}", left.join(", "));
        std::thread::sleep(Duration::from_millis(200));
    }
}
