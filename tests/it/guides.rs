//! What docs/ says of doctor's lines, of reasons and of options is what the program says.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use auris_core::probe::{HostKind, UnavailableCause, Wsl};
use auris_models::StandInReason;
use auris_scheduler::supervisor::ExitKind;
use strum::VariantArray;
use walkdir::WalkDir;

use super::harness::repository;

const TROUBLESHOOTING: &str = "docs/gpu-troubleshooting.md";

/// Reasons of fallbacks that are neither a cause nor the end of a worker.
const OTHER_REASONS: [&str; 4] = ["no-room", "crashed-before", "starting", "unloaded"];

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// README.md and the pages below docs/, with their paths.
fn pages() -> Vec<(String, String)> {
    let docs = fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut paths: Vec<String> =
        docs.map(|name| format!("docs/{}", name.to_str().unwrap())).collect();
    paths.push("README.md".to_owned());
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

#[test]
fn every_cause_has_a_section_that_begins_with_its_name() {
    let page = read(TROUBLESHOOTING);
    for cause in UnavailableCause::VARIANTS {
        assert!(page.contains(&format!("\n### `{cause}`\n")), "{cause} has no section");
    }
}

#[test]
fn every_reason_of_a_fallback_is_explained() {
    let page = read(TROUBLESHOOTING);
    let exits = ExitKind::VARIANTS.iter().map(ExitKind::into_str);
    let stand_ins = StandInReason::VARIANTS.iter().map(StandInReason::into_str);
    for reason in exits.chain(stand_ins).chain(OTHER_REASONS) {
        let explained = page.lines().any(|line| {
            let first = line.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
            (line.starts_with("| `") || line.starts_with("### `"))
                && first.contains(&format!("`{reason}`"))
        });
        assert!(explained, "{reason} is not explained");
    }
}

/// A line of doctor.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    id: &'a str,
    /// Cause and fix of one that is no `PASS`.
    trouble: Option<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    /// `None` if it is no such line.
    fn read(line: &'a str) -> Option<Self> {
        let (level, rest) = line.split_once("  ")?;
        if !["PASS", "WARN", "FAIL"].contains(&level) {
            return None;
        }
        let id = rest.split_whitespace().next()?;
        let trouble =
            rest.split_once("  cause: ").and_then(|(_, trouble)| trouble.split_once("  fix: "));
        Some(Self { id, trouble })
    }
}

/// The sources of doctor's checks, and of what is said about workers that have ended, without tests.
fn sources() -> Vec<String> {
    let doctor = WalkDir::new(repository("src/doctor")).into_iter().map(Result::unwrap);
    let paths = doctor.map(walkdir::DirEntry::into_path);
    let paths = paths.chain([repository("crates/auris-scheduler/src/supervisor/exit.rs")]);
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let product = paths.filter(|path| is_source(path) && !path.ends_with("tests.rs")).map(|path| {
        let source = fs::read_to_string(path).unwrap();
        source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
    });
    product.collect()
}

/// The names of doctor's checks: the second argument of `Check::pass`.
fn ids() -> BTreeSet<String> {
    let sources = sources();
    let calls = sources.iter().flat_map(|source| source.split("Check::pass(").skip(1));
    let second = calls.filter_map(|call| call.split(',').nth(1)).map(str::trim);
    second.filter_map(|id| Some(id.strip_prefix('"')?.strip_suffix('"')?.to_owned())).collect()
}

/// The string literals of the sources, with line breaks taken out.
fn literals() -> Vec<String> {
    let mut found = Vec::new();
    for source in sources() {
        let parts: Vec<&str> = source.split('"').collect();
        found.extend(parts.iter().skip(1).step_by(2).map(|literal| joined(literal)));
    }
    found
}

/// Without the line breaks that a backslash takes out.
fn joined(literal: &str) -> String {
    let mut parts = literal.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + part.trim_start())
}

/// Whether `text` is what a format string gives, whatever stands in its braces. One that is little
/// else than braces says nothing.
fn is_made_by(format: &str, text: &str) -> bool {
    let mut fixed = format.split('{').enumerate().map(|(n, part)| match n {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, rest)| rest),
    });
    if fixed.clone().map(str::len).sum::<usize>() < 10 {
        return text == format;
    }
    let Some(mut rest) = fixed.next().and_then(|start| text.strip_prefix(start)) else {
        return false;
    };
    for part in fixed {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || format.ends_with('}')
}

