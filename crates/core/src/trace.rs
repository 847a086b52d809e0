//! W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context/>): the `traceparent` header.

use crate::id::write_hex;

/// The length of a version 00 `traceparent` value.
pub const TRACEPARENT_BYTES: usize = 55;

/// Where a request stands in a distributed trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Shared by all spans of a trace; never zero.
    pub trace_id: u128,
    /// The span that made this request; never zero.
    pub span_id: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceContext {
    /// The root of a new trace.
    pub fn root(sampled: bool) -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), sampled }
    }

    /// A span of the same trace whose parent is `self`.
    pub fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), ..self }
    }

    /// Reads a `traceparent` value. Versions above 00 are read by their first four fields, as the
    /// specification asks; anything malformed is `None`, and the caller starts a new trace.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() < TRACEPARENT_BYTES {
            return None;
        }
        let (known, rest) = value.split_at(TRACEPARENT_BYTES);
        let version = hex(&known[0..2])?;
        let well_formed = known[2] == b'-'
            && known[35] == b'-'
            && known[52] == b'-'
            && version != 0xff
            && (rest.is_empty() || (version > 0 && rest[0] == b'-'));
        let trace_id = hex(&known[3..35])?;
        let span_id = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = hex(&known[53..55])?;
        (well_formed && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// The `traceparent` value, version 00.
    pub fn to_traceparent(self) -> [u8; TRACEPARENT_BYTES] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id, &mut out[3..35]);
        write_hex(self.span_id.into(), &mut out[36..52]);
        out[54] = if self.sampled { b'1' } else { b'0' };
        out
    }
}

/// Lower-case hexadecimal digits only: the specification forbids upper case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specification_example_round_trips() {
        let context = TraceContext::parse(EXAMPLE).expect("the example is valid");
        assert!(context.sampled);
        assert_eq!(context.to_traceparent(), EXAMPLE);
        let child = context.child();
        assert_eq!(child.trace_id, context.trace_id);
        assert_ne!(child.span_id, context.span_id);
    }

    #[test]
    fn malformed_values_are_refused() {
        for bad in [
            &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"[..],
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            b"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        assert!(
            TraceContext::parse(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some()
        );
    }
}
