//! Certificates of clients that were revoked.

use intertie_core::clock::WallClock;
use tempfile::TempDir;

use super::authority::{Authority, Issued};
use super::client::{Client, Session};
use super::{certificate, traffic};
use crate::harness::{Origin, Server, until};

const KEYS: &str =
    "client_certificates = \"required\"\nclient_roots = \"roots.crt\"\nclient_crls = [\"roots.crl\"]";
/// A year in which nothing here is out of date.
const LATER: i32 = 2090;

/// A folder with an authority in `roots.crt`, and the list of what it has revoked in `roots.crl`.
fn folder(revoked: &[u64], until: i32) -> (TempDir, Authority) {
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "shop", &["shop.example"]);
    authority.revoke(folder.path(), "roots.crl", revoked, until);
    (folder, authority)
}

async fn serving(folder: TempDir, keys: &str) -> (Server, Origin) {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start_among(folder, &traffic(&origin, keys, &certificate("shop")));
    (server, origin)
}

fn numbered(authority: &Authority, number: u64) -> Issued {
    authority.sign(|parameters| parameters.serial_number = Some(number.into()))
}

async fn handshakes(server: &Server, outcome: &str) -> f64 {
    server.metric(&format!("intertie_tls_handshakes_total{{outcome=\"{outcome}\"}}")).await
}

/// In TLS 1.3 a client learns only after its own handshake that it was refused.
async fn is_served(authority: &Authority, own: &Issued, server: &Server) -> bool {
    let Ok(stream) = Client::named(authority, own).connect(server.tls).await else { return false };
    let Ok(mut session) = Session::open(stream).await else { return false };
    session.get(&[]).await.is_ok()
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_counted_and_told() {
    let (folder, authority) = folder(&[7], LATER);
    let (server, origin) = serving(folder, KEYS).await;
    let (revoked, good) = (numbered(&authority, 7), numbered(&authority, 8));
    assert!(!is_served(&authority, &revoked, &server).await);
    assert!(is_served(&authority, &good, &server).await);
    until(async || handshakes(&server, "client_revoked").await == 1.0, "it is counted").await;
    let told = server.wait_for("tls_handshake_failed");
    assert!(told.contains("outcome=client_revoked") && told.contains("Revoked"), "{told}");
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test]
async fn a_list_that_changes_is_in_force_at_once_also_for_sessions() {
    let (folder, authority) = folder(&[], LATER);
    let (server, _origin) = serving(folder, KEYS).await;
    let own = numbered(&authority, 7);
    let client = Client::named(&authority, &own);
    assert!(client.is_served(server.tls).await);
    assert!(client.is_served(server.tls).await);
    assert_eq!(handshakes(&server, "resumed").await, 1.0);
    authority.revoke(server.folder.path(), "roots.crl", &[7], LATER);
    server.wait_for("tls_reloaded");
    assert!(!client.is_served(server.tls).await, "who resumes is verified again");
    std::fs::write(server.folder.path().join("roots.crl"), "nonsense").expect("written");
    server.wait_for("tls_refused cause=\"`");
    assert!(!is_served(&authority, &own, &server).await, "the list before stays in force");
    authority.revoke(server.folder.path(), "roots.crl", &[], LATER);
    server.wait_for_nth("tls_reloaded", 2);
    assert!(is_served(&authority, &own, &server).await);
}

#[tokio::test]
async fn a_list_out_of_date_refuses_all_unless_the_file_says_otherwise() {
    for (keys, good_is_served) in
        [("", false), ("expired_crls = \"refuse\"", false), ("expired_crls = \"accept\"", true)]
    {
        let (folder, authority) = folder(&[7], 2020);
        let (server, _origin) = serving(folder, &format!("{KEYS}\n{keys}")).await;
        assert_eq!(is_served(&authority, &numbered(&authority, 8), &server).await, good_is_served, "{keys}");
        assert!(!is_served(&authority, &numbered(&authority, 7), &server).await, "{keys}");
        let outcome = if good_is_served { "client_revoked" } else { "client_certificate" };
        until(async || handshakes(&server, outcome).await >= 1.0, outcome).await;
    }
}

/// Who resumes is not verified again, and would be let in with a list that nobody can rely on.
#[tokio::test]
async fn a_list_that_goes_out_of_date_ends_sessions_and_is_told() {
    let (folder, authority) = folder(&[], LATER);
    let until = WallClock::system().now().as_unix_nanos() / 1_000_000_000 + 8;
    authority.revoke_until(folder.path(), "roots.crl", &[7], until);
    let (server, _origin) = serving(folder, KEYS).await;
    let client = Client::named(&authority, &numbered(&authority, 8));
    assert!(client.is_served(server.tls).await);
    assert!(client.is_served(server.tls).await);
    assert_eq!(handshakes(&server, "resumed").await, 1.0);
    let gauge = "intertie_tls_revocation_list_expiry_seconds{list=\"roots.crl\"}";
    assert_eq!(server.metric(gauge).await, until as f64);
    let told = server.wait_for("tls_revocation_list_expired");
    assert!(told.contains(" list=roots.crl since="), "{told}");
    assert!(!client.is_served(server.tls).await, "its session is over");
    assert_eq!(handshakes(&server, "resumed").await, 1.0);
    authority.revoke(server.folder.path(), "roots.crl", &[7], LATER);
    server.wait_for("tls_reloaded");
    assert!(client.is_served(server.tls).await, "the next list has come");
    assert_eq!(server.count("tls_revocation_list_expired"), 1);
}

/// Of a certificate whose authority has no list it is not known whether it was revoked.
#[tokio::test]
async fn each_authority_needs_its_list() {
    let (folder, authority) = folder(&[], LATER);
    let other = Authority::new("other");
    other.write_into(folder.path());
    other.revoke(folder.path(), "other.crl", &[], LATER);
    let both =
        ["roots.crt", "other.crt"].map(|file| std::fs::read(folder.path().join(file)).expect("a root"));
    std::fs::write(folder.path().join("roots.crt"), both.concat()).expect("written");
    let (server, _origin) = serving(folder, KEYS).await;
    let own = numbered(&other, 7);
    // The server's own certificate is the first authority's.
    assert!(!is_served(&authority, &own, &server).await);
    let text = std::fs::read_to_string(&server.file).expect("the file");
    let text = text.replace("[\"roots.crl\"]", "[\"roots.crl\", \"other.crl\"]");
    std::fs::write(&server.file, text).expect("written");
    server.wait_for("config_reloaded");
    assert!(is_served(&authority, &own, &server).await);
}
