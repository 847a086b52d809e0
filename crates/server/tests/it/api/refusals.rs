//! What is not done, and what is said of it.

use http::Method;

use super::{Caller, start};

const QUEUES: &str = "[queue.orders]\nmessage_bytes_max = \"1KiB\"\ndepth_max = 2\ndelays = false\n[queue.own]\nexclusive = true\n";
const MESSAGES: &str = "/api/v1/queues/orders/messages";
const STRUCTURED: &[(&str, &str)] = &[("content-type", "application/cloudevents+json")];
const BATCH: &[(&str, &str)] = &[("content-type", "application/cloudevents-batch+json")];

/// A request, and what it is answered: status, code, pointer, and words of the detail or all of `Allow`.
type Case<'a> = (&'a Method, &'a str, &'a [(&'static str, &'a str)], &'a str, u16, &'a str, &'a str, &'a str);

#[tokio::test]
async fn each_wrong_request_is_answered_by_its_code_and_points_to_what_is_wrong() {
    // Three events in a batch are allowed here.
    let limits = format!("{}[server.api_limits]\nbatch_max = 3\n", super::API);
    let server = crate::harness::Server::start_with(&limits, QUEUES);
    let caller = Caller::of(&server);
    let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"T"}"#;
    let large =
        format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"T","data":"{}"}}"#, "x".repeat(2000));
    let post = Method::POST;
    let leases = "/api/v1/queues/orders/leases";
    let settlements = "/api/v1/queues/orders/settlements";
    let cases: &[Case<'_>] = &[
        (
            &post,
            "/api/v1/queues/ordres/messages",
            STRUCTURED,
            event,
            404,
            "QUEUE_NOT_FOUND",
            "",
            "did you mean `orders`?",
        ),
        (
            &post,
            "/api/v1/queues/orders/mesages",
            STRUCTURED,
            event,
            404,
            "NOT_FOUND",
            "",
            "did you mean `messages`?",
        ),
        (&Method::PUT, MESSAGES, STRUCTURED, event, 405, "METHOD_NOT_ALLOWED", "", "GET, HEAD, POST"),
        (&post, MESSAGES, STRUCTURED, "{", 400, "INVALID_EVENT", "", "JSON"),
        (
            &post,
            MESSAGES,
            STRUCTURED,
            r#"{"specversion":"1.0","source":"/a","type":"T"}"#,
            400,
            "INVALID_EVENT",
            "/id",
            "id",
        ),
        (
            &post,
            MESSAGES,
            BATCH,
            &format!(r#"[{event},{{"specversion":"2"}}]"#),
            400,
            "INVALID_EVENT",
            "/1/specversion",
            "version",
        ),
        (&post, MESSAGES, &[], "x", 400, "INVALID_EVENT", "/specversion", "specversion"),
        (
            &post,
            MESSAGES,
            &[("content-type", "application/cloudevents+avro")],
            "x",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "",
            "",
        ),
        (&post, MESSAGES, STRUCTURED, &large, 413, "MESSAGE_TOO_LARGE", "", "`message_bytes_max`"),
        (&post, MESSAGES, BATCH, &format!("[{event},{large}]"), 413, "MESSAGE_TOO_LARGE", "/1", "1024"),
        (
            &post,
            MESSAGES,
            BATCH,
            &format!("[{}]", [event; 4].join(",")),
            413,
            "BATCH_TOO_LARGE",
            "",
            "batch_events_max",
        ),
        (
            &post,
            MESSAGES,
            &[STRUCTURED[0], ("intertie-delay", "1s")],
            event,
            400,
            "NOT_DECLARED",
            "",
            "delays",
        ),
        (
            &post,
            MESSAGES,
            &[STRUCTURED[0], ("intertie-delay", "soon")],
            event,
            400,
            "BAD_REQUEST",
            "",
            "intertie-delay",
        ),
        (
            &post,
            MESSAGES,
            &[STRUCTURED[0], ("intertie-priority", "7")],
            event,
            400,
            "NOT_DECLARED",
            "",
            "priorities",
        ),
        (&post, &format!("{MESSAGES}?sice=1"), STRUCTURED, event, 400, "BAD_REQUEST", "", "sice"),
        (&post, leases, &[], "{}", 400, "BAD_REQUEST", "/consumer", "name"),
        (&post, leases, &[], r#"{"consumer":"a b"}"#, 400, "BAD_REQUEST", "/consumer", "ASCII"),
        (&post, leases, &[], r#"{"consumer":"w","most":4}"#, 400, "LIMIT_EXCEEDED", "/most", "batch_max"),
        (&post, leases, &[], r#"{"consumer":"w","wait":"1h"}"#, 400, "LIMIT_EXCEEDED", "/wait", "wait_max"),
        (
            &post,
            leases,
            &[],
            r#"{"consumer":"w","visibilityTimeout":"30 days"}"#,
            400,
            "LIMIT_EXCEEDED",
            "",
            "visibility_timeout_max",
        ),
        (
            &post,
            leases,
            &[],
            r#"{"consumer":"w","wiat":"1s"}"#,
            400,
            "BAD_REQUEST",
            "/wiat",
            "did you mean `wait`?",
        ),
        (
            &post,
            leases,
            &[],
            r#"{"consumer":"w","visibilityTimeout":"0s"}"#,
            400,
            "BAD_REQUEST",
            "/visibilityTimeout",
            "over before",
        ),
        (
            &post,
            settlements,
            &[("content-type", "text/plain")],
            r#"{"lease":"l","outcome":"ack"}"#,
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "",
            "application/json",
        ),
        (
            &post,
            leases,
            &[("origin", "http://shop.example")],
            r#"{"consumer":"w"}"#,
            403,
            "FORBIDDEN",
            "",
            "no page of another site",
        ),
        (
            &post,
            MESSAGES,
            &[STRUCTURED[0], ("host", "rebound.example")],
            event,
            403,
            "FORBIDDEN",
            "",
            "`localhost`",
        ),
        (
            &post,
            MESSAGES,
            &[STRUCTURED[0], ("intertie-priority", "255")],
            event,
            400,
            "BAD_REQUEST",
            "",
            "from 0 to 254",
        ),
        (&post, settlements, &[], r#"[{"lease":"l"}]"#, 400, "BAD_REQUEST", "/0/outcome", "`ack`"),
        (
            &post,
            settlements,
            &[],
            r#"{"lease":"l","outcome":"ack","after":"1s"}"#,
            400,
            "BAD_REQUEST",
            "/after",
            "retry",
        ),
    ];
    for (method, path, headers, body, status, code, pointer, words) in cases {
        let said = caller.ask((*method).clone(), path, headers, body).await;
        assert_eq!((said.status, said.code()), (*status, *code), "{path} {body}: {said:?}");
        let error = &said.body["errors"][0];
        let at = error["source"]["pointer"].as_str().unwrap_or_default();
        assert_eq!(at, *pointer, "{path} {body}: {error}");
        assert!(said.detail().contains(words) || said.answer.header("allow") == Some(*words), "{error}");
        assert_eq!(error["status"], status.to_string());
        assert!(error["meta"]["requestId"].is_string() && error["meta"]["timestamp"].is_string());
    }
    assert_eq!(caller.depth("orders", "ready").await, 0, "nothing of it was done");
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_an_exclusive_one_who_has_it() {
    let server = start(QUEUES);
    let caller = Caller::of(&server);
    caller.stored("orders", "1").await;
    caller.stored("orders", "2").await;
    let full = caller.send("orders", "3", &[]).await;
    assert_eq!((full.status, full.code()), (429, "QUEUE_FULL"));
    assert!(full.answer.header("retry-after").is_some());
    caller.stored("own", "1").await;
    caller.take("own").await;
    let other = caller.post("/api/v1/queues/own/leases", r#"{"consumer":"other"}"#).await;
    assert_eq!((other.status, other.code()), (409, "QUEUE_EXCLUSIVE"));
    assert!(other.detail().contains("`worker`"), "{other:?}");
}

#[tokio::test]
async fn problem_documents_are_for_those_who_ask_for_them() {
    let server = start(QUEUES);
    let caller = Caller::of(&server);
    let accept = [("accept", "application/problem+json")];
    let said = caller.ask(Method::POST, "/api/v1/queues/orders/leases", &accept, r#"{"consumer":7}"#).await;
    assert_eq!(said.answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(said.body["status"], 400);
    assert_eq!((&said.body["code"], &said.body["pointer"]), (&"BAD_REQUEST".into(), &"/consumer".into()));
}
