use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intertie_core::clock::{Timestamp, WallClock};
use intertie_core::quantity::Ratio;
use intertie_core::telemetry::Access;
use proptest::prelude::*;

use super::{Form, LoggedRequest};
use crate::access_log::{AccessLog, Format};

fn read(line: &str) -> LoggedRequest {
    LoggedRequest::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refusal(line: impl AsRef<[u8]>) -> String {
    LoggedRequest::parse(line.as_ref()).expect_err("it is no request").to_string()
}

const COMBINED: &str = r#"192.0.2.7 - frank [10/Oct/2000:13:55:36 -0700] "GET /a/b?x=1&y HTTP/1.1" 200 2326 "http://a.example/" "Mozilla/4.08 [en]""#;

#[test]
fn a_combined_line_is_read() {
    assert_eq!(
        read(COMBINED),
        LoggedRequest {
            form: Form::Common,
            at: Timestamp::from_unix_seconds(971_211_336),
            client: Some([192, 0, 2, 7].into()),
            method: "GET".to_owned(),
            host: None,
            path: "/a/b".to_owned(),
            query: Some("x=1&y".to_owned()),
            status: Some(200),
            duration: None,
            endpoint: None,
            attempts: None,
            error: None,
            cut: None,
            sample: None,
        }
    );
}

#[test]
fn common_lines_in_the_wild_are_read() {
    let line = |client: &str, request: &str, rest: &str| {
        read(&format!(r#"{client} [01/Mar/2026:00:00:00 +0100] "{request}" {rest}"#))
    };
    let named = line("crawler.example - Jane Doe", "HEAD / HTTP/1.0", "304 -");
    assert_eq!((named.client, named.method.as_str(), named.status), (None, "HEAD", Some(304)));
    assert_eq!(named.at.to_string(), "2026-02-28T23:00:00.000Z");
    let old = line("::1 - -", "GET /old", "404 0");
    assert_eq!((old.client, old.path.as_str()), (Some("::1".parse().expect("an address")), "/old"));
    let absolute = line("192.0.2.7 - -", "GET http://shop.example:8080?q HTTP/1.1", "200 5\r\n");
    assert_eq!(absolute.host.as_deref(), Some("shop.example:8080"));
    assert_eq!((absolute.path.as_str(), absolute.query.as_deref()), ("/", Some("q")));
    let escaped = line("192.0.2.7 - -", r#"GET /a\"b\x22?u=http://x HTTP/1.1"#, "200 5 0.120 \"-\"");
    assert_eq!((escaped.path.as_str(), escaped.query.as_deref()), ("/a\"b\"", Some("u=http://x")));
    assert!(escaped.host.is_none(), "what stands in a query is no scheme");
}

#[test]
fn a_tunnel_has_a_host_and_no_path() {
    for line in [
        r#"::1 - - [01/Mar/2026:00:00:00 +0100] "CONNECT db.example:5432 HTTP/1.1" 200 5"#,
        "2026-03-01T10:00:00.000Z ::1 CONNECT db.example:5432 200 30.0ms endpoint=a id=7",
    ] {
        let tunnel = read(line);
        assert_eq!((tunnel.host.as_deref(), tunnel.path.as_str()), (Some("db.example:5432"), ""), "{line}");
    }
    let websocket = read("2026-03-01T10:00:00.000Z ::1 CONNECT /chat?room=7 200 30.0ms endpoint=a id=7");
    assert_eq!((websocket.path.as_str(), websocket.query.as_deref()), ("/chat", Some("room=7")));
}

#[test]
fn moments_in_any_zone_are_the_same() {
    let at = |time: &str| read(&format!(r#"::1 - - [{time}] "GET / HTTP/1.1" 200 5"#)).at;
    let noon = at("29/Feb/2028:12:00:00 +0000");
    assert_eq!(noon.to_string(), "2028-02-29T12:00:00.000Z");
    for zone in ["29/Feb/2028:05:30:00 -0630", "01/Mar/2028:00:00:00 +1200"] {
        assert_eq!(at(zone), noon, "{zone}");
    }
    assert_eq!(at("29/Feb/2000:00:00:00 +0000").to_string(), "2000-02-29T00:00:00.000Z");
    assert!(refusal("::1 - - [29/Feb/2100:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5").contains("time"));
    let ours = |time: &str| read(&format!("{time} ::1 GET / 200 0.0ms id=7")).at;
    for zone in ["2028-02-29T12:00:00Z", "2028-02-29T12:00:00.000000Z", "2028-02-29T13:30:00.0+01:30"] {
        assert_eq!(ours(zone), noon, "{zone}");
    }
}

#[test]
fn what_is_no_request_is_refused_with_the_part_that_is_wrong() {
    let changed = |from: &str, to: &str| {
        assert!(COMBINED.contains(from), "{from}");
        refusal(COMBINED.replace(from, to))
    };
    for (line, words) in [
        (refusal("hello"), "neither ours nor"),
        (refusal(b"\xff"), "not UTF-8"),
        (refusal("{}"), "no JSON of ours: missing field `at`"),
        (changed("Oct", "Okt"), "time"),
        (changed("10/Oct", "31/Feb"), "time"),
        (changed("13:55:36", "24:00:00"), "time"),
        (changed(" -0700", ""), "time"),
        (changed("\" 200", "\" 2000"), "status"),
        (changed(" 2326", " many"), "number of bytes"),
        (changed("GET /a/b?x=1&y HTTP/1.1", "-"), "holds no request"),
        (changed("GET /a/b?x=1&y HTTP/1.1", r"\x16\x03\x01 x"), "method"),
        (refusal("2026-03-01T10:00:00Z ::1 GET / 200"), "duration"),
        (refusal("2026-03-01T10:00:00Z ::1 GET / 200 -1ms"), "duration"),
        (refusal("2026-03-01T10:00:00Z ::1 GET / 200 1e300ms"), "duration"),
        (refusal("2026-13-01T10:00:00Z ::1 GET / 200 1ms"), "time"),
    ] {
        assert!(line.contains(words), "no `{words}` in `{line}`");
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line that the gateway writes.
fn written(format: Format, access: &Access) -> Vec<u8> {
    let target = Shared::default();
    let clock = WallClock::fixed(Timestamp::from_unix_seconds(1_772_359_200));
    let (log, writer) = AccessLog::start(Box::new(target.clone()), format, std::num::NonZeroU32::MIN, clock)
        .expect("a thread");
    log.log(access.clone());
    drop(log);
    writer.join().expect("no panic");
    target.0.lock().expect("unpoisoned").clone()
}

fn access() -> impl Strategy<Value = Access> {
    let errors = prop::option::of(prop::sample::select(vec!["CIRCUIT_OPEN", "ATTEMPT_TIMEOUT"]));
    let parts = ("[A-Z]{1,7}", "/[^ ?#]{0,20}", 0_u16..600, 0_u32..100_000, 0_u32..5, errors);
    let told = (prop::option::of(0_u32..1_000_000), prop::option::of(any::<String>()));
    (parts, told).prop_map(|((method, path, status, tenths, attempts, error), (share, header))| Access {
        tls: None,
        request_id: "7".to_owned(),
        client: [192, 0, 2, 7].into(),
        method: method.into(),
        host: "shop.example".to_owned(),
        path,
        status,
        duration: Duration::from_micros(u64::from(tenths) * 100),
        route: Some("POST /orders".into()),
        endpoint: (attempts > 0).then(|| "127.0.0.1:7001".into()),
        attempts,
        error,
        http2_error: None,
        cut: Some("client_left").filter(|_| status == 0),
        trace_id: Some(7),
        headers: header
            .map(|value| ("x-any".into(), format!("{value} endpoint=10.6.6.6:6 sample=x")))
            .into_iter()
            .collect(),
        sample: share.map(Ratio::from_millionths),
    })
}

proptest! {
    #[test]
    fn our_own_lines_are_read_back(access in access()) {
        for (format, form) in [(Format::Json, Form::Json), (Format::Text, Form::Text)] {
            let line = written(format, &access);
            let read = LoggedRequest::parse(&line).expect("our own line");
            let expected = LoggedRequest {
                form,
                at: Timestamp::from_unix_seconds(1_772_359_200),
                client: Some(access.client),
                method: access.method.to_string(),
                host: Some(access.host.clone()).filter(|_| form == Form::Json),
                path: access.path.clone(),
                query: None,
                status: Some(access.status).filter(|status| *status != 0),
                duration: Some(access.duration),
                endpoint: access.endpoint.as_deref().map(str::to_owned),
                attempts: Some(access.attempts),
                error: access.error.map(str::to_owned),
                cut: access.cut.map(str::to_owned),
                sample: access.sample,
            };
            prop_assert_eq!(&read, &expected);
            let began = read.at.as_unix_nanos() - read.began().as_unix_nanos();
            prop_assert_eq!(u128::from(began), access.duration.as_nanos());
        }
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = LoggedRequest::parse(&bytes);
    }

    /// Lines that are nearly right reach further into the parsers than noise does.
    #[test]
    fn any_change_of_a_line_gets_an_answer(
        line in prop::sample::select(vec![
            COMBINED,
            r#"{"at":"2026-03-01T10:00:00Z","client":"::1","method":"GET","path":"/","status":1,"duration_ms":1.5,"attempts":1}"#,
            r"2026-03-01T10:00:00.000Z ::1 GET /\u{e9}\n 200 1.5ms route=POST /a endpoint=a:1 attempts=3 id=7",
        ]),
        at in 0_usize..130,
        insert in prop::collection::vec(any::<u8>(), 0..4),
        cut in 0_usize..6,
    ) {
        let mut bytes = line.as_bytes().to_vec();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, insert);
        let _ = LoggedRequest::parse(&bytes);
    }
}
