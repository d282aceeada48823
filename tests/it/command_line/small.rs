//! `auris models`, `devices`, `openapi`, `completions` and `worker`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;

use super::{command, fails, run, succeeds, text};
use crate::harness::repository;

#[test]
fn the_options_fit_together() {
    auris::cli::Cli::command().debug_assert();
}

#[test]
fn the_list_of_models_reports_what_is_installed_as_text_and_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let list = ["models", "list", "--models-dir", text(folder.path())];
    let table = succeeds(&list).stdout;
    let row = |name: &str| table.lines().find(|line| line.split(' ').next() == Some(name));
    assert!(row("base-q8_0").unwrap().ends_with("/ggml-base-q8_0.bin"), "{table}");
    assert_eq!(row("demo"), None);
    assert!(row("tiny").unwrap().ends_with("multilingual  -"), "{table}");

    let rows: Vec<Value> =
        serde_json::from_str(&succeeds(&[&list[..], &["--json"]].concat()).stdout).unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert!(Path::new(row("base-q8_0")["path"].as_str().unwrap()).is_file());
    assert_eq!(row("tiny")["path"], Value::Null);
    assert_eq!(row("tiny")["multilingual"], true);
    assert_eq!(row("tiny")["size_bytes"], 77_691_713);
    assert_eq!(rows.len(), table.lines().count() - 1);
}

#[test]
fn a_pull_without_network_says_which_file_to_put_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ggml-tiny.bin");
    let pull = ["models", "pull", "tiny", "--offline", "--models-dir", text(folder.path())];
    fails(
        &mut command(&pull),
        &["/ggml-tiny.bin at ", text(&path), "https://", "`--models base-q8_0`"],
    );
    assert!(super::files_below(folder.path()).is_empty());
}

#[test]
fn a_pull_of_what_is_there_prints_its_path() {
    let pull = succeeds(&["models", "pull", "base-q8_0", "--offline"]);
    assert_eq!(pull.stdout, succeeds(&["models", "path", "base-q8_0"]).stdout);
    assert!(Path::new(pull.stdout.trim_end()).is_file(), "{pull:?}");
}

#[test]
fn only_a_downloaded_model_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("ggml-mine.bin");
    fs::write(&mine, "a model").unwrap();
    let rm = |name| ["models", "rm", name, "--models-dir", text(folder.path())].map(str::to_owned);
    let rm = |name| command(&rm(name).each_ref().map(String::as_str));
    fails(&mut rm("base-q8_0"), &["cannot remove model `base-q8_0`", "installed with the program"]);
    succeeds(&["models", "path", "base-q8_0"]);
    fails(&mut rm("tiny"), &["cannot remove model `tiny`: it is not in "]);
    assert_eq!(run(&mut rm("mine")).stdout, format!("removed {}\n", mine.display()));
    assert!(!mine.exists());
}

#[test]
fn devices_are_a_table_with_a_reason_for_each_that_is_not_used() {
    let table = succeeds(&["devices", "--slots", "2", "--threads", "1"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("DEVICE   SLOTS     MEMORY "), "{table}");
    assert!(lines[1].starts_with("cpu      2 "), "{table}");
    assert!(lines[2].starts_with("cuda     not used: "), "{table}");
}

#[test]
fn the_committed_openapi_document_is_the_one_of_this_program() {
    let committed = fs::read_to_string(repository("openapi/openapi.json")).unwrap_or_default();
    let printed = succeeds(&["openapi"]).stdout;
    assert!(
        committed == printed,
        "openapi/openapi.json is out of date: run `cargo run -- openapi > openapi/openapi.json`"
    );
    let document: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> =
        paths.flat_map(|path| path.as_object().unwrap().values()).collect();
    // Generated clients name their methods after them.
    let ids: HashSet<&str> =
        operations.iter().filter_map(|operation| operation["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len(), "{ids:?}");
    for reference in printed.lines().filter_map(|line| line.trim().strip_prefix("\"$ref\": \"#")) {
        let pointer = reference.trim_end_matches(['"', ',']);
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
}

#[test]
fn completions_know_the_subcommands() {
    let script = succeeds(&["completions", "bash"]).stdout;
    assert!(script.contains("_auris()") && script.contains("healthcheck"), "{script}");
}

#[test]
fn a_reader_that_has_read_enough_is_no_error_and_a_full_disk_is() {
    for arguments in [["openapi"].as_slice(), &["completions", "bash"], &["models", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = run(command(arguments).stdout(writer));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran = run(command(arguments).stdout(full));
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("cannot be written to standard output"), "{ran:?}");
    }
}
