use intertie_core::token::is_token_byte;

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

/// `METHOD target HTTP/1.1`; its version, and whether it asks for a tunnel.
pub(super) fn request_line(line: &[u8], limits: &HeadLimits) -> Result<(Version, bool), Violation> {
    let wrong = || check_text(line).err().unwrap_or(Violation::RequestLine);
    let (method, rest) = line.split_at(token_length(line));
    let [b' ', rest @ ..] = rest else { return Err(wrong()) };
    // A fragment never leaves its client; hyper would drop it, others would not.
    let ends = |byte: &u8| !byte.is_ascii_graphic() || *byte == b'#';
    let (target, rest) = rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
    let [b' ', end @ ..] = rest else { return Err(wrong()) };
    if method.is_empty() || target.is_empty() {
        return Err(wrong());
    }
    if target.len() > limits.uri_bytes_max {
        return Err(Violation::UriBytes);
    }
    let version = version(end).map_err(|error| match end {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if is_other(*major, *minor) => {
            Violation::MajorVersion
        }
        _ => check_text(end).err().unwrap_or(error),
    })?;
    Ok((version, method == b"CONNECT"))
}

/// Whether two digits are of another major version than ours.
fn is_other(major: u8, minor: u8) -> bool {
    major.is_ascii_digit() && major != b'1' && minor.is_ascii_digit()
}

/// `HTTP/1.1 200 reason`, a line without control characters; the reason and the space before it may be
/// missing.
pub(super) fn status_line(line: &[u8]) -> Result<(Version, u16), Violation> {
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

/// The name and the value of `name: value`, a line without control characters; the value without white space
/// around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let (name, rest) = line.split_at(token_length(line));
    match rest {
        [b':', value @ ..] if !name.is_empty() => Ok((name, value.trim_ascii())),
        _ => {
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

/// How many bytes `bytes` begin with that a token can have.
fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(bytes.len())
}

/// Refuses control characters other than the tab.
pub(super) fn check_text(text: &[u8]) -> Result<(), Violation> {
    match find_control(text).map(|at| text[at]) {
        None => Ok(()),
        Some(b'\r') => Err(Violation::BareCarriageReturn),
        Some(_) => Err(Violation::ControlCharacter),
    }
}

/// Where the first control character stands that is no tab.
pub(super) fn find_control(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + find_control_or_tab(&text[from..])?;
        if text[at] != b'\t' {
            return Some(at);
        }
        from = at + 1;
    }
}

fn find_control_or_tab(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    for (place, word) in words.iter().enumerate() {
        let found = controls(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(place * size_of::<u64>() + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(u8::is_ascii_control)?;
    Some(text.len() - rest.len() + at)
}

/// Zero exactly when none of the eight bytes is a control character; else the lowest bit that is set is the
/// highest of the first that is. Each comparison is a subtraction that borrows into its byte's highest bit
/// (Bit Twiddling Hacks, "Determine if a word has a byte less than n").
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below_space | (delete.wrapping_sub(ONES) & !delete)) & HIGHEST
}
