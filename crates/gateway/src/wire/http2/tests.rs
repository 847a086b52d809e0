use std::cell::Cell;
use std::time::Duration;

use intertie_core::clock::Instant;
use proptest::prelude::*;

use super::flood::Counted;
use super::{FloodLimits, FrameReader, FrameWriter, Written};
use crate::config::ClientLimitsConfig;
use crate::wire::{Seen, Violation};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WINDOW: Duration = Duration::from_secs(10);
const MOST: u32 = 3;
const LIMITS: FloodLimits = FloodLimits {
    window: WINDOW,
    most: [MOST; Counted::KINDS],
    continuations: 2,
    block_bytes: 100,
    unanswered: 4,
};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xf0;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// Shows `bytes` in pieces that end at `cuts`: what did not pass comes again. How many passed, and what was
/// wrong with the rest.
fn look(reader: &mut FrameReader, bytes: &[u8], cuts: &[usize], now: Instant) -> Seen {
    look_at(reader, &mut bytes.to_vec(), cuts, now)
}

/// The same, and leaves in `bytes` what passed.
fn look_at(reader: &mut FrameReader, bytes: &mut [u8], cuts: &[usize], now: Instant) -> Seen {
    let mut passed = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let end = end.min(bytes.len()).max(passed);
        let seen = reader.look(&mut bytes[passed..end], || now);
        passed += seen.passed;
        if seen.violation.is_some() {
            return Seen { passed, ..seen };
        }
    }
    Seen { passed, violation: None }
}

fn reader() -> FrameReader {
    let mut reader = FrameReader::new(LIMITS, Instant::from_nanos(0));
    let seen = reader.look(&mut PREFACE.to_vec(), || Instant::from_nanos(0));
    assert_eq!(seen, Seen { passed: PREFACE.len(), violation: None });
    reader
}

/// The same in one piece and byte by byte: as many of `frames` pass as `passing` says, then `violation`.
fn check(frames: &[Vec<u8>], passing: usize, violation: Option<Violation>) {
    let bytes = frames.concat();
    let passed = frames[..passing].concat().len();
    let each: Vec<_> = (0..bytes.len()).collect();
    for cuts in [&[][..], &each] {
        let seen = look(&mut reader(), &bytes, cuts, Instant::from_nanos(1));
        assert_eq!(seen, Seen { passed, violation }, "{frames:?}");
    }
}

#[test]
fn each_flood_is_named_with_the_first_frame_above_its_limit() {
    for (one, violation) in [
        (frame(RST_STREAM, 0, 1, &[0; 4]), Violation::Http2Resets),
        (frame(SETTINGS, 0, 0, &[0; 6]), Violation::Http2Settings),
        (frame(SETTINGS, 1, 0, &[]), Violation::Http2Settings),
        (frame(PING, 0, 0, &[0; 8]), Violation::Http2Pings),
        (frame(PING, 1, 0, &[0; 8]), Violation::Http2Pings),
        (frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), Violation::Http2WindowUpdates),
        (frame(PRIORITY, 0, 1, &[0; 5]), Violation::Http2IgnoredFrames),
        (frame(GOAWAY, 0, 0, &[0; 8]), Violation::Http2IgnoredFrames),
        (frame(UNKNOWN, 0, 0, &[]), Violation::Http2IgnoredFrames),
        (frame(DATA, 0, 1, &[]), Violation::Http2EmptyData),
        (frame(DATA, 8, 1, &[2, 0, 0]), Violation::Http2EmptyData),
        (frame(DATA, 8, 1, &[0]), Violation::Http2EmptyData),
    ] {
        let most = MOST as usize;
        check(&vec![one.clone(); most], most, None);
        check(&vec![one; most + 2], most, Some(violation));
    }
}

