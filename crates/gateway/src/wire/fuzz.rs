//! For fuzzing: what the reader must keep to whatever it is shown.

use super::{HeadLimits, Reader, Violation};

const LIMITS: HeadLimits = HeadLimits { header_bytes_max: 1024, headers_max: 16, uri_bytes_max: 128 };

/// How many of `bytes` pass in pieces of `piece`, how many heads they have, and what is wrong with the rest.
fn look(mut reader: Reader, bytes: &[u8], piece: usize) -> (usize, u64, Option<Violation>) {
    let (mut passed, mut shown) = (0, 0);
    while shown < bytes.len() {
        shown = bytes.len().min(shown + piece);
        let seen = reader.look(&bytes[passed..shown]);
        passed += seen.passed;
        assert!(passed <= shown, "more passed than was shown");
        if seen.violation.is_some() {
            let again = reader.look(&bytes[passed..]);
            assert_eq!((again.passed, again.violation), (0, seen.violation), "a refusal is final");
            return (passed, reader.heads(), seen.violation);
        }
    }
    (passed, reader.heads(), None)
}

fn check(reader: impl Fn() -> Reader, bytes: &[u8]) {
    let whole = look(reader(), bytes, usize::MAX);
    for piece in [1, 2 + bytes.len() % 13] {
        assert_eq!(look(reader(), bytes, piece), whole, "pieces of {piece} are read in another way");
    }
    let (passed, heads, _) = whole;
    assert_eq!(
        look(reader(), &bytes[..passed], usize::MAX),
        (passed, heads, None),
        "what passed stands alone"
    );
}

/// What a client sends is read alike in one piece and in small ones, and what passes stands alone.
pub fn requests(bytes: &[u8]) {
    check(|| Reader::requests(LIMITS), bytes);
}

/// The same for what a service sends, to a HEAD and to another request.
pub fn answers(bytes: &[u8]) {
    for to_head in [false, true] {
        let reader = || {
            let mut reader = Reader::answers(LIMITS);
            reader.ask(to_head);
            reader
        };
        check(reader, bytes);
    }
}
