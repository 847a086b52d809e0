//! Tokens, the words that HTTP is made of: methods, names of fields, protocols (RFC 9110, section 5.6.2).

/// Whether a token may hold `byte`.
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether `text` is a token.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// A table, since every byte of the names of fields is looked up.
static TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < token.len() {
        token[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others: &[u8] = b"!#$%&'*+-.^_`|~";
    while let [other, rest @ ..] = others {
        token[*other as usize] = true;
        others = rest;
    }
    token
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the standard keeps out of a token: these delimiters, white space, control characters, and all that is
    /// no ASCII.
    fn is_delimiter(byte: u8) -> bool {
        !byte.is_ascii_graphic() || b"\"(),/:;<=>?@[\\]{}".contains(&byte)
    }

    #[test]
    fn a_token_has_every_byte_but_the_delimiters() {
        for byte in 0..=255 {
            assert_eq!(is_token_byte(byte), !is_delimiter(byte), "{byte:#04x}");
        }
    }

    proptest! {
        #[test]
        fn a_token_is_not_empty_and_has_no_delimiter(text in prop::collection::vec(any::<u8>(), 0..8)) {
            prop_assert_eq!(is_token(&text), !text.is_empty() && !text.iter().copied().any(is_delimiter));
        }

        #[test]
        fn words_are_tokens(word in "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}") {
            prop_assert!(is_token(word.as_bytes()));
        }
    }
}