#[test]
fn a_reset_of_a_client_passes_as_a_failure_whatever_it_says() {
    let now = Instant::from_nanos(1);
    let reset = |code: u8| frame(RST_STREAM, 0, 1, &[0, 0, 0, code]);
    let around = [frame(DATA, 0, 1, &[8; 20]), frame(HEADERS, 5, 3, &[8; 20])];
    for code in [0, 2, 8, 11] {
        let [before, after] = around.clone();
        let expected = [before.clone(), reset(2), after.clone()].concat();
        let each: Vec<_> = (0..expected.len()).collect();
        for cuts in [&[][..], &each] {
            let mut bytes = [before.clone(), reset(code), after.clone()].concat();
            let seen = look_at(&mut reader(), &mut bytes, cuts, now);
            assert_eq!((seen.passed, seen.violation, &bytes), (expected.len(), None, &expected), "{code}");
        }
        let mut of_service = FrameReader::of_service(LIMITS, 1, now);
        let mut bytes = reset(code);
        look_at(&mut of_service, &mut bytes, &[], now);
        assert_eq!(bytes, reset(code), "a service's code is told to clients");
    }
    // No reset to h2, which refuses it.
    let mut bytes = frame(RST_STREAM, 0, 1, &[8; 3]);
    assert_eq!(look_at(&mut reader(), &mut bytes, &[], now).passed, bytes.len());
    assert_eq!(bytes, frame(RST_STREAM, 0, 1, &[8; 3]));
}

#[test]
fn what_a_busy_client_sends_is_no_flood() {
    let exchange = [
        frame(HEADERS, 4, 1, &[0; 20]),
        frame(DATA, 0, 1, &[0; 30]),
        frame(DATA, 8, 1, &[1, 7, 0]),
        frame(DATA, 1, 1, &[]),
    ];
    let frames: Vec<_> = std::iter::repeat_n(exchange, 50).flatten().collect();
    check(&frames, frames.len(), None);
}

#[test]
fn headers_have_an_end() {
    let begin = frame(HEADERS, 0, 5, &[0; 40]);
    let more = |length| frame(CONTINUATION, 0, 5, &vec![0; length]);
    let end = frame(CONTINUATION, 4, 5, &[]);
    let whole = [begin.clone(), more(60), end.clone()];
    check(&[&whole[..], &whole, &whole].concat(), 9, None);
    check(&[begin.clone(), more(1), more(1), end], 3, Some(Violation::Http2Continuations));
    check(&[begin.clone(), more(61)], 1, Some(Violation::HeaderBytes));
    check(&[frame(HEADERS, 4, 5, &[0; 101])], 0, Some(Violation::HeaderBytes));
    check(&[more(500), more(500), more(500)], 3, None);
    let mut reader = reader();
    assert_eq!(reader.open_block(), None);
    look(&mut reader, &begin, &[], Instant::from_nanos(0));
    assert_eq!(reader.open_block(), Some(5));
}

#[test]
fn limits_begin_anew_with_each_window() {
    let ping = frame(PING, 0, 0, &[0; 8]);
    let pings = |count| ping.repeat(count);
    let mut reader = reader();
    let at = |time: Duration| Instant::from_nanos(time.as_nanos() as u64);
    let most = MOST as usize;
    for (time, sent, passed) in [
        (Duration::ZERO, most, most),
        (WINDOW, most, most),
        (WINDOW * 2 - Duration::from_nanos(1), 1, 0),
        (WINDOW * 9, 1, 0),
    ] {
        let seen = look(&mut reader, &pings(sent), &[], at(time));
        assert_eq!(seen.passed, passed * ping.len(), "{time:?}");
    }
}

#[test]
fn data_that_a_client_is_sent_gives_it_reasons() {
    let (ping, update) = (frame(PING, 0, 0, &[0; 8]), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]));
    let now = Instant::from_nanos(0);
    let mut busy = FrameReader::new(FloodLimits { most: [4; Counted::KINDS], ..LIMITS }, now);
    look(&mut busy, PREFACE, &[], now);
    for _ in 0..50 {
        busy.data_was_sent(1);
        let answers = [ping.clone(), update.repeat(4)].concat();
        assert_eq!(look(&mut busy, &answers, &[], now).violation, None);
    }
    // It has none left over for later.
    let seen = look(&mut busy, &ping.repeat(9), &[], now);
    assert_eq!(seen.violation, Some(Violation::Http2Pings));
    assert!(seen.passed <= ping.len() * 4);
}

