//! What finding a route costs with 10, 1,000 and 10,000 of them, each asked for in turn.
//!
//! `cargo xtask bench routes [--append FILE]`

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use http::{HeaderMap, Method};
use intertie_gateway::route::{Condition, Found, HostPattern, RequestView, RoutePattern, Router};

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const LOOKUPS: usize = 1_000_000;
const ROUNDS: usize = 11;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let append = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => None,
        (Some("--append"), Some(file)) => Some(file),
        _ => bail!("usage: routes [--append FILE]"),
    };
    let prepared: Vec<_> = SIZES.iter().map(|size| prepare(*size)).collect::<Result<_>>()?;
    let mut samples = vec![Vec::new(); SIZES.len()];
    for _ in 0..ROUNDS {
        for (sample, (router, paths)) in samples.iter_mut().zip(&prepared) {
            sample.push(measure(router, paths)?);
        }
    }
    let mut table = String::from(
        "### Finding a route\n\n| routes | ns per lookup (median of 11, interleaved) |\n|--:|--:|\n",
    );
    for (size, sample) in SIZES.iter().zip(&mut samples) {
        sample.sort_by(f64::total_cmp);
        let _ = writeln!(table, "| {size} | {:.0} |", sample[ROUNDS / 2]);
    }
    print!("{table}");
    if let Some(file) = append {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
        writeln!(file, "\n{table}")?;
    }
    Ok(())
}

fn prepare(size: usize) -> Result<(Router, Vec<String>)> {
    let pattern = |number: usize| -> Result<RoutePattern> {
        let path = format!("/service-{number}/items/{{id}}").parse().map_err(anyhow::Error::msg)?;
        Ok(RoutePattern { host: HostPattern::Any, path, condition: Condition::default() })
    };
    let routes = (0..size).map(pattern).collect::<Result<_>>()?;
    let router = Router::new(routes).ok().context("the routes tie")?;
    // Each route in turn, in an order that no cache foresees.
    let paths = (0..size).map(|number| format!("/service-{}/items/7", number * 7_919 % size)).collect();
    Ok((router, paths))
}

fn measure(router: &Router, paths: &[String]) -> Result<f64> {
    let headers = HeaderMap::new();
    let started = Instant::now();
    for path in paths.iter().cycle().take(LOOKUPS) {
        let view =
            RequestView { host: "shop.example", path, query: None, method: &Method::GET, headers: &headers };
        let Found::Route(route) = router.find(black_box(&view)) else { bail!("no route for {path}") };
        black_box(route);
    }
    Ok(started.elapsed().as_nanos() as f64 / LOOKUPS as f64)
}
