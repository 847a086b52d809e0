//! Certificates of tests.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateDer;

/// An authority that signs whatever it is asked to.
pub(crate) struct Authority {
    name: String,
    pub(crate) root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let root = parameters.self_signed(&key).expect("signed");
        Self {
            name: name.to_owned(),
            root: root.der().clone(),
            pem: root.pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// Writes the authority's own certificate to its name with `.crt`.
    pub(crate) fn write_into(&self, folder: &Path) {
        std::fs::write(folder.join(format!("{}.crt", self.name)), &self.pem).expect("written");
    }

    pub(crate) fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        Issued { certificate, key }
    }

    /// Writes the list of the certificates that it has revoked, by their numbers, to `file`. The next one is to
    /// come in the year `until`.
    pub(crate) fn revoke(&self, folder: &Path, file: &str, numbers: &[u64], until: i32) {
        let until = rcgen::date_time_ymd(until, 1, 1).unix_timestamp();
        self.revoke_until(folder, file, numbers, u64::try_from(until).expect("after 1970"));
    }

    /// The same with the moment `until`, in seconds since 1970.
    pub(crate) fn revoke_until(&self, folder: &Path, file: &str, numbers: &[u64], until: u64) {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: rcgen::date_time_ymd(2001, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2000, 1, 1),
            next_update: rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("signed").pem().expect("PEM");
        std::fs::write(folder.join(file), list).expect("written");
    }

    /// Writes a certificate for `names` and its key to `file` with `.crt` and `.key`.
    pub(crate) fn issue(&self, folder: &Path, file: &str, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = self.sign(|parameters| {
            parameters.subject_alt_names = CertificateParams::new(names).expect("names").subject_alt_names;
        });
        issued.write(folder, file);
    }
}

impl Issued {
    pub(crate) fn write(&self, folder: &Path, file: &str) {
        std::fs::write(folder.join(format!("{file}.crt")), self.certificate.pem()).expect("written");
        std::fs::write(folder.join(format!("{file}.key")), self.key.serialize_pem()).expect("written");
    }
}
