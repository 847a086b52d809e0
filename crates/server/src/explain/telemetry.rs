//! What `explain` tells of traces and logs.

use intertie_core::quantity::format_duration;
use intertie_gateway::proxy::TraceParents;

use super::section::{Section, listed};
use super::service::tls_rows;
use crate::file::{AccessLogFormat, Loaded, TracesConfig};

/// Each section that the file has, with its values and where they stand.
pub(super) fn explain(loaded: &Loaded) -> String {
    let server = &loaded.server;
    let mut text = String::new();
    if !server.ready.services.is_empty() {
        let rows = [("services", listed(&server.ready.services))];
        text.push_str(&section(loaded, &["server", "ready"], &rows).into_text());
    }
    if loaded.has(&["server", "access_log"]) {
        let log = &server.access_log.0;
        let format = match log.format {
            AccessLogFormat::Json => "json",
            AccessLogFormat::Text => "text",
        };
        let rows = [
            ("to", log.to.clone()),
            ("format", format.to_owned()),
            ("sample", log.sample.to_string()),
            ("slow", format_duration(log.slow)),
            ("query", log.query.to_string()),
            ("redact", listed(&log.redact)),
            ("headers", listed(&log.headers)),
            ("queue", log.queue.to_string()),
        ];
        text.push_str(&section(loaded, &["server", "access_log"], &rows).into_text());
    }
    if let Some(audit) = &server.audit_log {
        let rows = [
            ("to", audit.to.clone()),
            ("queue", audit.queue.to_string()),
            ("rejections_every", format_duration(audit.rejections_every)),
        ];
        text.push_str(&section(loaded, &["server", "audit_log"], &rows).into_text());
    }
    if let Some(config) = &server.traces {
        text.push_str(&traces(loaded, config).into_text());
    }
    text
}

fn traces<'a>(loaded: &'a Loaded, traces: &TracesConfig) -> Section<'a> {
    let collector = traces.collector();
    let parents = match traces.parents {
        TraceParents::All => "all",
        TraceParents::TrustedProxies => "trusted_proxies",
    };
    let rows = [
        ("endpoint", collector.as_ref().map_or_else(String::new, ToString::to_string)),
        ("sample", traces.sample.to_string()),
        ("parents", parents.to_owned()),
        ("headers", listed(traces.headers.keys())),
        ("service_name", traces.service_name.clone()),
        ("queue", traces.queue.to_string()),
        ("batch", traces.batch.to_string()),
        ("timeout", format_duration(traces.timeout)),
        ("deadline", format_duration(traces.deadline)),
        ("flush", format_duration(traces.flush)),
    ];
    let mut section = section(loaded, &["server", "traces"], &rows);
    if collector.is_some_and(|uri| uri.scheme_str() == Some("https")) {
        let tls = traces.tls.clone().unwrap_or_default();
        tls_rows(&mut section, &tls, "the host of the endpoint");
    }
    section
}

fn section<'a>(loaded: &'a Loaded, table: &'a [&'a str; 2], rows: &[(&str, String)]) -> Section<'a> {
    let [_, name] = table;
    let mut section = Section::new(loaded, format_args!("\n{name}"), table, 16);
    // `access_log = "off"` is short for a table with this `to` alone.
    let short = !rows.iter().any(|(key, _)| loaded.has(&["server", name, key]));
    for (key, value) in rows {
        if short && *key == "to" {
            section.row_from(key, value, &loaded.origin(table));
        } else {
            section.row(&[key], value);
        }
    }
    section
}
