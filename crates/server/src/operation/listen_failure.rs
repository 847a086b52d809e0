//! What is said when an address can not be listened on.

use std::io;
use std::net::SocketAddr;

use intertie_gateway::config::Problem;

use crate::file::Loaded;

/// The message for `address`, with its place in the file, ready to be printed.
pub(crate) fn listen_failure(loaded: &Loaded, address: SocketAddr, error: &io::Error) -> String {
    let message = format!("failed to listen on {address}: {error}");
    let lists = [
        ("server", "listen", &loaded.server.listen),
        ("tls", "listen", &loaded.tls.listen),
        ("tls", "redirect", &loaded.tls.redirect),
    ];
    let listed = lists.into_iter().find_map(|(table, key, addresses)| {
        let position = addresses.iter().position(|listed| *listed == address)?;
        Some((table, key, position.to_string()))
    });
    let problem = match &listed {
        Some((table, key, position)) => Problem::error([table, key, position], message),
        None => Problem::error(["server", "admin"], message),
    };
    let problem = match help(address, error.kind()) {
        Some(help) => problem.help(help),
        None => problem,
    };
    loaded.render(&[problem])
}

fn help(address: SocketAddr, kind: io::ErrorKind) -> Option<String> {
    let port = address.port();
    match kind {
        io::ErrorKind::AddrInUse => Some(format!(
            "`ss -ltnp 'sport = :{port}'` shows who has it; a server that is to make room for a new one is told by SIGUSR2"
        )),
        io::ErrorKind::PermissionDenied => Some(format!(
            "port {port} is a privileged one: give the process CAP_NET_BIND_SERVICE (AmbientCapabilities= in a unit), \
             or let a socket unit open it"
        )),
        io::ErrorKind::AddrNotAvailable => Some(format!(
            "no interface of this machine has the address {}; `ip addr` lists them",
            address.ip()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_mended_says_how() {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        for (kind, words) in [
            (io::ErrorKind::AddrInUse, "sport = :80"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::AddrNotAvailable, "the address 10.0.0.1"),
        ] {
            assert!(help(address, kind).expect("help").contains(words), "{kind}");
        }
        assert_eq!(help(address, io::ErrorKind::OutOfMemory), None);
    }
}
