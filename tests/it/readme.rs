//! The commands of README.md and docs/ do what they say: each runs as it stands, against a real
//! server.
//!
//! They are those in blocks marked `sh`. What cannot be run here is marked `console` or `text`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::harness::{DEMO, Server, auris, repository};

/// Where README.md has its server.
const ADDRESS: &str = "http://127.0.0.1:8000";

/// Stands in the output before that of each command. The command's number follows.
const MARK: &str = "@@ command ";

/// How long the commands of a block may take, in seconds.
const PATIENCE_SECONDS: &str = "300";

/// The blocks marked `sh` in a Markdown text.
fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if language == "sh" {
                blocks.push(block.join("\n"));
            }
        }
    }
    blocks
}

/// The commands of a block: a line each, or several that are joined by a backslash.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Whether a command is one of those that may be run: it asks the server or the program.
fn may_run(command: &str) -> bool {
    let word = command.split_whitespace().next().unwrap_or_default();
    let assigned = word.split_once('=').filter(|(name, _)| name.chars().all(char::is_alphanumeric));
    matches!(word, "curl" | "auris")
        || assigned.is_some_and(|(_, value)| value.starts_with("$(curl"))
}

/// Whether what a command printed has an error of the server in it.
fn tells_an_error(output: &str) -> bool {
    let is_error = |text: &str| {
        serde_json::from_str::<Value>(text).is_ok_and(|body| body["error"]["message"].is_string())
    };
    is_error(output) || output.lines().any(|line| is_error(line.trim_start_matches("data: ")))
}

/// A folder that looks like the repository, so that nothing is written into the real one.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(repository("")).unwrap().map(Result::unwrap) {
        symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// Runs the commands of a text; gives their number, or what went wrong first.
fn run(markdown: &str, server: &Server) -> Result<usize, String> {
    let place = workplace();
    let mut count = 0;
    for block in blocks(markdown) {
        let commands = commands(&block.replace(ADDRESS, &server.url("")));
        if let Some(command) = commands.iter().find(|command| !may_run(command)) {
            return Err(format!("`{command}` cannot be run here: mark the block as `console`"));
        }
        check(&commands, place.path())?;
        count += commands.len();
    }
    Ok(count)
}

/// Runs the commands of a block in one shell, since later ones may use variables of earlier ones.
fn check(commands: &[String], place: &Path) -> Result<(), String> {
    let marked = commands
        .iter()
        .enumerate()
        .map(|(n, command)| format!("printf '\\n{MARK}{n}\\n'\n{command}\n"));
    let script = marked.collect::<String>();
    let program = Path::new(env!("CARGO_BIN_EXE_auris")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    // The variables that the program is tested without are taken from its own command.
    let mut shell = Command::new("timeout");
    for (name, value) in auris().get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell
        .args([PATIENCE_SECONDS, "bash", "-euo", "pipefail", "-c", &script])
        .env("PATH", path)
        .env("HOME", place)
        .envs([("AURIS_MODELS", DEMO), ("AURIS_OFFLINE", "true")])
        .current_dir(place)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let sections = printed.split(MARK).skip(1).filter_map(|section| section.split_once('\n'));
    let answers: Vec<&str> = sections.map(|(_, answer)| answer.trim()).collect();
    let told = |n: usize| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("`{}` printed:\n{}\n{errors}", commands[n], answers[n])
    };
    if let Some(n) = answers.iter().position(|answer| tells_an_error(answer)) {
        return Err(told(n));
    }
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", output.status, told(answers.len() - 1))),
    }
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    let server = Server::demo(&[]).await;
    let docs = fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain([repository("README.md")]);
    let text: String = pages.map(|page| fs::read_to_string(page).unwrap() + "\n").collect();
    let count = run(&text, &server);
    assert!(
        count.clone().is_ok_and(|count| count >= 12),
        "{}",
        match count {
            Ok(count) => format!("only {count} commands are left in blocks marked `sh`"),
            Err(failure) => failure,
        }
    );
}

#[tokio::test]
async fn a_command_that_does_not_work_is_seen() {
    let server = Server::fake("none", &[]).await;
    let run = |commands: &str| run(&format!("Text\n\n```sh\n{commands}\n```\n"), &server);
    assert_eq!(run("# a comment\n\ncurl http://127.0.0.1:8000/healthz \\\n  --silent"), Ok(1));
    assert_eq!(run("id=$(curl http://127.0.0.1:8000/healthz)\ncurl $id --version"), Ok(2));
    for (commands, reason) in [
        ("curl http://127.0.0.1:8000/v1/nothing", "`curl http"),
        ("curl http://127.0.0.1:8000/healthz\ncurl --no-such-option", "--no-such-option` printed"),
        ("auris nothing", "unrecognized subcommand"),
        ("curl http://127.0.0.1:8000/healthz | false", "exit status: 1"),
        ("make run", "mark the block as `console`"),
    ] {
        let failure = run(commands).unwrap_err();
        assert!(failure.contains(reason), "{commands}: {failure}");
    }
}
