//! What `explain` tells of the proxies that are believed, and of what the gateway says of itself.

use intertie_gateway::forwarded::{ForwardedHeader, ProxyProtocol};

use super::section::Section;
use crate::file::Loaded;

/// The keys that the file sets for all routes, each with where it stands; nothing where it sets none of them.
pub(super) fn explain(loaded: &Loaded) -> String {
    let (server, answers) = (&loaded.server, &loaded.server.answers);
    let proxies: Vec<_> = server.trusted_proxies.iter().map(ToString::to_string).collect();
    let switch = |on: bool| on.to_string();
    let protocol = |protocol: ProxyProtocol| match protocol {
        ProxyProtocol::Off => "off".to_owned(),
        ProxyProtocol::Required => "required".to_owned(),
    };
    let header = match server.forwarded_header {
        ForwardedHeader::XForwardedFor => "x_forwarded_for",
        ForwardedHeader::Forwarded => "forwarded",
    };
    let rows = [
        (&["server", "trusted_proxies"][..], proxies.join(", ")),
        (&["server", "forwarded_header"], header.to_owned()),
        (&["server", "proxy_protocol"], protocol(server.proxy_protocol)),
        (&["tls", "proxy_protocol"], protocol(loaded.tls.proxy_protocol)),
        (&["server", "answers", "name"], answers.name.clone()),
        (&["server", "answers", "via"], answers.via.name().to_owned()),
        (&["server", "answers", "hops_max"], answers.hops_max.to_string()),
        (&["server", "answers", "proxy_status"], switch(answers.proxy_status)),
        (&["server", "answers", "rate_limit_headers"], switch(answers.rate_limit_headers)),
        (&["server", "answers", "error_pages"], answers.error_pages.clone().unwrap_or_default()),
    ];
    let rows: Vec<_> = rows.iter().filter(|(keys, _)| loaded.has(keys)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut section = Section::new(loaded, "\nfor all routes", &[], 33);
    for (keys, value) in rows {
        section.row(keys, value);
    }
    section.into_text()
}
