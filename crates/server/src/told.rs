//! What `explain` tells of traces and logs.

use std::fmt::Write as _;

use intertie_core::quantity::format_duration;
use intertie_gateway::proxy::TraceParents;

use crate::file::{AccessLogFormat, Loaded};

/// Each section that the file has, with its values and where they stand.
pub(crate) fn explain(loaded: &Loaded) -> String {
    let mut text = String::new();
    if !loaded.server.ready.services.is_empty() {
        let services: Vec<_> = loaded.server.ready.services.iter().map(String::as_str).collect();
        section(&mut text, loaded, "ready", &[("services", listed(&services))]);
    }
    if loaded.has(&["server", "access_log"]) {
        let log = &loaded.server.access_log.0;
        let names = |names: &[String]| listed(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let format = match log.format {
            AccessLogFormat::Json => "json",
            AccessLogFormat::Text => "text",
        };
        section(
            &mut text,
            loaded,
            "access_log",
            &[
                ("to", log.to.clone()),
                ("format", format.to_owned()),
                ("sample", log.sample.to_string()),
                ("slow", format_duration(log.slow)),
                ("query", log.query.to_string()),
                ("redact", names(&log.redact)),
                ("headers", names(&log.headers)),
                ("queue", log.queue.to_string()),
            ],
        );
    }
    if let Some(audit) = &loaded.server.audit_log {
        section(
            &mut text,
            loaded,
            "audit_log",
            &[
                ("to", audit.to.clone()),
                ("queue", audit.queue.to_string()),
                ("rejections_every", format_duration(audit.rejections_every)),
            ],
        );
    }
    if let Some(traces) = &loaded.server.traces {
        let parents = match traces.parents {
            TraceParents::All => "all",
            TraceParents::TrustedProxies => "trusted_proxies",
        };
        let headers: Vec<_> = traces.headers.keys().map(String::as_str).collect();
        let endpoint = traces.collector().map_or_else(String::new, |uri| uri.to_string());
        section(
            &mut text,
            loaded,
            "traces",
            &[
                ("endpoint", endpoint),
                ("sample", traces.sample.to_string()),
                ("parents", parents.to_owned()),
                ("headers", listed(&headers)),
                ("service_name", traces.service_name.clone()),
                ("queue", traces.queue.to_string()),
                ("batch", traces.batch.to_string()),
                ("timeout", format_duration(traces.timeout)),
                ("deadline", format_duration(traces.deadline)),
                ("flush", format_duration(traces.flush)),
            ],
        );
    }
    if let Some(traces) = &loaded.server.traces
        && traces.collector().is_some_and(|uri| uri.scheme_str() == Some("https"))
    {
        let tls = traces.tls.clone().unwrap_or_default();
        let file = |path: Option<std::path::PathBuf>| path.map(|path| path.display().to_string());
        for (key, value, default) in [
            ("roots", file(tls.roots), "those of the system"),
            ("server_name", tls.server_name, "the host of the endpoint"),
            ("certificate", file(tls.certificate), "none"),
            ("key", file(tls.key), "none"),
        ] {
            let (value, origin) =
                (value.as_deref().unwrap_or(default), loaded.origin(&["server", "traces", "tls", key]));
            let _ = writeln!(text, "  {:<16} {value}  ({origin})", format!("tls.{key}"));
        }
    }
    text
}

fn section(text: &mut String, loaded: &Loaded, name: &str, rows: &[(&str, String)]) {
    let _ = writeln!(text, "\n{name}:");
    // `access_log = "off"` is short for a table with this `to` alone.
    let short = !rows.iter().any(|(key, _)| loaded.has(&["server", name, key]));
    for (key, value) in rows {
        let keys = ["server", name, key];
        let origin = loaded.origin(if short && *key == "to" { &keys[..2] } else { &keys });
        let _ = writeln!(text, "  {key:<16} {value}  ({origin})");
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
