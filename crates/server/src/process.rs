//! What `explain` tells of the process itself.

use std::fmt::Write as _;
use std::net::SocketAddr;

use intertie_core::quantity::format_duration;
use intertie_gateway::plan::Plan;

use crate::file::Loaded;
use crate::operation::{limit, needed};

/// The effective values of `[server]`, and what the machine grants.
pub(crate) fn explain(loaded: &Loaded, plan: &Plan) -> String {
    let server = &loaded.server;
    let addresses = |addresses: &[SocketAddr]| match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut text = String::from("server:\n");
    let rows = [
        ("listen", addresses(&server.listen)),
        ("admin", server.admin.to_string()),
        ("threads", server.threads().to_string()),
        ("access_log", server.access_log.0.to.clone()),
        ("metric_series_max", server.metric_series_max.to_string()),
        ("drain", format_duration(server.drain)),
        ("takeover_timeout", format_duration(server.takeover_timeout)),
    ];
    // An access log in the file is told whole, below.
    let told_below = |key: &str| key == "access_log" && loaded.has(&["server", key]);
    for (key, value) in rows.iter().filter(|(key, _)| !told_below(key)) {
        let origin = match (*key, server.threads) {
            ("threads", None) => "built-in default: the cores that this process may use".to_owned(),
            _ => loaded.origin(&["server", key]),
        };
        let _ = writeln!(text, "  {key:<17} {value}  ({origin})");
    }
    let connections = server.client_limits.connections_max.get();
    let needed = needed(connections, plan);
    let _ = writeln!(text, "\ndescriptors:\n  {needed} may be needed by {connections} client connections");
    match limit() {
        Ok(limit) => {
            let _ = writeln!(text, "  {limit} may be opened here (RLIMIT_NOFILE, hard)");
        }
        Err(error) => {
            let _ = writeln!(text, "  how many may be opened here is not known: {error}");
        }
    }
    text
}
