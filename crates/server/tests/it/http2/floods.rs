//! Each flood ends its own connection, is counted and told once, and keeps nobody else waiting.

use std::time::Duration;

use super::frames::*;
use crate::harness::{Client, Origin, Server, until};

const LIMITS: &str = "[server.client_limits.http2]\nresets_max = 20\nsettings_max = 20\npings_max = 20\n\
    window_updates_max = 20\nignored_frames_max = 20\nempty_data_max = 20\n";
const MOST: usize = 20;

async fn serving(limits: &str) -> (Origin, Server) {
    let origin = Origin::statuses(&[200]).await;
    // One thread, so that a flood could keep others waiting.
    let server = Server::start_with(
        "threads = 1",
        &format!(
            "{limits}\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n",
            origin.address
        ),
    );
    (origin, server)
}

async fn counted(server: &Server, reason: &str) -> f64 {
    server.metric(&format!("intertie_messages_refused_total{{from=\"client\",reason=\"{reason}\"}}")).await
}

/// `most` of `flood` behind `before` pass, and one more ends the connection.
async fn check(limits: &str, before: &[u8], flood: &[u8], most: usize, reason: &str) {
    let (_origin, server) = serving(limits).await;
    let mut within = RawClient::connect(server.address).await;
    within.send(&[before, &flood.repeat(most)].concat()).await;
    let mut above = RawClient::connect(server.address).await;
    above.send(&[before, &flood.repeat(most + 1)].concat()).await;
    assert_eq!(above.end().await, Some(ENHANCE_YOUR_CALM), "{reason}");
    let told = server.wait_for("request_refused");
    assert!(told.contains("client=127.0.0.1") && told.contains(&format!("reason={reason}")), "{told}");
    assert_eq!(counted(&server, reason).await, 1.0, "{reason}");
    // Headers that are not complete leave no room for anything else.
    if !reason.contains("continuations") {
        within.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, GET)).await;
        assert_eq!(within.next_of(HEADERS).await.stream, 3, "{reason}");
    }
    assert_eq!(counted(&server, reason).await, 1.0, "{reason}");
    assert_eq!(server.count("request_refused"), 1);
    assert_eq!(Client::new(server.address).http2().get("/").await.status, 200);
}

#[tokio::test]
async fn too_many_frames_of_a_kind_end_the_connection() {
    let post = frame(HEADERS, END_HEADERS, 1, POST);
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    for (before, flood, reason) in [
        (&[][..], &frame(PING, 0, 0, &[0; 8]), "http2.pings_max"),
        (&[], &update, "http2.window_updates_max"),
        (&[], &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), "http2.ignored_frames_max"),
        (&[], &frame(0xfa, 0, 0, b"unknown"), "http2.ignored_frames_max"),
        (&post, &frame(DATA, 0, 1, &[]), "http2.empty_data_max"),
    ] {
        check(LIMITS, before, flood, MOST, reason).await;
    }
    // Two of both sides' are there before.
    check(LIMITS, &[], &frame(SETTINGS, 0, 0, &[]), MOST - 2, "http2.settings_max").await;
}

#[tokio::test]
async fn too_many_resets_end_the_connection() {
    let (_origin, server) = serving(LIMITS).await;
    let rapid = |count: u32| {
        let reset = |stream: u32| {
            let headers = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
            [headers, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
        };
        (0..count).flat_map(|number| reset(number * 2 + 1)).collect::<Vec<_>>()
    };
    let most = u32::try_from(MOST).expect("small");
    let mut within = RawClient::connect(server.address).await;
    within.send(&rapid(most)).await;
    within.synchronize().await;
    let mut above = RawClient::connect(server.address).await;
    above.send(&rapid(most + 1)).await;
    assert_eq!(above.end().await, Some(ENHANCE_YOUR_CALM));
    server.wait_for("reason=http2.resets_max");
    assert_eq!(counted(&server, "http2.resets_max").await, 1.0);
}

#[tokio::test]
async fn too_many_streams_that_the_gateway_must_reset_end_the_connection() {
    let (_origin, server) = serving(LIMITS).await;
    let mut client = RawClient::connect(server.address).await;
    let mut resets = 0;
    for number in 0.. {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, MALFORMED)).await;
        let answer = loop {
            let frame = client.next().await.expect("an answer");
            if matches!(frame.kind, RST_STREAM | GOAWAY) {
                break frame;
            }
        };
        if answer.kind == GOAWAY {
            assert_eq!(answer.code(), ENHANCE_YOUR_CALM);
            break;
        }
        resets += 1;
    }
    assert_eq!(resets, MOST + 1);
    client.end().await;
    server.wait_for("reason=http2.resets_max");
    assert_eq!(counted(&server, "http2.resets_max").await, 1.0);
}

