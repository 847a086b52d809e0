//! How services are spoken to.

use super::super::{FILE, folder, intertie, messages};
use super::*;
use crate::tls::Authority;

#[test]
fn a_version_of_http_and_its_bounds_that_do_not_go_together() {
    let http2 = |keys: &str| service(&format!("protocol = \"http2\"\nhttp2 = {{ {keys} }}"));
    for (text, place, words) in [
        (service("protocol = \"h2\""), "3:12 \"h2\"", "unknown value `h2`"),
        (service("protocol = \"negotiate\""), "3:1 protocol", "agreed on by TLS"),
        (service("http2 = {}"), "3:1 http2", "HTTP/2 is not spoken to this service"),
        (http2("streams_max = 10001"), "4:11 streams_max", "10001; it must be from 1 to 10000"),
        (http2("streams_max = 0"), "4:25 0", "expected a whole number above 0"),
        (http2("connections_max = 0"), "4:29 0", "expected a whole number above 0"),
        (http2("stream_window = \"63KiB\""), "4:11 stream_window", "63KiB; it must be from 64KiB to 64MiB"),
        (http2("stream_window = \"65MiB\""), "4:11 stream_window", "65MiB; it must be from 64KiB to 64MiB"),
        (
            http2("stream_window = \"26MiB\""),
            "4:1 http2",
            "connection_window is 25MiB; it must be from stream_window, 26MiB, to 1GiB",
        ),
        (
            http2("connection_window = \"2GiB\""),
            "4:11 connection_window",
            "2GiB; it must be from stream_window",
        ),
        (http2("ping_timeout = \"1s\""), "4:11 ping_timeout", "`ping_interval` is missing"),
        (http2("ping_interval = \"0s\""), "4:27 \"0s\"", "0s leaves no time at all"),
    ] {
        refused(&text, &[place], &[words]);
    }
}

#[test]
fn settings_of_tls_that_do_not_go_together() {
    for (text, place, words) in [
        (service("tls = false"), "3:7 false", "leave `tls` out"),
        (service("tls = \"yes\""), "3:7 \"yes\"", "expected true or a table"),
        (service("tls = { server = \"a\" }"), "3:9 server", "unknown key `server`"),
        (service("tls = { server_name = \"a:443\" }"), "3:9 server_name", "`a:443` is neither a DNS name"),
        (service("tls = { roots = \"no.crt\" }"), "3:9 roots", "there is no file `no.crt`"),
    ] {
        refused(&text, &[place], &[words]);
    }
}

#[test]
fn files_of_tls_that_can_not_be_used() {
    let authority = Authority::new("roots");
    let expired = authority.sign(|parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let checked = |tls: &str| {
        let text = service(&format!("tls = {{ roots = \"roots.crt\", {tls} }}"));
        let folder = folder(&text);
        authority.write_into(folder.path());
        authority.issue(folder.path(), "own", &["gateway.example"]);
        authority.issue(folder.path(), "other", &["gateway.example"]);
        expired.write(folder.path(), "expired");
        let run = intertie(folder.path(), &["check", FILE]);
        (messages(&text, &run.stderr), run)
    };
    for (tls, place, words) in [
        ("certificate = \"own.crt\"", "3:30 certificate", "the key of the certificate is missing"),
        ("key = \"own.key\"", "3:30 key", "the certificate of the key is missing"),
        (
            "certificate = \"own.key\", key = \"own.key\"",
            "3:30 certificate",
            "`own.key` holds no certificate in PEM",
        ),
        ("certificate = \"own.crt\", key = \"own.crt\"", "3:55 key", "`own.crt` holds no private key in PEM"),
        (
            "certificate = \"own.crt\", key = \"other.key\"",
            "3:55 key",
            "the key is not that of the first certificate in `own.crt`",
        ),
    ] {
        let (messages, run) = checked(tls);
        assert_eq!(run.code, 2, "{tls}: {}", run.stderr);
        let error = the_error_of(messages);
        assert!(error.places == [place] && error.text.contains(words), "{tls}: {error:?}");
    }
    let (_, run) = checked("certificate = \"own.crt\", key = \"own.key\"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (messages, run) = checked("certificate = \"expired.crt\", key = \"expired.key\"");
    assert_eq!((run.code, messages.len()), (2, 1), "{}", run.stderr);
    let error = the_error_of(messages);
    assert_eq!(error.places, ["3:30 certificate"], "{error:?}");
    let words = "the certificate of `service.shop.tls` in `expired.crt` expired at 2020-01-01T00:00:00.000Z: the service would refuse it";
    assert!(error.text.contains(words), "{error:?}");
}

fn the_error_of(mut messages: Vec<Message>) -> Message {
    messages.retain(|message| message.severity == "error");
    assert_eq!(messages.len(), 1, "one error is made, one is told: {messages:?}");
    messages.remove(0)
}

#[test]
fn roots_without_a_certificate_are_an_error_at_their_place() {
    let text = service("tls = { roots = \"roots.crt\" }");
    for (content, words) in [
        ("", "`roots.crt` holds no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\n", "is no proper PEM file"),
    ] {
        let folder = folder(&text);
        std::fs::write(folder.path().join("roots.crt"), content).expect("written");
        let run = intertie(folder.path(), &["check", FILE]);
        let error = the_error(&text, &run.stderr);
        assert_eq!((run.code, &error.places[..]), (2, &["3:9 roots".to_owned()][..]), "{}", error.text);
        assert!(error.text.contains(words), "{}", error.text);
    }
}

/// What only looks at a file needs no other.
#[test]
fn a_file_is_explained_without_its_certificates() {
    let folder = folder(service("tls = { roots = \"no.crt\" }"));
    let run = intertie(folder.path(), &["explain", FILE, "GET", "http://a/"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("tls.roots               no.crt  (intertie.toml:3)"), "{}", run.stdout);
}
