//! What the errors of HTTP/2 say of a request. Pure.

use std::error::Error;

use h2::Reason;
use intertie_core::failure::Class;

use super::proxy_error::ProxyError;

/// A stream or a connection of HTTP/2 that a service, or the gateway for its sake, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reset {
    reason: Reason,
    /// Whether the service says that it has not acted on the request, and never will.
    pub(super) unprocessed: bool,
    /// Whether it ended only because the service closes the connection in order.
    pub(super) in_order: bool,
}

/// What `error` says in HTTP/2, if it says anything.
pub(super) fn reset(error: &hyper::Error) -> Option<Reset> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return of(error);
        }
        next = error.source();
    }
    None
}

fn of(error: &h2::Error) -> Option<Reset> {
    let reason = error.reason()?;
    // h2 tells the streams above the last one of a GOAWAY by this error, and no others (RFC 9113, section 6.8).
    let gone = error.is_go_away() && error.is_remote();
    let refused = error.is_reset() && error.is_remote() && reason == Reason::REFUSED_STREAM;
    Some(Reset { reason, unprocessed: gone || refused, in_order: gone && reason == Reason::NO_ERROR })
}

impl Reset {
    /// The error code as RFC 9113 writes it.
    pub(super) fn name(self) -> &'static str {
        name(self.reason)
    }

    /// What clients are told: that the two sides do not agree on the protocol, or that the service ended the
    /// exchange, for which HTTP/2 has no need to close the connection.
    pub(super) fn proxy_error(self) -> ProxyError {
        match self.reason {
            Reason::PROTOCOL_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::SETTINGS_TIMEOUT
            | Reason::STREAM_CLOSED
            | Reason::FRAME_SIZE_ERROR
            | Reason::COMPRESSION_ERROR
            | Reason::INADEQUATE_SECURITY
            | Reason::HTTP_1_1_REQUIRED => ProxyError::HttpProtocolError,
            _ => ProxyError::ConnectionTerminated,
        }
    }

    /// Whether the service wants no more of the exchange.
    pub(super) fn is_cancel(self) -> bool {
        self.reason == Reason::CANCEL
    }

    /// What it means to a retry and to a breaker. The codes that gRPC maps to a status mean what the status does.
    pub(super) fn class(self) -> Class {
        match self.reason {
            Reason::REFUSED_STREAM => Class::Unavailable,
            Reason::ENHANCE_YOUR_CALM => Class::Throttled,
            // The next try would be made in the same version and with the same ciphers.
            Reason::HTTP_1_1_REQUIRED | Reason::INADEQUATE_SECURITY => Class::Permanent,
            _ => Class::Transient,
        }
    }
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_ERROR => "NO_ERROR",
        Reason::PROTOCOL_ERROR => "PROTOCOL_ERROR",
        Reason::INTERNAL_ERROR => "INTERNAL_ERROR",
        Reason::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
        Reason::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
        Reason::STREAM_CLOSED => "STREAM_CLOSED",
        Reason::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
        Reason::REFUSED_STREAM => "REFUSED_STREAM",
        Reason::CANCEL => "CANCEL",
        Reason::COMPRESSION_ERROR => "COMPRESSION_ERROR",
        Reason::CONNECT_ERROR => "CONNECT_ERROR",
        Reason::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
        Reason::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
        Reason::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_name_and_the_class_of_the_table() {
        let names: Vec<_> = (0..15).map(|code| name(Reason::from(code))).collect();
        assert_eq!(
            names,
            [
                "NO_ERROR",
                "PROTOCOL_ERROR",
                "INTERNAL_ERROR",
                "FLOW_CONTROL_ERROR",
                "SETTINGS_TIMEOUT",
                "STREAM_CLOSED",
                "FRAME_SIZE_ERROR",
                "REFUSED_STREAM",
                "CANCEL",
                "COMPRESSION_ERROR",
                "CONNECT_ERROR",
                "ENHANCE_YOUR_CALM",
                "INADEQUATE_SECURITY",
                "HTTP_1_1_REQUIRED",
                "UNKNOWN"
            ]
        );
        for code in 0..20 {
            let reset = Reset { reason: Reason::from(code), unprocessed: false, in_order: false };
            let expected = match code {
                7 => Class::Unavailable,
                11 => Class::Throttled,
                12 | 13 => Class::Permanent,
                _ => Class::Transient,
            };
            assert_eq!(reset.class(), expected, "{code}");
            let disagree = matches!(code, 1 | 3..=6 | 9 | 12 | 13);
            assert_eq!(reset.proxy_error() == ProxyError::HttpProtocolError, disagree, "{code}");
        }
    }

    #[test]
    fn what_the_gateway_resets_itself_may_have_been_processed() {
        let own = of(&h2::Error::from(Reason::REFUSED_STREAM)).expect("a reason");
        assert!(!own.unprocessed && !own.in_order);
    }
}
