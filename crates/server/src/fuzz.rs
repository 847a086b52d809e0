//! For fuzzing: what must hold of the whole file, whatever stands in it. `fuzz/fuzz_targets/config.rs` compiles
//! this and what it calls.

use std::path::Path;

use intertie_core::telemetry::Events;
use intertie_gateway::plan::Plan;
use intertie_gateway::tls::ServiceTerms;

use crate::file::Loaded;

const NAME: &str = "x.toml";

/// Reads a file as the server does. It is refused in words, with positions in it, or it is understood; what is
/// understood has what the server needs, and can run, or it is said why not; what runs takes over from itself.
pub(crate) fn whole(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read = || Loaded::parse(Path::new(NAME), text.to_owned());
    let loaded = match read() {
        Ok(loaded) => loaded,
        Err(refused) => return check_words(&refused, text),
    };
    let again = read().expect("what was understood is understood again");
    assert_eq!(loaded.server, again.server, "the server is a function of the file");
    assert_eq!(loaded.changes(&again), Vec::<String>::new(), "nothing has changed");
    assert!(loaded.server.admin.ip().is_loopback(), "the admin listener can be reached from outside");
    let addresses = loaded.addresses();
    let listens = addresses.len() > 1 && !loaded.traffic.routes.is_empty();
    assert!(listens, "the server would take no requests");
    match loaded.plan_to_look_at() {
        Ok((plan, report)) => {
            assert_eq!(plan.routes.len(), loaded.traffic.routes.len());
            assert_eq!(plan.services.len(), loaded.traffic.services.len());
            if !report.problems.is_empty() {
                check_words(&loaded.render(&report.problems), text);
            }
            let terms = ServiceTerms::default();
            let next = Plan::compile(&loaded.traffic, &terms, Some(&plan), &Events::default());
            assert!(next.is_ok(), "what runs is refused when it is loaded again");
        }
        Err(report) => {
            assert!(!report.problems.is_empty(), "it is refused without a word");
            check_words(&loaded.render(&report.problems), text);
        }
    }
}

/// Messages have a severity, and their positions are in the file.
fn check_words(words: &str, text: &str) {
    let begins = ["error: ", "warning: ", "note: "].iter().any(|severity| words.starts_with(severity));
    assert!(begins, "{words:?}");
    let positions = words.lines().filter_map(|line| {
        let place = line.strip_prefix("  --> ").or_else(|| line.strip_prefix("  and "))?;
        place.strip_prefix(NAME)?.strip_prefix(':')?.split_once(':')
    });
    for (line, column) in positions {
        let [line, column]: [usize; 2] = [line, column].map(|number| number.parse().expect("a number"));
        let content = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("no line {line}: {words}"));
        assert!((1..=content.chars().count() + 1).contains(&column), "no column {column}: {words}");
    }
}

#[cfg(test)]
mod tests {
    use intertie_fuzz::Target;

    use super::*;

    /// Files with every section, one whose positions are not those of its bytes, and one that is refused.
    const CORPUS: &[&[u8]] = &[
        include_bytes!("../../../examples/shop/intertie.toml"),
        br#"
[server]
listen = ["127.0.0.1:0", "[::1]:8080"]
admin = "127.0.0.1:9901"
threads = 2
trusted_proxies = ["10.0.0.0/8"]
proxy_protocol = "required"
takeover_timeout = "10s"
ready = { services = ["orders"] }

[server.client_limits]
header_bytes_max = "16KiB"
headers_max = 50
idle_timeout = "30s"
http2 = { streams_max = 100, resets_max = 50, stream_window = "128KiB" }

[server.access_log]
format = "json"

[server.audit_log]
to = "audit.log"

[server.traces]
endpoint = "http://127.0.0.1:4318/v1/traces"

[tls]
listen = ["127.0.0.1:8443"]
redirect = ["127.0.0.1:8081"]

[certificate.shop]
chain = "shop.crt"
key = "shop.key"
names = ["shop.example"]

[service.orders]
endpoints = [{ at = "127.0.0.1:7001" }]

[route."/**"]
to = "orders"
"#,
        br#"
[defaults]
deadline = "10s"

[policy.standard]
retry = { preset = "quick", attempts = 3, budget = "20%" }
circuit_breaker = { preset = "standard", failures = 5, open = "30s" }
attempt_timeout = "1s"
bulkhead = { concurrent = 200, queue = 50, wait = "100ms" }
rate_limiter = { limit = "100/s", burst = 200, by = "client_address" }

[limit.plan]
limit = "1000/h"
by = "header:X-Api-Key"

[service.orders]
endpoints = [{ at = "127.0.0.1:7001", weight = 9 }, { at = "orders.internal:7002", weight = 1 }]
balance = "weighted_round_robin"
health_check = { path = "/health/ready", every = "5s" }
outlier = { consecutive_failures = 5 }
use = "standard"
calls = ["files"]

[service.files]
endpoints = [{ at = "[::1]:7003" }]
connect_timeout = "200ms"
deadline = "400ms"

[route."/orders/**"]
to = "orders"
limits = ["plan"]

[route."POST /orders"]
to = "orders"
body_max = "64KiB"

[route.downloads]
match = { host = "files.example", path = "/**", method = ["GET", "HEAD"], headers = { x = "*" } }
to = "files"
retry = "off"
"#,
        b"[service.a]\nendpoints = [{ at = \"127.0.0.1:1\" }]\n[route.\"/**\"]\nto = \"a\"\nretry = { waits = [\"1s\", \"2s\"] }\n",
        b"[service.a]\nendpoints = [{ at = \"127.0.0.1:1\" }]\n[route.\"GET /{id}\"]\nto = \"a\"\nbulkhead = { concurrent = 20, adaptive = { algorithm = \"aimd\", min = 5, max = 200, latency_max = \"100ms\" } }\ncircuit_breaker = { failure_rate = \"50%\", window = \"200 calls\", minimum_calls = 100 }\n",
        "[server]\nlisten = [\"127.0.0.1:0\"]\r\n[service.\"größe\"]\n\tendpoints = [{ at = \"127.0.0.1:1\" }]\n\
         [route.\"/ü/**\"]\nto = \"größe\" # ☂\nretry = { attempts = 0 }\nuse = [1, 2]\n"
            .as_bytes(),
        b"[tls]\nlisten = [\"127.0.0.1:8443\"]\n[certificate.a]\nchain = \"a.pem\"\nkey = \"a.key\"\n\
          [server.client_limits]\nheaders_max = 5\n[[route]]\nto = 'x'\n",
    ];

    /// Mutations of what is refused anyway would try little.
    #[test]
    fn the_corpus_can_run() {
        for input in &CORPUS[..CORPUS.len() - 2] {
            let text = std::str::from_utf8(input).expect("UTF-8").to_owned();
            let loaded = Loaded::parse(Path::new(NAME), text).unwrap_or_else(|refused| panic!("{refused}"));
            if let Err(report) = loaded.plan_to_look_at() {
                panic!("{}", loaded.render(&report.problems));
            }
        }
    }

    #[test]
    fn any_file_is_understood_or_refused_in_words() {
        Target { name: "config", corpus: CORPUS, body: whole }.check();
    }

    #[test]
    fn cargo_fuzz_has_a_program_for_it() {
        let program = include_str!("../../../fuzz/fuzz_targets/config.rs");
        assert!(program.contains("crates/server/src/fuzz.rs") && program.contains("fuzz::whole(input)"));
    }
}