/// How many window updates pass after a body of `frames` DATA frames of so many bytes each, of which every one
/// is answered by as many updates as `each` says, before it or after it.
fn updates_left(frames: u32, bytes: u32, each: usize, come_first: bool) -> Option<usize> {
    let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]);
    let now = Instant::from_nanos(0);
    let mut busy = FrameReader::new(FloodLimits { most: [100; Counted::KINDS], ..LIMITS }, now);
    look(&mut busy, PREFACE, &[], now);
    for _ in 0..frames {
        if !come_first {
            busy.data_was_sent(bytes);
        }
        if look(&mut busy, &update.repeat(each), &[], now).violation.is_some() {
            return None;
        }
        if come_first {
            busy.data_was_sent(bytes);
        }
    }
    Some(look(&mut busy, &update.repeat(10_000), &[], now).passed / update.len())
}

#[test]
fn updates_are_earned_by_the_bytes_that_they_are_for() {
    for come_first in [false, true] {
        // Two for each 4 KiB of a frame of 16 KiB, for each KiB, and for each frame of one byte.
        for (bytes, each) in [(16 << 10, 8), (16 << 10, 32), (1, 2), (0, 4), (1 << 10, 4), (2049, 6)] {
            let left = updates_left(1000, bytes, each, come_first);
            assert!(left.is_some_and(|left| left >= 100), "{bytes} {each} {come_first}: {left:?}");
        }
        for (bytes, each) in [(16 << 10, 33), (1, 5), (2048, 5), (2049, 7)] {
            assert_eq!(updates_left(1000, bytes, each, come_first), None, "{bytes} {each} {come_first}");
        }
    }
}

#[test]
fn updates_for_what_is_on_its_way_come_later_and_what_is_saved_is_bounded() {
    assert_eq!(updates_left(0, 0, 0, false), Some(100));
    assert_eq!(updates_left(1, 16 << 10, 0, false), Some(132));
    assert_eq!(updates_left(1000, 16 << 10, 0, false), Some(200));
}

#[test]
fn streams_that_the_gateway_is_made_to_reset_count_with_those_of_the_client() {
    let now = Instant::from_nanos(0);
    let mut reader = reader();
    let data = frame(DATA, 0, 1, &[0; 50]);
    look(&mut reader, &data[..30], &[], now);
    for _ in 0..MOST + 1 {
        reader.was_made_to_reset(|| now);
    }
    let rest = [&data[30..], &data].concat();
    let violation = Some(Violation::Http2Resets);
    assert_eq!(look(&mut reader, &rest, &[], now), Seen { passed: 29, violation }, "at the end of a frame");
    assert_eq!(look(&mut reader, &data, &[], now), Seen { passed: 0, violation }, "and for ever");
}

/// What `bytes` say that are written in pieces that end at `cuts`.
fn written(bytes: &[u8], cuts: &[usize]) -> Vec<Written> {
    let (mut writer, mut all, mut sent) = (FrameWriter::default(), Vec::new(), 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let end = end.min(bytes.len()).max(sent);
        writer.look(&bytes[sent..end], |written| all.push(written));
        sent = end;
    }
    all
}

#[test]
fn what_is_written_tells_what_the_client_made_of_it() {
    let reset = |code: u32| frame(RST_STREAM, 0, 1, &code.to_be_bytes());
    let goaway = |code: u32| frame(GOAWAY, 0, 0, &[&[0; 4], &code.to_be_bytes()[..], b"words"].concat());
    let frames = [
        frame(SETTINGS, 0, 0, &[0; 18]),
        frame(HEADERS, 4, 1, &[0; 7]),
        frame(DATA, 1, 1, &[0; 99]),
        // Whose fault these are is not said, or ours.
        [reset(0), reset(2), reset(8), goaway(0)].concat(),
        [reset(1), reset(7), goaway(11)].concat(),
        // Too short to be what it says.
        frame(RST_STREAM, 0, 1, &[0, 0]),
        frame(DATA, 0, 3, &[]),
    ];
    let bytes = frames.concat();
    let expected = [
        Written::Head { stream: 1, only_a_status: false },
        Written::Data(99),
        Written::Reset { stream: 1 },
        Written::Reset { stream: 1 },
        Written::Reset { stream: 1 },
        Written::MadeReset { stream: 1 },
        Written::Refused { stream: 1 },
        Written::Goodbye,
        Written::Data(0),
    ];
    let each: Vec<_> = (0..bytes.len()).collect();
    for cuts in [&[][..], &each] {
        assert_eq!(written(&bytes, cuts), expected);
    }
}

