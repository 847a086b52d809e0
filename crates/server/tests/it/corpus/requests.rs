//! Requests that are malformed, ambiguous or meant to smuggle another one in, and good ones beside them.
//!
//! The clauses are of RFC 9112, or of RFC 9110 where they begin with `9110`. A request for `/smuggled` must
//! never reach a service.

use super::Outcomes;

/// What a client sends on one connection.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What says which outcomes are allowed.
    pub(super) clause: &'static str,
    pub(super) outcomes: Outcomes<Statuses>,
    pub(super) bytes: &'static [u8],
}

/// The final statuses that come back, one for each answer; 200 comes from the service, all others from the
/// gateway.
pub(super) type Statuses = &'static [u16];

const fn case(
    name: &'static str,
    clause: &'static str,
    outcomes: Outcomes<Statuses>,
    bytes: &'static [u8],
) -> Case {
    Case { name, clause, outcomes, bytes }
}

const fn only(ours: &'static [Statuses; 1]) -> Outcomes<Statuses> {
    Outcomes { ours: ours[0], allowed: ours }
}

const GOOD: Outcomes<Statuses> = only(&[&[200]]);
const BAD: Outcomes<Statuses> = only(&[&[400]]);
/// It may be mended, or read in one way that the RFC names; not here.
const STRICT: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[200]] };
/// It is a field as any other, unless the service takes it for another and waits.
const UNDERSCORE: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[200], &[504]] };
/// It is to be served; not here.
const REFUSED_HERE: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[200]] };
/// A first line that is none may be answered by where to ask instead.
const BAD_TARGET: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[301]] };
const TOO_LARGE: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[413]] };
/// A coding that is not understood, and so a length that is not known.
const UNKNOWN_CODING: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[501]] };
const UNKNOWN_CODING_OR_MENDED: Outcomes<Statuses> =
    Outcomes { ours: &[400], allowed: &[&[400], &[501], &[200]] };
/// It is understood, by those who know the coding, and not served.
const NOT_IMPLEMENTED: Outcomes<Statuses> = Outcomes { ours: &[501], allowed: &[&[501], &[200]] };
const UNKNOWN_PROTOCOL: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[505]] };
const NOT_SUPPORTED: Outcomes<Statuses> = Outcomes { ours: &[505], allowed: &[&[505], &[400]] };
const NO_HTTP: Outcomes<Statuses> = Outcomes { ours: &[400], allowed: &[&[400], &[505], &[]] };
const NO_PREFACE: Outcomes<Statuses> = Outcomes { ours: &[505], allowed: &[&[505], &[400], &[]] };
/// The second of two is refused; the first was answered.
const SECOND_BAD: Outcomes<Statuses> = only(&[&[200, 400]]);
const SECOND_STRICT: Outcomes<Statuses> =
    Outcomes { ours: &[200, 400], allowed: &[&[200, 400], &[200, 200]] };
const BOTH_GOOD: Outcomes<Statuses> = only(&[&[200, 200]]);
/// Whoever gives up waiting may say so before it closes.
const LATE: Outcomes<Statuses> = Outcomes { ours: &[408], allowed: &[&[408], &[400], &[504], &[]] };
const SECOND_LATE: Outcomes<Statuses> =
    Outcomes { ours: &[200, 408], allowed: &[&[200, 408], &[200, 400], &[200]] };

/// Where ours is not what the clause has, and why.
pub(super) const DEPARTURES: &[(&str, &str)] = &[
    ("HTTP/1.2", "nobody speaks it: who says so is mistaken or tries what a service makes of it"),
    ("chunks behind a comma", "services differ in whether this is the coding `chunked`"),
    ("a tab before a chunk extension", "parsers differ in whether the size ends there"),
];

