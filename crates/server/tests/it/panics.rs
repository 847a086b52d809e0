//! A panic fails its own request and no other, also in the build that is shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Client, Origin, Server};

/// The server built as it is shipped, but for the path that panics.
fn dist() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "dist", "-p", "intertie", "--features", "test-panic"])
        .args(["--target-dir", "target/test-panic"])
        .current_dir(&root)
        .status();
    assert!(built.expect("cargo runs").success());
    root.join("target/test-panic/dist/intertie")
}

#[tokio::test]
async fn a_panic_in_a_dist_server_fails_one_request() {
    let origin = Origin::statuses(&[200]).await;
    let traffic = format!(
        "[service.origin]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.\"/**\"]\nto = \"origin\"\n\
         bulkhead = {{ concurrent = 1 }}\n",
        origin.address
    );
    let binary = tokio::task::spawn_blocking(dist).await.expect("built");
    let binary = binary.to_str().expect("UTF-8");
    let server = Server::start_binary(binary, "threads = 1", &traffic);
    let client = Client::new(server.address);
    for _ in 0..3 {
        let failed = client.get("/panic").await;
        assert_eq!((failed.status, failed.code().as_str()), (500, "INTERNAL_ERROR"));
        assert_eq!(client.get("/").await.status, 200);
    }
    let http2 = client.http2();
    assert_eq!(http2.get("/panic").await.status, 500);
    assert_eq!(http2.get("/").await.status, 200);
    assert_eq!(server.metric("intertie_requests_total{route=\"\",status=\"5xx\"}").await, 4.0);
}
