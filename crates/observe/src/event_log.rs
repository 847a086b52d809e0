//! Events as lines for people, and the latest of them for health documents.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use intertie_core::telemetry::Event;
use serde_json::{Value, json};

/// Events that are kept.
const KEPT: usize = 64;

/// The latest events. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Latest(Arc<Mutex<VecDeque<Event>>>);

impl Latest {
    /// The kept events, oldest first, as they stand in a health document.
    pub fn document(&self) -> Value {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events
            .iter()
            .map(|event| {
                let mut document = json!({ "at": event.at.to_string(), "event": event.name });
                for (name, value) in &event.fields {
                    document[*name] = value.as_str().into();
                }
                document
            })
            .collect()
    }

    fn keep(&self, event: Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(event);
    }
}

/// Writes events to `target` and keeps the latest, until their senders are gone or the event called
/// `last` is written.
pub fn run(events: &Receiver<Event>, mut target: impl Write, latest: &Latest, last: &str) {
    while let Ok(event) = events.recv() {
        // In one piece: in a takeover two processes write to the same log.
        let written = line(&event) + "\n";
        // A log that can not be written must not stop the events from being kept.
        let _ = target.write_all(written.as_bytes());
        let ends = event.name == last;
        latest.keep(event);
        if ends {
            return;
        }
    }
}

/// `2025-08-23T10:30:00.000Z circuit_breaker_opened service=orders cause=failures`
pub fn line(event: &Event) -> String {
    let mut line = format!("{} {}", event.at, event.name);
    for (name, value) in &event.fields {
        let quoted = value.contains(|c: char| c.is_whitespace() || c == '"' || c.is_control());
        let _ = if quoted { write!(line, " {name}={value:?}") } else { write!(line, " {name}={value}") };
    }
    line
}

#[cfg(test)]
mod tests {
    use intertie_core::clock::{Timestamp, WallClock};
    use intertie_core::telemetry::Events;

    use super::*;

    #[test]
    fn events_are_written_and_the_latest_are_kept() {
        let events = Events::new(WallClock::fixed(Timestamp::from_unix_seconds(0)));
        let received = events.subscribe(1_000);
        for number in 0..100 {
            events
                .tell("config_refused", || vec![("number", number.to_string()), ("cause", "a b".to_owned())]);
        }
        drop(events);
        let (mut written, latest) = (Vec::new(), Latest::default());
        run(&received, &mut written, &latest, "never");
        let text = String::from_utf8(written).expect("UTF-8");
        assert!(
            text.starts_with("1970-01-01T00:00:00.000Z config_refused number=0 cause=\"a b\"\n"),
            "{text}"
        );
        assert_eq!(latest.document().as_array().expect("a list").len(), KEPT);
        assert_eq!(latest.document()[KEPT - 1]["number"], "99");
    }

    #[test]
    fn a_line_is_written_in_one_piece() {
        struct Pieces(Vec<Vec<u8>>);
        impl Write for Pieces {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let events = Events::default();
        let received = events.subscribe(4);
        events.tell("taken_over", || vec![("process", "7".to_owned())]);
        events.tell("server_stopped", Vec::new);
        let mut pieces = Pieces(Vec::new());
        run(&received, &mut pieces, &Latest::default(), "server_stopped");
        assert_eq!(pieces.0.len(), 2);
        assert!(pieces.0.iter().all(|piece| piece.ends_with(b"\n")));
    }
}
