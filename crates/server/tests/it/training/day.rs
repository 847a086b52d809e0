//! What one client asks for, one request after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::Request;

use super::{Closing, open};
use crate::harness::{AnyBody, full};
use crate::tls::{Client, Session};

/// A kind of request, and how many of a hundred are of it.
const KINDS: [(Kind, u32); 10] = [
    (Kind::Read, 35),
    (Kind::Page, 20),
    (Kind::List, 8),
    (Kind::Unchanged, 10),
    (Kind::Order, 10),
    (Kind::Probe, 10),
    (Kind::Search, 2),
    (Kind::Download, 2),
    (Kind::Upload, 2),
    (Kind::Missing, 1),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Read,
    Page,
    List,
    Unchanged,
    Order,
    Probe,
    Search,
    Download,
    Upload,
    Missing,
}

/// A client's day. The seed decides what it asks for.
#[derive(Debug)]
pub(super) struct Day {
    scheme: &'static str,
    closing: Closing,
    random: fastrand::Rng,
    asked: usize,
}

impl Day {
    pub(super) fn new(scheme: &'static str, seed: u64, closing: Closing) -> Self {
        Self { scheme, closing, random: fastrand::Rng::with_seed(seed), asked: 0 }
    }

    /// A client that stays on its connection; how much it asked for.
    pub(super) async fn of(mut self, mut session: Session) -> usize {
        while let Some(kind) = self.next() {
            self.ask(kind, &mut session).await;
        }
        self.asked
    }

    /// Clients that open a connection, ask for a few things and leave.
    pub(super) async fn of_visitors(mut self, client: Arc<Client>, to: SocketAddr) -> usize {
        loop {
            let mut session = open(&client, to).await;
            for _ in 0..self.random.u32(1..4) {
                let Some(kind) = self.next() else { return self.asked };
                self.ask(kind, &mut session).await;
            }
        }
    }

    fn next(&mut self) -> Option<Kind> {
        match self.closing {
            Closing::AfterEachOnce => KINDS.get(self.asked).map(|(kind, _)| *kind),
            Closing::At(end) if Instant::now() >= end => None,
            Closing::At(_) => {
                let (drawn, mut below) = (self.random.u32(..100), 0);
                let mut kinds = KINDS.iter();
                let found = kinds.find(|(_, share)| {
                    below += share;
                    drawn < below
                });
                found.map(|(kind, _)| *kind)
            }
        }
    }

    async fn ask(&mut self, kind: Kind, session: &mut Session) {
        let request = self.request(kind);
        let answer = session.send(request).await.expect("an answer");
        let good: &[u16] = match kind {
            Kind::Read | Kind::Page | Kind::List | Kind::Download | Kind::Probe => &[200],
            Kind::Unchanged => &[304],
            Kind::Order | Kind::Upload => &[201],
            Kind::Search => &[200, 429],
            Kind::Missing => &[404],
        };
        assert!(good.contains(&answer.status), "{kind:?}: {answer:?}");
        self.asked += 1;
    }

    fn request(&mut self, kind: Kind) -> Request<AnyBody> {
        let number = self.random.u32(..100_000);
        let (method, path, body) = match kind {
            Kind::Read | Kind::Unchanged => ("GET", format!("/items/{number}"), full("")),
            Kind::Page => ("GET", format!("/pages/{number}?from=mail&campaign=november"), full("")),
            Kind::List => ("GET", format!("/items?page={}&sort=price", number % 50), full("")),
            Kind::Order => ("POST", format!("/orders/{number}"), full(vec![b'o'; 400])),
            Kind::Probe => ("GET", "/health".to_owned(), full("")),
            Kind::Search => ("GET", format!("/search?q=lamp+{number}"), full("")),
            Kind::Download => ("GET", format!("/files/{number}"), full("")),
            Kind::Upload => ("POST", format!("/files/{number}"), full(vec![b'u'; 256 * 1024])),
            Kind::Missing => ("GET", format!("/nowhere/{number}"), full("")),
        };
        let mut request =
            Request::builder().method(method).uri(format!("{}://shop.example{path}", self.scheme));
        for (name, value) in Self::headers(kind) {
            request = request.header(*name, *value);
        }
        if matches!(kind, Kind::Order) {
            request = request.header("idempotency-key", format!("{number:032x}"));
        }
        if matches!(kind, Kind::Read) && self.random.bool() {
            let (trace, span) = (self.random.u128(1..), self.random.u64(1..));
            request = request.header("traceparent", format!("00-{trace:032x}-{span:016x}-00"));
        }
        request.body(body).expect("a request")
    }

    fn headers(kind: Kind) -> &'static [(&'static str, &'static str)] {
        match kind {
            Kind::Probe => &[],
            Kind::Page | Kind::Missing => &[
                ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
                ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
                ("accept-encoding", "gzip, deflate, br, zstd"),
                ("referer", "https://shop.example/pages/1"),
                ("cookie", "session=0a1b2c3d4e5f60718293a4b5c6d7e8f9; theme=dark"),
                ("sec-fetch-dest", "document"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-site", "same-origin"),
                ("upgrade-insecure-requests", "1"),
            ],
            Kind::Unchanged => &[("user-agent", "shop-app/7.2"), ("if-none-match", "\"7\"")],
            Kind::Search => &[("x-api-key", "partner-7"), ("accept", "application/json")],
            _ => &[
                ("user-agent", "shop-app/7.2"),
                ("accept", "application/json"),
                ("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl"),
                ("content-type", "application/json"),
                ("x-correlation-id", "6f1c2a34-75b4-4c1e-9d0c-6c3f4a1f2e77"),
            ],
        }
    }
}
