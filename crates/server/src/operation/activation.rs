//! What the process was born with: listening sockets, and perhaps a process that it is to take over from.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use intertie_gateway::proxy::HandedOver;
use listenfd::ListenFd;

use super::takeover::{CHANNEL, Successor};

/// The descriptors that were handed over, by the protocol of `sd_listen_fds(3)`.
#[derive(Debug, Default)]
pub(crate) struct Activation {
    pub(crate) sockets: HandedOver,
    /// The end of the channel to the process before, in a takeover.
    pub(crate) successor: Option<Successor>,
}

impl Activation {
    /// Takes the descriptors that the environment names, and forgets those of the variables that would make
    /// another process take them. To be called once, before there are threads, whose environment it changes.
    ///
    /// # Errors
    /// One of them is nothing that can be listened on.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut inherited = ListenFd::from_env();
        let mut activation = Self::default();
        for (position, name) in (0..inherited.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
            let which = || format!("descriptor {} of LISTEN_FDS, named `{name}`", 3 + position);
            if name == CHANNEL {
                let channel = inherited.take_unix_listener(position).with_context(which)?;
                activation.successor = channel.map(Successor::new);
                continue;
            }
            let socket = inherited.take_tcp_listener(position).with_context(which)?;
            if let Some(socket) = socket {
                activation.sockets.offer(name, socket).with_context(which)?;
            }
        }
        Ok(activation)
    }

    /// What was handed over and is none of `configured`. From a service manager that is a mistake in one of two
    /// files; from a process before, addresses that the file no longer names.
    ///
    /// # Errors
    /// A service manager listens where the file does not.
    pub(crate) fn released(
        self,
        configured: &[SocketAddr],
        in_takeover: bool,
    ) -> anyhow::Result<Vec<SocketAddr>> {
        let left = self.sockets.addresses();
        if left.is_empty() || in_takeover {
            return Ok(left);
        }
        let join = |addresses: &[SocketAddr]| {
            let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        bail!(
            "the service manager listens on {}, which the file does not; the file names {}",
            join(&left),
            join(configured)
        );
    }
}
