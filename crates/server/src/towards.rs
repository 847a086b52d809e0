//! What `explain` tells of the way to a service.

use std::fmt::Write as _;

use intertie_core::quantity::format_duration;
use intertie_gateway::config::Time;
use intertie_gateway::plan::Service;

use crate::file::Loaded;

/// The version of HTTP, TLS, and the bounds of HTTP/2 where it may be spoken.
pub(crate) fn explain(loaded: &Loaded, service: &Service) -> String {
    let mut text = format!("\ntowards service `{}`:\n", service.name);
    let mut row = |keys: &[&str], value: &str| {
        let path: Vec<_> = ["service", &*service.name].into_iter().chain(keys.iter().copied()).collect();
        let _ = writeln!(text, "  {:<23} {value}  ({})", keys.join("."), loaded.origin(&path));
    };
    row(&["protocol"], service.config.protocol.name());
    match &service.config.tls {
        None => row(&["tls"], "off"),
        Some(tls) => {
            let file =
                |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
            let roots = file(&tls.roots).unwrap_or_else(|| "those of the system".to_owned());
            row(&["tls", "roots"], &roots);
            row(&["tls", "server_name"], tls.server_name.as_deref().unwrap_or("the host of each endpoint"));
            row(&["tls", "certificate"], file(&tls.certificate).as_deref().unwrap_or("none"));
            row(&["tls", "key"], file(&tls.key).as_deref().unwrap_or("none"));
        }
    }
    if service.transport.may_multiplex() {
        let http2 = &service.transport.http2;
        let time = |time: Option<Time>| time.map(|time| format_duration(time.0));
        let never = || "never".to_owned();
        for (key, value) in [
            ("streams_max", http2.streams_max.to_string()),
            ("connections_max", http2.connections_max.to_string()),
            ("stream_window", http2.stream_window.to_string()),
            ("connection_window", http2.connection_window.to_string()),
            ("ping_interval", time(http2.ping_interval).unwrap_or_else(never)),
            ("ping_timeout", time(http2.ping_timeout).unwrap_or_else(|| "10s".to_owned())),
        ] {
            row(&["http2", key], &value);
        }
    }
    text
}
