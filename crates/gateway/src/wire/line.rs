use super::{HeadLimits, Violation};

/// The two versions that a connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

fn version(bytes: &[u8]) -> Result<Version, Violation> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Violation::Version),
    }
}

/// `METHOD target HTTP/1.1`.
pub(super) fn request_line(line: &[u8], limits: &HeadLimits) -> Result<Version, Violation> {
    check_text(line)?;
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(end), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Violation::RequestLine);
    };
    if target.len() > limits.uri_bytes_max {
        return Err(Violation::UriBytes);
    }
    // A fragment never leaves its client; hyper would drop it, others would not.
    let printable = target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    if !is_token(method) || target.is_empty() || !printable {
        return Err(Violation::RequestLine);
    }
    version(end)
}

/// `HTTP/1.1 200 reason`; the reason and the space before it may be missing.
pub(super) fn status_line(line: &[u8]) -> Result<(Version, u16), Violation> {
    check_text(line)?;
    let Some((protocol, rest)) = line.split_at_checked(8) else { return Err(Violation::StatusLine) };
    let [b' ', digits @ ..] = rest else { return Err(Violation::StatusLine) };
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] = digits else {
        return Err(Violation::StatusLine);
    };
    if reason.first().is_some_and(|byte| *byte != b' ') {
        return Err(Violation::StatusLine);
    }
    let status = [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'));
    version(protocol).map(|version| (version, status))
}

/// The name and the value of `name: value`, the value without white space around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let name_length = line.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_length);
    match rest {
        [b':', value @ ..] if !name.is_empty() => {
            check_text(value)?;
            Ok((name, value.trim_ascii()))
        }
        _ => {
            check_text(line)?;
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            Err(if folded { Violation::FoldedLine } else { Violation::FieldName })
        }
    }
}

/// Whether `name` is `canonical`, or becomes it in a service that takes `_` for `-`.
pub(super) fn names(name: &[u8], canonical: &[u8]) -> bool {
    let alike = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() == canonical.len() && name.iter().zip(canonical).all(alike)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// The characters of a token (RFC 9110, section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < token.len() {
        let other = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        token[byte] = (byte as u8).is_ascii_alphanumeric() || other;
        byte += 1;
    }
    token
};

/// Refuses control characters other than the tab.
pub(super) fn check_text(text: &[u8]) -> Result<(), Violation> {
    // Without an early end, so that many bytes are looked at together.
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') | (byte == 0x7f);
    if !text.iter().fold(false, |found, byte| found | is_control(*byte)) {
        return Ok(());
    }
    let return_first = text.iter().find(|byte| is_control(**byte)) == Some(&b'\r');
    Err(if return_first { Violation::BareCarriageReturn } else { Violation::ControlCharacter })
}
