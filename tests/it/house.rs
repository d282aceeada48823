//! Rules of the house that the compiler does not know, read from the source text.

use std::fs;

use walkdir::WalkDir;

use super::harness::repository;

/// The most lines of a file.
const MOST_LINES: usize = 400;

/// Layers that run in the server process, where no engine may be called.
const SERVER_LAYERS: [u32; 2] = [3, 4];

/// The layer of what runs in the child.
const CHILD_LAYER: u32 = 2;

/// Words that only some places may use, given as paths below `src` or beginnings of them.
const OWNERS: &[(&[&str], &[&str])] = &[
    (&["axum"], &["http/"]),
    (&["hyper", "hyper_util"], &["http/connections.rs"]),
    (&["tower_http", "utoipa_axum", "utoipa_swagger_ui"], &["http/"]),
    (&["utoipa"], &["http/", "format/", "jobs/view.rs"]),
    (&["icu_segmenter", "unicode_width"], &["format/cue/wrap.rs"]),
    (&["metrics_exporter_prometheus"], &["http/state.rs", "serve.rs"]),
    (&["whisper_rs", "nvml_wrapper"], &["engine/"]),
    (&["libloading"], &["engine/driver.rs"]),
    (&["libc"], &["engine/allocator.rs"]),
    (&["symphonia", "symphonia_adapter_libopus", "rubato"], &["audio/"]),
    (&["rten"], &["audio/vad/model.rs"]),
    (&["governor", "subtle"], &["http/keys.rs"]),
    (&["toml", "getrandom"], &["config/keys.rs"]),
    (&["reqwest"], &["models/", "jobs/webhook/", "jobs/error.rs", "commands.rs"]),
    (&["sqlx"], &["jobs/store/"]),
    (&["hmac"], &["jobs/webhook/"]),
    (&["tokio::process", "process::Command"], &["supervisor/", "audio/ffmpeg.rs"]),
    (&["env::var", "env::vars", "env::var_os"], &["config/"]),
    (&["unsafe", "unsafe_code"], &["engine/"]),
    (
        &["anyhow"],
        &["telemetry.rs", "output.rs", "config/", "serve.rs", "batch", "commands.rs", "doctor/"],
    ),
];

/// A source file.
struct Source {
    /// Below the repository, such as `src/http/mod.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The path below `src`; `None` for tests of all kinds.
    fn product_path(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
        (!is_test).then_some(path)
    }

    /// The code up to the unit tests at its end, without the lines that are comments.
    fn product_code(&self) -> String {
        let (product, _) = match self.text.find("#[cfg(test)]\n") {
            Some(at) if inline_tests_follow(&self.text[at..]) => self.text.split_at(at),
            _ => (self.text.as_str(), ""),
        };
        code(product)
    }
}

fn inline_tests_follow(text: &str) -> bool {
    text.lines().nth(1).is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
}

fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
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

/// The modules in the order of `src/lib.rs`, each with its layer: the number that begins the
/// comment above it.
fn modules() -> Vec<(String, u32)> {
    let lib = fs::read_to_string(repository("src/lib.rs")).unwrap();
    let mut layer = None;
    let mut modules = Vec::new();
    for line in lib.lines() {
        if let Some(comment) = line.strip_prefix("// ") {
            layer = comment.split(':').next().and_then(|number| number.parse().ok());
        }
        if let Some(name) = line.strip_prefix("pub mod ") {
            let layer = layer.expect("a module stands below the comment with its layer");
            modules.push((name.trim_end_matches(';').to_owned(), layer));
        }
    }
    modules
}

/// What follows `crate::` in `code`, each place by itself.
fn used_modules(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Why a module must not use another; `None` if it may.
fn objection(modules: &[(String, u32)], user: &str, used: &str) -> Option<String> {
    let place = |name: &str| modules.iter().position(|(module, _)| module == name);
    let (Some(user_place), Some(used_place)) = (place(user), place(used)) else {
        return Some(format!("`{user}` or `{used}` is no module of src/lib.rs"));
    };
    let (user_layer, used_layer) = (modules[user_place].1, modules[used_place].1);
    if SERVER_LAYERS.contains(&user_layer) && used_layer == CHILD_LAYER {
        return Some(format!("`{user}` is of the server and `{used}` of the child"));
    }
    (used_place > user_place).then(|| format!("`{user}` stands above `{used}` in src/lib.rs"))
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

#[test]
fn modules_use_only_what_stands_above_them() {
    let modules = modules();
    let mut found = Vec::new();
    for source in sources() {
        let Some(path) = source.product_path() else { continue };
        let user = path.split(['/', '.']).next().unwrap();
        if ["lib", "main"].contains(&user) {
            continue;
        }
        for used in used_modules(&source.product_code()).filter(|used| *used != user) {
            let reason = objection(&modules, user, used);
            found.extend(reason.map(|reason| format!("{}: {reason}", source.path)));
        }
    }
    assert_none("layers are crossed", &found);
}

#[test]
fn a_crossing_of_layers_is_seen() {
    let modules = modules();
    let check = |user: &str, code: &str| {
        used_modules(code).find_map(|used| objection(&modules, user, used)).is_some()
    };
    assert!(check("audio", "use crate::http::AppState;"), "a lower layer uses a higher one");
    assert!(check("scheduler", "let e = crate::engine::load();"), "the server calls an engine");
    assert!(check("http", "use crate::worker;"), "the server runs a worker");
    assert!(check("supervisor", "use crate::scheduler::X;"), "order within a layer");
    assert!(check("http", "use crate::{audio, ipc};"), "a list hides what is used");
    assert!(!check("commands", "use crate::worker; use crate::http;"));
}

#[test]
fn libraries_and_system_calls_stay_with_their_owners() {
    let mut found = Vec::new();
    for source in sources() {
        let Some(path) = source.product_path() else { continue };
        let code = source.product_code();
        for (words, owners) in OWNERS {
            let owned = owners.iter().any(|owner| path.starts_with(owner));
            for word in words.iter().filter(|word| !owned && has_word(&code, word)) {
                found.push(format!("{}: `{word}` belongs to {}", source.path, owners.join(", ")));
            }
        }
    }
    assert_none("something is used outside of its owner", &found);
}

#[test]
fn every_owner_still_uses_what_it_owns() {
    let sources = sources();
    for (words, owners) in OWNERS {
        for owner in *owners {
            let uses = sources.iter().any(|source| {
                let own = source.product_path().is_some_and(|path| path.starts_with(owner));
                own && words.iter().any(|word| has_word(&source.product_code(), word))
            });
            assert!(uses, "{owner} uses none of {words:?} any more: take it off the list");
        }
    }
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
fn the_architecture_page_names_every_module() {
    let page = fs::read_to_string(repository("ARCHITECTURE.md")).unwrap();
    let missing = modules().into_iter().filter(|(name, _)| !page.contains(&format!("`{name}`")));
    let found: Vec<_> = missing.map(|(name, _)| name).collect();
    assert_none("ARCHITECTURE.md does not name these modules", &found);
}
