//! Requests on a connection that was opened for another host.

use http::Request;
use tempfile::TempDir;

use super::authority::Authority;
use super::client::{Client, Session};
use super::{certificate, traffic};
use crate::harness::{Origin, Server, full};

#[tokio::test]
async fn a_host_that_the_certificate_is_not_for_is_answered_421() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shops", &["shop.example", "*.shop.example"]);
    authority.issue(folder.path(), "bank", &["bank.example"]);
    let certificates = ["shops", "bank"].map(certificate).concat();
    let server =
        Server::start_among(folder, &traffic(&origin, "default_certificate = \"bank\"", &certificates));
    for (name, host, status) in [
        ("shop.example", "shop.example", 200),
        ("shop.example", "SHOP.example:8443", 200),
        ("shop.example", "eu.shop.example", 200),
        ("shop.example", "bank.example", 421),
        ("bank.example", "shop.example", 421),
        ("bank.example", "a.b.shop.example", 200),
        ("shop.example", "unknown.example", 421),
    ] {
        let client = Client::new(&authority).asking_for(name).offering(&["h2"]);
        let stream = client.connect(server.tls).await.expect("a handshake");
        let mut session = Session::open(stream).await.expect("spoken");
        let request = Request::get(format!("https://{host}/")).body(full("")).expect("a request");
        let answered = session.send(request).await.expect("an answer");
        assert_eq!(answered.status, status, "{host} where {name} was asked for");
        if status == 421 {
            assert_eq!(answered.code(), "MISDIRECTED_REQUEST");
        }
    }
    let misdirected = origin.received().len();
    assert_eq!(misdirected, 4, "nothing of them reached the service");
}
