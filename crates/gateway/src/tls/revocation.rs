//! Which certificates of clients were revoked: the lists, and whose certificates they make good. Pure but for the
//! files that are read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use intertie_core::clock::{Timestamp, WallClock};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

use super::config::{ClientCertificates, ExpiredCrls, TlsConfig};
use super::der::{Der, GENERALIZED_TIME, SEQUENCE, UTC_TIME, unix_seconds};
use super::pem::{read_chain, read_revocation_lists};
use crate::config::Problem;

/// What clients' certificates are verified by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ClientTrust {
    roots: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// When the first list in each file is out of date.
    ends: BTreeMap<String, Timestamp>,
}

impl ClientTrust {
    /// Reads the files that `config` names; what is out of date is a warning.
    pub(super) fn read(
        config: &TlsConfig,
        folder: &Path,
        clock: &WallClock,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, Problem> {
        let at = |key| move |message: String| Problem::error(["tls", key], message);
        let roots = match &config.client_roots {
            Some(path) => read_chain(&folder.join(path)).map_err(at("client_roots"))?,
            None => Vec::new(),
        };
        let now = clock.now().as_unix_nanos() / 1_000_000_000;
        let (mut lists, mut ends) = (Vec::new(), BTreeMap::new());
        for path in &config.client_crls {
            let read = read_revocation_lists(&folder.join(path)).map_err(at("client_crls"))?;
            let shown = path.display();
            let of_file = || read.iter().filter_map(|list| next_update(list));
            if let Some(first) = of_file().min() {
                ends.insert(shown.to_string(), Timestamp::from_unix_seconds(first));
            }
            for end in of_file().filter(|end| *end <= now) {
                let end = Timestamp::from_unix_seconds(end);
                let so = match config.expired_crls {
                    ExpiredCrls::Refuse => "the clients of its authority are refused",
                    ExpiredCrls::Accept => "what was revoked since then is not known",
                };
                let message = format!("the revocation list in `{shown}` is out of date since {end}: {so}");
                problems.push(Problem::warning(["tls", "client_crls"], message));
            }
            lists.extend(read);
        }
        Ok(Self { roots, lists, ends })
    }

    /// The files with lists, and when the first in each is out of date.
    pub(super) fn list_expiries(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.ends.iter().map(|(file, end)| (file.as_str(), *end))
    }

    /// From when on a client is refused that was verified before.
    pub(super) fn good_until(&self, config: &TlsConfig) -> Option<Timestamp> {
        match config.expired_crls {
            ExpiredCrls::Refuse => self.ends.values().min().copied(),
            ExpiredCrls::Accept => None,
        }
    }

    /// What verifies clients' certificates; none where none is asked for.
    pub(super) fn verifier(
        &self,
        config: &TlsConfig,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Problem> {
        if config.client_certificates == ClientCertificates::Off {
            return Ok(None);
        }
        let unusable = |error: &dyn std::fmt::Display| {
            let message = format!("the certificates in it can not be used: {error}");
            Problem::error(["tls", "client_roots"], message)
        };
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone()).map_err(|error| unusable(&error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
            .with_crls(self.lists.iter().cloned());
        let builder = match config.client_certificates {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            _ => builder,
        };
        let builder = match config.expired_crls {
            ExpiredCrls::Refuse => builder.enforce_revocation_expiration(),
            ExpiredCrls::Accept => builder,
        };
        let built = builder.build().map_err(|error| match error {
            VerifierBuilderError::InvalidCrl(error) => {
                let message = format!("a revocation list in it can not be used: {error:?}");
                Problem::error(["tls", "client_crls"], message)
            }
            error => unusable(&error),
        })?;
        Ok(Some(built))
    }
}

/// When the next list will have been published, in seconds since 1970 (RFC 5280, section 5.1). `None` when it is
/// not said, or the list can not be read, which is for rustls to refuse.
fn next_update(list: &[u8]) -> Option<u64> {
    let mut signed = Der::new(list).enter(SEQUENCE)?.enter(SEQUENCE)?;
    let version = 0x02;
    signed.skip_optional(version)?;
    let _algorithm = signed.expect(SEQUENCE)?;
    let _issuer = signed.expect(SEQUENCE)?;
    let _this_update = signed.next()?;
    match signed.next()? {
        (tag @ (UTC_TIME | GENERALIZED_TIME), content) => unix_seconds(tag, content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, SerialNumber,
    };

    use super::*;

    /// A list of an authority of its own, to be replaced in `year`.
    fn list(year: i32) -> Vec<u8> {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(parameters, KeyPair::generate().expect("a key"));
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2000, 1, 1),
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(7),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).expect("signed").der().to_vec()
    }

    #[test]
    fn the_end_of_a_list_is_read_in_both_forms_of_time() {
        assert_eq!(next_update(&list(2038)), Some(2_145_916_800));
        assert_eq!(next_update(&list(2050)), Some(2_524_608_000));
    }

    #[test]
    fn sessions_are_good_until_the_first_list_is_out_of_date() {
        let at = Timestamp::from_unix_seconds;
        let ends = BTreeMap::from([("a".to_owned(), at(30)), ("b".to_owned(), at(20))]);
        let trust = ClientTrust { ends, ..ClientTrust::default() };
        let refusing = TlsConfig::default();
        assert_eq!(trust.good_until(&refusing), Some(at(20)));
        assert_eq!(ClientTrust::default().good_until(&refusing), None);
        let accepting = TlsConfig { expired_crls: ExpiredCrls::Accept, ..refusing };
        assert_eq!(trust.good_until(&accepting), None);
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic(at in 0_usize..300, byte in any::<u8>(), length in 0_usize..300) {
            static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut damaged = GOOD.get_or_init(|| list(2038)).clone();
            let at = at % damaged.len();
            damaged[at] = byte;
            damaged.truncate(length);
            let _ = next_update(&damaged);
        }
    }
}