#[test]
fn an_answer_of_nothing_but_a_status_is_h2s_own_unless_it_ends_a_body() {
    let own = [
        &[0x48, 0x83, 0x69, 0x90, 0xff][..],
        &[0x08, 0x83, 0x69, 0x90, 0xff],
        &[0x3f, 0xe1, 0x1f, 0x48, 0x83, 0x69, 0x90, 0xff],
        &[0x20, 0xbe],
        &[0xbe],
        &[0xff, 0x05],
    ];
    // What is no status, what has more fields, and what is cut off.
    let others =
        [&[0x88][..], &[0xbe, 0xbe], &[0x89, 0xbe], &[0x48, 0x83, 0x69], &[0xff, 0x85], &[0x3f, 0xe1], &[]];
    for (block, only_a_status) in
        own.iter().map(|block| (block, true)).chain(others.iter().map(|block| (block, false)))
    {
        let bytes = frame(HEADERS, 5, 7, block);
        let told = |only_a_status| [Written::Head { stream: 7, only_a_status }];
        assert_eq!(written(&bytes, &[]), told(only_a_status), "{block:?}");
        assert_eq!(written(&bytes, &(0..bytes.len()).collect::<Vec<_>>()), told(only_a_status), "{block:?}");
        assert_eq!(written(&frame(HEADERS, 4, 7, block), &[]), told(false), "more follows");
    }
    let now = Instant::from_nanos(0);
    let mut reader = reader();
    let ask = |reader: &mut FrameReader, stream| {
        assert_eq!(look(reader, &frame(HEADERS, 4, stream, &[0x82]), &[], now).violation, None);
    };
    ask(&mut reader, 1);
    assert!(!reader.answer_was_sent(1, false), "an answer");
    assert!(!reader.answer_was_sent(1, true), "trailers");
    ask(&mut reader, 3);
    ask(&mut reader, 3);
    assert!(reader.answer_was_sent(3, true));
    assert!(!reader.answer_was_sent(3, true), "its own trailers are no request");
    ask(&mut reader, 5);
    reader.stream_has_ended(5);
    look(&mut reader, &frame(HEADERS, 5, 7, &[0x82]), &[], now);
    look(&mut reader, &frame(RST_STREAM, 0, 7, &[0; 4]), &[], now);
    assert!(!reader.answer_was_sent(5, true) && !reader.answer_was_sent(7, true), "they have ended");
    for stream in (9..29).step_by(2) {
        ask(&mut reader, stream);
    }
    let followed = (9..29).step_by(2).filter(|stream| reader.answer_was_sent(*stream, true)).count();
    assert_eq!(followed, LIMITS.unanswered);
}

#[test]
fn a_service_may_answer_what_it_was_asked_and_no_more() {
    const STREAMS: u32 = 2;
    const EACH: usize = 1 + crate::wire::INTERIM_MAX as usize;
    let now = Instant::from_nanos(0);
    let interim = frame(HEADERS, 4, 1, &[0; 5]);
    let whole = frame(HEADERS, 5, 1, &[0; 5]);
    let check = |asked: u32, passing: usize| {
        let mut reader = FrameReader::of_service(LIMITS, STREAMS, now);
        (0..asked).for_each(|_| reader.head_was_sent());
        assert_eq!(
            reader.look(&mut whole.clone(), || now).violation,
            None,
            "an answer that is no more than its head"
        );
        let bytes = interim.repeat(passing + 1);
        let passed = interim.len() * passing;
        assert_eq!(
            reader.look(&mut bytes.clone(), || now),
            Seen { passed, violation: Some(Violation::Unasked) }
        );
    };
    check(0, 0);
    check(1, EACH);
    check(2, 2 * EACH);
    // What others did not use is no room for one.
    check(1000, 2 * EACH);
}

