//! What a certificate says of itself: its names, how long it is valid, whom it identifies. Pure.

use super::der::{Der, OBJECT_IDENTIFIER, SEQUENCE, SET, dotted, unix_seconds};
use intertie_core::percent::encoded;

/// What is read of an X.509 certificate (RFC 5280). Nothing is verified here: rustls does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// When it begins to be valid, in seconds since 1970.
    pub(super) not_before: u64,
    /// When it ends.
    pub(super) not_after: u64,
    /// The DNS names that it is for, in lower case, wildcards included.
    pub(super) names: Vec<String>,
    /// Its subject as RFC 4514 writes it, with all but visible ASCII percent-encoded.
    subject: String,
    uri: Option<String>,
    email: Option<String>,
}

/// Whom a verified certificate identifies. `None` when it can not be told.
pub(crate) fn identity(der: &[u8]) -> Option<String> {
    Certificate::read(der)?.identity()
}

const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The attributes of a subject that have short names (RFC 4514, section 3).
const ATTRIBUTES: [(&[u8], &str); 6] = [
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
];

impl Certificate {
    /// Reads a certificate. `None` when it is none, or when a name in it is no visible ASCII.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut signed = Der::new(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
        let (version, serial, algorithm) = (0xa0, 0x02, SEQUENCE);
        signed.skip_optional(version)?;
        signed.expect(serial)?;
        signed.expect(algorithm)?;
        let _issuer = signed.expect(SEQUENCE)?;
        let mut validity = signed.enter(SEQUENCE)?;
        let mut time = || validity.next().and_then(|(tag, content)| unix_seconds(tag, content));
        let (not_before, not_after) = (time()?, time()?);
        let subject = subject(signed.enter(SEQUENCE)?)?;
        let _public_key = signed.expect(SEQUENCE)?;
        let mut certificate =
            Self { not_before, not_after, names: Vec::new(), subject, uri: None, email: None };
        while let Some((tag, content)) = signed.next() {
            if tag == 0xa3 {
                certificate.read_extensions(Der::new(content).enter(SEQUENCE)?)?;
            }
        }
        Some(certificate)
    }

    fn read_extensions(&mut self, mut extensions: Der<'_>) -> Option<()> {
        while !extensions.is_empty() {
            let mut extension = extensions.enter(SEQUENCE)?;
            if extension.expect(OBJECT_IDENTIFIER)? == SUBJECT_ALTERNATIVE_NAME {
                let critical = 0x01;
                extension.skip_optional(critical)?;
                self.read_names(Der::new(extension.expect(0x04)?).enter(SEQUENCE)?)?;
            }
        }
        Some(())
    }

    fn read_names(&mut self, mut names: Der<'_>) -> Option<()> {
        while !names.is_empty() {
            let (tag, content) = names.next()?;
            match tag {
                0x81 => self.email = self.email.take().or(Some(visible(content)?)),
                0x82 => self.names.push(visible(content)?.to_ascii_lowercase()),
                0x86 => self.uri = self.uri.take().or(Some(visible(content)?)),
                _ => {}
            }
        }
        Some(())
    }

    /// Whom it identifies: `uri:spiffe://shop/orders`, or else its first `dns:` name, its first `email:`
    /// address, its `subject:`. `None` when it names nobody, or with more than 1 KiB.
    pub(super) fn identity(&self) -> Option<String> {
        let identity = match (&self.uri, self.names.first(), &self.email, self.subject.as_str()) {
            (Some(uri), ..) => format!("uri:{uri}"),
            (_, Some(name), ..) => format!("dns:{name}"),
            (_, _, Some(email), _) => format!("email:{email}"),
            (.., "") => return None,
            (.., subject) => format!("subject:{subject}"),
        };
        (identity.len() <= IDENTITY_BYTES_MAX).then_some(identity)
    }

    /// Whether it is for `name`, which may be a wildcard itself.
    pub(super) fn covers(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.iter().any(|own| own == name || wildcard.as_ref() == Some(own))
    }
}

/// An identity is a header of each request, so it must not take the room of the others.
const IDENTITY_BYTES_MAX: usize = 1024;

