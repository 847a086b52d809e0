//! Whether overload costs goodput: a service of known capacity, asked for more and more.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::args::{Args, parse};
use super::clients::{Figures, Load, get};
use super::gateway::{Gateway, binary};
use super::identity::Identity;
use super::random::Random;
use super::service::{Service, capacity};

/// Answers that the service works on at the same time.
const PLACES: u64 = 8;

/// What is offered, in percent of the service's capacity. The first two are for the peak.
const OFFERED: [u64; 4] = [80, 100, 200, 500];

/// Goodput under overload, in percent of the peak.
const GOODPUT_MIN: f64 = 95.0;

/// What overload may add to the memory at the peak.
const MEMORY_MORE_MAX_KIB: u64 = 32 * 1024;

/// Runs it and prints the table.
///
/// # Errors
/// When a bound is broken.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let args = parse(words, 2, None)?;
    let random = Random::new(args.seed);
    let service = Service::start(PLACES, 0, random.fork(u64::MAX))?;
    // As many calls as the service has places for, and a queue that is worth waiting in.
    let traffic = format!(
        "[service.work]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"work\"\ndeadline = \"2s\"\n\
         bulkhead = {{ concurrent = {PLACES}, queue = {PLACES}, wait = \"100ms\" }}\n",
        service.address
    );
    let gateway = Gateway::start(&binary(args.binary.as_deref())?, &Identity::new()?, &traffic)?;
    println!("Capacity {} requests/s, seed {}.\n", capacity(PLACES), args.seed);
    println!("| offered | requests/s | goodput/s | refused | late | broken | memory MiB |");
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    let rows = OFFERED.map(|percent| row(&args, &gateway, percent));
    let rows: Vec<Row> = rows.into_iter().collect::<Result<_>>()?;
    judge(&rows)
}

#[derive(Debug)]
struct Row {
    percent: u64,
    goodput: f64,
    broken: u64,
    resident_kib: u64,
}

fn row(args: &Args, gateway: &Gateway, percent: u64) -> Result<Row> {
    let lasts = args.lasts / u32::try_from(OFFERED.len())?;
    let load = Load { to: gateway.address, rate: capacity(PLACES) * percent / 100, lasts };
    // What was cold before is not what is asked about.
    let warm = Load { lasts: Duration::from_secs(1), ..load.clone() };
    warm.run(&Figures::default(), &AtomicBool::new(false));
    let figures = Figures::default();
    load.run(&figures, &AtomicBool::new(false));
    let row = Row {
        percent,
        goodput: get(&figures.good) as f64 / lasts.as_secs_f64(),
        broken: get(&figures.broken),
        resident_kib: gateway.resident_kib()?,
    };
    println!(
        "| {percent} % | {:.0} | {:.0} | {} | {} | {} | {:.1} |",
        figures.sent() as f64 / lasts.as_secs_f64(),
        row.goodput,
        get(&figures.refused),
        get(&figures.late),
        row.broken,
        row.resident_kib as f64 / 1024.0,
    );
    Ok(row)
}

fn judge(rows: &[Row]) -> Result<()> {
    let (calm, overloaded) = rows.split_at(2);
    let peak = calm.iter().map(|row| row.goodput).fold(0.0, f64::max);
    let memory = calm.iter().map(|row| row.resident_kib).max().unwrap_or(0) + MEMORY_MORE_MAX_KIB;
    ensure!(peak > 0.0, "nothing was answered");
    for Row { percent, goodput, broken, resident_kib } in overloaded {
        let share = 100.0 * goodput / peak;
        ensure!(
            share >= GOODPUT_MIN,
            "at {percent} % goodput is {share:.1} % of the peak, below {GOODPUT_MIN} %"
        );
        ensure!(
            *resident_kib <= memory,
            "at {percent} % {resident_kib} KiB are resident, more than {memory}"
        );
        ensure!(*broken == 0, "at {percent} % {broken} requests got no whole answer");
    }
    println!(
        "\nAt 2 × and 5 × capacity goodput stays above {GOODPUT_MIN} % of the peak, and memory is bounded."
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_can_be_broken() {
        let row = |percent, goodput| Row { percent, goodput, broken: 0, resident_kib: 10_000 };
        let rows = || vec![row(80, 320.0), row(100, 400.0), row(200, 390.0), row(500, 380.0)];
        assert!(judge(&rows()).is_ok());
        let breaking: [fn(&mut Row); 3] =
            [|row| row.goodput = 379.0, |row| row.resident_kib += 33 * 1024, |row| row.broken = 1];
        for change in breaking {
            for place in [2, 3] {
                let mut rows = rows();
                change(&mut rows[place]);
                assert!(judge(&rows).is_err(), "{rows:?}");
            }
        }
    }
}
