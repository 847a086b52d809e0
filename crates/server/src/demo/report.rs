//! What is shown: a row a second, and at the end what each policy saved, in figures that were measured.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::client::Seen;
use super::process::Addresses;
use super::scrape::Numbers;
use super::script::Scene;

/// One scene and everything that was measured in it.
#[derive(Debug, Default)]
pub(super) struct Act {
    pub(super) scene: Scene,
    pub(super) started: Duration,
    pub(super) ended: Duration,
    pub(super) before: Numbers,
    pub(super) after: Numbers,
    pub(super) customers: Seen,
    pub(super) flood: Seen,
}

impl Scene {
    fn title(self) -> &'static str {
        match self {
            Self::Calm => "all is well",
            Self::Killed => "orders-a is killed (SIGKILL)",
            Self::Slow => "orders-b answers after 3 s",
            Self::Unavailable => "orders-b answers 503 with Retry-After: 1",
            Self::Reset => "inventory resets one connection in ten",
            Self::Flood => "one client asks 800 times a second; 200 are allowed",
            Self::Recovered => "all is well again",
        }
    }
}

impl Act {
    /// How much a counter of the server grew.
    fn grew(&self, name: &str, labels: &[&str]) -> f64 {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        self.after.sum(name, &labels) - self.before.sum(name, &labels)
    }

    fn retries(&self) -> f64 {
        self.grew("intertie_retry_attempts_total", &[])
    }
}

/// The live table.
pub(super) struct Live {
    terminal: bool,
    names: Vec<(&'static str, &'static str, String)>,
}

impl Live {
    pub(super) fn new(terminal: bool, addresses: &Addresses) -> Self {
        let names = vec![
            ("orders", "orders-a", addresses.orders[0].to_string()),
            ("orders", "orders-b", addresses.orders[1].to_string()),
            ("inventory", "inventory", addresses.inventory.to_string()),
            ("payments", "payments", addresses.payments.to_string()),
        ];
        println!(
            "  time  orders   ok  other    p50     p99   budget  {:<11}{:<11}{:<11}payments",
            "orders-a", "orders-b", "inventory"
        );
        Self { terminal, names }
    }

    pub(super) fn scene(&mut self, scene: Scene) {
        println!("{}", self.bold(&format!("-- {}", scene.title())));
    }

    pub(super) fn second(&mut self, at: Duration, seen: &Seen, flooded: &Seen, health: &Value) {
        let mut row = format!(
            "{:5.0}s  {:6} {:4} {:6} {:>7} {:>7}  {:6}  ",
            at.as_secs_f64(),
            seen.total(),
            seen.succeeded(),
            others(seen),
            millis(seen.quantile(0.5)),
            millis(seen.quantile(0.99)),
            health["services"]["orders"]["retry_budget"]["remaining"],
        );
        for (service, _, address) in &self.names {
            let state = self.state(service, address, health);
            // Colours have no width, so the padding is counted without them.
            let _ =
                write!(row, "{}{}", self.coloured(state), " ".repeat(11_usize.saturating_sub(state.len())));
        }
        if flooded.total() > 0 {
            let _ = write!(row, " flood: {} asked, {} let in", flooded.total(), flooded.succeeded());
        }
        println!("{}", row.trim_end());
    }

    fn state<'a>(&self, service: &str, address: &str, health: &'a Value) -> &'a str {
        let endpoints = health["services"][service]["endpoints"].as_array();
        let endpoint = endpoints.into_iter().flatten().find(|endpoint| endpoint["at"] == address);
        let Some(endpoint) = endpoint else { return "?" };
        if endpoint["healthy"] == false {
            return "unhealthy";
        }
        endpoint["circuit_breaker"]["state"].as_str().unwrap_or("-")
    }

    fn bold(&self, text: &str) -> String {
        if self.terminal { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn coloured(&self, state: &str) -> String {
        let colour = match state {
            "closed" => "32",
            "half_open" => "33",
            _ => "31",
        };
        if self.terminal { format!("\x1b[{colour}m{state}\x1b[0m") } else { state.to_owned() }
    }
}

fn others(seen: &Seen) -> u64 {
    seen.total() - seen.succeeded()
}

fn millis(latency: Option<Duration>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1}ms", latency.as_secs_f64() * 1e3))
}

