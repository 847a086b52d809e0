//! Sessions that can be resumed for a time: who resumes is not verified again.

use std::sync::Arc;

use intertie_core::clock::{Timestamp, WallClock};
use rustls::ServerConfig;
use rustls::server::{ProducesTickets, StoresServerSessions};

/// Has no session of `server` resumed from `end` on: what its clients were verified by is no longer good.
pub(super) fn end_at(end: Timestamp, server: &mut ServerConfig, clock: &WallClock) {
    let until = Until { end, clock: clock.clone() };
    server.ticketer = Arc::new(Tickets { inner: Arc::clone(&server.ticketer), until: until.clone() });
    server.session_storage = Arc::new(Kept { inner: Arc::clone(&server.session_storage), until });
}

#[derive(Debug, Clone)]
struct Until {
    end: Timestamp,
    clock: WallClock,
}

impl Until {
    fn is_over(&self) -> bool {
        self.clock.now() >= self.end
    }
}

/// Sessions that clients keep.
#[derive(Debug)]
struct Tickets {
    inner: Arc<dyn ProducesTickets>,
    until: Until,
}

/// Always enabled, or rustls would turn to the sessions that it keeps itself.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if self.until.is_over() { None } else { self.inner.decrypt(cipher) }
    }
}

/// Sessions that rustls keeps for clients of TLS 1.2 that take no tickets.
#[derive(Debug)]
struct Kept {
    inner: Arc<dyn StoresServerSessions>,
    until: Until,
}

impl StoresServerSessions for Kept {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.inner.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        if self.until.is_over() { None } else { self.inner.get(key) }
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let kept = self.inner.take(key);
        kept.filter(|_| !self.until.is_over())
    }

    fn can_cache(&self) -> bool {
        self.inner.can_cache()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;
    use rustls::server::ResolvesServerCertUsingSni;

    use super::*;

    #[test]
    fn sessions_are_resumed_until_their_end_and_not_after_it() {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let resolver = Arc::new(ResolvesServerCertUsingSni::new());
        let mut server = builder.expect("versions").with_no_client_auth().with_cert_resolver(resolver);
        server.ticketer = ring::Ticketer::new().expect("random numbers");
        let clock = WallClock::fixed(Timestamp::from_unix_seconds(100));
        end_at(Timestamp::from_unix_seconds(200), &mut server, &clock);
        let ticket = server.ticketer.encrypt(b"a session").expect("a ticket");
        let resumed = || {
            assert!(server.session_storage.put(b"key".to_vec(), b"kept".to_vec()));
            let got = server.session_storage.get(b"key");
            [server.ticketer.decrypt(&ticket), got, server.session_storage.take(b"key")]
                .map(|session| session.is_some())
        };
        assert_eq!(resumed(), [true; 3]);
        clock.set(Timestamp::from_unix_nanos(199_999_999_999));
        assert_eq!(resumed(), [true; 3]);
        clock.set(Timestamp::from_unix_seconds(200));
        assert_eq!(resumed(), [false; 3]);
        assert!(server.ticketer.enabled() && server.session_storage.can_cache());
    }
}
