//! Limits of HTTP/2 requests and streams, each by what it changes for clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::frames::*;
use crate::harness::{Client, Origin, Reply, Server, full, until};

fn traffic(limits: &str, address: std::net::SocketAddr) -> String {
    format!(
        "{limits}\n[service.origin]\nendpoints = [{{ at = \"{address}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\n"
    )
}

fn request(target: usize, headers: usize, value: usize) -> http::Request<crate::harness::AnyBody> {
    let path = format!("/{}", "t".repeat(target - 1));
    let request = http::Request::get(path);
    let with = |request: http::request::Builder, _| request.header("x", "v".repeat(value));
    (0..headers).fold(request, with).body(full("")).expect("a request")
}

/// A request within the limits passes, one above is refused with `status`, `code` and words, and counted.
async fn check(
    limits: &str,
    within: (usize, usize, usize),
    above: (usize, usize, usize),
    refusal: [&str; 4],
) {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&traffic(&format!("[server.client_limits]\n{limits}"), origin.address));
    let client = Client::new(server.address).http2();
    let send = async |(target, headers, value)| client.send(request(target, headers, value)).await;
    assert_eq!(send(within).await.status, 200, "{limits}");
    let refused = send(above).await;
    let [status, code, words, reason] = refusal;
    assert_eq!((refused.status.to_string().as_str(), refused.code().as_str()), (status, code));
    assert!(refused.text().contains(words), "{}", refused.text());
    assert_eq!(origin.received().len(), 1);
    let series = format!("intertie_messages_refused_total{{from=\"client\",reason=\"{reason}\"}}");
    assert_eq!(server.metric(&series).await, 1.0);
    let told = server.wait_for("request_refused");
    assert!(told.contains(&format!("reason={reason}")), "{told}");
}

#[tokio::test]
async fn requests_have_the_limits_that_they_have_in_http1() {
    let words = ["414", "URI_TOO_LONG", "the target is longer than uri_bytes_max, 100B", "uri_bytes_max"];
    check("uri_bytes_max = \"100B\"", (100, 1, 1), (101, 1, 1), words).await;
    let words = ["431", "HEADERS_TOO_LARGE", "more headers than headers_max, 3", "headers_max"];
    check("headers_max = 3", (1, 3, 1), (1, 4, 1), words).await;
    let words = ["431", "HEADERS_TOO_LARGE", "longer than header_bytes_max, 1KiB", "header_bytes_max"];
    let limits = "header_bytes_max = \"1KiB\"\nuri_bytes_max = \"512B\"";
    check(limits, (1, 1, 900), (1, 1, 1000), words).await;
    let words = ["431", "HEADERS_TOO_LARGE", "longer than header_bytes_max, 32KiB", "header_bytes_max"];
    check("", (1, 1, 32_000), (1, 1, 33_000), words).await;
}

/// The request of this number, with the same header so many times: sent once on its connection, and then as one
/// byte each.
fn compressed(number: u8, times: usize) -> Vec<u8> {
    let mut block = GET.to_vec();
    if number == 0 {
        // A name of one byte and a value of 1,050, both kept (RFC 7541, section 6.2.1).
        block.extend([0x40, 1, b'x', 0x7f, 0x9b, 0x07]);
        block.extend([b'v'; 1050]);
    }
    // Each further request keeps its authority too, which comes before it in the table.
    block.extend(vec![0xbe + number; times]);
    frame(HEADERS, END_HEADERS | END_STREAM, u32::from(number) * 2 + 1, &block)
}

#[tokio::test]
async fn a_header_list_twice_as_long_as_the_limit_is_answered_431_without_words_and_counted() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start(&traffic("", origin.address));
    let mut client = RawClient::connect(server.address).await;
    let series = "intertie_messages_refused_total{from=\"client\",reason=\"header_bytes_max\"}";
    // One that we answer ourselves is among them: h2 then sends its own in another way.
    for (number, times, is_last, counted) in
        [(0, 70, true, 1.0), (1, 70, true, 2.0), (2, 35, false, 3.0), (3, 70, true, 4.0), (4, 1, false, 4.0)]
    {
        let stream = u32::from(number) * 2 + 1;
        client.send(&compressed(number, times)).await;
        let head = client.next_of(HEADERS).await;
        assert_eq!((head.stream, head.flags & END_STREAM != 0), (stream, is_last), "{number}");
        until(async || server.metric(series).await == counted, "it is counted").await;
    }
    until(async || origin.received().len() == 1, "the last is served").await;
    assert!(server.wait_for("request_refused").contains("reason=header_bytes_max"));
}

