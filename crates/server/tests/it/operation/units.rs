//! The units in `packaging/systemd`, as systemd reads them.

use crate::cli::root;
use crate::clients::require;

/// What systemd does not know it only warns of, and does without.
#[test]
fn systemd_has_nothing_to_say_of_the_units() {
    require("systemd-analyze", "systemd");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["intertie.service", "intertie.socket"] {
        let text = std::fs::read_to_string(root().join("packaging/systemd").join(name)).expect("a unit");
        // There, where it is installed at other times.
        let text = text.replace("/usr/bin/intertie", env!("CARGO_BIN_EXE_intertie"));
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let verify = || {
        let mut command = std::process::Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]);
        let output =
            command.args(["./intertie.service", "./intertie.socket"]).current_dir(folder.path()).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The machine's own units are none of ours.
        said.lines().filter(|line| line.contains("intertie.s")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(verify(), Vec::<String>::new());
    let service = folder.path().join("intertie.service");
    let text = std::fs::read_to_string(&service).expect("a unit").replace("ProtectHome=", "ProtectHomes=");
    std::fs::write(&service, text).expect("written");
    assert!(verify().concat().contains("ProtectHomes"), "it is read at all: {:?}", verify());
}
