//! Fields that are lists, and fields that are none (RFC 9110, sections 5.3 and 5.6). Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The value of a field that stands there once.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The entries of the lines of a list that knows no quotation marks, without white space around; empty ones say
/// nothing.
pub(crate) fn entries<'a>(
    lines: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let entries = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    entries.filter(|entry| !entry.is_empty())
}

/// The same of the field `name`, without the lines in which something else than ASCII stands: they name nothing.
pub(crate) fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    entries(headers.get_all(name).iter().filter(|line| line.to_str().is_ok()))
}

/// The parts of `text` between separators that stand outside of quotation marks, without white space around.
pub(crate) fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = move |byte: &u8| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        !quoted && *byte == separator
    };
    text.split(outside).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(bytes: &[u8]) -> HeaderValue {
        HeaderValue::from_bytes(bytes).expect("a value")
    }

    fn headers(name: &HeaderName, lines: &[HeaderValue]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.clone());
        }
        headers
    }

    #[test]
    fn a_field_that_stands_there_twice_is_not_the_only_one() {
        let name = http::header::UPGRADE;
        let [a, b] = [line(b"a"), line(b"b")];
        assert_eq!(only(&headers(&name, &[]), &name), None);
        assert_eq!(only(&headers(&name, std::slice::from_ref(&a)), &name), Some(&a));
        assert_eq!(only(&headers(&name, &[a.clone(), b]), &name), None);
        assert_eq!(only(&headers(&name, &[a.clone(), a]), &name), None);
    }

    #[test]
    fn lines_are_one_list_and_empty_entries_say_nothing() {
        let check = |lines: &[&[u8]], all: &[&[u8]], ascii: &[&[u8]]| {
            let name = http::header::CONNECTION;
            let lines: Vec<_> = lines.iter().copied().map(line).collect();
            assert_eq!(entries(lines.iter()).collect::<Vec<_>>(), all, "{lines:?}");
            assert_eq!(words(&headers(&name, &lines), &name).collect::<Vec<_>>(), ascii, "{lines:?}");
        };
        check(&[], &[], &[]);
        check(&[b"", b" , ,\t,"], &[], &[]);
        check(&[b"close"], &[b"close"], &[b"close"]);
        check(&[b" a ,b\t, c d,", b"e"], &[b"a", b"b", b"c d", b"e"], &[b"a", b"b", b"c d", b"e"]);
        check(&[b"a, \"b,c\""], &[b"a", b"\"b", b"c\""], &[b"a", b"\"b", b"c\""]);
        check(&[b"a, b\xff", b"c"], &[b"a", b"b\xff", b"c"], &[b"c"]);
    }

    #[test]
    fn separators_in_quotation_marks_separate_nothing() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = parts(text.as_bytes(), b',').map(String::from_utf8_lossy).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("", &[""]);
        check("a , b,", &["a", "b", ""]);
        check(r#"a="x,y", b"#, &[r#"a="x,y""#, "b"]);
        check(r#"a="x\",y", b"#, &[r#"a="x\",y""#, "b"]);
        check(r#"a="x\\", b"#, &[r#"a="x\\""#, "b"]);
        check(r#"a="x, b"#, &[r#"a="x, b"#]);
        check(r"a\, b", &[r"a\", "b"]);
    }

    proptest! {
        /// Against joining all lines first.
        #[test]
        fn a_list_is_the_same_in_one_line_and_in_several_and_backwards(
            lines in prop::collection::vec("[a-b, \t\u{e9}]{0,8}", 0..4),
        ) {
            let joined = lines.join(",");
            let expected: Vec<_> =
                joined.split(',').map(|entry| entry.trim_ascii().as_bytes()).filter(|entry| !entry.is_empty()).collect();
            let lines: Vec<_> = lines.iter().map(|text| line(text.as_bytes())).collect();
            prop_assert_eq!(&entries(lines.iter()).collect::<Vec<_>>(), &expected);
            let mut backwards: Vec<_> = entries(lines.iter()).rev().collect();
            backwards.reverse();
            prop_assert_eq!(&backwards, &expected);
        }
    }
}
