//! What the observing of HTTP/2 costs, and that nothing in it piles up with the requests of a connection.

use std::hint::black_box;

use intertie_core::clock::Instant;
use intertie_resilience::MonotonicClock;

use super::tests::{DATA, HEADERS, PREFACE, frame};
use super::{FloodLimits, FrameReader, FrameWriter, Written};
use crate::config::ClientLimitsConfig;

const REQUESTS: u32 = 10_000;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One request and its answer, as they pass below h2; callgrind counts what is in here.
#[inline(never)]
fn observe(reader: &mut FrameReader, writer: &mut FrameWriter, request: &mut [u8], answer: &[u8]) {
    let seen = reader.look(request, || Instant::from_nanos(0));
    assert_eq!(seen.passed, request.len());
    writer.look(answer, |written| match written {
        Written::Data(bytes) => reader.data_was_sent(bytes),
        Written::Head { stream, only_a_status } => {
            black_box(reader.answer_was_sent(stream, only_a_status));
        }
        other => panic!("no answer: {other:?}"),
    });
}

/// Headers are not looked at, so that it does not matter how many a request has.
#[test]
fn what_a_request_costs_piles_nothing_up() {
    let limits = FloodLimits::from(&ClientLimitsConfig::default());
    let (mut reader, mut writer) = (FrameReader::new(limits, Instant::from_nanos(0)), FrameWriter::default());
    reader.look(&mut PREFACE.to_vec(), || Instant::from_nanos(0));
    let mut request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x82; 40]);
    let mut answer =
        [frame(HEADERS, END_HEADERS, 1, &[0x88; 60]), frame(DATA, END_STREAM, 1, &[0; 100])].concat();
    let started = MonotonicClock::now();
    for number in 0..REQUESTS {
        let stream = (number * 2 + 1).to_be_bytes();
        request[5..9].copy_from_slice(&stream);
        answer[5..9].copy_from_slice(&stream);
        observe(&mut reader, &mut writer, &mut request, black_box(&answer));
    }
    let taken = MonotonicClock::now().saturating_since(started);
    let waits = (0..REQUESTS).filter(|number| reader.answer_was_sent(number * 2 + 1, true)).count();
    assert_eq!(waits, 0, "each answer was seen to begin");
    println!("{:.1} ns for a request and its answer", taken.as_nanos() as f64 / f64::from(REQUESTS));
}
