//! A test that runs again by itself in a network of its own.

use std::process::Command;

const ALONE: &str = "INTERTIE_TEST_ALONE";

/// Runs `test` where it stands when it was started by the other half of this: the test `name` of this binary once
/// more, after `set_up`, as root of namespaces of its own that `unshare` makes.
pub(super) fn alone(name: &str, namespaces: &[&str], set_up: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(test);
    }
    let output = Command::new("unshare")
        .args(namespaces)
        .args(["--map-root-user", "sh", "-c", &format!("ip link set lo up && {set_up} && exec \"$@\""), "sh"])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "")
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
