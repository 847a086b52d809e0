use proptest::prelude::*;

use super::line::check_text;
use super::{HeadLimits, Reader, Seen, Violation};

const LIMITS: HeadLimits = HeadLimits { header_bytes_max: 200, headers_max: 4, uri_bytes_max: 40 };

/// Shows `bytes` in pieces that end at `cuts`, as a connection does: what did not pass comes again. How many
/// passed, and what was wrong with the rest.
fn look(mut reader: Reader, bytes: &[u8], cuts: &[usize]) -> (usize, u64, Option<Violation>) {
    let mut passed = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let seen = reader.look(&bytes[passed..end.min(bytes.len()).max(passed)]);
        passed += seen.passed;
        if seen.violation.is_some() {
            return (passed, reader.heads(), seen.violation);
        }
    }
    (passed, reader.heads(), None)
}

/// The same in one piece, and byte by byte.
fn check(answer_to: Option<&str>, text: &str, passed: &str, violation: Option<Violation>) {
    let reader = || match answer_to {
        None => Reader::requests(LIMITS),
        Some(method) => {
            let mut reader = Reader::answers(LIMITS);
            reader.ask(method == "HEAD");
            reader
        }
    };
    let each: Vec<_> = (0..text.len()).collect();
    for cuts in [&[][..], &each] {
        let (length, _, found) = look(reader(), text.as_bytes(), cuts);
        assert_eq!((&text[..length], found), (passed, violation), "{text:?}");
    }
}

#[test]
fn messages_follow_each_other() {
    let messages = "GET / HTTP/1.1\r\nhost: a\r\n\r\n\
                    POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /\
                    \r\nPUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\na\nb\r\n0\r\nx: y\r\n\r\n\
                    GET / HTTP/1.0\r\n\r\n";
    check(None, messages, messages, None);
    let (_, heads, _) = look(Reader::requests(LIMITS), messages.as_bytes(), &[]);
    assert_eq!(heads, 4);
    let doubtful = format!("{messages}GET / HTTP/1.1\n");
    check(None, &doubtful, messages, Some(Violation::BareLineFeed));
    let unfinished = format!("{messages}GET / HTTP/1.1\r\nhost: a");
    check(None, &unfinished, messages, None);
}

/// Each reason by the shortest request that has it.
#[test]
fn what_is_in_doubt_is_named() {
    use Violation as V;
    let get = |rest: &str| format!("GET / HTTP/1.1\r\n{rest}\r\n");
    let coded = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    for (fields, violation) in [
        ("a: b\rc\r\n", V::BareCarriageReturn),
        ("a: b\r\r\n", V::BareCarriageReturn),
        ("a: b\n", V::BareLineFeed),
        ("a: \0\r\n", V::ControlCharacter),
        (" a: b\r\n", V::FoldedLine),
        ("a : b\r\n", V::FieldName),
        (": b\r\n", V::FieldName),
        ("a\r\n", V::FieldName),
        ("content-length: 1, 1\r\n", V::ContentLength),
        ("content-length: +1\r\n", V::ContentLength),
        ("content-length:\r\n", V::ContentLength),
        ("content-length: 18446744073709551616\r\n", V::ContentLength),
        ("content_length: 1\r\n", V::ContentLength),
        ("content-length: 1\r\nContent-Length: 1\r\n", V::RepeatedContentLength),
        ("content-length: 0\r\ntransfer-encoding: chunked\r\n", V::TwoFramings),
        ("transfer-encoding: chunked\r\ncontent-length: 1\r\n", V::TwoFramings),
        ("transfer-encoding: gzip, chunked\r\n", V::UnknownCoding),
        ("transfer-encoding: a, gzip;level=\"9\",Chunked\r\n", V::UnknownCoding),
        ("transfer-encoding: chunked, gzip\r\n", V::TransferEncoding),
        ("transfer-encoding: chunked, chunked\r\n", V::TransferEncoding),
        ("transfer-encoding: , chunked\r\n", V::TransferEncoding),
        ("transfer-encoding: gzip\r\n", V::TransferEncoding),
        ("transfer-encoding: gzip, \"chunked\"\r\n", V::TransferEncoding),
        ("transfer_encoding: gzip, chunked\r\n", V::TransferEncoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: gzip, chunked\r\n", V::TransferEncoding),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", V::TransferEncoding),
        ("transfer_encoding: chunked\r\n", V::TransferEncoding),
    ] {
        check(None, &get(fields), "", Some(violation));
    }
    for (line, violation) in [
        ("GET /", V::RequestLine),
        ("GET  / HTTP/1.1", V::RequestLine),
        ("GET /#a HTTP/1.1", V::RequestLine),
        ("G(T / HTTP/1.1", V::RequestLine),
        ("GET / HTTP/1.2", V::Version),
        ("GET / HTTP/2.0", V::MajorVersion),
        ("GET / HTTP/0.9", V::MajorVersion),
        ("GET / HTTP/2", V::Version),
        ("GET / HTTP/x.1", V::Version),
        ("GET / HTTP/2.x", V::Version),
        ("GET / HTTP/1.1 ", V::Version),
        ("GET /\r HTTP/1.1", V::BareCarriageReturn),
    ] {
        check(None, &format!("{line}\r\n\r\n"), "", Some(violation));
    }
    let old = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
    check(None, old, "", Some(V::TransferEncoding));
    for (passed, rest, violation) in [
        ("", "\r\n", V::ChunkSize),
        ("", "x\r\n", V::ChunkSize),
        ("", "3 \r\n", V::ChunkSize),
        ("", "00000000000000003\r\n", V::ChunkSize),
        ("", "3\n", V::BareLineFeed),
        ("3\r\nabc", "d\r\n", V::ChunkEnd),
        ("3\r\nabc", "d\n", V::ChunkEnd),
        ("3\r\nabc", "\r\r\n", V::ChunkEnd),
        ("3\r\nabc", "\n", V::ChunkEnd),
        ("0\r\n", "host: a\r\n\r\n", V::Trailer),
        ("0\r\n", "a: b\r\n c\r\n\r\n", V::FoldedLine),
        ("0\r\n", "\n", V::BareLineFeed),
    ] {
        let passed = format!("{coded}{passed}");
        check(None, &format!("{passed}{rest}"), &passed, Some(violation));
    }
}