#[tokio::test]
async fn one_stream_more_than_the_limit_is_refused_and_may_be_tried_again() {
    for (limits, most) in [("[server.client_limits.http2]\nstreams_max = 2", 2), ("", 200)] {
        let origin = Origin::start(|_| async { Reply::Hang }).await;
        let server = Server::start(&traffic(limits, origin.address));
        let mut client = RawClient::connect(server.address).await;
        let settings = client.next_of(SETTINGS).await.payload;
        let told = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("a limit of streams");
        assert_eq!(told[2..], u32::to_be_bytes(most));
        for number in 0..=most {
            client.send(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, GET)).await;
        }
        let refused = client.next_of(RST_STREAM).await;
        assert_eq!((refused.stream, refused.code()), (most * 2 + 1, REFUSED_STREAM));
        until(async || origin.received().len() == most as usize, "the others are under way").await;
        let told = server.wait_for("request_refused");
        assert!(told.contains("client=127.0.0.1") && told.contains("reason=http2.streams_max"), "{told}");
        let series = "intertie_messages_refused_total{from=\"client\",reason=\"http2.streams_max\"}";
        until(async || server.metric(series).await == 1.0, "it is counted").await;
    }
}

#[tokio::test]
async fn windows_are_those_of_the_file() {
    let narrow = "[server.client_limits.http2]\nstream_window = \"64KiB\"\nconnection_window = \"128KiB\"";
    for (limits, stream, connection) in [(narrow, 64 << 10, 128 << 10), ("", 256 << 10, 4 << 20)] {
        let origin = Origin::statuses(&[200]).await;
        let server = Server::start(&traffic(limits, origin.address));
        let mut client = RawClient::connect(server.address).await;
        let settings = client.next_of(SETTINGS).await.payload;
        let window = settings.chunks(6).find(|setting| setting[..2] == [0, 4]).expect("a window");
        assert_eq!(window[2..], u32::to_be_bytes(stream));
        let update = client.next_of(WINDOW_UPDATE).await;
        // A connection begins with 65,535 bytes.
        assert_eq!((update.stream, update.payload), (0, u32::to_be_bytes(connection - 65_535).to_vec()));
    }
}

/// A service that answers without end, and counts what it got rid of.
async fn endless() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        stream.read_u8().await.expect("a request");
        let mut chunk = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1u64 << 40).into_bytes();
        loop {
            stream.write_all(&chunk).await.expect("somebody reads");
            counter.fetch_add(chunk.len(), Ordering::Relaxed);
            chunk.resize(4096, b'x');
        }
    });
    (address, sent)
}

/// How much of an endless answer is on its way to a client that reads nothing.
async fn taken(limits: &str) -> usize {
    let (address, sent) = endless().await;
    let server = Server::start(&traffic(limits, address));
    let windows = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let mut client = RawClient::connect_with(server.address, &windows).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0])).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
    let mut last = 0;
    loop {
        // Long enough for whatever can still move to move.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = sent.load(Ordering::Relaxed);
        if now > 0 && now == last {
            return now;
        }
        last = now;
    }
}

#[tokio::test]
async fn answers_wait_for_slow_clients_within_the_send_buffer() {
    let limits = |size: &str| format!("[server.client_limits.http2]\nsend_buffer_max = {size:?}");
    let (little, much) = (limits("16KiB"), limits("16MiB"));
    let (little, much) = tokio::join!(taken(&little), taken(&much));
    assert!(much > little + (10 << 20), "{little} and {much} bytes");
}

#[tokio::test]
async fn a_flood_ends_also_when_nobody_reads_that_it_does() {
    let (address, sent) = endless().await;
    let limits = "[server.client_limits]\nidle_timeout = \"300ms\"\nheader_timeout = \"300ms\"";
    let server = Server::start(&traffic(limits, address));
    let windows = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let mut client = RawClient::connect_with(server.address, &windows).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0])).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
    until(async || sent.load(Ordering::Relaxed) > 64 << 10, "the answer is under way").await;
    client.send(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]).repeat(1001)).await;
    server.wait_for("reason=http2.ignored_frames_max");
    until(async || server.metric("intertie_gateway_connections").await == 0.0, "it is cut off").await;
    drop(client);
}
