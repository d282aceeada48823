//! Rules that the compiler does not know, read from the source text. Layers are crates, and unsafe
//! code is forbidden in each but one: that needs no test of its own, only that it stays so.

use std::collections::{BTreeMap, BTreeSet};
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
    (&["hyper", "hyper_util"], &["src/http/connections/"]),
    (&["axum"], &["src/http/"]),
    (&["governor", "subtle"], &["src/http/keys.rs", "src/http/key_attempts.rs"]),
    (&["sqlx"], &["crates/auris-jobs/src/store/"]),
    (&["hmac"], &["crates/auris-jobs/src/webhook/"]),
    (&["rten"], &["crates/auris-audio/src/vad/model.rs"]),
    (&["libloading"], &["crates/auris-engine/src/driver.rs"]),
    (
        &["tokio::process", "process::Command"],
        &["crates/auris-scheduler/src/supervisor/", "crates/auris-audio/src/ffmpeg.rs"],
    ),
    (
        &["env::var", "env::vars", "env::var_os"],
        &[
            "src/config/",
            "crates/auris-core/src/probe/",
            "crates/auris-scheduler/src/supervisor/command.rs",
        ],
    ),
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

    /// The folder of its crate (`src` for the server's) and its module's path below the crate's
    /// root, which is empty for the root itself.
    fn module(&self) -> Option<(&str, Vec<&str>)> {
        let (folder, file) = match self.path.split_once("/src/") {
            Some(split) => split,
            None => ("src", self.path.strip_prefix("src/")?),
        };
        let mut parts: Vec<&str> = file.strip_suffix(".rs")?.split('/').collect();
        parts.pop_if(|last| matches!(*last, "mod" | "lib"));
        Some((folder, parts))
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
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The names of the types that `code` defines, except associated and local aliases.
fn type_names(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        let item = line.trim_start();
        let item = match item.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ")?.1,
            None => item.strip_prefix("pub ").unwrap_or(item),
        };
        let (kind, rest) = item.split_once(' ')?;
        let is_type = match kind {
            "struct" | "enum" | "trait" | "union" => true,
            "type" => !line.starts_with(' '),
            _ => false,
        };
        let name = rest.split(|c| !is_word(c)).next();
        name.filter(|name| is_type && name.starts_with(char::is_uppercase))
    })
}

/// The names that follow `crate::`, or as many `super::` as lead to the crate's root from a module
/// that is `depth` below it.
fn root_names(code: &str, depth: usize) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for prefix in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&prefix) {
            let is_whole = !code[..at].ends_with("super::") && !code[..at].ends_with(is_word);
            let rest = &code[at + prefix.len()..];
            let Some(rest) = Some(rest).filter(|rest| is_whole && !rest.starts_with("super::"))
            else {
                continue;
            };
            let Some(list) = rest.strip_prefix('{') else {
                names.extend(rest.split(|c| !is_word(c)).next());
                continue;
            };
            let mut depth = 0;
            let end = list.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth < 0
            });
            // Names within inner braces are no modules of the root, and do no harm unless they are
            // called like one.
            let parts = list[..end.unwrap_or(list.len())].split(['{', '}', ',']);
            names.extend(parts.filter_map(|part| part.trim().split(|c| !is_word(c)).next()));
        }
    }
    names
}

/// The modules that can be reached from `start` by following `uses`.
fn reachable<'a>(uses: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = uses.get(start).into_iter().flatten().copied().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(uses.get(module).into_iter().flatten());
        }
    }
    reached
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
fn a_type_name_has_one_meaning() {
    let sources = sources();
    let mut files: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_product()) {
        for name in type_names(&source.product_code()) {
            files.entry(name.to_owned()).or_default().insert(&source.path);
        }
    }
    assert!(files.len() > 200, "the types are not where they are looked for");
    let again = files.iter().filter(|(_, files)| files.len() > 1);
    let found: Vec<_> = again.map(|(name, files)| format!("{name}: {files:?}")).collect();
    assert_none("types of one name are defined in several files", &found);
}

#[test]
fn modules_of_a_crate_do_not_use_each_other_in_a_circle() {
    let sources = sources();
    let product = || sources.iter().filter(|source| source.is_product());
    let codes: Vec<_> = product()
        .filter_map(|source| Some((source.module()?, source.product_code())))
        .filter(|((_, path), _)| !path.is_empty())
        .collect();
    // For each crate, its top-level modules and the others that each uses.
    let mut crates: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for ((folder, path), code) in &codes {
        let uses = crates.entry(folder).or_default().entry(path[0]).or_default();
        uses.extend(root_names(code, path.len()).into_iter().filter(|name| *name != path[0]));
    }
    let mut found = Vec::new();
    for (folder, uses) in &crates {
        for (module, used) in uses {
            let circular = used.iter().filter(|used| reachable(uses, used).contains(module));
            found.extend(circular.map(|used| format!("{folder}: {module} uses {used}")));
        }
    }
    assert_none("modules use each other in a circle", &found);
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