/// A name, if it is such that no reader can mistake it: a byte like NUL has made two readers see two names.
fn visible(bytes: &[u8]) -> Option<String> {
    let visible = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    visible.then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// The most specific part first, as RFC 4514 has it.
fn subject(mut parts: Der<'_>) -> Option<String> {
    let mut written = Vec::new();
    while !parts.is_empty() {
        let mut attributes = parts.enter(SET)?;
        let mut part = String::new();
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(SEQUENCE)?;
            let identifier = attribute.expect(OBJECT_IDENTIFIER)?;
            let (_, value) = attribute.next()?;
            if !part.is_empty() {
                part.push('+');
            }
            match ATTRIBUTES.iter().find(|(known, _)| *known == identifier) {
                Some((_, name)) => part.push_str(name),
                None => part.push_str(&dotted(identifier)?),
            }
            part.push('=');
            let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"%,+=\"\\;<>#".contains(&byte);
            part.push_str(&encoded(value, is_plain));
        }
        written.push(part);
    }
    written.reverse();
    Some(written.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("signed").der().to_vec()
    }

    fn read(change: impl FnOnce(&mut CertificateParams)) -> Option<Certificate> {
        Certificate::read(&made(change))
    }

    fn text(text: &str) -> rcgen::string::Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn the_identity_is_the_most_specific_name() {
        let uri = |path| SanType::URI(text(path));
        let name = || SanType::DnsName(text("Orders.shop.example"));
        let email = || SanType::Rfc822Name(text("ops@shop.example"));
        for (names, identity) in [
            (vec![email(), name(), uri("spiffe://shop/a"), uri("spiffe://shop/b")], "uri:spiffe://shop/a"),
            (vec![email(), name()], "dns:orders.shop.example"),
            (vec![email()], "email:ops@shop.example"),
            (vec![], "subject:CN=Order%20Service%2CCN%3Droot,O=Shop"),
        ] {
            let certificate = read(|parameters| {
                parameters.subject_alt_names = names;
                parameters.distinguished_name.push(DnType::OrganizationName, "Shop");
                parameters.distinguished_name.push(DnType::CommonName, "Order Service,CN=root");
            });
            assert_eq!(certificate.and_then(|read| read.identity()).as_deref(), Some(identity));
        }
    }

    #[test]
    fn a_certificate_may_name_nobody_or_too_much() {
        assert_eq!(read(|_| {}).expect("well-formed").identity(), None);
        let long =
            read(|parameters| parameters.distinguished_name.push(DnType::CommonName, "x".repeat(1020)));
        assert_eq!(long.expect("well-formed").identity(), None);
        let odd = read(|parameters| {
            parameters.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3]), "a\u{e9}");
        });
        assert_eq!(odd.expect("well-formed").identity().as_deref(), Some("subject:1.2.3=a%C3%A9"));
    }

    #[test]
    fn a_name_that_is_not_visible_makes_the_certificate_unreadable() {
        for name in ["admin\0.evil.example", "a b", ""] {
            let certificate = read(|parameters| {
                parameters.subject_alt_names = vec![SanType::DnsName(text(name))];
            });
            assert_eq!(certificate, None, "{name:?}");
        }
    }

    #[test]
    fn validity_and_names_are_read() {
        let certificate = read(|parameters| {
            parameters.not_before = rcgen::date_time_ymd(1999, 12, 31);
            parameters.not_after = rcgen::date_time_ymd(2050, 1, 1);
            parameters.subject_alt_names =
                ["shop.example", "*.shop.example"].map(|name| SanType::DnsName(text(name))).to_vec();
        })
        .expect("well-formed");
        assert_eq!((certificate.not_before, certificate.not_after), (946_598_400, 2_524_608_000));
        assert_eq!(certificate.names, ["shop.example", "*.shop.example"]);
        for (name, covered) in [
            ("shop.example", true),
            ("a.shop.example", true),
            ("*.shop.example", true),
            ("a.b.shop.example", false),
            ("*.example", false),
            ("example", false),
        ] {
            assert_eq!(certificate.covers(name), covered, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic(at in 0_usize..400, byte in any::<u8>(), length in 0_usize..500) {
            static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let good = GOOD.get_or_init(|| made(|parameters| {
                parameters.subject_alt_names = vec![SanType::DnsName(text("shop.example"))];
                parameters.distinguished_name.push(DnType::CommonName, "shop");
            }));
            let mut damaged = good.clone();
            let at = at % damaged.len();
            damaged[at] = byte;
            damaged.truncate(length);
            if let Some(identity) = Certificate::read(&damaged).and_then(|read| read.identity()) {
                prop_assert!(identity.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
