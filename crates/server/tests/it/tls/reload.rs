//! Files that change while connections are open.

use super::authority::Authority;
use super::client::{Client, Session};
use super::shop;
use crate::harness::until;

#[tokio::test]
async fn new_files_are_for_new_connections_and_open_ones_live_on() {
    let (server, authority, _origin) = shop("").await;
    let folder = server.folder.path().to_owned();
    let before = Client::new(&authority);
    let first = before.shown(server.tls).await.expect("shown");
    let mut open = Vec::new();
    for protocol in ["h2", "http/1.1"] {
        let stream =
            Client::new(&authority).offering(&[protocol]).connect(server.tls).await.expect("connects");
        open.push(Session::open(stream).await.expect("spoken"));
    }

    authority.issue(&folder, "shop", &["shop.example"]);
    server.wait_for("tls_reloaded");
    let second = Client::new(&authority).shown(server.tls).await.expect("shown");
    assert_ne!(first, second);
    for session in &mut open {
        assert_eq!(session.get(&[]).await.expect("still open").status, 200);
    }
    // A ticket from before must not keep the old certificate's session alive.
    assert!(before.is_served(server.tls).await);
    assert_eq!(server.metric("intertie_tls_handshakes_total{outcome=\"resumed\"}").await, 0.0);

    let good = std::fs::read(folder.join("shop.key")).expect("a key");
    std::fs::write(folder.join("shop.key"), "nonsense").expect("written");
    server.wait_for("tls_refused cause=\"`");
    assert_eq!(Client::new(&authority).shown(server.tls).await.as_ref(), Some(&second));
    assert_eq!(server.metric("intertie_tls_reloads_total{outcome=\"refused\"}").await, 1.0);
    assert_eq!(server.metric("intertie_tls_reloads_total{outcome=\"completed\"}").await, 1.0);
    for session in &mut open {
        assert_eq!(session.get(&[]).await.expect("still open").status, 200);
    }

    std::fs::write(folder.join("shop.key"), good).expect("written");
    authority.issue(&folder, "shop", &["shop.example"]);
    server.wait_for_nth("tls_reloaded", 2);
    assert_ne!(Client::new(&authority).shown(server.tls).await.as_ref(), Some(&second));
}

#[tokio::test]
async fn the_file_itself_may_name_other_certificates() {
    let (server, authority, _origin) = shop("").await;
    let text = std::fs::read_to_string(&server.file).expect("the file");
    let other = Authority::new("other");
    other.issue(server.folder.path(), "next", &["shop.example"]);
    std::fs::write(&server.file, text.replace("\"shop.", "\"next.")).expect("written");
    server.wait_for("config_reloaded");
    assert!(Client::new(&other).is_served(server.tls).await);
    assert!(!Client::new(&authority).is_served(server.tls).await);

    std::fs::write(&server.file, text.replace("\"shop.", "\"missing.")).expect("written");
    server.wait_for("config_refused cause=\"there is no file `");
    assert!(Client::new(&other).is_served(server.tls).await);

    // From now on the files that are named now are watched.
    other.issue(server.folder.path(), "next", &["shop.example"]);
    std::fs::write(&server.file, text.replace("\"shop.", "\"next.")).expect("written");
    server.wait_for("tls_reloaded");
}

#[tokio::test]
async fn sessions_outlive_a_reload_that_leaves_tls_as_it_is() {
    let (server, authority, _origin) = shop("").await;
    let client = Client::new(&authority);
    assert!(client.is_served(server.tls).await);
    server.signal("HUP");
    server.wait_for("config_reloaded");
    assert!(client.is_served(server.tls).await);
    let resumed = "intertie_tls_handshakes_total{outcome=\"resumed\"}";
    until(async || server.metric(resumed).await == 1.0, "the ticket is good still").await;
}

#[tokio::test]
async fn listeners_need_a_restart_and_terms_do_not() {
    let (server, authority, _origin) = shop("").await;
    let text = std::fs::read_to_string(&server.file).expect("the file");
    let changed = "[tls]\nminimum_version = \"1.3\"\nredirect = [\"127.0.0.1:0\"]\n";
    std::fs::write(&server.file, text.replace("[tls]\n", changed)).expect("written");
    let reloaded = server.wait_for("config_reloaded");
    assert!(reloaded.ends_with("needs_restart=tls.redirect"), "{reloaded}");
    let old = Client::speaking(&authority, &[&rustls::version::TLS12], None);
    assert!(!old.is_served(server.tls).await);
    assert!(Client::new(&authority).is_served(server.tls).await);
}
