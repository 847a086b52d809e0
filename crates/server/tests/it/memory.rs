//! What a process keeps of a file with very many routes: its anonymous memory, in a debug build, at rest.
//!
//! That bounds what a route holds on the heap, which is the same in every build. The binary's own pages, which are
//! many in a debug build, are not counted: what a process as it is shipped takes of the machine is measured by
//! `cargo xtask bench gateway --memory`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::{Client, Origin, Server};

/// The target of `docs/benchmarks.md` for the whole process.
const KEPT_MAX_KIB: u64 = 60 * 1024;

/// After this a process is at rest, here as in the benchmark: allocators give back what loading left behind, but
/// not at once.
const REST: Duration = Duration::from_secs(3);

/// As what the benchmark serves, with a limiter for each route; `version` tells one file from the next.
fn many_routes(origin: &Origin, version: usize) -> String {
    let mut file = format!(
        "# {version}\n\
         [policy.standard]\ndeadline = \"30s\"\nattempt_timeout = \"5s\"\nretry = {{ preset = \"quick\", attempts = 3 }}\n\
         circuit_breaker = \"standard\"\nbulkhead = {{ concurrent = 10000 }}\n\
         rate_limiter = {{ limit = \"1000000/s\", burst = 1000000 }}\n\n\
         [service.origin]\nendpoints = [{{ at = \"{}\" }}]\n",
        origin.address
    );
    for route in 0..10_000 {
        let _ = write!(
            file,
            "\n[route.\"/service-{route}/items/{{id}}\"]\nto = \"origin\"\nuse = \"standard\"\n"
        );
    }
    file
}

#[tokio::test]
async fn ten_thousand_routes_keep_little_anonymous_memory() {
    let origin = Origin::statuses(&[200]).await;
    let server = Server::start_with("threads = 2", &many_routes(&origin, 0));
    assert_eq!(Client::new(server.address).get("/service-9999/items/7").await.status, 200);
    tokio::time::sleep(REST).await;
    let kept = server.own_memory_kib();
    assert!(kept <= KEPT_MAX_KIB, "{kept} KiB");
}