#[test]
fn each_violation_has_its_own_counter_and_name() {
    let names: std::collections::BTreeSet<_> =
        Violation::ALL.iter().map(|violation| violation.name()).collect();
    assert_eq!(names.len(), Violation::ALL.len());
    for (place, violation) in Violation::ALL.into_iter().enumerate() {
        assert_eq!(violation as usize, place, "{violation:?}");
    }
}

#[test]
fn trailers_do_not_count_for_the_head_behind_them() {
    let fields = "a: b\r\n".repeat(4);
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    let messages = format!("{chunked}{fields}\r\nGET / HTTP/1.1\r\n{fields}\r\n");
    check(None, &messages, &messages, None);
}

#[test]
fn an_answer_is_read_as_its_request_wants() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    let both = format!("{ok}ok");
    check(Some("GET"), &both, &both, None);
    check(Some("HEAD"), &both, ok, Some(Violation::Unasked));
    check(Some("GET"), &format!("{both}{both}"), &both, Some(Violation::Unasked));
    let early = format!("HTTP/1.1 103 Early\r\nlink: x\r\n\r\n{both}");
    check(Some("GET"), &early, &early, None);
    let endless = "HTTP/1.0 200\r\n\r\nanything\n\r\n";
    check(Some("GET"), endless, endless, None);
    let unchanged = "HTTP/1.1 304 x\r\ncontent-length: 9\r\n\r\n";
    check(Some("GET"), unchanged, unchanged, None);
    check(Some("GET"), "HTTP/1.1 204 x\r\ncontent-length: 9\r\n\r\n", "", Some(Violation::Bodiless));
    let switched = "HTTP/1.1 101 x\r\n\r\nanother protocol";
    check(Some("GET"), switched, switched, None);
    let continues = "HTTP/1.1 100 x\r\n\r\n";
    check(Some("GET"), &continues.repeat(17), &continues.repeat(16), Some(Violation::Unasked));
}

#[test]
fn what_follows_a_request_for_another_protocol_waits_for_the_answer() {
    let ask = "GET / HTTP/1.1\r\nupgrade: chat\r\n\r\n";
    let next = "POST / HTTP/1.1\r\nupgrade: chat\r\ncontent-length: 3\r\n\r\nabc\0";
    let both = format!("{ask}{next}");
    check(None, &both, ask, None);
    for switched in [false, true] {
        let mut reader = Reader::requests(LIMITS);
        assert_eq!(reader.look(both.as_bytes()).passed, ask.len());
        assert!(reader.awaits_verdict() && !reader.is_at_head() && !reader.has_switched());
        reader.decide(switched);
        let seen = reader.look(next.as_bytes());
        assert_eq!(reader.has_switched(), switched);
        let all = if switched { next.len() } else { next.len() - 1 };
        assert_eq!((seen.passed, seen.violation), (all, None), "a body is no reason to wait");
    }
    for plain in [
        "GET / HTTP/1.0\r\nupgrade: chat\r\n\r\n",
        "GET / HTTP/1.1\r\nupgrades: chat\r\n\r\n",
        "PUT / HTTP/1.1\r\nupgrade: chat\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let twice = plain.repeat(2);
        check(None, &twice, &twice, None);
    }
    let empty = "PUT / HTTP/1.1\r\ncontent-length: 0\r\nupgrade: chat\r\n\r\n";
    check(None, &empty.repeat(2), empty, None);
    for framed in ["content-length: 0", "content-length: 2", "transfer-encoding: chunked"] {
        let switched = format!("HTTP/1.1 101 x\r\nupgrade: chat\r\n{framed}\r\n\r\n");
        let refused = if framed.ends_with('0') { None } else { Some(Violation::Bodiless) };
        check(Some("GET"), &switched, if refused.is_some() { "" } else { &switched }, refused);
    }
}

