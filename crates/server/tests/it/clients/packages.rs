//! Packages of Python and of Node that clients of others need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::require;

/// The longest that a package may take to come.
const INSTALL_MAX: Duration = Duration::from_secs(300);

/// Has `install` bring a package to the folder `name`, unless it is there. It is there for all runs.
async fn installed(name: &str, tool: &str, install: &[&str]) -> PathBuf {
    static INSTALLING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = INSTALLING.lock().await;
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let folder = packages.join(name);
    if !folder.is_dir() {
        std::fs::create_dir_all(&packages).expect("a folder");
        // Renamed when it is complete, so that a run that was interrupted leaves nothing half.
        let making = tempfile::tempdir_in(&packages).expect("a temporary folder");
        let into = making.path().join(name);
        let mut command = Command::new(tool);
        command.args(install).arg(&into).kill_on_drop(true);
        let output = tokio::time::timeout(INSTALL_MAX, command.output()).await;
        let output = output.expect("it ends").expect("it runs");
        assert!(output.status.success(), "{tool} {install:?}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&into, &folder).expect("renamed");
    }
    folder
}

/// A language with one package of a registry.
#[derive(Debug)]
pub(crate) struct Language {
    tool: &'static str,
    packages: (&'static str, PathBuf),
}

impl Language {
    /// Python with a package of PyPI, `name==version`.
    pub(crate) async fn python(package: &str) -> Self {
        require("python3", "python3");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package, "--target"];
        let packages = installed(&package.replace("==", "-"), "python3", &install).await;
        Self { tool: "python3", packages: ("PYTHONPATH", packages) }
    }

    /// Node with a package of npm, `name@version`.
    pub(crate) async fn node(package: &str) -> Self {
        require("npm", "npm");
        let install = ["install", "--silent", "--no-audit", "--no-fund", package, "--prefix"];
        let name = package.trim_start_matches('@').replace(['/', '@'], "-");
        let packages = installed(&name, "npm", &install).await.join("node_modules");
        Self { tool: "node", packages: ("NODE_PATH", packages) }
    }

    /// Runs `script`, which ends with whoever started it.
    pub(crate) fn command(&self, script: &Path) -> Command {
        let mut command = Command::new(self.tool);
        command.arg(script).env(self.packages.0, &self.packages.1).kill_on_drop(true);
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "HTTPS_PROXY", "NODE_OPTIONS"] {
            command.env_remove(proxy);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}
