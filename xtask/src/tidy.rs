//! What no compiler checks.

mod links;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cargo, root};

/// Licences that everything we ship may have. An `OR` needs one of them, an `AND` all.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// The crates that each crate may depend on, from ARCHITECTURE.md.
const LAYERS: &[(&str, &[&str])] = &[
    ("intertie-core", &[]),
    ("intertie-resilience", &["intertie-core"]),
    ("intertie-discovery", &["intertie-core"]),
    ("intertie-observe", &["intertie-core"]),
    ("intertie-idempotency", &["intertie-core"]),
    ("intertie-messaging", &["intertie-core", "intertie-idempotency", "intertie-resilience"]),
    ("intertie-simulated-disk", &[]),
    // Itself with the bugs that its tests seed.
    (
        "intertie-engine-embedded",
        &[
            "intertie-core",
            "intertie-idempotency",
            "intertie-messaging",
            "intertie-simulated-disk",
            "intertie-engine-embedded",
        ],
    ),
    ("intertie-engine-postgres", &["intertie-core", "intertie-idempotency", "intertie-messaging"]),
    ("intertie-gateway", &["intertie-core", "intertie-resilience", "intertie-discovery"]),
    (
        "intertie",
        &[
            "intertie-core",
            "intertie-resilience",
            "intertie-discovery",
            "intertie-engine-embedded",
            "intertie-gateway",
            "intertie-messaging",
            "intertie-observe",
            "intertie-fuzz",
        ],
    ),
    ("intertie-fuzz", &["intertie-core", "intertie-gateway", "intertie-observe"]),
    (
        "intertie-examples",
        &["intertie-core", "intertie-resilience", "intertie-discovery", "intertie-messaging"],
    ),
    ("xtask", &[]),
];

/// A file longer than this has more than one subject.
const LINES_MAX: usize = 650;

/// Runs every check and reports all that is wrong.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata()?;
    let mut wrong = Vec::new();
    packages(&metadata, &mut wrong)?;
    layers(&metadata, &mut wrong);
    dependencies_have_reasons(&metadata, &mut wrong)?;
    patterns(&mut wrong)?;
    sources(&mut wrong)?;
    links::check(&root(), &mut wrong)?;
    if wrong.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("not tidy:\n  {}", wrong.join("\n  "));
}

