use ring::digest::{Context, SHA256};

/// What tells two requests under one key apart: SHA-256 over method, target and content.
///
/// Header fields are left out: a repetition has another date, trace and, at times, another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request.
    pub fn of(method: &str, target: &str, content: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [method.as_bytes(), target.as_bytes(), content] {
            // Each with its length, so that no two requests run together into the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let digest = context.finish();
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// As a store keeps it.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// As a store kept it.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts_and_where_it_ends() {
        let same = || Fingerprint::of("POST", "/orders", b"{}");
        assert_eq!(same(), same());
        for other in [
            Fingerprint::of("PUT", "/orders", b"{}"),
            Fingerprint::of("POST", "/orders?a", b"{}"),
            Fingerprint::of("POST", "/orders", b"{ }"),
            Fingerprint::of("POST", "/orders{", b"}"),
            Fingerprint::of("POST/", "orders", b"{}"),
        ] {
            assert_ne!(other, same());
        }
        assert_eq!(Fingerprint::from_bytes(same().to_bytes()), same());
    }
}