#[test]
fn what_comes_late_of_cancelled_requests_takes_nothing_from_others() {
    let now = Instant::from_nanos(0);
    let head = frame(HEADERS, 4, 1, &[0; 5]);
    let mut reader = FrameReader::of_service(LIMITS, 1, now);
    for _ in 0..1000 {
        reader.head_was_sent();
        reader.reset_was_sent();
    }
    reader.head_was_sent();
    assert_eq!(reader.look(&mut head.repeat(1001), || now).violation, None);
    // Neither of them may bring more than its own.
    let each = 1 + crate::wire::INTERIM_MAX as usize;
    let seen = reader.look(&mut head.repeat(1001 * each), || now);
    assert_eq!(seen.violation, Some(Violation::Unasked));
    assert_eq!(seen.passed / head.len(), 1001 * each - 1001);
}

#[test]
fn a_service_is_counted_as_a_client_but_for_what_it_was_asked_for() {
    let config: ClientLimitsConfig = toml::from_str(
        "http2 = { pings_max = 1, settings_max = 2, window_updates_max = 3, ignored_frames_max = 4, \
         resets_max = 5, empty_data_max = 6 }",
    )
    .expect("limits");
    let now = Instant::from_nanos(0);
    for (one, most) in [
        (frame(PING, 0, 0, &[0; 8]), Some(1)),
        (frame(SETTINGS, 0, 0, &[]), Some(2)),
        (frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), Some(3)),
        (frame(UNKNOWN, 0, 0, &[]), Some(4)),
        (frame(RST_STREAM, 0, 1, &[0; 4]), None),
        (frame(DATA, 0, 1, &[]), None),
        (frame(CONTINUATION, 0, 1, &[0; 90]), None),
    ] {
        let mut reader = FrameReader::of_service(FloodLimits::of_service(&config), 1, now);
        let seen = reader.look(&mut one.repeat(100), || now);
        assert_eq!(seen.violation.is_some(), most.is_some(), "{one:?}");
        assert_eq!(seen.passed, one.len() * most.unwrap_or(100));
    }
}

#[test]
fn what_is_sent_to_a_service_begins_with_the_preface() {
    let mut writer = FrameWriter::to_service();
    let mut told = Vec::new();
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 5, 1, &[0; 5])].concat();
    bytes.iter().for_each(|byte| writer.look(&[*byte], |written| told.push(written)));
    assert_eq!(told, [Written::Head { stream: 1, only_a_status: false }]);
}

#[test]
fn h2_never_refuses_first_what_the_reader_counts() {
    for header_bytes in ["1KiB", "32KiB", "100KiB", "256KiB"] {
        let config: ClientLimitsConfig =
            toml::from_str(&format!("header_bytes_max = {header_bytes:?}")).expect("limits");
        let limits = FloodLimits::from(&config);
        let codec = super::CodecLimits::from(&config);
        // How h2 finds its own limit.
        let frames = (codec.header_list_bytes / codec.frame_bytes).max(1);
        let of_h2 = (frames + frames / 4).max(5);
        assert!(limits.continuations <= of_h2, "{header_bytes}: {} and {of_h2}", limits.continuations);
        let room = (limits.continuations as usize + 1) * codec.frame_bytes as usize;
        assert!(room >= limits.block_bytes, "{header_bytes}: no block is too long for its frames");
    }
}

#[derive(Debug, Clone)]
struct Piece {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
    /// Since the piece before.
    after: Duration,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let kind = prop::sample::select(vec![0u8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 255]);
    let flags = prop::sample::select(vec![0u8, 1, 4, 8, 9, 255]);
    let payload = prop::collection::vec(0..4u8, 0..12);
    let after = prop::sample::select(vec![0u64, 0, 0, 1, 3, 5, 11]).prop_map(Duration::from_secs);
    let piece = (kind, flags, payload, after).prop_map(|(kind, flags, payload, after)| Piece {
        kind,
        flags,
        payload,
        after,
    });
    prop::collection::vec(piece, 0..40)
}

