use std::time::Duration;

use intertie_core::failure::Class;
use intertie_gateway::proxy::ErrorCode;
use intertie_observe::logged_request::LoggedRequest;

/// What the service does with the attempts of one request, as far as its line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// The attempts that went wrong before the last one that was logged.
    pub(super) failures: u32,
    /// What it does with these.
    pub(super) first: Reply,
    /// What it does with the last one, and with any beyond it.
    pub(super) last: Reply,
    /// How long each attempt takes until the head of its answer.
    pub(super) took: Duration,
    /// How long the body of an answer takes; `None` when it does not end within any deadline.
    pub(super) body: Option<Duration>,
    /// When the client goes away, counted from the request's beginning.
    pub(super) leaves_after: Option<Duration>,
}

/// What a service does with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It answers.
    Answer(Class),
    /// It can not be reached, so the request is not sent.
    Unreachable,
    /// It takes longer than any limit that it is given.
    Hang,
}

/// What a line tells of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// What it did.
    Behaviour(Behaviour),
    /// Nothing, since the gateway answered without it.
    Nothing,
}

/// nginx writes it when the client closed the connection before the answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;
const SWITCHING_PROTOCOLS: u16 = 101;

/// Whether a tunnel took over: the answer was its head, and what a line tells beyond it is of the tunnel.
fn switched(request: &LoggedRequest) -> bool {
    let connected = request.method == "CONNECT" && matches!(request.status, Some(200..=299));
    connected || request.status == Some(SWITCHING_PROTOCOLS)
}

/// How long the answer took, where the line tells it.
pub(super) fn answered_after(request: &LoggedRequest) -> Option<Duration> {
    request.duration.filter(|_| !switched(request))
}

impl Known {
    /// What `request` tells. `duration` is for a line that does not tell how long the service took.
    pub(super) fn of(request: &LoggedRequest, duration: Duration) -> Self {
        let switched = switched(request);
        let took = answered_after(request).unwrap_or(duration);
        let attempts = request.attempts.unwrap_or(1);
        let code = request.error.as_deref();
        let is = |wanted: ErrorCode| code == Some(wanted.code());
        let cut = request.cut.as_deref().filter(|_| !switched);
        let left = cut == Some("client_left") || request.status == Some(CLIENT_CLOSED_REQUEST);
        let cut_off = cut == Some("deadline");
        // A client that took nothing says nothing against the service either.
        let broke_off = cut.is_some_and(|how| !["deadline", "send_timeout"].contains(&how));
        let timed_out = is(ErrorCode::AttemptTimeout) || is(ErrorCode::DeadlineExceeded);
        let unreachable = is(ErrorCode::ServiceUnreachable) || is(ErrorCode::ConnectTimeout);
        let failed = is(ErrorCode::ServiceFailed) || is(ErrorCode::ServiceSilent);
        let last = if left || timed_out {
            Reply::Hang
        } else if unreachable {
            Reply::Unreachable
        } else if failed || broke_off {
            Reply::Answer(Class::Transient)
        } else {
            Reply::Answer(request.status.map_or(Class::Unjudged, Class::of_http_status))
        };
        let unserved = code.is_some() && !failed && !unreachable;
        if (attempts == 0 && !left) || (unserved && last != Reply::Hang) {
            return Self::Nothing;
        }
        // Only a failure is repeated: an answer that came in the end was none at first.
        let first = match last {
            Reply::Answer(class) if !class.is_retriable() => Reply::Answer(Class::Transient),
            last => last,
        };
        Self::Behaviour(Behaviour {
            failures: attempts.saturating_sub(1),
            first,
            last,
            took: took / attempts.max(1),
            body: (!cut_off).then_some(Duration::ZERO),
            leaves_after: left.then_some(took),
        })
    }
}

impl Behaviour {
    /// A service that answers well after `took`.
    pub(super) fn well(took: Duration) -> Self {
        let last = Reply::Answer(Class::Success);
        Self { failures: 0, first: last, last, took, body: Some(Duration::ZERO), leaves_after: None }
    }

    /// The same service, when the head of its answer came within `limit`: what the line tells beyond it was
    /// the body's time. `None` when there is nothing beyond.
    pub(super) fn within(self, limit: Duration) -> Option<Self> {
        let beyond = self.took.checked_sub(limit).filter(|beyond| !beyond.is_zero())?;
        let answers = matches!(self.last, Reply::Answer(class) if !class.is_retriable());
        answers.then(|| Self { took: limit, body: self.body.map(|body| body + beyond), ..self })
    }

    /// What it does with the attempt `number`, counted from 1.
    pub(super) fn reply(&self, number: u32) -> Reply {
        if number <= self.failures { self.first } else { self.last }
    }

