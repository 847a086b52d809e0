//! Whether something leaks: hours at half load in all protocols, with reloads, restarts of the services, faults,
//! clients that leave and clients that are slow.

mod answers;
mod body;
mod clients;
mod connections;
mod exchange;
mod figures;
mod file;
mod leaks;
mod mix;
mod origin;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::args::parse;
use super::gateway::{Gateway, binary};
use super::identity::Identity;
use super::random::Random;
use super::service::{Service, WORK};
use answers::Chance;
use clients::Clients;
use connections::Connections;
use figures::{Figures, Outcome};
use file::{Services, limit, traffic};
use leaks::{Memory, settle};
use mix::Task;
use origin::Origin;

/// Requests in a second, unless it is told.
const RATE: u64 = 320;

/// One answer of a service in so many is wrong.
const FAULTY: u64 = 50;

/// A disturbance comes this often.
const DISTURBED_EVERY: Duration = Duration::from_secs(5);

/// How long a service stays away.
const AWAY: Duration = Duration::from_secs(1);

/// Rows of the table.
const ROWS: u32 = 12;

/// Runs it and prints the tables.
///
/// # Errors
/// When something leaks, or a protocol was not served.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let args = parse(words, 60, Some(RATE))?;
    let rate = args.rate.context("a rate is always told")?;
    let random = Random::new(args.seed);
    let identity = Identity::new()?;
    let mut backends = Backends::start(&identity, rate, &random)?;
    let services = backends.addresses();
    let gateway = Gateway::start(&binary(args.binary.as_deref())?, &identity, &traffic(&services, rate, 0))?;
    let fresh = gateway.descriptors()?;
    let clients = Clients {
        connections: Connections::new(&gateway, &identity)?,
        rate,
        lasts: args.lasts,
        random: random.fork(u64::MAX - 1),
    };
    println!("{rate} requests/s for {:?}, seed {}.\n", args.lasts, args.seed);
    let (figures, stop) = (Arc::new(Figures::default()), AtomicBool::new(false));
    let memory = std::thread::scope(|scope| {
        let clients = scope.spawn(|| clients.run(&figures, &stop));
        let watch = Watch { gateway: &gateway, figures: &figures, rate, lasts: args.lasts };
        let watched = watch.run(&mut backends, random.fork(u64::MAX - 2));
        stop.store(watched.is_err(), Ordering::Relaxed);
        clients.join().ok().context("the clients failed")??;
        watched
    })?;
    figures.print();
    settle(&gateway, fresh)?;
    memory.judge()?;
    figures.judge()?;
    println!("Nothing leaks: no memory, descriptor, connection, tunnel, attempt or permit is left behind.");
    Ok(())
}

/// What stands behind the gateway.
#[derive(Debug)]
struct Backends {
    work: Service,
    streams: Origin,
    calls: Origin,
}

impl Backends {
    fn start(identity: &Identity, rate: u64, random: &Random) -> Result<Self> {
        let chance = |number| Chance::new(FAULTY, random.fork(u64::MAX - number));
        // It can do what the limit of its route admits: twice of what comes.
        let places = (limit(Task::Work, rate) * WORK.as_millis() as u64).div_ceil(1000);
        Ok(Self {
            work: Service::start(places, FAULTY, random.fork(u64::MAX))?,
            streams: Origin::start(Some(identity.server(&[b"h2", b"http/1.1"])?), chance(3))?,
            calls: Origin::start(None, chance(4))?,
        })
    }

    fn addresses(&self) -> Services {
        let (streams, calls) = (self.streams.address, self.calls.address);
        Services { work: self.work.address, streams, calls }
    }

    /// Has one of them go away and come back.
    fn restart(&mut self, number: u64) -> Result<()> {
        match number {
            0 => {
                self.work.set_away(true);
                std::thread::sleep(AWAY);
                self.work.set_away(false);
                Ok(())
            }
            1 => self.streams.restart(AWAY),
            _ => self.calls.restart(AWAY),
        }
    }
}

#[derive(Debug)]
struct Watch<'a> {
    gateway: &'a Gateway,
    figures: &'a Figures,
    rate: u64,
    lasts: Duration,
}

impl Watch<'_> {
    /// Disturbs and measures until the time is up.
    fn run(&self, backends: &mut Backends, mut random: Random) -> Result<Memory> {
        println!(
            "| after | requests | good | refused | broken | left | reloads | restarts | memory MiB | descriptors | \
             connections | tunnels | permits | threads |"
        );
        println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        let started = Instant::now();
        let (mut reloads, mut restarts, mut memory) = (0, 0, Memory::default());
        let mut disturbed = Duration::ZERO;
        for row in 1..=ROWS {
            let until = self.lasts * row / ROWS;
            while started.elapsed() < until {
                if started.elapsed() >= disturbed + DISTURBED_EVERY {
                    disturbed = started.elapsed();
                    if random.below(2) == 0 {
                        reloads += 1;
                        self.gateway.reload(&traffic(&backends.addresses(), self.rate, reloads))?;
                    } else {
                        restarts += 1;
                        backends.restart(random.below(3))?;
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let resident_kib = self.gateway.resident_kib()?;
            memory.add(started.elapsed(), resident_kib);
            println!(
                "| {:.0} s | {} | {} | {} | {} | {} | {reloads} | {restarts} | {:.1} | {} | {} | {} | {} | {} |",
                started.elapsed().as_secs_f64(),
                self.figures.sent(),
                self.figures.all(Outcome::Good) + self.figures.all(Outcome::Slow),
                self.figures.all(Outcome::Refused),
                self.figures.all(Outcome::Broken),
                self.figures.all(Outcome::Left),
                resident_kib as f64 / 1024.0,
                self.gateway.descriptors()?,
                self.gateway.metric("intertie_gateway_connections")?,
                self.gateway.metric("intertie_upgrades_open")?,
                self.gateway.metric("intertie_bulkhead_running")?,
                self.gateway.threads()?,
            );
        }
        let told = self.gateway.events("config_reloaded")?;
        ensure!(told == reloads as usize, "{reloads} reloads, and {told} were told");
        Ok(memory)
    }
}
