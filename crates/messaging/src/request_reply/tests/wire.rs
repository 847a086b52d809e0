use intertie_core::trace::TraceContext;
use proptest::prelude::*;

use crate::Pattern;
use crate::request_reply::wire::{self, Address, Unanswerable};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);

fn address(request: &Envelope) -> Result<Address, Unanswerable> {
    let allowed: Pattern = "**.replies".parse().expect("a pattern");
    wire::address(request, &allowed, NOW)
}

#[test]
fn a_request_says_where_until_when_and_of_which_flow() {
    let deadline = Timestamp::from_unix_seconds(1_030);
    let request = wire::addressed(question("7"), &name("shop.replies"), deadline);
    assert_eq!(request.correlation_id().as_deref(), Some("7"), "it begins a flow");
    let remaining = Some(Duration::from_secs(30));
    assert_eq!(address(&request), Ok(Address { reply_to: name("shop.replies"), remaining }));

    let of_flow = question("7").with_correlation_id("order-1").expect("text");
    let request = wire::addressed(of_flow, &name("shop.replies"), deadline);
    assert_eq!(request.correlation_id().as_deref(), Some("order-1"), "it goes on with one");
}

#[test]
fn a_request_that_can_not_be_answered_says_why() {
    let to = |queue: &str| question("7").with_reply_to(queue).expect("text");
    let until = |deadline: &str| to("shop.replies").with_extension("deadline", deadline).expect("text");
    for (request, expected) in [
        (question("7"), Err(Unanswerable::NoReplyTo)),
        (to("../etc"), Err(Unanswerable::InvalidReplyTo)),
        (to("orders"), Err(Unanswerable::NotAllowed)),
        (until("soon"), Err(Unanswerable::InvalidDeadline)),
        (to("shop.replies"), Ok(None)),
        (until("1970-01-01T00:16:40Z"), Ok(Some(Duration::ZERO))),
        (until("1969-12-31T23:59:59Z"), Ok(Some(Duration::ZERO))),
        (until("1970-01-01T00:16:41Z"), Ok(Some(SECOND))),
    ] {
        assert_eq!(address(&request).map(|address| address.remaining), expected, "{request:?}");
    }
    let far = address(&until("9999-12-31T23:59:59Z")).expect("a time").remaining;
    assert!(far.is_some_and(|far| far.as_secs() > 500 * 365 * 24 * 3600));
}

#[test]
fn a_reply_is_caused_by_its_request_and_of_its_flow_and_trace() {
    let trace =
        TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("a trace");
    let request = question("7").with_correlation_id("order-1").expect("text").with_trace(trace);
    let forged = Envelope::new("1", "/sales", "quote.given").expect("an envelope");
    let forged = forged.with_causation_id("8").and_then(|forged| forged.with_correlation_id("order-2"));
    let forged = forged.and_then(|forged| forged.with_extension(FAILURE_CODE, "x")).expect("text");
    let reply = wire::reply(&request, forged);
    assert_eq!(reply.causation_id().as_deref(), Some("7"));
    assert_eq!(reply.correlation_id().as_deref(), Some("order-1"));
    assert_eq!(reply.trace(), Some(trace));
    assert!(wire::read(reply).is_ok(), "an answer is no failure, whatever it was made from");
}

#[test]
fn what_others_write_into_failures_is_cut_and_not_believed() {
    let reply = question("7").with_extension(FAILURE_CODE, "a b\u{e4}".repeat(100)).expect("text");
    let reply = reply.with_extension(FAILURE_RETRY_AFTER, "99999999999999999999999").expect("text");
    let reply = reply.with_extension(FAILURE_RETRYABLE, "perhaps").expect("text");
    let fault = wire::read(reply.clone()).expect_err("a failure");
    assert_eq!(
        (fault.code().len(), fault.is_retryable(), fault.hint()),
        (Fault::CODE_BYTES_MAX, false, None)
    );
    let reply = reply.with_extension(FAILURE_RETRYABLE, true).expect("a truth");
    assert_eq!(wire::read(reply).expect_err("a failure").hint(), None);
}

proptest! {
    #[test]
    fn a_failure_arrives_as_it_was_said(
        code in ".{0,80}",
        message in ".{0,1200}",
        wait in prop::option::of(0..u64::MAX),
        retryable: bool,
    ) {
        let fault = if retryable { Fault::retryable(&code, message) } else { Fault::permanent(&code, message) };
        let fault = match wait {
            Some(wait) => fault.retry_after(Duration::from_millis(wait)),
            None => fault,
        };
        let reply = wire::failure(&question("7"), &fault, &name("sales"));
        prop_assert_eq!(reply.r#type(), FAILED);
        prop_assert_eq!(wire::read(reply), Err(fault));
    }

    #[test]
    fn whatever_a_request_says_is_answered_or_refused(
        reply_to in "[a-z.]{0,20}|.{1,20}",
        deadline in ".{1,20}",
        flow in "[a-z]{0,3}",
    ) {
        let request = [("replyto", reply_to), ("deadline", deadline), ("correlationid", flow)]
            .into_iter()
            .fold(question("7"), |request, (name, text)| {
                request.clone().with_extension(name, text).unwrap_or(request)
            });
        if let Ok(address) = address(&request) {
            prop_assert!(address.reply_to.as_str().ends_with("replies"));
        }
        let reply = wire::failure(&request, &Fault::permanent("no", "no"), &name("sales"));
        prop_assert!(reply.correlation_id().is_some_and(|flow| !flow.is_empty()));
    }
}