#[tokio::test]
async fn headers_without_end_end_the_connection() {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    let more = frame(CONTINUATION, 0, 1, &[]);
    let reason = "http2.continuations_max";
    check("", &begin, &more, 5, reason).await;
    check("[server.client_limits.http2]\ncontinuations_max = 2", &begin, &more, 2, reason).await;
    check("[server.client_limits]\nheader_bytes_max = \"256KiB\"", &begin, &more, 32, reason).await;
}

#[tokio::test]
async fn a_header_block_far_above_the_limit_ends_the_connection() {
    let (_origin, server) =
        serving("[server.client_limits]\nheader_bytes_max = \"1KiB\"\nuri_bytes_max = \"512B\"").await;
    let mut client = RawClient::connect(server.address).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82; 2049])).await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    server.wait_for("reason=header_bytes_max");
    assert_eq!(counted(&server, "header_bytes_max").await, 1.0);
}

#[tokio::test]
async fn a_client_that_says_goodbye_and_stays_is_no_error() {
    let (_origin, server) = serving("").await;
    let mut client = RawClient::connect(server.address).await;
    client.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    assert_eq!(client.end().await, Some(0));
    until(async || server.metric("intertie_gateway_connections").await == 0.0, "it ends").await;
    assert_eq!(counted(&server, "http2_error").await, 0.0);
    drop(client);
}

#[tokio::test]
async fn what_is_no_http2_is_counted_too() {
    let (_origin, server) = serving("").await;
    let mut client = RawClient::connect(server.address).await;
    client.send(&frame(DATA, 0, 1, &vec![0; (16 << 10) + 1])).await;
    assert_eq!(client.end().await, Some(FRAME_SIZE_ERROR));
    let told = server.wait_for("request_refused");
    assert!(told.contains("reason=http2_error"), "{told}");
    assert_eq!(counted(&server, "http2_error").await, 1.0);
}

#[tokio::test]
async fn frames_are_counted_for_as_long_as_a_window() {
    let limits = LIMITS.replace("pings_max", "flood_window = \"20ms\"\npings_max");
    let (_origin, server) = serving(&limits).await;
    let mut client = RawClient::connect(server.address).await;
    for _ in 0..4 {
        for _ in 0..MOST {
            client.synchronize().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(counted(&server, "http2.pings_max").await, 0.0);
}

#[tokio::test]
async fn others_are_served_while_floods_come() {
    let (_origin, server) = serving("").await;
    let address = server.address;
    let flood = async {
        let noise = frame(PING, 0, 0, &[0; 8]).repeat(2000);
        for _ in 0..20 {
            let mut client = RawClient::connect(address).await;
            client.send(&noise).await;
            client.end().await;
        }
    };
    let others = async {
        for number in 0..50 {
            let client = Client::new(address);
            let client = if number % 2 == 0 { client.http2() } else { client };
            assert_eq!(client.get("/").await.status, 200);
        }
    };
    tokio::join!(flood, others);
    server.wait_for("reason=http2.pings_max");
    until(async || counted(&server, "http2.pings_max").await == 20.0, "each is counted").await;
}
