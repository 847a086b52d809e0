//! TLS and HTTP/2 towards services.

mod collector;
mod ends;
mod explain;
mod floods;
mod frames;
mod health;
mod http2;
mod late;
mod liar;
mod origin;
mod proxy_status;
mod rest;
mod retries;
mod tls;
mod upgrades;
mod windows;

use std::net::SocketAddr;

/// One route `/**` to one service, with `service` and `route` as further keys of each.
fn before(addresses: &[SocketAddr], service: &str, route: &str) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{ at = \"{address}\" }}")).collect();
    format!(
        "[service.origin]\nendpoints = [{}]\n{service}\n\n[route.\"/**\"]\nto = \"origin\"\n{route}\n",
        endpoints.join(", ")
    )
}

/// The series of an endpoint's metric.
fn series(name: &str, address: SocketAddr) -> String {
    format!("intertie_{name}{{service=\"origin\",endpoint=\"{address}\"}}")
}
