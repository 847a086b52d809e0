//! Services of HTTP/2 that send what costs them nothing.

use super::before;
use super::frames::{ACK, END_HEADERS, END_STREAM, Frame, HEADERS, PING, SETTINGS, WINDOW_UPDATE};
use super::liar::{Liar, Lie};
use crate::harness::{Client, Server, until};

const LIMITS: &str = "threads = 1\n\n[server.client_limits]\n\
    http2 = { pings_max = 5, settings_max = 5, ignored_frames_max = 5, window_updates_max = 5 }\n\n";
const PRIORITY: u8 = 2;
/// Interim answers to one request.
const INTERIM_MAX: usize = 16;

/// `103 Early Hints`, whose status is in no table of HPACK.
fn early_hints() -> Frame {
    Frame::new(HEADERS, END_HEADERS, 0, &[0x08, 3, b'1', b'0', b'3'])
}

fn server(liar: &Liar) -> Server {
    Server::start(&format!("{LIMITS}{}", before(&[liar.address], "protocol = \"http2\"", "")))
}

#[tokio::test]
async fn a_flood_ends_the_connection_and_its_calls() {
    let step = [0, 0, 0, 1];
    for (frame, times, reason, words) in [
        (Frame::new(PING, 0, 0, &[7; 8]), 6, "http2.pings_max", "more PING frames than http2.pings_max"),
        // Its own and its acknowledgement are among them.
        (Frame::new(SETTINGS, 0, 0, &[]), 4, "http2.settings_max", "more SETTINGS frames"),
        (Frame::new(WINDOW_UPDATE, 0, 0, &step), 6, "http2.window_updates_max", "more WINDOW_UPDATE frames"),
        (
            Frame::new(PRIORITY, 0, 3, &[0, 0, 0, 0, 7]),
            6,
            "http2.ignored_frames_max",
            "frames without effect",
        ),
        (early_hints(), 2 * INTERIM_MAX + 3, "unasked", "an answer came that nobody asked for"),
    ] {
        let flood = Lie::Frames(vec![frame; times]);
        let liar = Liar::start(&[Lie::Frames(Vec::new()), flood]).await;
        let server = server(&liar);
        let client = Client::new(server.address);
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.get("/waits").await }
        });
        until(async || liar.requests() == 1, "the first call is under way").await;
        let second = client.get("/floods").await;
        for answer in [second, waiting.await.expect("an answer")] {
            assert_eq!((answer.status, answer.code().as_str()), (502, "SERVICE_FAILED"), "{reason}");
            assert!(answer.text().contains(words), "{reason}: {}", answer.text());
        }
        let told = server.wait_for("answer_refused");
        let expected = format!("service=origin endpoint={} reason={reason}", liar.address);
        assert!(told.contains(&expected), "{told}");
        let series = format!("intertie_messages_refused_total{{from=\"service\",reason=\"{reason}\"}}");
        assert_eq!(server.metric(&series).await, 1.0);
        assert_eq!(liar.connections(), 1);
        assert_eq!(client.get("/").await.status, 200, "another connection serves on");
        assert_eq!(liar.connections(), 2);
    }
}

#[tokio::test]
async fn what_is_within_the_limits_passes() {
    let ok = Frame::ok(END_STREAM);
    let hints = [vec![early_hints(); INTERIM_MAX], vec![ok.clone()]].concat();
    let pings = [vec![Frame::new(PING, 0, 0, &[7; 8]); 5], vec![ok.clone()]].concat();
    let settings = [vec![Frame::new(SETTINGS, 0, 0, &[]); 3], vec![ok]].concat();
    let liar = Liar::start(&[hints.clone(), pings, settings, hints].map(Lie::Frames)).await;
    let server = server(&liar);
    for _ in 0..4 {
        assert_eq!(Client::new(server.address).get("/").await.status, 200);
    }
    assert_eq!(liar.connections(), 1);
    assert_eq!(server.count("answer_refused"), 0);
    let acknowledged = liar.frames(SETTINGS).iter().filter(|frame| frame.flags & ACK != 0).count();
    assert!(acknowledged >= 3, "{acknowledged}");
}
