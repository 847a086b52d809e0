//! What the benches share: servers that are started and stopped, what they use, and where it was measured.

pub mod machine;
pub mod process;
pub mod product;
pub mod statistics;
pub mod tools;
pub mod usage;
pub mod workdir;

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Puts `report` at the end of the file `path`, which is made if there is none.
pub fn append(path: &Path, report: &str) -> Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let appended = file.and_then(|mut file| write!(file, "\n{report}"));
    appended.with_context(|| format!("append to {}", path.display()))
}
