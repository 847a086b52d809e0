//! That links between pages lead somewhere: to a file that there is, and to one of its headings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::files;

/// Tells of each link in a page below `root` that leads nowhere. Pages among sources are rustdoc's, which looks at
/// their links itself.
pub(super) fn check(root: &Path, wrong: &mut Vec<String>) -> Result<()> {
    let mut pages = BTreeMap::new();
    let is_source = |path: &Path| {
        path.strip_prefix(root).is_ok_and(|path| path.components().any(|part| part.as_os_str() == "src"))
    };
    for path in files(root, ".md")?.into_iter().filter(|path| !is_source(path)) {
        let text = fs::read_to_string(&path)?;
        pages.insert(path, text);
    }
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        pages.iter().map(|(path, text)| (path.as_path(), anchors(text))).collect();
    for (path, text) in &pages {
        for (line, link) in links(text) {
            if !leads_somewhere(path, link, &anchors) {
                let shown = path.strip_prefix(root).unwrap_or(path).display();
                wrong.push(format!("{shown}:{line} links to `{link}`, which there is not"));
            }
        }
    }
    Ok(())
}

/// Whether a `link` in the page at `path` leads to a file and a heading. What is not ours is not asked.
fn leads_somewhere(path: &Path, link: &str, anchors: &BTreeMap<&Path, BTreeSet<String>>) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target =
        if file.is_empty() { path.to_owned() } else { resolved(path.parent().unwrap_or(path), file) };
    match anchor {
        None => target.exists(),
        Some(anchor) => anchors.get(target.as_path()).is_some_and(|anchors| anchors.contains(anchor)),
    }
}

/// The path that `link` leads to from `folder`, without `..`.
fn resolved(folder: &Path, link: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path
}

/// The lines of a page that are not code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// What `[…](…)` leads to, with the numbers of the lines.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        line.split("](").skip(1).filter_map(move |rest| Some((number, rest.split_once(')')?.0)))
    })
}

/// What can stand behind `#` in a link to the page: its headings as they are written in addresses.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor = anchor(heading.trim());
        let mut repeated = (1..).map(|number| format!("{anchor}-{number}"));
        let mut free = anchor.clone();
        while !anchors.insert(free.clone()) {
            free.clone_from(&repeated.next().unwrap_or_default());
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# One `key`: its *meaning*\n\n## Two\n## Two\n#hash\n```sh\n# no heading\n[a](code)\n```\n\
        See [a](other.md#two-1), [b](#two) and [c](https://example.org/#x).\n";

    #[test]
    fn headings_are_anchors_as_addresses_write_them() {
        assert_eq!(anchors(PAGE), ["one-key-its-meaning", "two", "two-1"].map(str::to_owned).into());
    }

    #[test]
    fn links_are_those_of_the_prose() {
        let found: Vec<_> = links(PAGE).collect();
        assert_eq!(found, [(10, "other.md#two-1"), (10, "#two"), (10, "https://example.org/#x")]);
    }

    #[test]
    fn a_link_leads_to_a_file_and_a_heading_that_there_are() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (page, other) = (folder.join("docs/page.md"), folder.join("other.md"));
        let anchors = BTreeMap::from([(page.as_path(), anchors(PAGE)), (other.as_path(), anchors("# Two"))]);
        for (link, leads) in [
            ("#two", true),
            ("#three", false),
            ("../other.md#two", true),
            ("../other.md#two-1", false),
            ("../src/../other.md#two", true),
            ("other.md#two", false),
            ("../Cargo.toml", true),
            ("../src", true),
            ("../Cargo.tom", false),
            ("https://example.org", true),
        ] {
            assert_eq!(leads_somewhere(&page, link, &anchors), leads, "{link}");
        }
    }
}
