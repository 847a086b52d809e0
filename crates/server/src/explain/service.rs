//! What `explain` tells of the way to a service.

use std::path::PathBuf;

use intertie_core::quantity::format_duration;
use intertie_gateway::config::Time;
use intertie_gateway::plan::Service;
use intertie_gateway::tls::ServiceTlsConfig;

use super::section::Section;
use crate::file::Loaded;

/// The version of HTTP, TLS, and the bounds of HTTP/2 where it may be spoken.
pub(super) fn explain(loaded: &Loaded, service: &Service) -> String {
    let table = ["service", &*service.name];
    let mut section = Section::new(loaded, format_args!("\ntowards service `{}`", service.name), &table, 23);
    section.row(&["protocol"], service.config.protocol.name());
    match &service.config.tls {
        None => section.row(&["tls"], "off"),
        Some(tls) => tls_rows(&mut section, tls, "the host of each endpoint"),
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
            section.row(&["http2", key], value);
        }
    }
    section.into_text()
}

/// What `tls` in the section's table says of a server that is connected to. Its certificate is for `host` unless
/// it is told another name.
pub(super) fn tls_rows(section: &mut Section<'_>, tls: &ServiceTlsConfig, host: &str) {
    let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    for (key, value, default) in [
        ("roots", file(&tls.roots), "those of the system"),
        ("server_name", tls.server_name.clone(), host),
        ("certificate", file(&tls.certificate), "none"),
        ("key", file(&tls.key), "none"),
    ] {
        section.row(&["tls", key], value.as_deref().unwrap_or(default));
    }
}
