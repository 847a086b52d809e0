//! The listener without TLS.

use super::shop;
use crate::harness::Client;

#[tokio::test]
async fn every_request_is_sent_to_tls() {
    let (server, _authority, origin) = shop("redirect = [\"127.0.0.1:0\"]").await;
    let host = [("host", "shop.example:80")];
    let answer = Client::new(server.redirect).get_with("/a?b=c", &host).await;
    let port = server.tls.port();
    let expected = format!("https://shop.example:{port}/a?b=c");
    assert_eq!((answer.status, answer.header("location")), (308, Some(expected.as_str())));
    let answer = Client::new(server.redirect).post("/a", &host, "a body").await;
    assert_eq!(answer.status, 308);
    let answer = Client::new(server.redirect).http2().get("/a").await;
    assert_eq!(answer.header("location"), Some(format!("https://127.0.0.1:{port}/a").as_str()));
    let answer = Client::new(server.redirect).get_with("/a", &[("host", "")]).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    assert!(origin.received().is_empty(), "nothing is passed on");
    assert_eq!(server.metric("intertie_tls_redirects_total").await, 4.0);
}

#[tokio::test]
async fn the_port_may_be_that_of_somebody_in_front() {
    let (server, _authority, _origin) = shop("redirect = [\"127.0.0.1:0\"]\nredirect_port = 443").await;
    let answer = Client::new(server.redirect).get_with("/", &[("host", "shop.example")]).await;
    assert_eq!(answer.header("location"), Some("https://shop.example/"));
}