/// The closing words.
pub(super) fn summary(acts: &[Act], health: &Value, addresses: &Addresses) -> String {
    let mut out = String::from("\n== what the callers saw\n");
    let _ = writeln!(
        out,
        "{:<50} {:>7} {:>9} {:>8} {:>8} {:>8}",
        "scene", "orders", "succeeded", "retries", "p50", "p99"
    );
    let mut all = Seen::default();
    for act in acts {
        all.add(&act.customers);
        row(&mut out, act.scene.title(), &act.customers, act.retries());
    }
    row(&mut out, "in all", &all, acts.iter().map(Act::retries).sum());
    let by_status = all.statuses.iter().map(|(status, count)| match status {
        0 => format!("{count} without an answer"),
        status => format!("{count} × {status}"),
    });
    let _ = writeln!(out, "answers: {}", by_status.collect::<Vec<_>>().join(", "));

    out.push_str("\n== which policy saved what\n");
    for act in acts {
        let told = told(act, addresses);
        if !told.is_empty() {
            let _ = writeln!(out, "{}: {told}", act.scene.title());
        }
    }
    let budget = &health["services"]["orders"]["retry_budget"];
    let _ = writeln!(
        out,
        "\nretry budget of orders: {} spent, {} refused, {} left",
        budget["withdrawn"], budget["refused"], budget["remaining"]
    );
    out.push_str("\n== breaker transitions and health changes\n");
    for event in health["events"].as_array().into_iter().flatten() {
        let name = event["event"].as_str().unwrap_or_default();
        if name.starts_with("circuit_breaker") || name.starts_with("endpoint") {
            let time = event["at"].as_str().and_then(|at| at.get(11..23)).unwrap_or_default();
            let endpoint = event["endpoint"].as_str().unwrap_or_default();
            let cause = event["cause"].as_str().map(|cause| format!(" ({cause})")).unwrap_or_default();
            let _ = writeln!(out, "{time}  {:<30} {}{cause}", name, named(endpoint, addresses));
        }
    }
    out
}

fn row(out: &mut String, title: &str, seen: &Seen, retries: f64) {
    let total = seen.total();
    let share = if total == 0 { 0.0 } else { 100.0 * seen.succeeded() as f64 / total as f64 };
    let _ = writeln!(
        out,
        "{title:<50} {total:>7} {share:>8.2}% {retries:>8} {:>8} {:>8}",
        millis(seen.quantile(0.5)),
        millis(seen.quantile(0.99))
    );
}

/// What the policies did in a scene, in words.
fn told(act: &Act, addresses: &Addresses) -> String {
    let endpoint = |address: &std::net::SocketAddr| format!("endpoint=\"{address}\"");
    let failed_of = |address, outcome: &str| {
        act.grew("intertie_attempts_total", &[&endpoint(address), &format!("outcome=\"{outcome}\"")])
    };
    let opened_of = |address| act.grew("intertie_circuit_breaker_opened_total", &[&endpoint(address)]);
    let lost = others(&act.customers);
    let retries = act.retries();
    let took = (act.ended.saturating_sub(act.started)).as_secs_f64();
    match act.scene {
        Scene::Calm | Scene::Recovered => String::new(),
        Scene::Killed => format!(
            "{} attempts reached the dead service; retry sent {retries} again, the circuit breaker opened {}× \
             and the health check took it out; {lost} callers noticed in {took:.0} s",
            failed_of(&addresses.orders[0], "transient"),
            opened_of(&addresses.orders[0]),
        ),
        Scene::Slow => format!(
            "the attempt timeout ended {} attempts after 1 s, retry gave {retries} another endpoint, and the circuit \
             breaker opened {}× so that the others never waited; {lost} callers noticed",
            act.grew("intertie_attempt_timeout_exceeded_total", &[&endpoint(&addresses.orders[1])]),
            opened_of(&addresses.orders[1]),
        ),
        Scene::Unavailable => format!(
            "{} attempts got 503; no retry came earlier than the second it asked for, and the circuit breaker opened \
             {}×; {lost} callers noticed",
            failed_of(&addresses.orders[1], "unavailable"),
            opened_of(&addresses.orders[1]),
        ),
        Scene::Reset => format!(
            "{} requests lost their kept connection and went out again at once on a new one, retry mended {} more, all \
             within the 400 ms that orders allows; {lost} callers noticed",
            act.grew("intertie_endpoint_resends_total", &[&endpoint(&addresses.inventory)]),
            failed_of(&addresses.inventory, "transient"),
        ),
        Scene::Flood => format!(
            "the rate limiter let {} of the flood's {} requests in and rejected {} with 429 and Retry-After; of the \
             other clients' {} orders {lost} failed",
            act.flood.succeeded(),
            act.flood.total(),
            act.flood.statuses.get(&429).copied().unwrap_or_default(),
            act.customers.total(),
        ),
    }
}

fn named(endpoint: &str, addresses: &Addresses) -> String {
    let known = [
        (addresses.orders[0], "orders-a"),
        (addresses.orders[1], "orders-b"),
        (addresses.inventory, "inventory"),
        (addresses.payments, "payments"),
    ];
    known
        .iter()
        .find(|(address, _)| address.to_string() == endpoint)
        .map_or_else(|| endpoint.to_owned(), |(_, name)| (*name).to_owned())
}
