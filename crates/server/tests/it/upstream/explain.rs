//! The way to a service, as `explain` tells it.

use crate::cli::{folder, intertie};

fn explained(service: &str) -> String {
    let text = format!(
        "[service.shop]\nendpoints = [{{ at = \"shop.internal:7001\" }}]\n{service}\n[route.\"/**\"]\nto = \"shop\"\n"
    );
    let run = intertie(folder(text).path(), &["explain", "intertie.toml", "GET", "http://a/"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (_, towards) = run.stdout.split_once("towards service `shop`:\n").expect("the way to it");
    towards.split_once("\n\n").expect("the endpoints").0.to_owned()
}

#[test]
fn each_value_is_told_with_its_origin() {
    assert_eq!(
        explained(""),
        "  protocol                http1  (built-in default)\n  tls                     off  (built-in default)"
    );
    assert_eq!(
        explained("tls = true\nprotocol = \"negotiate\""),
        "  protocol                negotiate  (intertie.toml:4)
  tls.roots               those of the system  (built-in default)
  tls.server_name         the host of each endpoint  (built-in default)
  tls.certificate         none  (built-in default)
  tls.key                 none  (built-in default)
  http2.streams_max       100  (built-in default)
  http2.connections_max   16  (built-in default)
  http2.stream_window     256KiB  (built-in default)
  http2.connection_window 25MiB  (built-in default)
  http2.ping_interval     never  (built-in default)
  http2.ping_timeout      10s  (built-in default)"
    );
    let all = "protocol = \"http2\"\n\
        tls = { roots = \"r.crt\", server_name = \"shop.example\", certificate = \"c.crt\", key = \"c.key\" }\n\
        [service.shop.http2]\nstreams_max = 7\nconnections_max = 3\nstream_window = \"64KiB\"\n\
        connection_window = \"128KiB\"\nping_interval = \"30s\"\nping_timeout = \"5s\"\n";
    assert_eq!(
        explained(all),
        "  protocol                http2  (intertie.toml:3)
  tls.roots               r.crt  (intertie.toml:4)
  tls.server_name         shop.example  (intertie.toml:4)
  tls.certificate         c.crt  (intertie.toml:4)
  tls.key                 c.key  (intertie.toml:4)
  http2.streams_max       7  (intertie.toml:6)
  http2.connections_max   3  (intertie.toml:7)
  http2.stream_window     64KiB  (intertie.toml:8)
  http2.connection_window 128KiB  (intertie.toml:9)
  http2.ping_interval     30s  (intertie.toml:10)
  http2.ping_timeout      5s  (intertie.toml:11)"
    );
}
