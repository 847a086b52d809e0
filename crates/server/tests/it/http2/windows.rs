//! Answers whose end the client's windows have room for, or not.

use std::time::Duration;

use super::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, GET, HEADERS, RST_STREAM, RawClient, WINDOW_UPDATE, frame,
};
use crate::harness::{Origin, Server, answer, until};

const LENGTH: usize = 64 << 10;
const CANCEL: u32 = 8;

/// A server before a service whose answers have [`LENGTH`] bytes, of which clients are told beforehand or not.
async fn serving(is_chunked: bool) -> (Origin, Server) {
    let origin = Origin::start(move |_| async move {
        let headers: &[_] = if is_chunked { &[("transfer-encoding", "chunked")] } else { &[] };
        answer(200, headers, &"x".repeat(LENGTH))
    })
    .await;
    let server = Server::start(&traffic("[server.client_limits]\nsend_timeout = \"400ms\"", &origin));
    (origin, server)
}

fn traffic(limits: &str, origin: &Origin) -> String {
    format!(
        "{limits}\n\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n\
         [route.\"/**\"]\nto = \"origin\"\n",
        origin.address
    )
}

/// A client whose streams have a window of `window` bytes, and that has asked by stream 1.
async fn asking(server: &Server, window: usize) -> RawClient {
    let window = u32::try_from(window).expect("short").to_be_bytes();
    let settings = [&[0, 4], &window[..]].concat();
    let mut client = RawClient::connect_with(server.address, &settings).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes())).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
    client
}

/// The bytes of the answer of stream 1, and the frame that ended it.
async fn read(client: &mut RawClient) -> (usize, Frame) {
    let mut bytes = 0;
    loop {
        let frame = client.next().await.expect("the connection lasts");
        match frame.kind {
            DATA if frame.stream == 1 => bytes += frame.payload.len(),
            HEADERS | RST_STREAM if frame.stream == 1 => {}
            _ => continue,
        }
        if frame.kind == RST_STREAM || frame.flags & END_STREAM != 0 {
            return (bytes, frame);
        }
    }
}

/// As many libraries do that open the windows with each piece that their callers read.
#[tokio::test]
async fn an_answer_that_is_taken_in_small_steps_is_no_flood() {
    const BYTES: usize = 60_000_000;
    const STEP: usize = 4096;
    let origin = Origin::start(move |_| async move { answer(200, &[], &"x".repeat(BYTES)) }).await;
    // However long it takes here, all of it is in one window.
    let limits = "[server.client_limits]\nhttp2 = { flood_window = \"1h\" }";
    let server = Server::start(&traffic(limits, &origin));
    let mut client = RawClient::connect(server.address).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
    let step = u32::try_from(STEP).expect("short").to_be_bytes();
    let updates = [0, 1].map(|number| frame(WINDOW_UPDATE, 0, number, &step)).concat();
    let (mut bytes, mut untold) = (0, 0);
    while bytes < BYTES {
        let frame = client.next_of(DATA).await;
        (bytes, untold) = (bytes + frame.payload.len(), untold + frame.payload.len());
        client.send(&updates.repeat(untold / STEP)).await;
        untold %= STEP;
    }
    client.synchronize().await;
    assert_eq!(server.count("request_refused"), 0);
}

/// Its parts are as large as the gateway reads them, which is many steps of a client's.
#[tokio::test]
async fn who_takes_an_answer_slowly_but_steadily_gets_all_of_it() {
    const BYTES: usize = 2_000_000;
    const STEP: u32 = 20_000;
    let origin = Origin::start(move |_| async move { answer(200, &[], &"x".repeat(BYTES)) }).await;
    let server = Server::start(&traffic("[server.client_limits]\nsend_timeout = \"1s\"", &origin));
    let mut client = asking(&server, STEP as usize).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    let mut step = tokio::time::interval(Duration::from_millis(100));
    let (mut bytes, mut window) = (0, STEP as usize);
    while bytes < BYTES {
        while bytes < window.min(BYTES) {
            let frame = client.next().await.expect("the connection lasts");
            assert_ne!(frame.kind, RST_STREAM, "after {bytes} bytes");
            bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
        }
        step.tick().await;
        client.send(&frame(WINDOW_UPDATE, 0, 1, &STEP.to_be_bytes())).await;
        window += STEP as usize;
    }
}

#[tokio::test]
async fn a_window_of_just_the_answer_is_enough() {
    for is_chunked in [false, true] {
        let (_origin, server) = serving(is_chunked).await;
        let mut client = asking(&server, LENGTH).await;
        let (bytes, last) = read(&mut client).await;
        assert_eq!((bytes, last.kind), (LENGTH, DATA), "{is_chunked}");
        assert_eq!(server.metric("intertie_streams_cut_total{limit=\"send_timeout\"}").await, 0.0);
    }
}

/// Also when all of the answer was there at once, and only its end waits for the client.
#[tokio::test]
async fn an_answer_whose_end_is_not_taken_is_cut_off() {
    for is_chunked in [false, true] {
        for window in [0, 10_000, LENGTH - 5_000] {
            let (_origin, server) = serving(is_chunked).await;
            let mut client = asking(&server, window).await;
            let (bytes, last) = read(&mut client).await;
            assert_eq!(
                (bytes, last.kind, last.code()),
                (window, RST_STREAM, CANCEL),
                "{is_chunked} {window}"
            );
            let cut = "intertie_streams_cut_total{limit=\"send_timeout\"}";
            until(async || server.metric(cut).await == 1.0, "it is counted").await;
            client.synchronize().await;
        }
    }
}
