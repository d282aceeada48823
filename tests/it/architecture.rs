//! Rules that the compiler does not know, read from the source text. Layers are crates, and unsafe
//! code is forbidden in each but one: that needs no test of its own, only that it stays so.

use std::collections::BTreeMap;
use std::fs;

use walkdir::WalkDir;

use super::harness::repository;

/// The most lines of a file.
const MOST_LINES: usize = 400;

/// The crate with unsafe code.
const ENGINE: &str = "auris-engine";

/// Words that only some files may use, given as beginnings of paths. Crates own their dependencies
/// by Cargo.toml; this is what stands below a crate.
const OWNERS: &[(&[&str], &[&str])] = &[
    (&["hyper", "hyper_util"], &["src/http/connections.rs"]),
    (&["axum"], &["src/http/"]),
    (&["governor", "subtle"], &["src/http/keys.rs"]),
    (&["sqlx"], &["crates/auris-jobs/src/store/"]),
    (&["hmac"], &["crates/auris-jobs/src/webhook/"]),
    (&["rten"], &["crates/auris-audio/src/vad/model.rs"]),
    (&["libloading"], &["crates/auris-engine/src/driver.rs"]),
    (
        &["tokio::process", "process::Command"],
        &["crates/auris-scheduler/src/supervisor/", "crates/auris-audio/src/ffmpeg.rs"],
    ),
    (&["env::var", "env::vars", "env::var_os"], &["src/config/", "crates/auris-core/src/probe/"]),
];

struct Source {
    /// Below the repository, such as `src/http/mod.rs`.
    path: String,
    text: String,
}

impl Source {
    fn is_product(&self) -> bool {
        let is_test = ["/tests/", "/tests.rs", "/benches/", "/build.rs"];
        !self.path.starts_with("tests/") && !is_test.iter().any(|part| self.path.contains(part))
    }

    /// The code up to the unit tests at its end, without the lines that are comments.
    fn product_code(&self) -> String {
        let (product, _) = match self.text.find("#[cfg(test)]\nmod tests {") {
            Some(at) => self.text.split_at(at),
            None => (self.text.as_str(), ""),
        };
        code(product)
    }
}

fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["src", "crates", "tests"] {
        for entry in WalkDir::new(repository(folder)).sort_by_file_name() {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|extension| extension == "rs") {
                let path = entry.path().strip_prefix(repository("")).unwrap().to_str().unwrap();
                let text = fs::read_to_string(entry.path()).unwrap();
                sources.push(Source { path: path.to_owned(), text });
            }
        }
    }
    assert!(sources.len() > 50, "the sources are not where they are looked for");
    sources
}

/// Each crate's name with its Cargo.toml.
fn manifests() -> BTreeMap<String, String> {
    let folders = fs::read_dir(repository("crates")).unwrap().map(|entry| entry.unwrap().path());
    folders
        .map(|folder| {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(folder.join("Cargo.toml")).unwrap())
        })
        .collect()
}

/// Whether `code` has `word` as a whole.
fn has_word(code: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(joins) && !code[at + word.len()..].starts_with(joins))
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The dependencies of a manifest that programs are linked with.
fn dependencies(manifest: &str) -> &str {
    let (_, rest) = manifest.split_once("\n[dependencies]").unwrap();
    rest.split("\n[").next().unwrap()
}

#[test]
fn no_library_links_the_engine_and_only_the_engine_has_unsafe_code() {
    let server = fs::read_to_string(repository("Cargo.toml")).unwrap();
    for (name, manifest) in manifests().into_iter().chain([("auris".to_owned(), server)]) {
        assert!(!dependencies(&manifest).contains(ENGINE), "{name} depends on {ENGINE}");
        let folder = if name == "auris" { String::new() } else { format!("crates/{name}/") };
        let lib = fs::read_to_string(repository(&format!("{folder}src/lib.rs"))).unwrap();
        let forbids = lib.contains("#![forbid(unsafe_code)]");
        assert_eq!(forbids, name != ENGINE, "{name}");
    }
}

#[test]
fn libraries_and_system_calls_stay_with_their_owners() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_product()) {
        let code = source.product_code();
        for (words, owners) in OWNERS {
            let owned = owners.iter().any(|owner| source.path.starts_with(owner));
            for word in words.iter().filter(|word| !owned && has_word(&code, word)) {
                found.push(format!("{}: `{word}` belongs to {}", source.path, owners.join(", ")));
            }
        }
    }
    assert_none("something is used outside of its owner", &found);
}

#[test]
fn a_file_holds_one_idea() {
    let lines = |source: &Source| source.text.lines().count();
    let long = sources().into_iter().filter(|source| lines(source) > MOST_LINES);
    let found: Vec<_> = long.map(|source| format!("{}: {}", source.path, lines(&source))).collect();
    assert_none("files are too long to be one idea", &found);
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not find itself.
    let mut marks = vec![format!("#[{}", "ignore")];
    marks.extend(["todo", "unimplemented", "dbg"].map(|name| format!("{name}!(")));
    let mut found = Vec::new();
    for source in sources() {
        let code = code(&source.text);
        let left = marks.iter().filter(|mark| code.contains(mark.as_str()));
        found.extend(left.map(|mark| format!("{}: {mark}", source.path)));
    }
    assert_none("something is unfinished", &found);
}

#[test]
fn the_architecture_page_names_every_crate() {
    let page = fs::read_to_string(repository("ARCHITECTURE.md")).unwrap();
    let missing = manifests().into_keys().filter(|name| !page.contains(&format!("`{name}`")));
    assert_none("ARCHITECTURE.md does not name these crates", &missing.collect::<Vec<_>>());
}
