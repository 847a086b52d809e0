//! `proxy_protocol`, in the clear and under TLS.

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{limited, pairs, told};
use crate::harness::{Client, Origin, Server, until};
use crate::tls::Authority;

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"required\"\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nconnection: close\r\n\r\n";

/// What the server says to these bytes, sent in pieces, until it closes.
async fn say(server: &Server, pieces: &[&[u8]]) -> String {
    let mut stream = Client::new(server.address).connect().await.expect("connects");
    for piece in pieces {
        // A server that has seen enough closes before it has all.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A header of version 2 with this command, family, and what follows.
fn version2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("it fits").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

/// Addresses and ports of IPv4, from 192.0.2.9.
const FOUR: [u8; 12] = [192, 0, 2, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80];

#[tokio::test]
async fn the_header_says_whom_a_connection_is_from() {
    let mut six = [0; 36];
    six[..16].copy_from_slice(&"2001:db8::9".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    let extended = [&FOUR[..], &[0x04, 0, 3, 1, 2, 3], &vec![0xee; 5_000]].concat();
    // What the client itself says of the way counts only when the trusted proxy speaks for itself.
    let of_the_proxy = "6.6.6.6, 127.0.0.1";
    for (header, from) in [
        (b"PROXY TCP4 192.0.2.8 10.0.0.1 4711 80\r\n".to_vec(), "192.0.2.8"),
        (b"PROXY TCP6 2001:db8::8 ::1 4711 80\r\n".to_vec(), "2001:db8::8"),
        (b"PROXY TCP4 127.0.0.1 10.0.0.1 4711 80\r\n".to_vec(), of_the_proxy),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 2\r\n".to_vec(), "127.0.0.1"),
        (version2(0x21, 0x11, &FOUR), "192.0.2.9"),
        (version2(0x21, 0x21, &six), "2001:db8::9"),
        (version2(0x21, 0x11, &extended), "192.0.2.9"),
        (version2(0x20, 0x11, &FOUR), of_the_proxy),
        (version2(0x20, 0x00, &[]), of_the_proxy),
        (version2(0x21, 0x00, &[]), "127.0.0.1"),
        (version2(0x21, 0x31, &[1; 216]), "127.0.0.1"),
    ] {
        let origin = Origin::statuses(&[200]).await;
        let server = Server::start_with(TRUSTED, &limited(&origin));
        let together = [&header[..], REQUEST].concat();
        let cuts = [7, 13, header.len() - 1, header.len()];
        let mut apart: Vec<_> =
            [0].iter().chain(&cuts).zip(&cuts).map(|(from, to)| &together[*from..*to]).collect();
        apart.push(REQUEST);
        let answered = say(&server, &[&together]).await;
        assert!(answered.starts_with("HTTP/1.1 200 "), "{from}: {answered}");
        let answered = say(&server, &apart).await;
        assert!(answered.starts_with("HTTP/1.1 429 "), "the same client again, {from}: {answered}");
        let received = origin.received();
        assert_eq!(told(&received[0]), pairs([from, "a", "http"]), "{header:?}");
        assert_eq!(received.len(), 1);
    }
}

#[tokio::test]
async fn any_other_connection_is_closed_counted_and_told() {
    let origin = Origin::statuses(&[200]).await;
    let limits = "[server.client_limits]\nheader_timeout = \"200ms\"\n";
    let traffic = format!("{limits}{}", limited(&origin));
    let long = [&b"PROXY TCP4 "[..], &[b'1'; 200], b"\r\n"].concat();
    let with_request = |header: &[u8]| [header, REQUEST].concat();
    for (reason, bytes) in [
        ("missing", REQUEST.to_vec()),
        ("missing", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0".to_vec()),
        ("malformed", with_request(b"PROXY TCP4 192.0.2.8 10.0.0.1 4711\r\n")),
        ("malformed", with_request(b"PROXY TCP4 192.0.2.8 10.0.0.1 4711 80\n")),
        ("malformed", with_request(&version2(0x21, 0x11, &FOUR[..11]))),
        ("malformed", with_request(&version2(0x31, 0x11, &FOUR))),
        ("malformed", long),
        ("timed_out", b"PROXY TCP4 192.0.2.8".to_vec()),
        ("timed_out", version2(0x21, 0x11, &FOUR)[..20].to_vec()),
    ] {
        let server = Server::start_with(TRUSTED, &traffic);
        assert_eq!(say(&server, &[&bytes]).await, "", "{reason}");
        let line = server.wait_for("proxy_protocol_refused");
        assert!(line.contains("client=127.0.0.1") && line.contains(&format!("reason={reason}")), "{line}");
        let series = format!("intertie_proxy_protocol_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(server.metric(&series).await, 1.0, "{bytes:?}");
    }
    let server = Server::start_with(TRUSTED, &traffic);
    let stranger = Client::new(server.address).from([127, 0, 0, 8].into());
    let mut stream = stranger.connect().await.expect("connects");
    let _ = stream.write_all(b"PROXY TCP4 192.0.2.8 10.0.0.1 4711 80\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert!(server.wait_for("proxy_protocol_refused").contains("client=127.0.0.8 reason=untrusted"));
    // A check of health, which connects and leaves, is no offence.
    drop(Client::new(server.address).connect().await.expect("connects"));
    let answered = say(&server, &[b"PROXY UNKNOWN\r\n", REQUEST]).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(server.count("proxy_protocol_refused"), 1);
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test]
async fn the_header_comes_before_tls_where_the_file_says_so() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let traffic = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n[tls]\nlisten = [\"127.0.0.1:0\"]\nredirect = [\"127.0.0.1:0\"]\n\
         proxy_protocol = \"required\"\n[certificate.shop]\nchain = \"shop.crt\"\nkey = \"shop.key\"\n{}",
        limited(&origin)
    );
    let server = Server::start_among(folder, &traffic);
    let header = b"PROXY TCP4 192.0.2.8 10.0.0.1 4711 443\r\n";
    let mut stream = TcpStream::connect(server.tls).await.expect("connects");
    stream.write_all(header).await.expect("written");
    let answered = crate::tls::get_over(&authority, stream).await;
    assert_eq!(answered.status, 200);
    assert_eq!(told(&origin.received()[0]), pairs(["192.0.2.8", "shop.example", "https"]));
    let mut stream = TcpStream::connect(server.redirect).await.expect("connects");
    stream
        .write_all(
            &[&header[..], b"GET /x HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n"].concat(),
        )
        .await
        .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert_eq!(Client::new(server.address).get("/").await.status, 200, "in the clear it is off");
    let mut plain = TcpStream::connect(server.redirect).await.expect("connects");
    let _ = plain.write_all(REQUEST).await;
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    let series = "intertie_proxy_protocol_refused_total{reason=\"missing\"}";
    until(async || server.metric(series).await == 1.0, "it is counted").await;
}
