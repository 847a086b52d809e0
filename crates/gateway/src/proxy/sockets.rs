//! The listening sockets of the process, and which data thread accepts from which.
//!
//! The kernel gives each new connection to one socket of an address, and resets what still waits there, and
//! every handshake under way, when that socket is closed. So no socket is closed while its address is served:
//! threads come and go with duplicates of its descriptor, and another process is handed one too.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

use intertie_core::telemetry::Events;
use socket2::SockRef;

use super::handover::{HandedOver, Role};
use super::listener::{Kind, bind, bind_first};

/// The sockets of one address, at least one.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) role: Role,
    pub(super) address: SocketAddr,
    kind: Kind,
    sockets: Vec<TcpListener>,
}

impl Sockets {
    /// Takes the sockets of `configured` from `handed_over`, or else binds a first one.
    pub(super) fn open(
        role: Role,
        kind: Kind,
        configured: SocketAddr,
        handed_over: &mut HandedOver,
    ) -> io::Result<Self> {
        let mut sockets = handed_over.take(role, configured);
        if sockets.is_empty() {
            sockets.push(bind_first(configured)?);
        }
        Ok(Self { role, address: sockets[0].local_addr()?, kind, sockets })
    }

    /// A duplicate of each socket.
    pub(super) fn duplicates(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Closes the sockets after the first `count`, which nobody came to accept from.
    pub(super) fn truncate(&mut self, count: usize) {
        self.sockets.truncate(count);
    }

    /// Binds more sockets beside those that are there, so that each of `threads` can have one of its own;
    /// tells where that is not possible.
    pub(super) fn extend(&mut self, threads: NonZeroUsize, events: &Events) {
        if let Err(error) = self.bind_up_to(threads.get()) {
            let (address, sockets) = (self.address, self.sockets.len());
            events.tell("listener_shared", || {
                vec![
                    ("address", address.to_string()),
                    ("sockets", sockets.to_string()),
                    ("threads", threads.to_string()),
                    ("cause", error.to_string()),
                ]
            });
        }
    }

    /// For each of `threads` the sockets that it accepts from: one of its own, or all where there are fewer.
    pub(super) fn share(&self, threads: NonZeroUsize) -> io::Result<Vec<Vec<(TcpListener, Kind)>>> {
        let accepting = accepting(self.sockets.len(), threads.get());
        let duplicate = |socket: &usize| Ok((self.sockets[*socket].try_clone()?, self.kind.clone()));
        accepting.iter().map(|sockets| sockets.iter().map(duplicate).collect()).collect()
    }

    fn bind_up_to(&mut self, count: usize) -> io::Result<()> {
        if self.sockets.len() < count && !SockRef::from(&self.sockets[0]).reuse_port()? {
            let message = "the socket was opened without SO_REUSEPORT; in a socket unit it is ReusePort=yes";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        while self.sockets.len() < count {
            self.sockets.push(bind(self.address, true)?);
        }
        Ok(())
    }
}

/// The sockets that each of `threads` accepts from: one of its own, and those that are left over; all, where
/// there are fewer than threads.
fn accepting(sockets: usize, threads: usize) -> Vec<Vec<usize>> {
    let own = if sockets < threads { 0 } else { threads };
    (0..threads).map(|thread| (thread..own.min(thread + 1)).chain(own..sockets).collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sockets_are_owned_first_and_then_shared() {
        assert_eq!(accepting(2, 2), [[0], [1]]);
        assert_eq!(accepting(3, 2), [[0, 2], [1, 2]]);
        assert_eq!(accepting(1, 3), [[0], [0], [0]]);
        assert_eq!(accepting(2, 3), [[0, 1], [0, 1], [0, 1]]);
        assert_eq!(accepting(3, 1), [[0, 1, 2]]);
    }

    proptest! {
        #[test]
        fn every_socket_is_served_and_all_threads_have_as_many(sockets in 1..40_usize, threads in 1..40_usize) {
            let accepting = accepting(sockets, threads);
            prop_assert_eq!(accepting.len(), threads);
            for socket in 0..sockets {
                prop_assert!(accepting.iter().any(|of| of.contains(&socket)), "{}", socket);
            }
            for of in &accepting {
                prop_assert!(!of.is_empty());
                prop_assert_eq!(of.len(), accepting[0].len());
            }
        }
    }

    #[test]
    fn more_threads_get_sockets_of_their_own_and_fewer_close_none() {
        let events = Events::default();
        let mut handed_over = HandedOver::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sockets =
            Sockets::open(Role::Plain, Kind::Plain, any, &mut handed_over).expect("a free port");
        for (threads, there) in [(2, 2), (1, 2), (4, 4), (3, 4)] {
            let threads = NonZeroUsize::new(threads).expect("not zero");
            sockets.extend(threads, &events);
            assert_eq!(sockets.share(threads).expect("shared").len(), threads.get());
            assert_eq!(sockets.duplicates().expect("descriptors").len(), there);
        }
    }

    #[test]
    fn a_socket_that_admits_no_other_is_shared_and_that_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut handed_over = HandedOver::default();
        handed_over.offer("web", listener).expect("it listens");
        let mut sockets =
            Sockets::open(Role::Plain, Kind::Plain, address, &mut handed_over).expect("taken over");
        let events = Events::default();
        let told = events.subscribe(4);
        let threads = NonZeroUsize::new(3).expect("not zero");
        sockets.extend(threads, &events);
        let shares = sockets.share(threads).expect("shared");
        assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(told.try_recv().expect("told").name, "listener_shared");
    }
}
