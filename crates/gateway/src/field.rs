//! Values of fields that are lists (RFC 9110, section 5.6). Pure.

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
    use super::*;

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
}
