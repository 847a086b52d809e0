//! Listening sockets that another process opened: the service manager, or the server before this one.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Requests without TLS.
    Plain,
    /// Requests with TLS.
    Tls,
    /// Requests that are redirected to TLS.
    Redirect,
    /// Metrics and health.
    Admin,
    /// The API of queues.
    Api,
}

impl Role {
    const ALL: [Self; 5] = [Self::Plain, Self::Tls, Self::Redirect, Self::Admin, Self::Api];

    /// The name that the role has among those of inherited descriptors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "listen",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
            Self::Admin => "admin",
            Self::Api => "api",
        }
    }
}

/// Sockets that are served instead of binding their addresses a second time.
#[derive(Debug, Default)]
pub struct HandedOver(Vec<Offer>);

#[derive(Debug)]
struct Offer {
    role: Option<Role>,
    address: SocketAddr,
    socket: TcpListener,
}

impl HandedOver {
    /// Adds a socket. `name` is that of its descriptor; any but the name of a [`Role`] says nothing.
    ///
    /// # Errors
    /// The socket does not listen, or its state can not be read.
    pub fn offer(&mut self, name: &str, socket: TcpListener) -> io::Result<()> {
        if !SockRef::from(&socket).is_listener()? {
            let message = "the socket is not a listening one; a unit that passes connections has Accept=yes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        socket.set_nonblocking(true)?;
        let role = Role::ALL.into_iter().find(|role| role.name() == name);
        self.0.push(Offer { role, address: socket.local_addr()?, socket });
        Ok(())
    }

    /// Takes the sockets of a configured address, all that share it. Port 0 stands for the first port that the
    /// process before chose for the same role.
    pub fn take(&mut self, role: Role, configured: SocketAddr) -> Vec<TcpListener> {
        let known: Vec<_> = self.0.iter().map(|offer| (offer.role, offer.address)).collect();
        let Some(address) = meant(&known, role, configured) else { return Vec::new() };
        let (taken, rest) =
            std::mem::take(&mut self.0).into_iter().partition(|offer| offer.address == address);
        self.0 = rest;
        let taken: Vec<Offer> = taken;
        taken.into_iter().map(|offer| offer.socket).collect()
    }

    /// The addresses that nobody took, each once.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.0.iter().map(|offer| offer.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// The address among `known` that a configured one means.
fn meant(known: &[(Option<Role>, SocketAddr)], role: Role, configured: SocketAddr) -> Option<SocketAddr> {
    let mut addresses = known.iter().filter(|(of, address)| match configured.port() {
        0 => *of == Some(role) && address.ip() == configured.ip(),
        _ => *address == configured,
    });
    addresses.next().map(|(_, address)| *address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_known_by_itself_and_a_chosen_port_by_its_role() {
        let known = [
            (None, address("0.0.0.0:80")),
            (Some(Role::Admin), address("127.0.0.1:4000")),
            (Some(Role::Plain), address("127.0.0.1:4001")),
            (Some(Role::Plain), address("127.0.0.1:4002")),
        ];
        for (role, configured, expected) in [
            (Role::Plain, "0.0.0.0:80", Some("0.0.0.0:80")),
            (Role::Tls, "0.0.0.0:80", Some("0.0.0.0:80")),
            (Role::Plain, "127.0.0.1:80", None),
            (Role::Plain, "[::]:80", None),
            (Role::Plain, "127.0.0.1:0", Some("127.0.0.1:4001")),
            (Role::Admin, "127.0.0.1:0", Some("127.0.0.1:4000")),
            (Role::Tls, "127.0.0.1:0", None),
            (Role::Plain, "0.0.0.0:0", None),
        ] {
            assert_eq!(meant(&known, role, address(configured)), expected.map(address), "{configured}");
        }
    }

    #[test]
    fn each_socket_is_taken_once_and_all_of_an_address_together() {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (one, other) = (listener(), listener());
        let (first, second) = (one.local_addr().expect("bound"), other.local_addr().expect("bound"));
        let mut handed_over = HandedOver::default();
        for socket in [one.try_clone().expect("a descriptor"), one, other] {
            handed_over.offer("listen", socket).expect("it listens");
        }
        assert_eq!(handed_over.take(Role::Plain, address("127.0.0.1:0")).len(), 2);
        assert_eq!(handed_over.addresses(), [second]);
        assert!(handed_over.take(Role::Plain, first).is_empty());
        assert_eq!(handed_over.take(Role::Plain, address("127.0.0.1:0")).len(), 1);
        assert!(handed_over.addresses().is_empty());
    }

    #[test]
    fn a_connection_is_no_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stream = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let connection = TcpListener::from(std::os::fd::OwnedFd::from(stream));
        let refused = HandedOver::default().offer("listen", connection).expect_err("refused");
        assert!(refused.to_string().contains("Accept=yes"), "{refused}");
    }
}
