//! Clients with certificates of their own.

use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rcgen::SanType;

use super::authority::{Authority, Issued};
use super::client::{Client, Session};
use super::{certificate, shop, traffic};
use crate::harness::{Origin, Server, until};

const HEADER: &str = "intertie-client-identity";

fn service(authority: &Authority) -> Issued {
    authority.sign(|parameters| {
        parameters.subject_alt_names = vec![SanType::URI("spiffe://shop/orders".try_into().expect("ASCII"))];
    })
}

async fn refused(server: &Server) -> f64 {
    server.metric("intertie_tls_handshakes_total{outcome=\"client_certificate\"}").await
}

fn identities(origin: &Origin) -> Vec<Option<String>> {
    let value = |header: &http::HeaderValue| header.to_str().expect("visible").to_owned();
    origin.received().iter().map(|request| request.headers.get(HEADER).map(value)).collect()
}

#[tokio::test]
async fn required_certificates_are_verified_and_named_to_services() {
    let (server, authority, origin) =
        shop("client_certificates = \"required\"\nclient_roots = \"roots.crt\"").await;
    let own = service(&authority);
    let client = Client::named(&authority, &own);
    assert!(client.is_served(server.tls).await);
    assert!(client.is_served(server.tls).await, "resumed");
    assert_eq!(server.metric("intertie_tls_handshakes_total{outcome=\"resumed\"}").await, 1.0);

    let foreign = service(&Authority::new("roots"));
    let expired = authority.sign(|parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let for_servers = authority.sign(|parameters| {
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let nameless = authority.sign(|parameters| {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
    });
    let ambiguous = authority.sign(|parameters| {
        parameters.subject_alt_names = vec![SanType::DnsName("a\0b".try_into().expect("ASCII"))];
    });
    for (wrong, what) in [
        (&foreign, "another authority of the same name"),
        (&expired, "expired"),
        (&for_servers, "only for servers"),
        (&nameless, "without a name"),
        (&ambiguous, "with a name that can be read in two ways"),
    ] {
        assert!(!served_after_all(&Client::named(&authority, wrong), &server).await, "{what}");
    }
    assert!(!served_after_all(&Client::new(&authority), &server).await, "none at all");
    until(async || refused(&server).await == 6.0, "each refusal is counted").await;
    server.wait_for("outcome=client_certificate");
    assert_eq!(identities(&origin), vec![Some("uri:spiffe://shop/orders".to_owned()); 2]);
}

/// In TLS 1.3 a client learns only after its own handshake that it was refused.
async fn served_after_all(client: &Client, server: &Server) -> bool {
    let Ok(stream) = client.connect(server.tls).await else { return false };
    let Ok(mut session) = Session::open(stream).await else { return false };
    session.get(&[]).await.is_ok()
}

#[tokio::test]
async fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let (server, authority, origin) =
        shop("client_certificates = \"optional\"\nclient_roots = \"roots.crt\"").await;
    assert!(Client::new(&authority).is_served(server.tls).await);
    assert!(Client::named(&authority, &service(&authority)).is_served(server.tls).await);
    let foreign = service(&Authority::new("other"));
    assert!(!served_after_all(&Client::named(&authority, &foreign), &server).await);
    assert_eq!(identities(&origin), [None, Some("uri:spiffe://shop/orders".to_owned())]);
}

#[tokio::test]
async fn no_client_can_write_its_own_identity() {
    let (server, authority, origin) =
        shop("client_certificates = \"optional\"\nclient_roots = \"roots.crt\"").await;
    let forged = [("intertie-client-identity", "uri:root"), ("intertie_client_identity", "uri:root")];
    for protocol in ["h2", "http/1.1"] {
        for own in [None, Some(service(&authority))] {
            let client = match &own {
                Some(own) => Client::named(&authority, own),
                None => Client::new(&authority),
            };
            let stream = client.offering(&[protocol]).connect(server.tls).await.expect("connects");
            let mut session = Session::open(stream).await.expect("spoken");
            assert_eq!(session.get(&forged).await.expect("an answer").status, 200);
        }
    }
    let plain = crate::harness::Client::new(server.address).get_with("/", &forged).await;
    assert_eq!(plain.status, 200);
    let orders = Some("uri:spiffe://shop/orders".to_owned());
    assert_eq!(identities(&origin), [None, orders.clone(), None, orders, None]);
    for request in origin.received() {
        assert!(!request.headers.contains_key("intertie_client_identity"));
    }
}

#[tokio::test]
async fn routes_and_limits_go_by_the_proved_identity() {
    let origin = Origin::statuses(&[200]).await;
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let routes = "[route.orders]\n\
        match = { path = \"/**\", headers = { intertie-client-identity = \"uri:spiffe://shop/orders\" } }\n\
        to = \"origin\"\nrate_limiter = { limit = \"2/h\", by = \"header:Intertie-Client-Identity\" }\n";
    let keys = "client_certificates = \"optional\"\nclient_roots = \"roots.crt\"";
    let text = traffic(&origin, keys, &certificate("shop"));
    let text = text.replace("[route.\"/**\"]\nto = \"origin\"\n", routes);
    let server = Server::start_among(folder, &text);
    let forged = [("intertie-client-identity", "uri:spiffe://shop/orders")];
    let stranger = Client::new(&authority).connect(server.tls).await.expect("connects");
    let mut stranger = Session::open(stranger).await.expect("spoken");
    assert_eq!(stranger.get(&forged).await.expect("an answer").status, 404);
    let orders = Client::named(&authority, &service(&authority));
    let orders = orders.connect(server.tls).await.expect("connects");
    let mut orders = Session::open(orders).await.expect("spoken");
    // Neither another claim nor a header named as of this hop gets rid of what was proved.
    let tricks = [("intertie-client-identity", "other"), ("connection", "intertie-client-identity")];
    for (headers, status) in [(&[][..], 200), (&tricks, 200), (&tricks, 429)] {
        assert_eq!(orders.get(headers).await.expect("an answer").status, status);
    }
    assert_eq!(identities(&origin), vec![Some("uri:spiffe://shop/orders".to_owned()); 2]);
}

#[tokio::test]
async fn trailers_hold_no_identity_either() {
    let (server, _authority, origin) = shop("").await;
    let frames = futures(vec![
        Frame::data("body".into()),
        Frame::trailers(
            [(HEADER, "uri:root"), ("x-forwarded-proto", "https"), ("x-sum", "7")]
                .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
                .into_iter()
                .collect(),
        ),
    ]);
    let names = "intertie-client-identity, x-forwarded-proto, x-sum";
    let request =
        Request::post("/").header("te", "trailers").header("trailer", names).body(frames).expect("a request");
    let answer = crate::harness::Client::new(server.address).http2().send(request).await;
    assert_eq!(answer.status, 200);
    let received = origin.received();
    let trailers = received[0].trailers.as_ref().expect("trailers");
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);
}

/// A body of these frames.
fn futures(frames: Vec<Frame<bytes::Bytes>>) -> crate::harness::AnyBody {
    StreamBody::new(Frames(frames.into_iter())).boxed()
}

struct Frames(std::vec::IntoIter<Frame<bytes::Bytes>>);

impl futures_core::Stream for Frames {
    type Item = std::io::Result<Frame<bytes::Bytes>>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}
