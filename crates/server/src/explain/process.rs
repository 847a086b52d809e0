//! What `explain` tells of the process itself.

use intertie_core::quantity::format_duration;
use intertie_gateway::plan::Plan;

use super::section::{Section, listed};
use crate::file::Loaded;
use crate::operation::{limit, needed};

/// The effective values of `[server]`, and what the machine grants.
pub(super) fn explain(loaded: &Loaded, plan: &Plan) -> String {
    let server = &loaded.server;
    let rows = [
        ("listen", listed(&server.listen)),
        ("admin", server.admin.to_string()),
        ("api", loaded.api().map(|api| api.to_string()).unwrap_or_default()),
        ("data", loaded.data().map(|data| data.display().to_string()).unwrap_or_default()),
        ("threads", server.threads().to_string()),
        ("access_log", server.access_log.0.to.clone()),
        ("metric_series_max", server.metric_series_max.to_string()),
        ("drain", format_duration(server.drain)),
        ("takeover_timeout", format_duration(server.takeover_timeout)),
    ];
    // An access log in the file is told whole, below.
    let told_below = |key: &str| key == "access_log" && loaded.has(&["server", key]);
    let is_there = |value: &str| !value.is_empty();
    let mut section = Section::new(loaded, "server", &["server"], 17);
    for (key, value) in rows.iter().filter(|(key, value)| !told_below(key) && is_there(value)) {
        match (*key, server.threads) {
            ("threads", None) => {
                section.row_from(key, value, "built-in default: the cores that this process may use");
            }
            _ => section.row(&[key], value),
        }
    }
    section.into_text() + &descriptors(loaded, plan)
}

fn descriptors(loaded: &Loaded, plan: &Plan) -> String {
    let mut section = Section::new(loaded, "\ndescriptors", &[], 0);
    let connections = loaded.server.client_limits.connections_max.get();
    let needed = needed(connections, plan) + u64::from(loaded.api_connections());
    section.sentence(format_args!("{needed} may be needed by {connections} client connections"));
    match limit() {
        Ok(limit) => section.sentence(format_args!("{limit} may be opened here (RLIMIT_NOFILE, hard)")),
        Err(error) => section.sentence(format_args!("how many may be opened here is not known: {error}")),
    }
    section.into_text()
}