fn metadata() -> Result<Value> {
    let output = cargo().args(["metadata", "--format-version", "1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Licences and sources of everything; and that what is tested is everything: each manifest in the tree is
/// a member, since the gate tests the workspace.
fn packages(metadata: &Value, wrong: &mut Vec<String>) -> Result<()> {
    let members: BTreeSet<&str> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    let mut manifests = BTreeSet::new();
    for package in list(metadata, "packages") {
        let (name, id) = (text(package, "name"), text(package, "id"));
        if members.contains(id) {
            manifests.insert(PathBuf::from(text(package, "manifest_path")));
            continue;
        }
        let licence = text(package, "license");
        if !allowed(licence) {
            wrong.push(format!("{name} has the licence `{licence}`, which is not among the allowed ones"));
        }
        let source = text(package, "source");
        if !source.starts_with("registry+") && !source.starts_with("sparse+") {
            wrong.push(format!("{name} comes from `{source}`, which is no registry"));
        }
    }
    for manifest in files(&root(), "Cargo.toml")? {
        let own_workspace = manifest == root().join("Cargo.toml")
            || ["bench", "fuzz"].iter().any(|own| manifest.starts_with(root().join(own)));
        if !own_workspace && !manifests.contains(&manifest) {
            wrong.push(format!("{} is no member of the workspace, so nothing tests it", manifest.display()));
        }
    }
    Ok(())
}

fn allowed(expression: &str) -> bool {
    let known = |licence: &str| LICENCES.contains(&licence.trim().trim_matches(['(', ')']).trim());
    let expression = expression.replace('/', " OR ");
    if known(&expression) {
        return true;
    }
    expression.split(" AND ").all(|alternatives| alternatives.split(" OR ").any(known))
}

fn layers(metadata: &Value, wrong: &mut Vec<String>) {
    let members: BTreeSet<&str> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    let ours: Vec<&Value> =
        list(metadata, "packages").filter(|package| members.contains(text(package, "id"))).collect();
    let names: BTreeSet<&str> = ours.iter().map(|package| text(package, "name")).collect();
    for package in ours {
        let name = text(package, "name");
        let Some((_, may)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            wrong.push(format!("{name} has no place in the layers of xtask/src/tidy.rs"));
            continue;
        };
        for dependency in list(package, "dependencies").map(|dependency| text(dependency, "name")) {
            if names.contains(dependency) && !may.contains(&dependency) {
                wrong.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
}

/// Each direct dependency stands in docs/dependencies.md.
fn dependencies_have_reasons(metadata: &Value, wrong: &mut Vec<String>) -> Result<()> {
    let page = read("docs/dependencies.md")?;
    let members: BTreeSet<&str> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    let direct: BTreeSet<&str> = list(metadata, "packages")
        .filter(|package| members.contains(text(package, "id")))
        .flat_map(|package| list(package, "dependencies"))
        .map(|dependency| text(dependency, "name"))
        .filter(|name| !LAYERS.iter().any(|(layer, _)| layer == name))
        .collect();
    for name in direct {
        if !page.contains(&format!("`{name}`")) {
            wrong.push(format!("docs/dependencies.md gives no reason for `{name}`"));
        }
    }
    Ok(())
}

/// Each pattern has its page, its example and its line in the README.
fn patterns(wrong: &mut Vec<String>) -> Result<()> {
    let readme = read("README.md")?;
    for line in read("crates/resilience/src/lib.rs")?.lines() {
        let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) else {
            continue;
        };
        let page = format!("docs/patterns/{}.md", module.replace('_', "-"));
        let example = format!("examples/src/{module}.rs");
        for file in [&page, &example] {
            if !root().join(file).exists() {
                wrong.push(format!("pattern `{module}` has no {file}"));
            }
            if !readme.contains(file.as_str()) {
                wrong.push(format!("README.md does not name {file}"));
            }
        }
    }
    let headings = ["About", "Usage", "Defaults", "Telemetry", "Diagram", "Anti-patterns"];
    for page in files(&root().join("docs/patterns"), ".md")? {
        let content = fs::read_to_string(&page)?;
        let found: Vec<&str> = content.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        if found != headings {
            wrong.push(format!("{} has the headings {found:?} instead of {headings:?}", page.display()));
        }
    }
    let shop = read("examples/shop/intertie.toml")?;
    if !readme.contains(shop.trim()) {
        wrong.push("README.md does not show examples/shop/intertie.toml as it is".to_owned());
    }
    Ok(())
}

/// Every source file is used, has one subject, and ends in a newline.
fn sources(wrong: &mut Vec<String>) -> Result<()> {
    for folder in ["crates", "examples", "xtask", "bench/src"] {
        for file in files(&root().join(folder), ".rs")? {
            let content = fs::read_to_string(&file)?;
            let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            let is_test = file.ends_with("tests.rs") || shown.contains("/tests/");
            if content.lines().count() > LINES_MAX && !is_test {
                wrong.push(format!("{shown} has more than {LINES_MAX} lines: split it by subject"));
            }
            if !content.ends_with('\n') {
                wrong.push(format!("{shown} does not end in a newline"));
            }
            if !is_declared(&file)? {
                wrong.push(format!("{shown} is a dead file: no `mod` declares it"));
            }
        }
    }
    Ok(())
}

/// Whether a file is a crate's root or its parent module declares it.
fn is_declared(file: &Path) -> Result<bool> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let Some(folder) = file.parent() else { return Ok(true) };
    let is_root = matches!(stem, "lib" | "main" | "build") || folder.ends_with("src/bin");
    if is_root {
        return Ok(true);
    }
    let (name, parents) = if stem == "mod" {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        (name, folder.parent().map(candidates).unwrap_or_default())
    } else {
        (stem, candidates(folder))
    };
    let declaration = format!("mod {name};");
    for parent in parents.into_iter().filter(|parent| parent.exists() && parent != file) {
        if fs::read_to_string(parent)?.contains(&declaration) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn candidates(folder: &Path) -> Vec<PathBuf> {
    ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .map(|name| folder.join(name))
        .chain([folder.with_extension("rs")])
        .collect()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("failed to read {path}"))
}

/// All files below `folder` whose name ends in `ending`, build output aside.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions_are_read() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "AGPL-3.0 OR GPL-3.0"] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