pub(super) const CASES: &[Case] = &[
    // Good ones: a corpus that is refused whole proves nothing.
    case("a plain request", "3", GOOD, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("white space around a value", "5.1", GOOD, b"GET / HTTP/1.1\r\nhost:\t a \t\r\nconnection: close\r\n\r\n"),
    case("no white space before a value", "5.1", GOOD, b"GET / HTTP/1.1\r\nhost:a\r\nconnection:close\r\n\r\n"),
    case("an empty value", "9110 5.5", GOOD, b"GET / HTTP/1.1\r\nhost: a\r\nx:\r\nconnection: close\r\n\r\n"),
    case("a tab within a value", "9110 5.5", GOOD, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\tb\r\nconnection: close\r\n\r\n"),
    case("a value beyond ASCII", "9110 5.5", GOOD, b"GET / HTTP/1.1\r\nhost: a\r\nx: \xc3\xa9\r\nconnection: close\r\n\r\n"),
    case("an empty line before a request", "2.2", GOOD, b"\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("the target as a URL", "3.2.2", GOOD, b"GET http://a/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("the target's host counts, not the other", "3.2.2", GOOD, b"GET http://a/ HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n"),
    case("HTTP/1.0 without a host", "3.2", GOOD, b"GET / HTTP/1.0\r\n\r\n"),
    case("HTTP/1.0 with a body", "6.3", GOOD, b"POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"),
    case("a body with a length", "6.2", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"),
    case("a length in capitals", "9110 5.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\nCONTENT-LENGTH: 3\r\nconnection: close\r\n\r\nabc"),
    case("a length with zeros before it", "9110 8.6", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 003\r\nconnection: close\r\n\r\nabc"),
    case("a length of zero", "9110 8.6", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    case("a GET with a body", "9110 9.3.1", GOOD, b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"),
    case("a body that looks like a request", "6.3", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 36\r\nconnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n\n"),
    case("chunks", "7.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    case("chunks in capitals", "7", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: CHUNKED\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    case("chunk sizes in both cases", "7.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
    case("a chunk size with zeros before it", "7.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0003\r\nabc\r\n000\r\n\r\n"),
    case("a chunk extension", "7.1.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n"),
    case("a quoted chunk extension", "7.1.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3;a=\"b c\"\r\nabc\r\n0\r\n\r\n"),
    case("a trailer", "7.1.2", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n"),
    case("line ends within a chunk", "7.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\n\n\r\n\r\n\r\n0\r\n\r\n"),
    case("two requests in one piece", "9.3.2", BOTH_GOOD, b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a request behind a body", "9.3.2", BOTH_GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a request behind chunks", "9.3.2", BOTH_GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("an empty line behind a body", "2.2", BOTH_GOOD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    // Lines.
    case("a bare line feed ends the request line", "2.2", STRICT, b"GET / HTTP/1.1\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a bare line feed ends a field", "2.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\nconnection: close\r\n\r\n"),
    case("a bare line feed ends the head", "2.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\n"),
    case("bare line feeds everywhere", "2.2", STRICT, b"GET / HTTP/1.1\nhost: a\nconnection: close\n\n"),
    case("a bare line feed before a request", "2.2", STRICT, b"\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("two empty lines before a request", "2.2", STRICT, b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a bare carriage return in a value", "2.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\nconnection: close\r\n\r\n"),
    case("a bare carriage return before a smuggled field", "2.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\nx: a\rcontent-length: 39\r\n\r\n"),
    case("a bare carriage return in a name", "2.2", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nx\r: b\r\n\r\n"),
    case("a bare carriage return in the request line", "3", BAD_TARGET, b"GET /\rx HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("two carriage returns end a field", "2.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n"),
    case("two carriage returns end the head", "2.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\n\r\r\n"),
    case("carriage returns alone end lines", "2.2", BAD, b"GET / HTTP/1.1\rhost: a\r\r\r\n\r\n"),
    case("a zero byte in a value", "9110 5.5", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n"),
    case("a zero byte in a name", "5", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nx\0: b\r\n\r\n"),
    case("a zero byte in the target", "3", BAD_TARGET, b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a control character in a value", "9110 5.5", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x07b\r\n\r\n"),
    case("a vertical tab in a value", "9110 5.5", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x0bb\r\n\r\n"),
    case("a form feed around a value", "6.3", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \x0c3\r\n\r\nabc"),
    case("a delete in a value", "9110 5.5", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x7fb\r\n\r\n"),
    // First lines.
    case("HTTP/0.9", "3", NO_HTTP, b"GET /\r\n\r\n"),
    case("no target", "3", BAD, b"GET HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("an empty target", "3", BAD, b"GET  HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("no method", "3", BAD, b" / HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("two spaces before the target", "3", STRICT, b"GET  / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("two spaces behind the target", "3", STRICT, b"GET /  HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a space behind the version", "3", STRICT, b"GET / HTTP/1.1 \r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a space before the method", "3", STRICT, b" GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a tab before the target", "3", STRICT, b"GET\t/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a tab before the version", "3", STRICT, b"GET /\tHTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a space in the target", "3", BAD_TARGET, b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a request in the target", "3", BAD_TARGET, b"GET / HTTP/1.1 GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a method with a separator", "3.1", BAD, b"G(T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a method with a colon", "3.1", BAD, b"GET: / HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a method beyond ASCII", "3.1", BAD, b"G\xc9T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a target beyond ASCII", "3", BAD_TARGET, b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a fragment in the target", "3", BAD_TARGET, b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("a target without a slash", "3.2", BAD_TARGET, b"GET a HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("dot segments", "9110 4.2.3", STRICT, b"GET /a/../b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("an asterisk with GET", "3.2.4", BAD, b"GET * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("a version in small letters", "2.3", UNKNOWN_PROTOCOL, b"GET / http/1.1\r\nhost: a\r\n\r\n"),
    case("a version without a minor one", "2.3", UNKNOWN_PROTOCOL, b"GET / HTTP/1\r\nhost: a\r\n\r\n"),
    case("HTTP/1.2", "9110 2.5", REFUSED_HERE, b"GET / HTTP/1.2\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("HTTP/1.10", "2.3", UNKNOWN_PROTOCOL, b"GET / HTTP/1.10\r\nhost: a\r\n\r\n"),
    case("HTTP/2.0 in the words of HTTP/1", "9110 15.6.6", NOT_SUPPORTED, b"GET / HTTP/2.0\r\nhost: a\r\n\r\n"),
    case("HTTP/3.0", "9110 15.6.6", NOT_SUPPORTED, b"GET / HTTP/3.0\r\nhost: a\r\n\r\n"),
    case("HTTP/0.9 by name", "9110 15.6.6", NOT_SUPPORTED, b"GET / HTTP/0.9\r\nhost: a\r\n\r\n"),
    case("another protocol", "2.3", UNKNOWN_PROTOCOL, b"GET / HTP/1.1\r\nhost: a\r\n\r\n"),
    case("an answer as a request", "2.1", BAD, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    case("a TLS greeting", "2.2", NO_HTTP, b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n"),
    case("a broken HTTP/2 preface", "9113 3.4", NO_PREFACE, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    // Fields.
    case("a folded value", "5.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\nconnection: close\r\n\r\n"),
    case("a value folded by a tab", "5.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n\tb\r\nconnection: close\r\n\r\n"),
    case("white space before the first field", "2.2", BAD, b"GET / HTTP/1.1\r\n host: a\r\n\r\n"),
    case("a folded transfer coding", "5.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    case("a folded length", "5.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n 3\r\n\r\nabc"),
    case("a line of white space alone", "5.2", STRICT, b"GET / HTTP/1.1\r\nhost: a\r\n \r\n\r\n"),
    case("a space before the colon", "5.1", BAD, b"GET / HTTP/1.1\r\nhost : a\r\n\r\n"),
    case("a tab before the colon", "5.1", BAD, b"GET / HTTP/1.1\r\nhost\t: a\r\n\r\n"),
    case("a space before the colon of a length", "5.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc"),
    case("a space before the colon of a transfer coding", "5.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
    case("a name with a space", "5", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nx y: b\r\n\r\n"),
    case("a field without a colon", "5", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n"),
    case("a field without a name", "5", BAD, b"GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n"),
    case("a name with a separator", "9110 5.1", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nx(y): b\r\n\r\n"),
    case("a name in brackets", "9110 5.1", BAD, b"GET / HTTP/1.1\r\nhost: a\r\n[x]: b\r\n\r\n"),
    case("a name beyond ASCII", "9110 5.1", BAD, b"GET / HTTP/1.1\r\nhost: a\r\n\xc3\xa9: b\r\n\r\n"),
    case("no host", "3.2", BAD, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"),
    case("two hosts", "3.2", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n"),
    case("the same host twice", "3.2", BAD, b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\nconnection: close\r\n\r\n"),
    case("two hosts in one field", "3.2", BAD, b"GET / HTTP/1.1\r\nhost: a, b\r\nconnection: close\r\n\r\n"),
    case("a host with a user", "3.2", BAD, b"GET / HTTP/1.1\r\nhost: u@a\r\nconnection: close\r\n\r\n"),
    case("a host with a path", "3.2", BAD, b"GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n"),
    case("a host with a port that is none", "3.2", BAD, b"GET / HTTP/1.1\r\nhost: a:b\r\nconnection: close\r\n\r\n"),
    case("an empty host", "3.3", STRICT, b"GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"),
    // Lengths.
    case("two lengths", "6.3", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
    case("the same length twice", "6.3", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"),
    case("the same length twice in one field", "6.3", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\nconnection: close\r\n\r\nabc"),
    case("two lengths in one field", "6.3", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabcd"),
    case("no length and a length", "9110 8.6", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\ncontent-length: 3\r\n\r\nabc"),
    case("a length with a sign", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc"),
    case("a length below zero", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -3\r\n\r\nabc"),
    case("a length in hexadecimal", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc"),
    case("a length with a fraction", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3.0\r\n\r\nabc"),
    case("a length with an exponent", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3e0\r\n\r\nabc"),
    case("a length with a space in it", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3 3\r\n\r\nabc"),
    case("a length in quotation marks", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \"3\"\r\n\r\nabc"),
    case("an empty length", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\nabc"),
    case("a length above 64 bits", "9110 8.6", TOO_LARGE, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551619\r\n\r\nabc"),
    case("a length with a parameter", "9110 8.6", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3;x\r\n\r\nabc"),
    case("a length that some read as one", "9110 5.1", UNDERSCORE, b"POST / HTTP/1.1\r\nhost: a\r\ncontent_length: 3\r\nconnection: close\r\n\r\n"),
    case("a bare line feed in a second request", "2.2", SECOND_STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nGET /second HTTP/1.1\nhost: a\r\n\r\n"),
    case("more than the length says", "6.3", SECOND_BAD, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcdef\r\n\r\n"),
    // Both framings.
    case("a length before a transfer coding", "6.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG"),
    case("a length behind a transfer coding", "6.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\nG"),
    case("a request between two framings", "6.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n23\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n\r\n0\r\n\r\n"),
    case("a length of zero beside chunks", "6.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    case("chunks in HTTP/1.0", "6.1", STRICT, b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    case("a length that Connection takes away", "9110 7.6.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close, content-length\r\ncontent-length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
    case("chunks that Connection takes away", "9110 7.6.1", GOOD, b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close, transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    // Transfer codings.
    case("a transfer coding nobody knows", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n"),
    case("identity", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"),
    case("gzip before chunks", "6.1", NOT_IMPLEMENTED, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    case("gzip behind chunks", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    case("chunks twice", "6.1", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    case("chunks in two fields", "6.1", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    case("chunks and identity in two fields", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n"),
    case("an empty transfer coding", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n0\r\n\r\n"),
    case("chunks behind a comma", "9110 5.6.1.2", REFUSED_HERE, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: ,chunked\r\nconnection: close\r\n\r\n0\r\n\r\n"),
    case("chunks in quotation marks", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    case("chunks with a parameter", "7.1", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    case("nearly chunks", "6.3", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    case("chunks behind a vertical tab", "6.1", UNKNOWN_CODING, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    case("chunks that end in a zero byte", "9110 5.5", UNKNOWN_CODING_OR_MENDED, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    case("a transfer coding that some read as one", "9110 5.1", UNDERSCORE, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\nconnection: close\r\n\r\n"),
    // Chunks.
    case("a chunk size that is none", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n"),
    case("an empty chunk size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n"),
    case("a chunk size with a sign", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"),
    case("a chunk size below zero", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"),
    case("a chunk size with 0x", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    case("a chunk size with an underscore", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1_0\r\nabc\r\n0\r\n\r\n"),
    case("a chunk size above 64 bits", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n"),
    case("a space before a chunk size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n"),
    case("a space behind a chunk size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"),
    case("a tab before a chunk extension", "9110 5.6.3", REFUSED_HERE, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\t;a\r\nabc\r\n0\r\n\r\n"),
    case("a bare line feed behind a chunk size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
    case("a bare carriage return behind a chunk size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\rabc\r\n0\r\n\r\n"),
    case("a bare line feed in a chunk extension", "7.1.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;\nxx\r\nabc\r\n0\r\n\r\n"),
    case("a bare carriage return in a chunk extension", "2.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n"),
    case("a zero byte in a chunk extension", "7.1.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;\0\r\nabc\r\n0\r\n\r\n"),
    case("a chunk that is longer than its size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
    case("a chunk that is shorter than its size", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n\r\n"),
    case("a chunk without an end", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n"),
    case("a chunk that ends in a bare line feed", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"),
    case("a chunk that ends in two carriage returns", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\r\n0\r\n\r\n"),
    case("a last chunk that ends in a bare line feed", "7.1", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\n\r\n"),
    case("trailers that end in a bare line feed", "2.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n"),
    case("a bare line feed in a trailer", "2.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\n\r\n"),
    case("a folded trailer", "5.2", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n z\r\n\r\n"),
    case("a trailer without a colon", "5", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx\r\n\r\n"),
    case("a length as a trailer", "9110 6.5.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\ncontent-length: 3\r\n\r\n"),
    case("a transfer coding as a trailer", "9110 6.5.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\ntransfer-encoding: chunked\r\n\r\n"),
    case("a host as a trailer", "9110 6.5.1", STRICT, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\nhost: b\r\n\r\n"),
    case("a request behind the last chunk", "5", BAD, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
    // What is never complete.
    case("half a request line", "8", LATE, b"GET / HT"),
    case("half a head", "8", LATE, b"GET / HTTP/1.1\r\nhost: a\r\n"),
    case("half a head behind a request", "8", SECOND_LATE, b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n"),
    case("half a body", "8", LATE, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc"),
    case("half a chunk", "8", LATE, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc"),
    case("no last chunk", "8", LATE, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
];
