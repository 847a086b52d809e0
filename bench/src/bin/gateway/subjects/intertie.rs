//! Ours, built from the tree that the bench stands in.

use std::fmt::Write as _;

use super::{Site, WORKERS};
use crate::certificate;
use crate::mode::{Mode, route_prefix};

/// The policy of every route in [`Mode::Work`]. Its limits are far above the load: they are checked, never reached.
const POLICY: &str = r#"
[policy.standard]
deadline = "30s"
attempt_timeout = "5s"
retry = { preset = "quick", attempts = 3, budget = "20%" }
circuit_breaker = "standard"
rate_limiter = { limit = "1000000/s", burst = 1000000 }
bulkhead = { concurrent = 10000, queue = 100, wait = "100ms" }
"#;

pub fn config(site: &Site<'_>) -> String {
    let Site { port, admin_port, origin_port, .. } = site;
    let listen = format!("\"127.0.0.1:{port}\"");
    let (plain, secure) =
        if site.mode.has_tls() { ("", tls(site)) } else { (listen.as_str(), String::new()) };
    let access_log = match site.mode {
        Mode::Work => site.access_log().display().to_string(),
        _ => "off".to_owned(),
    };
    let mut config = format!(
        r#"[server]
listen = [{plain}]
admin = "127.0.0.1:{admin_port}"
threads = {WORKERS}
access_log = "{access_log}"

[service.origin]
endpoints = [{{ at = "127.0.0.1:{origin_port}" }}]
{secure}"#
    );
    match site.mode {
        Mode::Work => {
            config.push_str(POLICY);
            for route in 0..site.routes {
                let prefix = route_prefix(route);
                let _ = write!(config, "\n[route.\"{prefix}{{id}}\"]\nto = \"origin\"\nuse = \"standard\"\n");
            }
        }
        _ => config.push_str("\n[route.\"/**\"]\nto = \"origin\"\n"),
    }
    config
}

fn tls(site: &Site<'_>) -> String {
    let (chain, key) = (certificate::chain(site.certificates), certificate::key(site.certificates));
    format!(
        r#"
[tls]
listen = ["127.0.0.1:{}"]
minimum_version = "1.3"

[certificate.bench]
chain = "{}"
key = "{}"
"#,
        site.port,
        chain.display(),
        key.display()
    )
}
