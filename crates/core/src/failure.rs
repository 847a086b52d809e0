//! What an outcome means: to a retry ("may it succeed next time?") and to a circuit breaker ("does it
//! speak against the dependency?"). The two questions differ, so one [`Class`] answers both.

/// The meaning of one attempt's outcome.
///
/// | class | example | retry | circuit breaker |
/// |---|---|---|---|
/// | `Success` | 200 | – | success |
/// | `Permanent` | 400, 404, 409 | no | success: the service answered |
/// | `Throttled` | 429 | yes, not before its hint | no evidence |
/// | `Unavailable` | 503 | yes, not before its hint | failure |
/// | `Transient` | reset, timeout, 500, 502, 504 | yes | failure |
/// | `Unjudged` | the caller went away, a local rejection | no | no evidence |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The dependency did what was asked.
    Success,
    /// The request itself is at fault; the same request fails again.
    Permanent,
    /// The dependency is healthy and asks for fewer calls.
    Throttled,
    /// The dependency says that it can not serve now.
    Unavailable,
    /// The dependency or the way to it failed; another try may succeed.
    Transient,
    /// The outcome says nothing about the dependency.
    Unjudged,
}

/// What a circuit breaker learns from an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The dependency answered.
    Success,
    /// The dependency failed.
    Failure,
    /// Nothing was learned; a half-open breaker takes its permit back and waits for another probe.
    None,
}

impl Class {
    /// Whether the same call may succeed when tried again.
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Transient)
    }

    /// What a circuit breaker learns.
    pub const fn evidence(self) -> Evidence {
        match self {
            Self::Success | Self::Permanent => Evidence::Success,
            Self::Unavailable | Self::Transient => Evidence::Failure,
            Self::Throttled | Self::Unjudged => Evidence::None,
        }
    }

    /// The class of an HTTP status code: 429 is throttled, 503 unavailable, other 5xx transient except
    /// 501 and 505, which no repetition mends; other 4xx are permanent and everything below succeeds.
    pub const fn of_http_status(status: u16) -> Self {
        match status {
            429 => Self::Throttled,
            503 => Self::Unavailable,
            501 | 505 => Self::Permanent,
            500.. => Self::Transient,
            400..=499 => Self::Permanent,
            _ => Self::Success,
        }
    }

    /// The class of a gRPC status code: `UNAVAILABLE` is unavailable and `RESOURCE_EXHAUSTED` throttled;
    /// `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `DATA_LOSS` and codes that gRPC does not know are transient;
    /// `CANCELLED` is unjudged. Of the others the request itself is the cause, `ABORTED` included: what is to
    /// be repeated then is more than this call.
    pub const fn of_grpc_status(code: u32) -> Self {
        match code {
            0 => Self::Success,
            1 => Self::Unjudged,
            3 | 5..=7 | 9..=12 | 16 => Self::Permanent,
            8 => Self::Throttled,
            14 => Self::Unavailable,
            _ => Self::Transient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_classed_as_the_table_says() {
        for (status, class) in [
            (200, Class::Success),
            (304, Class::Success),
            (400, Class::Permanent),
            (409, Class::Permanent),
            (429, Class::Throttled),
            (500, Class::Transient),
            (501, Class::Permanent),
            (503, Class::Unavailable),
            (504, Class::Transient),
        ] {
            assert_eq!(Class::of_http_status(status), class, "{status}");
        }
    }

    #[test]
    fn grpc_codes_are_classed_one_by_one() {
        use Class::{Permanent, Success, Throttled, Transient, Unavailable, Unjudged};
        let classes = [
            Success,
            Unjudged,
            Transient,
            Permanent,
            Transient,
            Permanent,
            Permanent,
            Permanent,
            Throttled,
            Permanent,
            Permanent,
            Permanent,
            Permanent,
            Transient,
            Unavailable,
            Transient,
            Permanent,
            Transient,
        ];
        for (code, class) in (0..).zip(classes) {
            assert_eq!(Class::of_grpc_status(code), class, "{code}");
        }
    }
}