#[test]
fn what_follows_a_request_for_a_tunnel_waits_for_the_answer() {
    for ask in [
        "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
        "CONNECT a:1 HTTP/1.0\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\ncontent-length: 3\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        for next in [ask, "\0", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            check(None, &format!("{ask}{next}"), ask, None);
            for opened in [false, true] {
                let mut reader = Reader::requests(LIMITS);
                reader.look(ask.as_bytes());
                reader.decide(opened);
                let passed = if opened { next.len() } else { 0 };
                assert_eq!(reader.look(next.as_bytes()), Seen { passed, violation: None }, "{ask}{next}");
                assert_eq!((reader.is_done(), reader.has_switched()), (!opened, opened));
            }
        }
    }
    for plain in ["connect a:1 HTTP/1.1\r\n\r\n", "CONNECTS a:1 HTTP/1.1\r\n\r\n"] {
        let twice = plain.repeat(2);
        check(None, &twice, &twice, None);
    }
}

#[test]
fn limits_are_exact() {
    let head = |target: usize, value: usize| {
        format!("GET /{} HTTP/1.1\r\nx: {}\r\n\r\n", "t".repeat(target - 1), "v".repeat(value))
    };
    check(None, &head(40, 1), &head(40, 1), None);
    check(None, &head(41, 1), "", Some(Violation::UriBytes));
    let rest = head(1, 0).len();
    check(None, &head(1, 200 - rest), &head(1, 200 - rest), None);
    check(None, &head(1, 201 - rest), "", Some(Violation::HeaderBytes));
    check(None, &"t".repeat(200), "", Some(Violation::UriBytes));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    check(None, &fields(4), &fields(4), None);
    check(None, &fields(5), "", Some(Violation::Headers));
    let start = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |line: String| format!("{start}{line}\r\n");
    check(None, &chunk(format!("5;{}", "x".repeat(252))), &chunk(format!("5;{}", "x".repeat(252))), None);
    check(None, &chunk(format!("5;{}", "x".repeat(253))), start, Some(Violation::ChunkSize));
    check(
        None,
        &format!("{start}0\r\n{}\r\n", "a: b\r\n".repeat(5)),
        &format!("{start}0\r\n"),
        Some(Violation::Headers),
    );
}

/// Pieces of HTTP that make messages good and bad.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "content-length: 3\r\n",
        "Content-Length: 0\r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: x\r\n",
        "host: a\r\n",
        " folded\r\n",
        "abc",
        "3\r\n",
        "0\r\n",
        "a;b\r\n",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "x: y\r\n",
        "x : y\r\n",
        "\0",
        "ffffffffffffffff\r\n",
    ]);
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_verdict(
        text in pieces(),
        noise in prop::collection::vec(any::<u8>(), 0..4),
        mut cuts in prop::collection::vec(0..300usize, 0..12),
        answers: bool,
    ) {
        let bytes = [text.as_bytes(), &noise].concat();
        let reader = || {
            let mut reader = if answers { Reader::answers(LIMITS) } else { Reader::requests(LIMITS) };
            reader.ask(false);
            reader
        };
        cuts.sort_unstable();
        prop_assert_eq!(look(reader(), &bytes, &cuts), look(reader(), &bytes, &[]));
    }

    #[test]
    fn control_characters_are_found_wherever_they_stand(text in prop::collection::vec(any::<u8>(), 0..40)) {
        let control = text.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t');
        let found = match check_text(&text) {
            Ok(()) => None,
            Err(Violation::BareCarriageReturn) => Some(true),
            Err(_) => Some(false),
        };
        prop_assert_eq!(found, control.map(|byte| *byte == b'\r'));
    }

    #[test]
    fn what_passes_stands_alone(text in pieces()) {
        let (passed, heads, _) = look(Reader::requests(LIMITS), text.as_bytes(), &[]);
        let again = look(Reader::requests(LIMITS), &text.as_bytes()[..passed], &[]);
        prop_assert_eq!(again, (passed, heads, None));
    }

    #[test]
    fn a_body_has_the_length_that_its_head_says(length in 0..2000u64, surplus in 0..50usize) {
        let head = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
        let body = vec![b'\n'; length as usize + surplus];
        let (passed, heads, violation) =
            look(Reader::requests(LIMITS), &[head.as_bytes(), &body].concat(), &[]);
        prop_assert_eq!((passed, heads), (head.len() + length as usize, 1));
        prop_assert_eq!(violation, (surplus > 0).then_some(Violation::BareLineFeed));
    }
}
