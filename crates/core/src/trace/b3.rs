//! Zipkin's B3 headers, which are read and never written
//! (<https://github.com/openzipkin/b3-propagation>).

use super::{Parent, hex};

/// The headers of the form in which each part has its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Multiple<'a> {
    /// `X-B3-TraceId`.
    pub trace_id: Option<&'a [u8]>,
    /// `X-B3-SpanId`.
    pub span_id: Option<&'a [u8]>,
    /// `X-B3-Sampled`.
    pub sampled: Option<&'a [u8]>,
    /// `X-B3-Flags`.
    pub flags: Option<&'a [u8]>,
}

/// Reads the header `b3`: `TRACE-SPAN`, `TRACE-SPAN-SAMPLED`, `TRACE-SPAN-SAMPLED-PARENT`, or the decision
/// alone. Anything malformed is `None`.
pub fn single(value: &[u8]) -> Option<Parent> {
    let mut parts = value.split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        return Some(Parent { sampled: Some(decision(first)?), ..Parent::default() });
    };
    let span = Some((trace_id(first)?, span_id(span)?));
    let sampled = parts.next().map(decision).map_or(Some(None), |sampled| sampled.map(Some))?;
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    parts.next().is_none().then_some(Parent { span, sampled, random: false })
}

/// Reads the `X-B3-*` headers. A decision counts without ids, ids count without a decision, and one id without
/// the other makes all of it malformed: `None`.
pub fn multiple(headers: Multiple<'_>) -> Option<Parent> {
    let span = match (headers.trace_id, headers.span_id) {
        (Some(trace), Some(span)) => Some((trace_id(trace)?, span_id(span)?)),
        (None, None) => None,
        _ => return None,
    };
    // Debug implies that it is recorded, whatever else is said.
    let debug = headers.flags.is_some_and(|flags| flags == b"1");
    let sampled = match headers.sampled {
        _ if debug => Some(true),
        Some(b"true") => Some(true),
        Some(b"false") => Some(false),
        Some(b"d") => return None,
        Some(sampled) => Some(decision(sampled)?),
        None => None,
    };
    (span.is_some() || sampled.is_some()).then_some(Parent { span, sampled, random: false })
}

/// `0`, `1`, or `d` for debug, which is recorded.
fn decision(value: &[u8]) -> Option<bool> {
    match value {
        b"0" => Some(false),
        b"1" | b"d" => Some(true),
        _ => None,
    }
}

/// 128 bits, or 64 of older senders, which are the last ones.
fn trace_id(value: &[u8]) -> Option<u128> {
    if value.len() != 16 && value.len() != 32 {
        return None;
    }
    hex(value).filter(|id| *id != 0)
}

fn span_id(value: &[u8]) -> Option<u64> {
    if value.len() != 16 {
        return None;
    }
    u64::try_from(hex(value)?).ok().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: u128 = 0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7;
    const SPAN: u64 = 0xe457_b5a2_e4d8_6bd1;

    fn parent(span: Option<(u128, u64)>, sampled: Option<bool>) -> Option<Parent> {
        Some(Parent { span, sampled, random: false })
    }

    #[test]
    fn the_forms_of_the_single_header() {
        let full = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
        for (value, read) in [
            (full.to_owned(), parent(Some((TRACE, SPAN)), None)),
            (format!("{full}-1"), parent(Some((TRACE, SPAN)), Some(true))),
            (format!("{full}-0-05e3ac9a4f6e3b90"), parent(Some((TRACE, SPAN)), Some(false))),
            (format!("{full}-d"), parent(Some((TRACE, SPAN)), Some(true))),
            (
                "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1".to_owned(),
                parent(Some((TRACE & u128::from(u64::MAX), SPAN)), Some(true)),
            ),
            ("0".to_owned(), parent(None, Some(false))),
            ("1".to_owned(), parent(None, Some(true))),
            ("d".to_owned(), parent(None, Some(true))),
        ] {
            assert_eq!(single(value.as_bytes()), read, "{value}");
        }
    }

    #[test]
    fn malformed_single_headers_are_refused() {
        let full = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
        for value in [
            String::new(),
            "2".to_owned(),
            "1-".to_owned(),
            format!("{full}-"),
            format!("{full}-2"),
            format!("{full}-1-05e3ac9a4f6e3b9"),
            format!("{full}-1-05e3ac9a4f6e3b90-"),
            full.to_uppercase(),
            full.replace("80f198ee56343ba864fe8b2a57d3eff7", "00000000000000000000000000000000"),
            full.replace("e457b5a2e4d86bd1", "0000000000000000"),
            format!("0{full}"),
        ] {
            assert_eq!(single(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn the_forms_of_the_multiple_headers() {
        let read = |trace_id, span_id, sampled, flags| {
            let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
            multiple(Multiple {
                trace_id: bytes(trace_id),
                span_id: bytes(span_id),
                sampled: bytes(sampled),
                flags: bytes(flags),
            })
        };
        let (trace, span) = (Some("80f198ee56343ba864fe8b2a57d3eff7"), Some("e457b5a2e4d86bd1"));
        let ids = Some((TRACE, SPAN));
        assert_eq!(read(trace, span, Some("1"), None), parent(ids, Some(true)));
        assert_eq!(read(trace, span, Some("true"), None), parent(ids, Some(true)));
        assert_eq!(read(trace, span, Some("0"), None), parent(ids, Some(false)));
        assert_eq!(read(trace, span, Some("0"), Some("1")), parent(ids, Some(true)), "debug");
        assert_eq!(read(trace, span, None, Some("0")), parent(ids, None));
        assert_eq!(read(None, None, Some("0"), None), parent(None, Some(false)));
        for malformed in [
            read(trace, None, Some("1"), None),
            read(None, span, Some("1"), None),
            read(trace, span, Some("d"), None),
            read(trace, span, Some("yes"), None),
            read(None, None, None, None),
            read(None, None, None, Some("0")),
        ] {
            assert_eq!(malformed, None);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again_and_any_bytes_get_an_answer(
            trace in 1_u128.., span in 1_u64.., sampled: Option<bool>, bytes: Vec<u8>,
        ) {
            let state = sampled.map_or(String::new(), |sampled| format!("-{}", u8::from(sampled)));
            let value = format!("{trace:032x}-{span:016x}{state}");
            prop_assert_eq!(single(value.as_bytes()), parent(Some((trace, span)), sampled));
            let _ = single(&bytes);
            let slice = Some(&bytes[..]);
            let _ = multiple(Multiple { trace_id: slice, span_id: slice, sampled: slice, flags: slice });
        }
    }
}
