//! Health checks go the way that requests go.

use super::origin::{Origin, Terms};
use super::{before, series};
use crate::harness::{Server, until};
use crate::tls::Authority;

#[tokio::test]
async fn checks_speak_what_the_service_speaks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "orders", &["127.0.0.1"]);
    authority.write_into(folder.path());
    let tls = format!("tls = {{ roots = {:?} }}", folder.path().join("roots.crt"));
    for (terms, keys, version) in [
        (Terms::http2(), "protocol = \"http2\"".to_owned(), http::Version::HTTP_2),
        (Terms::tls(folder.path(), "orders", &["http/1.1"]), tls.clone(), http::Version::HTTP_11),
        (
            Terms::tls(folder.path(), "orders", &["h2"]),
            format!("{tls}\nprotocol = \"negotiate\""),
            http::Version::HTTP_2,
        ),
    ] {
        let origin = Origin::telling(terms).await;
        let keys =
            format!("{keys}\nhealth_check = {{ path = \"/ready\", every = \"1s\", timeout = \"1s\" }}");
        let server = Server::start(&before(&[origin.address], &keys, ""));
        until(async || origin.seen.heads().len() > 1, "it is asked").await;
        let heads = origin.seen.heads();
        assert!(heads.iter().all(|head| head.version == version && head.uri.path() == "/ready"), "{heads:?}");
        assert_eq!(server.metric(&series("endpoint_healthy", origin.address)).await, 1.0);
    }
}

#[tokio::test]
async fn a_service_that_is_not_trusted_is_not_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Authority::new("roots").write_into(folder.path());
    Authority::new("other").issue(folder.path(), "orders", &["127.0.0.1"]);
    let origin = Origin::telling(Terms::tls(folder.path(), "orders", &["http/1.1"])).await;
    let keys = format!(
        "tls = {{ roots = {:?} }}\nhealth_check = {{ path = \"/ready\", every = \"1s\", timeout = \"1s\" }}",
        folder.path().join("roots.crt")
    );
    let server = Server::start(&before(&[origin.address], &keys, ""));
    let told = server.wait_for("endpoint_became_unhealthy");
    assert!(told.contains("no authority in the service's `roots` signed its certificate"), "{told}");
    assert!(origin.seen.heads().is_empty());
}