fn counted(piece: &Piece) -> Option<Counted> {
    let padding =
        if piece.flags & 8 == 0 { 0 } else { 1 + piece.payload.first().map_or(0, |pad| *pad as usize) };
    match piece.kind {
        0 if piece.flags & 1 == 0 && (piece.payload.is_empty() || piece.payload.len() <= padding) => {
            Some(Counted::EmptyData)
        }
        0 | 1 | 5 | 9 => None,
        3 => Some(Counted::Reset),
        4 => Some(Counted::Settings),
        6 => Some(Counted::Ping),
        8 => Some(Counted::WindowUpdate),
        _ => Some(Counted::Ignored),
    }
}

proptest! {
    /// Against a model that sees all frames at once.
    #[test]
    fn any_split_gives_the_verdict_of_the_model(
        pieces in pieces(),
        mut cuts in prop::collection::vec(0..600usize, 0..20),
        unfinished in 0..9usize,
    ) {
        let mut counts = [0; Counted::KINDS];
        let mut block: Option<(usize, u32)> = None;
        let (mut bytes, mut expected) = (Vec::new(), None);
        for piece in &pieces {
            let continues = piece.kind == 9 && block.is_some();
            if piece.kind == 1 || continues {
                let (length, continuations) = if continues { block.unwrap_or_default() } else { (0, 0) };
                let now = (length + piece.payload.len(), continuations + u32::from(continues));
                let violation = match now {
                    (_, count) if count > LIMITS.continuations => Some(Violation::Http2Continuations),
                    (length, _) if length > LIMITS.block_bytes => Some(Violation::HeaderBytes),
                    _ => None,
                };
                expected = expected.or(violation.map(|violation| (bytes.len(), violation)));
                block = (piece.flags & 4 == 0).then_some(now);
            }
            if let Some(counted) = counted(piece) {
                counts[counted as usize] += 1;
                if counts[counted as usize] > MOST && expected.is_none() {
                    expected = Some((bytes.len(), counted.violation()));
                }
            }
            bytes.extend(frame(piece.kind, piece.flags, 1, &piece.payload));
        }
        let whole = bytes.len();
        bytes.extend(&frame(PING, 0, 0, &[])[..unfinished]);
        cuts.sort_unstable();
        let seen = look(&mut reader(), &bytes, &cuts, Instant::from_nanos(0));
        let (passed, violation) = expected.map_or((whole, None), |(at, violation)| (at, Some(violation)));
        prop_assert_eq!(seen, Seen { passed, violation });
    }

    /// Nobody is refused who stayed below the limits, and nobody gets more than twice a limit into a window.
    #[test]
    fn limits_hold_in_every_window(pieces in pieces()) {
        let (mut reader, mut sent) = (reader(), Vec::<(Counted, Instant)>::new());
        let now = Cell::new(Instant::from_nanos(0));
        for piece in pieces.iter().filter(|piece| !matches!(piece.kind, 1 | 9)) {
            now.set(now.get() + piece.after);
            let bytes = frame(piece.kind, piece.flags, 1, &piece.payload);
            let seen = reader.look(&mut bytes.clone(), || now.get());
            let Some(counted) = counted(piece) else { continue };
            sent.push((counted, now.get()));
            let recently = |(other, at): &&(Counted, Instant)| {
                *other == counted && now.get().saturating_since(*at) < WINDOW
            };
            let recent = sent.iter().filter(recently).count();
            if let Some(violation) = seen.violation {
                prop_assert_eq!(violation, counted.violation());
                prop_assert!(recent > MOST as usize, "{recent}");
                return Ok(());
            }
            prop_assert!(recent <= 2 * MOST as usize, "{recent}");
        }
    }

    #[test]
    fn any_split_of_what_is_written_says_the_same(
        bytes in prop::collection::vec(prop::sample::select(vec![0u8, 0, 0, 1, 3, 4, 7, 9]), 0..200),
        mut cuts in prop::collection::vec(0..200usize, 0..20),
    ) {
        cuts.sort_unstable();
        prop_assert_eq!(written(&bytes, &cuts), written(&bytes, &[]));
    }
}