/// Whether doctor can say `problem` of a cause. Some lines begin with what is special about the place.
fn is_said_of(cause: UnavailableCause, problem: &str) -> bool {
    let Some((_, rest)) = problem.split_once(cause.meaning()) else { return false };
    let code = rest.strip_prefix(" (CUDA error ").and_then(|rest| rest.split_once(')'));
    // A driver whose devices are hidden says that there are none.
    code.is_none_or(|(code, _)| {
        cause == UnavailableCause::Hidden
            || UnavailableCause::of_cuda(code.parse().unwrap()) == cause
    })
}

/// What is to be done about a cause, in each place.
fn fixes(cause: UnavailableCause) -> Vec<&'static str> {
    let mut places = Vec::new();
    for wsl in [None, Some(Wsl::One), Some(Wsl::Two)] {
        places.extend([false, true].map(|container| HostKind { wsl, container }));
    }
    places.into_iter().map(|place| cause.fix(place)).collect()
}

/// Why doctor cannot print `line`; `None` if it can.
fn objection(line: &Line<'_>, literals: &[String]) -> Option<String> {
    if !ids().contains(line.id) {
        return Some(format!("there is no check `{}`", line.id));
    }
    let (problem, fix) = line.trouble?;
    let is_literal = |text: &str| literals.iter().any(|literal| is_made_by(literal, text));
    let mut of_cause = UnavailableCause::VARIANTS.to_vec();
    of_cause.retain(|cause| is_said_of(*cause, problem));
    if of_cause.is_empty() && !is_literal(problem) {
        return Some(format!("doctor has no cause `{problem}`"));
    }
    // Checks with words of their own for what is wrong use the fixes of causes as well.
    let candidates =
        if of_cause.is_empty() { UnavailableCause::VARIANTS.to_vec() } else { of_cause };
    let is_fix = candidates.iter().any(|cause| fixes(*cause).contains(&fix));
    (!is_fix && !is_literal(fix)).then(|| format!("doctor has no fix `{fix}`"))
}

#[test]
fn every_quoted_line_of_doctor_can_be_printed() {
    let literals = literals();
    let mut count = 0;
    for (path, page) in pages() {
        for line in page.lines().filter(|line| !line.contains('…')) {
            let Some(line) = Line::read(line) else { continue };
            count += 1;
            assert_eq!(objection(&line, &literals), None, "{path}: {line:?}");
        }
    }
    assert!(count >= 35, "only {count} lines are quoted");
}

#[test]
fn a_line_that_doctor_never_prints_is_seen() {
    let literals = literals();
    let check = |line: &str| objection(&Line::read(line).unwrap(), &literals);
    let fix = "remove it from LD_LIBRARY_PATH and /etc/ld.so.conf.d";
    let cause = "cuda-compat supports data centre GPUs only and breaks others";
    assert_eq!(check(&format!("FAIL  compat-path     /x  cause: {cause}  fix: {fix}")), None);
    for (line, words) in [
        (format!("FAIL  compat          /x  cause: {cause}  fix: {fix}"), "no check"),
        (format!("FAIL  compat-path     /x  cause: it is cold  fix: {fix}"), "no cause"),
        (format!("FAIL  compat-path     /x  cause: {cause}  fix: take a break"), "no fix"),
        (
            "FAIL  libcuda         x  cause: the NVIDIA driver sees no GPU (CUDA error 35): cuInit  \
             fix: look whether `nvidia-smi` lists the GPU, and whether it sits firmly"
                .to_owned(),
            "no cause",
        ),
    ] {
        assert!(check(&line).is_some_and(|reason| reason.contains(words)), "{line}");
    }
    assert_eq!(Line::read("A PASS  for the mountains"), None);
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (path, page) in pages() {
        let folder = repository(&path).parent().unwrap().to_owned();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { repository(&path) } else { folder.join(file) };
            assert!(target.exists(), "{path}: there is no {link}");
            if !part.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let anchors: BTreeSet<String> =
                    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect();
                assert!(anchors.contains(part), "{path}: {link} is no heading");
            }
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} links were found");
}
