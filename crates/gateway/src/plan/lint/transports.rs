//! How services are spoken to: what can not work together.

use super::Linter;
use crate::config::{Problem, Protocol};

impl Linter<'_> {
    pub(super) fn transports(&mut self) {
        for (name, service) in &self.config.services {
            if service.protocol == Protocol::Negotiate && service.tls.is_none() {
                let message = "which version of HTTP is spoken is agreed on by TLS, which this service is spoken to without";
                let help = "tls = true, or protocol = \"http2\" for a service that is known to speak it";
                self.problems.push(Problem::error(["service", name, "protocol"], message).help(help));
            }
            let Some(http2) = &service.http2 else { continue };
            if service.protocol == Protocol::Http1 {
                let message = "HTTP/2 is not spoken to this service, so its bounds can never be reached";
                let help = "protocol = \"http2\", or \"negotiate\" with TLS";
                self.problems.push(Problem::error(["service", name, "http2"], message).help(help));
            }
            self.problems.extend(http2.problems(name));
        }
    }
}
