use super::line::{Version, field, names, request_line, status_line};
use super::{HeadLimits, Violation};

/// What the lines of a head have said so far about how its body is framed.
#[derive(Debug, Default)]
pub(super) struct Head {
    first: Option<First>,
    fields: usize,
    content_length: Option<u64>,
    chunked: bool,
    /// Whether another protocol is asked for.
    asks_upgrade: bool,
    /// Whether a tunnel is asked for.
    asks_tunnel: bool,
}

#[derive(Debug, Clone, Copy)]
struct First {
    version: Version,
    /// The status of an answer; nothing for a request.
    status: Option<u16>,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// The next message.
    Nothing,
    /// The next message, or another protocol: the answer tells. For a tunnel no message, whatever its request says
    /// of content: nobody who asks for one need wait for leave to speak.
    Verdict {
        to_tunnel: bool,
    },
    /// Another protocol.
    OtherProtocol,
    /// Another head for the same request.
    FinalAnswer,
    Length(u64),
    Chunks,
    /// A body that ends with its connection.
    UntilClose,
}

impl Head {
    /// Whether its first line is there.
    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// Takes the next line of a head.
    pub(super) fn take(
        &mut self,
        line: &[u8],
        is_answer: bool,
        limits: &HeadLimits,
    ) -> Result<(), Violation> {
        if self.first.is_some() {
            return self.take_field(line, limits);
        }
        self.first = Some(if is_answer {
            let (version, status) = status_line(line)?;
            First { version, status: Some(status) }
        } else {
            let (version, asks_tunnel) = request_line(line, limits)?;
            self.asks_tunnel = asks_tunnel;
            First { version, status: None }
        });
        Ok(())
    }

    fn take_field(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Violation> {
        let (name, value) = field(line)?;
        self.fields += 1;
        if self.fields > limits.headers_max {
            return Err(Violation::Headers);
        }
        if names(name, b"content-length") {
            if self.content_length.replace(length(name, value)?).is_some() {
                return Err(Violation::RepeatedContentLength);
            }
        } else if names(name, b"transfer-encoding") {
            let clear = !name.contains(&b'_');
            let known = clear && value.eq_ignore_ascii_case(b"chunked");
            if !known || std::mem::replace(&mut self.chunked, true) {
                let unknown = clear && !self.chunked && ends_in_chunked_alone(value);
                return Err(if unknown { Violation::UnknownCoding } else { Violation::TransferEncoding });
            }
        } else if names(name, b"upgrade") {
            self.asks_upgrade = true;
        }
        Ok(())
    }

    /// Takes the next line of the trailers of a body.
    pub(super) fn take_trailer(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Violation> {
        let (name, _) = field(line)?;
        self.fields += 1;
        if self.fields > limits.headers_max {
            return Err(Violation::Headers);
        }
        let is_header = |canonical: &&[u8]| names(name, canonical);
        if [&b"content-length"[..], b"transfer-encoding", b"host", b"connection"].iter().any(is_header) {
            return Err(Violation::Trailer);
        }
        Ok(())
    }

    /// What follows the head, now that it is complete. `to_head` when it answers a HEAD request.
    pub(super) fn end(self, to_head: bool) -> Result<Follows, Violation> {
        let First { version, status } = self.first.ok_or(Violation::RequestLine)?;
        if self.chunked && self.content_length.is_some() {
            return Err(Violation::TwoFramings);
        }
        if self.chunked && version == Version::Http10 {
            return Err(Violation::TransferEncoding);
        }
        let announced = self.chunked || self.content_length.is_some_and(|length| length > 0);
        match status {
            Some(100..=199 | 204) if announced => return Err(Violation::Bodiless),
            // What another protocol says is not ours to judge; the exchange judges the switch itself.
            Some(101) => return Ok(Follows::OtherProtocol),
            Some(100..=199) => return Ok(Follows::FinalAnswer),
            Some(204 | 304) => return Ok(Follows::Nothing),
            Some(_) if to_head => return Ok(Follows::Nothing),
            _ => {}
        }
        // HTTP/1.0 knows no upgrade, and one with a body is not granted (RFC 9110, section 7.8).
        let may_upgrade = self.asks_upgrade && status.is_none() && version == Version::Http11;
        if self.asks_tunnel {
            return Ok(Follows::Verdict { to_tunnel: true });
        }
        Ok(match self.content_length {
            _ if self.chunked => Follows::Chunks,
            None | Some(0) if may_upgrade => Follows::Verdict { to_tunnel: false },
            Some(0) => Follows::Nothing,
            Some(length) => Follows::Length(length),
            None if status.is_some() => Follows::UntilClose,
            None => Follows::Nothing,
        })
    }
}

/// Whether other codings stand before a last and only `chunked`: then the length is known, and what is in the
/// body is not.
fn ends_in_chunked_alone(value: &[u8]) -> bool {
    let mut codings = value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_coding = |coding: &[u8]| coding.first().is_some_and(u8::is_ascii_alphabetic);
    codings.next().is_some_and(is_chunked)
        && value.contains(&b',')
        && codings.all(|coding| is_coding(coding) && !is_chunked(coding))
}

/// A number of digits alone that fits.
fn length(name: &[u8], value: &[u8]) -> Result<u64, Violation> {
    if name.contains(&b'_') || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::ContentLength);
    }
    let digit = |byte: u8| u64::from(byte - b'0');
    let add = |sum: u64, byte: &u8| sum.checked_mul(10)?.checked_add(digit(*byte));
    value.iter().try_fold(0, add).ok_or(Violation::ContentLength)
}
