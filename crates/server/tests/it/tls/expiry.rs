//! Certificates that have expired, and ones that do while they are shown.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::SanType;
use tempfile::TempDir;

use super::authority::Authority;
use super::client::Client;
use super::{certificate, shop, traffic};
use crate::cli::intertie;
use crate::harness::{Origin, Server, until};

const COMPLETED: &str = "intertie_tls_reloads_total{outcome=\"completed\"}";
const REFUSED: &str = "intertie_tls_reloads_total{outcome=\"refused\"}";

/// Writes a certificate for `name` to the files `file` that is good until a moment, in seconds since 1970.
fn issue_until(authority: &Authority, folder: &Path, file: &str, name: &str, until: u64) {
    let issued = authority.sign(|parameters| {
        parameters.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("ASCII"))];
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
    });
    issued.write(folder, file);
}

const LONG_AGO: u64 = 1_577_836_800;

#[tokio::test]
async fn a_file_that_has_expired_does_not_replace_one_that_is_good() {
    let (server, authority, _origin) = shop("").await;
    let folder = server.folder.path();
    let good = Client::new(&authority).shown(server.tls).await.expect("shown");
    issue_until(&authority, folder, "shop", "shop.example", LONG_AGO);
    let told = server.wait_for("tls_refused");
    let words = "the certificate `shop` in `";
    assert!(told.contains(words) && told.contains("shop.crt` expired at 2020-01-01T00:00:00.000Z"), "{told}");
    assert_eq!(Client::new(&authority).shown(server.tls).await.as_ref(), Some(&good), "the old one stays");
    assert_eq!((server.metric(COMPLETED).await, server.metric(REFUSED).await), (0.0, 1.0));

    // The file of the server is refused whole with it, other changes too.
    let text = std::fs::read_to_string(&server.file).expect("the file");
    std::fs::write(&server.file, text.replace("\"/**\"", "\"/elsewhere/**\"")).expect("written");
    let told = server.wait_for("config_refused");
    assert!(told.contains("expired at 2020-01-01"), "{told}");
    assert_eq!(Client::new(&authority).shown(server.tls).await.as_ref(), Some(&good));
    assert!(Client::new(&authority).is_served(server.tls).await, "the old route is there");
    authority.issue(folder, "shop", &["shop.example"]);
    server.wait_for("tls_reloaded");
    server.signal("HUP");
    server.wait_for("config_reloaded");
    assert!(!Client::new(&authority).is_served(server.tls).await, "the new routes are in force");
}

/// One that expires while it is shown stays, and keeps nobody from renewing others.
#[tokio::test]
async fn one_that_expires_in_force_stands_in_the_way_of_no_other() {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["shop.example"]);
    // Long enough for the server to start on a busy machine.
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    issue_until(&authority, folder.path(), "bank", "bank.example", since_1970.as_secs() + 15);
    let certificates = ["shop", "bank"].map(certificate).concat();
    let server = Server::start_among(folder, &traffic(&origin, "", &certificates));
    let folder = server.folder.path();
    let first = Client::new(&authority).shown(server.tls).await.expect("shown");
    let file = server.file.to_str().expect("UTF-8");
    until(async || intertie(folder, &["check", file]).code == 2, "it expires").await;
    authority.issue(folder, "shop", &["shop.example"]);
    server.wait_for("tls_reloaded");
    let second = Client::new(&authority).shown(server.tls).await.expect("shown");
    assert_ne!(first, second, "the one was renewed");
    assert_eq!(server.count("tls_refused"), 0);
    let foreign = Client::new(&authority).asking_for("bank.example").connect(server.tls).await;
    let refused = foreign.expect_err("the client looks at the time").to_string();
    assert!(refused.contains("expired"), "{refused}");
    // Nor from changing anything else.
    let text = std::fs::read_to_string(&server.file).expect("the file");
    std::fs::write(&server.file, text.replace("\"/**\"", "\"/elsewhere/**\"")).expect("written");
    server.wait_for("config_reloaded");
    assert!(!Client::new(&authority).is_served(server.tls).await, "the new routes are in force");
    server.wait_for("warning: the certificate `bank` in `");
    authority.issue(folder, "bank", &["bank.example"]);
    server.wait_for_nth("tls_reloaded", 2);
    assert!(Client::new(&authority).asking_for("bank.example").connect(server.tls).await.is_ok());
}
