//! What is asked for, in which protocol, and how often.

use std::time::Duration;

use super::super::random::Random;
use super::super::service::WORK;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

/// What it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// A short answer to a short request.
    Work,
    /// A short answer to a long request.
    Upload,
    /// A long answer.
    Download,
    /// Server-sent events.
    Events,
    /// A WebSocket on which messages come back.
    Socket,
    /// A gRPC call in which both sides take turns.
    Call,
}

/// One protocol of the mix.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) way: Way,
    pub(super) task: Task,
    /// Its share of the requests.
    percent: u64,
}

pub(super) const MIX: [Kind; 12] = [
    kind("HTTP/1.1", Way::Plain, Task::Work, 24),
    kind("HTTP/1.1, TLS", Way::Tls, Task::Work, 20),
    kind("HTTP/2, TLS", Way::Http2, Task::Work, 34),
    kind("upload, HTTP/1.1", Way::Plain, Task::Upload, 3),
    kind("upload, HTTP/2", Way::Http2, Task::Upload, 3),
    kind("download, HTTP/1.1, TLS", Way::Tls, Task::Download, 1),
    kind("download, HTTP/2", Way::Http2, Task::Download, 1),
    kind("events, HTTP/1.1, TLS", Way::Tls, Task::Events, 2),
    kind("events, HTTP/2", Way::Http2, Task::Events, 2),
    kind("WebSocket, HTTP/1.1, TLS", Way::Tls, Task::Socket, 2),
    kind("WebSocket, HTTP/2", Way::Http2, Task::Socket, 2),
    kind("gRPC both ways", Way::Http2, Task::Call, 6),
];

/// Turns of a socket and of a call, and events of an answer.
pub(super) const TURNS: u64 = 20;

/// The pause between two of them.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// Each message of a socket or a call, and each event.
pub(super) const MESSAGE_BYTES: usize = 64;

/// Parts of an upload or a download.
pub(super) const PART_BYTES: usize = 16 * 1024;

const fn kind(name: &'static str, way: Way, task: Task, percent: u64) -> Kind {
    Kind { name, way, task, percent }
}

/// The place in the mix of what is asked for next.
pub(super) fn next(random: &mut Random) -> usize {
    let mut left = random.below(100);
    for (place, kind) in MIX.iter().enumerate() {
        match left.checked_sub(kind.percent) {
            Some(rest) => left = rest,
            None => return place,
        }
    }
    unreachable!("the shares are 100 % together")
}

impl Task {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Work => "/work",
            Self::Upload => "/upload",
            Self::Download => "/download",
            Self::Events => "/events",
            Self::Socket => "/socket",
            Self::Call => "/soak.Soak/Talk",
        }
    }

    /// How many of a hundred requests are for it.
    pub(super) fn percent(self) -> u64 {
        MIX.iter().filter(|kind| kind.task == self).map(|kind| kind.percent).sum()
    }

    /// How long it takes a client that is neither slow nor leaves.
    pub(super) fn takes(self) -> Duration {
        match self {
            Self::Work => WORK,
            Self::Upload | Self::Download => Duration::from_millis(50),
            Self::Events | Self::Socket | Self::Call => TURN * TURNS as u32,
        }
    }

    /// The length of a whole upload or download.
    pub(super) fn parts(self) -> u64 {
        match self {
            Self::Upload => 16,
            Self::Download => 64,
            _ => 0,
        }
    }

    /// The bytes of a whole answer.
    pub(super) fn answer_bytes(self) -> u64 {
        match self {
            Self::Work | Self::Upload => 4,
            Self::Download => self.parts() * PART_BYTES as u64,
            Self::Events | Self::Socket | Self::Call => TURNS * MESSAGE_BYTES as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_up_as_often_as_its_share_says() {
        assert_eq!(MIX.iter().map(|kind| kind.percent).sum::<u64>(), 100);
        let mut random = Random::new(1);
        let mut counts = [0; MIX.len()];
        for _ in 0..10_000 {
            counts[next(&mut random)] += 1;
        }
        for (kind, count) in MIX.iter().zip(counts) {
            let expected = kind.percent * 100;
            assert!((expected / 2..expected * 2).contains(&count), "{}: {count}", kind.name);
        }
    }
}