    /// Whether it answered well at once, so that its time is one of a healthy service.
    pub(super) fn is_well(&self) -> bool {
        self.failures == 0 && self.body.is_some() && self.last == Reply::Answer(Class::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTOLD: Duration = Duration::from_millis(7);

    fn of(line: &str) -> Known {
        let line = format!("2026-03-01T10:00:00.000Z ::1 GET / {line} id=7");
        Known::of(&LoggedRequest::parse(line.as_bytes()).expect("a line"), UNTOLD)
    }

    fn behaviour(line: &str) -> Behaviour {
        match of(line) {
            Known::Behaviour(behaviour) => behaviour,
            Known::Nothing => panic!("{line} tells nothing"),
        }
    }

    #[test]
    fn what_the_service_did_it_does_again() {
        let millis = Duration::from_millis;
        for (line, last) in [
            ("200 30.0ms endpoint=a", Reply::Answer(Class::Success)),
            ("404 30.0ms endpoint=a", Reply::Answer(Class::Permanent)),
            ("429 30.0ms endpoint=a", Reply::Answer(Class::Throttled)),
            ("503 30.0ms endpoint=a", Reply::Answer(Class::Unavailable)),
            ("502 30.0ms endpoint=a error=SERVICE_FAILED", Reply::Answer(Class::Transient)),
            ("502 30.0ms endpoint=a error=SERVICE_UNREACHABLE", Reply::Unreachable),
            ("504 30.0ms endpoint=a error=CONNECT_TIMEOUT", Reply::Unreachable),
            ("504 30.0ms endpoint=a error=SERVICE_SILENT", Reply::Answer(Class::Transient)),
            ("504 30.0ms endpoint=a error=ATTEMPT_TIMEOUT", Reply::Hang),
            ("504 30.0ms endpoint=a error=DEADLINE_EXCEEDED", Reply::Hang),
            ("200 30.0ms endpoint=a cut=service_broke_off", Reply::Answer(Class::Transient)),
            ("200 30.0ms endpoint=a cut=send_timeout", Reply::Answer(Class::Success)),
            ("404 30.0ms endpoint=a cut=send_timeout", Reply::Answer(Class::Permanent)),
        ] {
            let behaviour = behaviour(line);
            assert_eq!(
                (behaviour.last, behaviour.reply(1), behaviour.took),
                (last, last, millis(30)),
                "{line}"
            );
            assert_eq!((behaviour.failures, behaviour.leaves_after), (0, None), "{line}");
        }
    }

    #[test]
    fn what_a_line_tells_beyond_the_old_limit_was_the_body() {
        let millis = Duration::from_millis;
        let long = behaviour("200 30.0ms endpoint=a");
        let within = long.within(millis(20)).expect("10 ms are beyond it");
        assert_eq!((within.took, within.body, within.last), (millis(20), Some(millis(10)), long.last));
        assert_eq!(long.within(millis(30)), None);
        assert_eq!(behaviour("503 30.0ms endpoint=a").within(millis(20)), None, "it was no answer");
        let cut_off = behaviour("200 30.0ms endpoint=a cut=deadline");
        assert_eq!((cut_off.body, cut_off.last), (None, Reply::Answer(Class::Success)));
        assert_eq!(cut_off.within(millis(20)).expect("beyond").body, None);
    }

    #[test]
    fn attempts_before_the_last_failed() {
        let answered = behaviour("200 30.0ms endpoint=a attempts=3");
        let replies = [1, 2, 3, 4].map(|number| answered.reply(number));
        let (failure, success) = (Reply::Answer(Class::Transient), Reply::Answer(Class::Success));
        assert_eq!(replies, [failure, failure, success, success]);
        assert_eq!(answered.took, Duration::from_millis(10));
        assert_eq!(behaviour("503 30.0ms endpoint=a attempts=2").reply(1), Reply::Answer(Class::Unavailable));
    }

    #[test]
    fn a_client_that_left_leaves_again() {
        for line in
            ["- 30.0ms endpoint=a cut=client_left", "- 30.0ms cut=client_left", "499 30.0ms endpoint=a"]
        {
            let behaviour = behaviour(line);
            assert_eq!(behaviour.leaves_after, Some(Duration::from_millis(30)), "{line}");
            assert_eq!(behaviour.last, Reply::Hang, "{line}");
        }
    }

    #[test]
    fn how_a_tunnel_ended_tells_nothing_of_the_service() {
        for end in ["", " cut=client_left", " cut=service_broke_off", " cut=upgrade_idle_timeout"] {
            for asked in ["GET / 101", "CONNECT db.example:5432 200", "CONNECT /chat 200"] {
                let line = format!("2026-03-01T10:00:00.000Z ::1 {asked} 3600000.0ms endpoint=a{end} id=7");
                let request = LoggedRequest::parse(line.as_bytes()).expect("a line");
                let Known::Behaviour(behaviour) = Known::of(&request, UNTOLD) else {
                    panic!("{line} tells nothing");
                };
                assert!(behaviour.is_well(), "{line}: {behaviour:?}");
                assert_eq!((behaviour.took, behaviour.leaves_after), (UNTOLD, None), "{line}");
            }
        }
    }

    #[test]
    fn an_answer_of_the_gateway_tells_nothing_of_the_service() {
        for code in ["RATE_LIMITED", "BULKHEAD_FULL", "CIRCUIT_OPEN", "NO_ENDPOINT", "ROUTE_NOT_FOUND"] {
            assert_eq!(of(&format!("503 0.1ms error={code}")), Known::Nothing, "{code}");
        }
        assert_eq!(of("504 0.1ms error=DEADLINE_EXCEEDED"), Known::Nothing, "it ended in the queue");
        assert_eq!(of("413 9.0ms endpoint=a error=BODY_TOO_LARGE"), Known::Nothing);
    }

    #[test]
    fn a_line_without_a_duration_gets_the_one_that_is_given() {
        let line = b"::1 - - [01/Mar/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5";
        let Known::Behaviour(behaviour) = Known::of(&LoggedRequest::parse(line).expect("a line"), UNTOLD)
        else {
            panic!("it was answered");
        };
        assert_eq!((behaviour.took, behaviour.is_well()), (UNTOLD, true));
    }
}
