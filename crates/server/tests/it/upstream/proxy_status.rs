//! What `Proxy-Status` says when a service ends a stream of HTTP/2.

use super::before;
use super::frames::{CANCEL, ENHANCE_YOUR_CALM, Frame, HTTP_1_1_REQUIRED, INTERNAL_ERROR, REFUSED_STREAM};
use super::liar::{Liar, Lie};
use crate::harness::{Client, Server};

const PROTOCOL_ERROR: u32 = 1;

#[tokio::test]
async fn a_stream_that_a_service_ends_is_terminated_or_misspoken() {
    for (lie, error) in [
        (Lie::Frames(vec![Frame::reset(REFUSED_STREAM)]), "connection_terminated"),
        (Lie::Frames(vec![Frame::reset(INTERNAL_ERROR)]), "connection_terminated"),
        (Lie::Frames(vec![Frame::reset(CANCEL)]), "connection_terminated"),
        (Lie::Frames(vec![Frame::reset(ENHANCE_YOUR_CALM)]), "connection_terminated"),
        (Lie::FramesAndClose(vec![Frame::go_away(0, INTERNAL_ERROR)]), "connection_terminated"),
        (Lie::FramesAndClose(Vec::new()), "connection_terminated"),
        (Lie::Frames(vec![Frame::reset(PROTOCOL_ERROR)]), "http_protocol_error"),
        (Lie::Frames(vec![Frame::reset(HTTP_1_1_REQUIRED)]), "http_protocol_error"),
    ] {
        let liar = Liar::start(std::slice::from_ref(&lie)).await;
        let server = Server::start(&before(&[liar.address], "protocol = \"http2\"", ""));
        let answer = Client::new(server.address).get("/").await;
        let expected = format!("intertie; error={error}");
        assert_eq!(answer.header("proxy-status"), Some(expected.as_str()), "{lie:?}: {}", answer.text());
    }
}
