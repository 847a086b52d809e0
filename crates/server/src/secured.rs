//! What `explain` tells of TLS.

use std::fmt::Write as _;

use intertie_core::quantity::format_duration;
use intertie_gateway::tls::{ClientCertificates, ExpiredCrls, MinimumVersion};

use crate::file::Loaded;

/// The terms under which a client that asks for `host` is met.
///
/// # Errors
/// What is wrong with the files that they are made of, ready to be printed.
pub(crate) fn explain(loaded: &Loaded, host: &str) -> Result<String, String> {
    let (terms, _) = loaded.terms().map_err(|problems| loaded.render(&problems))?;
    let Some(terms) = terms else {
        return Ok("\nTLS:\n  no address listens with TLS\n".to_owned());
    };
    let tls = &loaded.tls;
    let mut text = String::from("\nTLS:\n");
    let mut row = |key: &str, value: &str, origin: String| {
        let _ = writeln!(text, "  {key:<19} {value}  ({origin})");
    };
    match terms.certificate_for(host) {
        Some(name) => row("certificate", name, loaded.origin(&["certificate", name])),
        None => row("certificate", "none: the handshake is refused", loaded.origin(&["certificate"])),
    }
    let addresses = |addresses: &[std::net::SocketAddr]| match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let version = match tls.minimum_version {
        MinimumVersion::Tls12 => "1.2",
        MinimumVersion::Tls13 => "1.3",
    };
    let clients = match tls.client_certificates {
        ClientCertificates::Off => "off",
        ClientCertificates::Optional => "optional",
        ClientCertificates::Required => "required",
    };
    let crls = match tls.client_crls.as_slice() {
        [] => "none".to_owned(),
        some => some.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    };
    let expired = match tls.expired_crls {
        ExpiredCrls::Refuse => "refuse",
        ExpiredCrls::Accept => "accept",
    };
    let redirect_port = tls.redirect_port.or(tls.listen.first().map(std::net::SocketAddr::port));
    for (key, value) in [
        ("listen", addresses(&tls.listen)),
        ("redirect", addresses(&tls.redirect)),
        ("redirect_port", redirect_port.map_or_else(String::new, |port| port.to_string())),
        ("default_certificate", loaded.default_certificate().unwrap_or("none").to_owned()),
        ("minimum_version", version.to_owned()),
        ("handshake_timeout", format_duration(tls.handshake_timeout)),
        ("client_certificates", clients.to_owned()),
        (
            "client_roots",
            tls.client_roots.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string()),
        ),
        ("client_crls", crls),
        ("expired_crls", expired.to_owned()),
    ] {
        row(key, &value, loaded.origin(&["tls", key]));
    }
    Ok(text)
}
