//! Where a request stands in a distributed trace.
//!
//! - [`TraceContext`]: one span's place, as W3C Trace Context, level 2, writes it
//!   (<https://www.w3.org/TR/trace-context-2/>): the `traceparent` header.
//! - [`Parent`]: what a request says of the span that made it, in that format or in [`b3`].
//! - [`Sampler`]: whether a trace is recorded.

pub mod b3;
mod sampler;

pub use sampler::Sampler;

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
    /// Whether the trace id is known to be random in its last 56 bits.
    pub random: bool,
}

/// What a request says of the trace that it belongs to. Nothing at all is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parent {
    /// The trace and the span that made the request; neither is zero.
    pub span: Option<(u128, u64)>,
    /// Whether the caller records the trace; `None` leaves that to whoever comes next.
    pub sampled: Option<bool>,
    /// Whether the trace id is known to be random in its last 56 bits.
    pub random: bool,
}

impl Parent {
    /// A new span below the parent, or the root of a new trace. The caller's decision to record is kept; where
    /// it made none, `sampler` decides, and without one nothing is recorded.
    pub fn child(self, sampler: Option<Sampler>) -> TraceContext {
        let root = self.span.is_none();
        let trace_id = self.span.map_or_else(|| fastrand::u128(1..), |(trace_id, _)| trace_id);
        let sampled =
            self.sampled.unwrap_or_else(|| sampler.is_some_and(|sampler| sampler.samples(trace_id)));
        TraceContext { trace_id, span_id: fastrand::u64(1..), sampled, random: root || self.random }
    }
}

impl From<TraceContext> for Parent {
    fn from(context: TraceContext) -> Self {
        Self {
            span: Some((context.trace_id, context.span_id)),
            sampled: Some(context.sampled),
            random: context.random,
        }
    }
}

impl TraceContext {
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
            random: flags & 2 == 2,
        })
    }

    /// The `traceparent` value, version 00.
    pub fn to_traceparent(self) -> [u8; TRACEPARENT_BYTES] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id, &mut out[3..35]);
        write_hex(self.span_id.into(), &mut out[36..52]);
        write_hex(self.flags().into(), &mut out[53..55]);
        out
    }

    /// The trace flags: bit 0 for sampled, bit 1 for random.
    pub fn flags(self) -> u8 {
        u8::from(self.sampled) | u8::from(self.random) << 1
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
    use crate::quantity::Ratio;

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
    fn the_callers_decision_is_kept_and_otherwise_the_sampler_decides() {
        let all = Sampler::new(Ratio::ONE);
        for sampled in [false, true] {
            let parent = TraceContext { sampled, ..TraceContext::parse(EXAMPLE).expect("valid") };
            let child = Parent::from(parent).child(Some(all));
            assert_eq!((child.trace_id, child.sampled, child.random), (parent.trace_id, sampled, false));
        }
        let undecided = Parent { span: Some((7, 8)), ..Parent::default() };
        assert!(undecided.child(Some(all)).sampled);
        assert!(!undecided.child(None).sampled);
        let root = Parent::default().child(Some(all));
        assert!(root.sampled && root.random);
        assert_eq!(&root.to_traceparent()[52..], b"-03");
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
