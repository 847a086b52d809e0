//! What `explain` tells of TLS.

use std::path::Path;

use intertie_core::quantity::format_duration;
use intertie_gateway::tls::{ClientCertificates, ExpiredCrls, MinimumVersion};

use super::section::{Section, listed};
use crate::file::Loaded;

/// The terms under which a client that asks for `host` is met.
///
/// # Errors
/// What is wrong with the files that they are made of, ready to be printed.
pub(super) fn explain(loaded: &Loaded, host: &str) -> Result<String, String> {
    let (terms, _) = loaded.terms(None).map_err(|problems| loaded.render(&problems))?;
    let mut section = Section::new(loaded, "\nTLS", &["tls"], 19);
    let Some(terms) = terms else {
        section.sentence("no address listens with TLS");
        return Ok(section.into_text());
    };
    let tls = &loaded.tls;
    match terms.certificate_for(host) {
        Some(name) => section.row_from("certificate", name, &loaded.origin(&["certificate", name])),
        None => {
            let origin = loaded.origin(&["certificate"]);
            section.row_from("certificate", "none: the handshake is refused", &origin);
        }
    }
    let version = match tls.minimum_version {
        MinimumVersion::Tls12 => "1.2",
        MinimumVersion::Tls13 => "1.3",
    };
    let clients = match tls.client_certificates {
        ClientCertificates::Off => "off",
        ClientCertificates::Optional => "optional",
        ClientCertificates::Required => "required",
    };
    let expired = match tls.expired_crls {
        ExpiredCrls::Refuse => "refuse",
        ExpiredCrls::Accept => "accept",
    };
    let redirect_port = tls.redirect_port.or(tls.listen.first().map(std::net::SocketAddr::port));
    for (key, value) in [
        ("listen", listed(&tls.listen)),
        ("redirect", listed(&tls.redirect)),
        ("redirect_port", redirect_port.map_or_else(String::new, |port| port.to_string())),
        ("default_certificate", loaded.default_certificate().unwrap_or("none").to_owned()),
        ("minimum_version", version.to_owned()),
        ("handshake_timeout", format_duration(tls.handshake_timeout)),
        ("client_certificates", clients.to_owned()),
        ("client_roots", listed(tls.client_roots.as_deref().map(Path::display))),
        ("client_crls", listed(tls.client_crls.iter().map(|path| path.display()))),
        ("expired_crls", expired.to_owned()),
    ] {
        section.row(&[key], value);
    }
    Ok(section.into_text())
}
