//! Files with queues: what is refused, and where.

use crate::cli::{check, folder, intertie};

#[test]
fn a_file_of_queues_alone_is_a_good_one() {
    check("[queue.orders]\nttl = \"1h\"\nneeds = [\"browse\"]\n", 0, &["0 routes"]);
    let explained = intertie(folder("[queue.orders]\n").path(), &["explain", "intertie.toml"]);
    for words in ["127.0.0.1:8081", "data  (built-in default)"] {
        assert!(explained.stdout.contains(words), "{explained:?}");
    }
    let none = folder("[service.a]\nendpoints = [{ at = \"127.0.0.1:1\" }]\n[route.\"/**\"]\nto = \"a\"\n");
    let explained = intertie(none.path(), &["explain", "intertie.toml"]);
    assert!(!explained.stdout.contains("8081"), "{explained:?}");
}

#[test]
fn what_is_wrong_with_queues_is_shown_where_it_stands() {
    for (text, expected) in [
        (
            "[queue.a]\nmax_deliveris = 3\n",
            &["unknown key `max_deliveris`", "did you mean `max_deliveries`?", ":2:1"][..],
        ),
        ("[queue.a]\nttl = \"1\"\n", &[":2:"]),
        ("[queue.a]\nmessage_bytes_max = \"0B\"\n", &["no message has 0 bytes", ":2:1"]),
        ("[queue.a]\nredelivery = { base = \"0s\" }\n", &["0s is no time", ":2:16"]),
        (
            "[queue.a]\ndead_letter = \"faild\"\n[queue.failed]\n",
            &["there is no queue `faild`", "did you mean `failed`?", ":2:1"],
        ),
        (
            "[queue.a]\ndead_letter = \"b\"\n[queue.b]\ndead_letter = \"a\"\n",
            &["in a circle: a \u{2192} b \u{2192} a", ":2:1"],
        ),
        ("[queue.a]\ndead_letter = \"b\"\n[queue.b]\nauto_delete = \"1h\"\n", &["can not go to `b`", ":2:1"]),
        ("[queue.a]\ndurability = { copies = 3, synced = 2 }\n", &["keeps one copy", ":2:1"]),
        ("[queue.\"a b\"]\n", &["`a b` is no name of a queue", ":1:8"]),
        ("[server]\napi = \"127.0.0.1:9901\"\n[queue.a]\n", &["`127.0.0.1:9901` is used twice", ":2:1"]),
        ("[server]\nlisten = [\"0.0.0.0:8081\"]\n[queue.a]\n", &["`0.0.0.0:8081` is used twice", ":2:1"]),
        (
            "[server]\napi = \"0.0.0.0:8081\"\n[queue.a]\n",
            &["`0.0.0.0:8081`, and speaks without TLS", "`0.0.0.0:8081`, and serves everyone", ":2:1"],
        ),
        (
            "[server]\napi_certificate = \"api\"\n[queue.a]\n[certificate.apis]\nchain = \"a\"\nkey = \"b\"\n",
            &["there is no certificate `api`", "did you mean `apis`?", ":2:1"],
        ),
        ("[server]\ndata = \"\"\n[queue.a]\n", &["data is empty", ":2:1"]),
        ("[server.api_limits]\nbody_bytes_max = \"9MiB\"\n[queue.a]\n", &["at most 8MiB", ":2:1"]),
        ("[server.api_limits]\nbatch_max = 10001\n[queue.a]\n", &["from 1 to 10000", ":2:1"]),
        ("[server.api_limits]\nheader_bytes_max = \"1KiB\"\n[queue.a]\n", &["from 8KiB to 1MiB", ":2:1"]),
        ("[server.api_limits]\nsend_timeout = \"1ms\"\n[queue.a]\n", &["at least 100ms", ":2:1"]),
        ("[server.api_limits]\nheader_timeout = \"0s\"\n[queue.a]\n", &["could come in time", ":2:1"]),
    ] {
        check(text, 2, expected);
    }
}
