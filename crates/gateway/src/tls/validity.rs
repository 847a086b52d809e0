//! Certificates of ours out of their time.

use std::path::Path;

use intertie_core::clock::{Timestamp, WallClock};

use super::certificate::Certificate;
use crate::config::Problem;

/// A certificate that we show, where the file names it, and to whom it is shown.
pub(super) struct OwnCertificate<'a, const N: usize> {
    /// What it is called.
    pub(super) name: &'a str,
    pub(super) at: [&'a str; N],
    pub(super) file: &'a Path,
    pub(super) shown_to: &'static str,
    /// Whether it is shown already.
    pub(super) is_in_force: bool,
}

impl<const N: usize> OwnCertificate<'_, N> {
    /// What speaks against `certificate` because of its time: a warning when it is not valid yet, since that
    /// passes.
    ///
    /// # Errors
    /// When it has expired: nobody takes it any more, and nothing but another one helps. That is a warning too for
    /// one that is in force, which stays whatever is said of it.
    pub(super) fn doubt(
        &self,
        certificate: &Certificate,
        clock: &WallClock,
    ) -> Result<Option<Problem>, Problem> {
        let Self { name, at, shown_to, .. } = *self;
        let file = self.file.display();
        let now = clock.now().as_unix_nanos() / 1_000_000_000;
        // It is good through its last second (RFC 5280, section 4.1.2.5).
        if certificate.not_after < now {
            let end = Timestamp::from_unix_seconds(certificate.not_after);
            let message =
                format!("the certificate {name} in `{file}` expired at {end}: {shown_to} would refuse it");
            let help = "put a renewed one in its place";
            return if self.is_in_force {
                Ok(Some(Problem::warning(at, message).help(help)))
            } else {
                Err(Problem::error(at, message).help(help))
            };
        }
        Ok((certificate.not_before > now).then(|| {
            let begin = Timestamp::from_unix_seconds(certificate.not_before);
            let message = format!(
                "the certificate {name} in `{file}` is not valid before {begin}: {shown_to} will refuse it"
            );
            Problem::warning(at, message)
        }))
    }
}
