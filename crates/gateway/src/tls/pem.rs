//! Files of certificates and keys. What is wrong with one is said in words that name it.

use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// The certificates of a PEM file, at least one.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read_file(path, FILE_BYTES_MAX)?;
    let shown = path.display();
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("`{shown}` is no proper PEM file: {error}"))?;
    if chain.is_empty() { Err(format!("`{shown}` holds no certificate in PEM")) } else { Ok(chain) }
}

/// The lists of revoked certificates of a PEM file, at least one.
pub(super) fn read_revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = read_file(path, LIST_BYTES_MAX)?;
    let shown = path.display();
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let lists = lists.map_err(|error| format!("`{shown}` is no proper PEM file: {error}"))?;
    if lists.is_empty() { Err(format!("`{shown}` holds no revocation list in PEM")) } else { Ok(lists) }
}

/// The first private key of a PEM file.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read_file(path, FILE_BYTES_MAX)?;
    let shown = path.display();
    let encrypted = |mark: &str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    if encrypted("BEGIN ENCRYPTED PRIVATE KEY") || encrypted("Proc-Type: 4,ENCRYPTED") {
        return Err(format!("the key in `{shown}` is encrypted, and nobody is there to type its password"));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("`{shown}` holds no private key in PEM"),
        error => format!("`{shown}` is no proper PEM file: {error}"),
    })
}

/// Nobody's certificates fill as much; a device or a pipe would without end.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Room for some hundred thousand certificates that were revoked.
const LIST_BYTES_MAX: u64 = 16 << 20;

fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{shown}`"),
        _ => format!("`{shown}` can not be read: {error}"),
    };
    // Asked before it is opened, since opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("`{shown}` is no regular file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("`{shown}` is longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}
