//! TLS towards clients, as OpenSSL's curl and a rustls client see it.

mod authority;
mod client;
mod clients;
mod expiry;
mod files;
mod handshakes;
mod misdirected;
mod redirect;
mod reload;
mod revocation;

use tempfile::TempDir;

use crate::harness::{Answer, Origin, Server};
pub(crate) use authority::Authority;
pub(crate) use client::{Client, Session};

/// A request on a connection that is there, with TLS from now on.
pub(crate) async fn get_over(authority: &Authority, stream: tokio::net::TcpStream) -> Answer {
    let stream = client::Client::new(authority).secure(stream).await.expect("a handshake");
    let mut session = client::Session::open(stream).await.expect("spoken");
    session.get(&[]).await.expect("an answer")
}

/// One route to `origin`, behind TLS with `keys`.
fn traffic(origin: &Origin, keys: &str, certificates: &str) -> String {
    format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\n{keys}\n{certificates}\n[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\
         [route.\"/**\"]\nto = \"origin\"\n",
        origin.address
    )
}

/// `[certificate.NAME]` with the files that [`Authority::issue`] writes.
fn certificate(name: &str) -> String {
    format!("[certificate.{name}]\nchain = \"{name}.crt\"\nkey = \"{name}.key\"\n")
}

/// A server with a certificate for `shop.example`, in a folder with its authority in `roots.crt`.
async fn shop(keys: &str) -> (Server, Authority, Origin) {
    let origin = Origin::statuses(&[200]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "shop", &["shop.example"]);
    let server = Server::start_among(folder, &traffic(&origin, keys, &certificate("shop")));
    (server, authority, origin)
}
