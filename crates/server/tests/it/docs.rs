//! The documents say what is so: their files load, their transcripts are real, each error has its page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use http::StatusCode;
use intertie_gateway::proxy::ErrorCode;

use crate::cli::{check, folder, intertie, root, script_violations, violations, without_series};
use crate::tls::Authority;

/// A fenced block: where it begins, what stands after its fence, and its lines.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    place: String,
    language: String,
    text: String,
}

/// The fenced blocks of `text`, indented ones included.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
        let text = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
        blocks.push(Block {
            place: format!("{name}:{}", number + 1),
            language: language.trim().to_owned(),
            text,
        });
    }
    blocks
}

/// README.md and every page under docs.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.extension().and_then(std::ffi::OsStr::to_str) {
                Some("md") => found.push(path),
                _ if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

fn all_blocks() -> Vec<Block> {
    let name = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
    documents().iter().flat_map(|(path, text)| blocks(&name(path), text)).collect()
}

#[test]
fn blocks_are_found_wherever_they_stand() {
    let text =
        "a\n```toml\nx = 1\n\n  y = 2\n```\n- b\n\n  ```toml,wrong\n  [z]\n  ```\n```sh\n# ```toml\n```\n";
    let block = |place: &str, language: &str, text: &str| Block {
        place: place.to_owned(),
        language: language.to_owned(),
        text: text.to_owned(),
    };
    assert_eq!(
        blocks("page.md", text),
        [
            block("page.md:2", "toml", "x = 1\n\n  y = 2\n"),
            block("page.md:9", "toml,wrong", "[z]\n"),
            block("page.md:12", "sh", "# ```toml\n")
        ]
    );
}

#[test]
fn files_in_the_documents_load() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for block in all_blocks() {
        let wrong = match block.language.as_str() {
            "toml" => false,
            "toml,wrong" => true,
            // For `simulate`, with which another test runs them.
            "toml,script" => continue,
            other if other.starts_with("toml") => panic!("{}: what is `{other}`?", block.place),
            _ => continue,
        };
        count += 1;
        let folder = folder(&block.text);
        let authority = Authority::new("clients");
        authority.write_into(folder.path());
        authority.issue(folder.path(), "shop", &["shop.example"]);
        authority.revoke(folder.path(), "clients.crl", &[], 2090);
        let services = Authority::new("services");
        services.write_into(folder.path());
        services.issue(folder.path(), "gateway", &["gateway.shop.example"]);
        let run = intertie(folder.path(), &["check", "intertie.toml"]);
        match (wrong, run.code) {
            (false, 2) => faults.push(format!("{} is refused:\n{}", block.place, run.stderr)),
            (false, _) => {
                let found = violations(&block.text);
                if !found.is_empty() {
                    faults.push(format!("{} is marked by editors: {found:#?}", block.place));
                }
            }
            (true, 0) => {
                faults.push(format!("{} is shown as wrong, and nothing is said against it", block.place));
            }
            (true, _) => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 0, "there are files in the documents");
}

/// A ```text block that begins with a message is what `check` says of the file before it.
#[test]
fn transcripts_of_check_are_real() {
    let mut file: Option<Block> = None;
    for block in all_blocks() {
        let is_message =
            ["error: ", "warning: ", "note: "].iter().any(|severity| block.text.starts_with(severity));
        if ["toml", "toml,wrong"].contains(&block.language.as_str()) {
            file = Some(block);
        } else if block.language == "text" && is_message {
            let file = file.as_ref().unwrap_or_else(|| panic!("{}: of which file?", block.place));
            let code =
                if block.text.contains("error: ") { 2 } else { i32::from(block.text.contains("warning: ")) };
            let run = check(&file.text, code, &[]);
            let said = format!("{}{}", run.stderr, without_series(&run.stdout));
            assert!(
                said.contains(block.text.trim_end()),
                "{} is of another day; now it is\n{said}",
                block.place
            );
        }
    }
}

/// A `toml,script` block is a script for the file before it, and a ```text block after it that begins with
/// a route is what `simulate` says of both.
#[test]
fn scripts_in_the_documents_run_and_their_transcripts_are_real() {
    let (mut file, mut said, mut count) = (None, None, 0);
    for block in all_blocks() {
        match block.language.as_str() {
            "toml" => file = Some(block),
            "toml,script" => {
                assert_eq!(script_violations(&block.text), Vec::<String>::new(), "{}", block.place);
                let folder = folder(&file.as_ref().expect("a file before the script").text);
                std::fs::write(folder.path().join("faults.toml"), &block.text).expect("written");
                let run = intertie(folder.path(), &["simulate", "intertie.toml", "--script", "faults.toml"]);
                assert!(run.code < 2 && run.stderr.is_empty(), "{}:\n{}", block.place, run.stderr);
                said = Some(run.stdout);
                count += 1;
            }
            "text" if block.text.starts_with("route `") => {
                let said = said.as_deref().unwrap_or_else(|| panic!("{}: of which script?", block.place));
                assert_eq!(block.text, said, "{} is of another day", block.place);
            }
            _ => {}
        }
    }
    assert!(count > 0, "there are scripts in the documents");
}

#[test]
fn every_error_code_has_its_page() {
    let folder = root().join("docs/errors");
    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("docs/errors") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().to_uppercase().replace('-', "_");
        if name != "README" && name != "INDEX" {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            assert!(pages.insert((name, text)), "{} is one of two pages", path.display());
        }
    }
    let named: BTreeSet<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let of_gateway: Vec<_> = ErrorCode::ALL.into_iter().map(|code| (code.code(), code.status())).collect();
    let of_api = codes_of_the_api();
    let codes: BTreeSet<_> = of_gateway.iter().chain(&of_api).map(|(code, _)| *code).collect();
    assert_eq!(named, codes);
    for (code, status) in of_gateway.iter().chain(&of_api) {
        let text = pages.iter().find_map(|(name, text)| (name == code).then_some(text));
        for words in [code, status.as_str()] {
            assert!(text.is_some_and(|text| text.contains(words)), "the page of {code} says `{words}`");
        }
    }
    let in_gateway = capitals(include_str!("../../../gateway/src/proxy/error_code.rs"));
    let of_gateway: BTreeSet<_> = of_gateway.into_iter().map(|(code, _)| code).collect();
    assert_eq!(of_gateway, in_gateway, "ALL holds every code");
}

/// What stands between quotation marks in `source`, in capitals: the codes.
fn capitals(source: &'static str) -> BTreeSet<&'static str> {
    let quoted = source.split('"').skip(1).step_by(2);
    quoted
        .filter(|text| text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .collect()
}

/// The codes of the API with their statuses, as they are declared in its source.
fn codes_of_the_api() -> Vec<(&'static str, StatusCode)> {
    let declared = include_str!("../../src/api/failure.rs").split("(Http::").skip(1);
    let read = |text: &'static str| {
        let (name, rest) = text.split_once(',').expect("a status");
        let code = rest.split('"').nth(1).expect("a code");
        let mut known = (400..600).filter_map(|status| StatusCode::from_u16(status).ok());
        let reason = |status: &StatusCode| status.canonical_reason().unwrap_or_default().to_uppercase();
        let status = known.find(|status| reason(status).replace(' ', "_") == name);
        (code, status.unwrap_or_else(|| panic!("`{name}` is no status")))
    };
    declared.map(read).collect()
}

#[test]
fn the_examples_file_has_nothing_said_against_it() {
    let text = std::fs::read_to_string(root().join("examples/shop/intertie.toml")).expect("the shop's file");
    check(&text, 0, &["3 routes, 3 services, 0 warnings"]);
}
