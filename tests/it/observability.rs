//! The dashboard, the alerts and the autoscaler ask for what the program tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use promql_parser::parser::{self, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use walkdir::WalkDir;

use super::harness::repository;

const DASHBOARD: &str = "deploy/observability/grafana/dashboards/auris.json";

/// What Grafana puts in.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$instance", ".*")];

/// A name that prometheus-adapter gives.
const MADE_ELSEWHERE: &str = "auris_queue_seconds_mean";

/// What Prometheus adds to a histogram's name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The metrics of `crates/auris-core/src/metrics.rs` by their names.
fn declared() -> BTreeMap<String, Kind> {
    let source = fs::read_to_string(repository("crates/auris-core/src/metrics.rs")).unwrap();
    let metric = |line: &str| {
        let (describe, rest) = line.trim_start().split_once(' ')?;
        let kind = match describe {
            "describe_counter" => Kind::Counter,
            "describe_gauge" => Kind::Gauge,
            "describe_histogram" => Kind::Histogram,
            _ => return None,
        };
        Some((rest.split('"').nth(1)?.to_owned(), kind))
    };
    let metrics: BTreeMap<_, _> = source.lines().filter_map(metric).collect();
    assert!(metrics.len() >= 20, "the metrics are not where they are looked for");
    metrics
}

/// Why `name` cannot be asked for; `None` if it can.
fn objection(name: &str, declared: &BTreeMap<String, Kind>) -> Option<String> {
    let part = PARTS.iter().find_map(|part| name.strip_suffix(part));
    match (declared.get(name), part.and_then(|base| declared.get(base))) {
        (Some(Kind::Histogram), _) => Some(format!("{name} is a histogram: ask for its parts")),
        (Some(_), _) | (None, Some(Kind::Histogram)) => None,
        _ => Some(format!("there is no metric {name}")),
    }
}

/// The names that an expression asks for.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl ExprVisitor for Names {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &parser::Expr) -> Result<bool, Self::Error> {
        let selector = match expr {
            parser::Expr::VectorSelector(selector) => Some(selector),
            parser::Expr::MatrixSelector(matrix) => Some(&matrix.vs),
            _ => None,
        };
        self.0.extend(selector.and_then(|VectorSelector { name, .. }| name.clone()));
        Ok(true)
    }
}

fn asked(expression: &str) -> Result<BTreeSet<String>, String> {
    let with_values = VARIABLES
        .iter()
        .fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    let parsed = parser::parse(&with_values)?;
    let mut names = Names::default();
    let Ok(_) = walk_expr(&mut names, &parsed);
    Ok(names.0)
}

/// Every query of the dashboard.
fn queries() -> Vec<String> {
    let dashboard = fs::read_to_string(repository(DASHBOARD)).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_query_of_the_dashboard_is_promql_over_metrics_that_exist() {
    let declared = declared();
    let queries = queries();
    assert!(queries.len() >= 30, "only {} queries", queries.len());
    for query in queries {
        let names = asked(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(!names.is_empty(), "{query} asks for nothing");
        for name in names.iter().filter(|name| *name != "up") {
            assert_eq!(objection(name, &declared), None, "{query}");
        }
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let asked: BTreeSet<String> =
        queries().iter().flat_map(|query| asked(query).unwrap()).collect();
    for name in declared().keys() {
        let is_asked = asked.iter().any(|other| {
            other == name
                || PARTS.iter().any(|part| other.strip_suffix(part) == Some(name.as_str()))
        });
        assert!(is_asked, "{name} is on no panel");
    }
}

/// Words in the text of alerts, manifests and guides that are names of metrics.
fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("auris_").filter_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        let joins = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text[at..].find(|c: char| !joins(c)).map_or(text.len(), |length| at + length);
        (!before.is_some_and(joins)).then_some(&text[at..end])
    })
}

#[test]
fn alerts_manifests_and_guides_name_metrics_that_exist() {
    let declared = declared();
    let mut count = 0;
    for folder in ["deploy", "docs"] {
        for entry in WalkDir::new(repository(folder)).into_iter().map(Result::unwrap) {
            if !entry.file_type().is_file() {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            for name in mentioned(&text).filter(|name| *name != MADE_ELSEWHERE) {
                count += 1;
                // A text may name a histogram as a whole.
                let known = declared.contains_key(name) || objection(name, &declared).is_none();
                assert!(known, "{}: there is no metric {name}", entry.path().display());
            }
        }
    }
    assert!(count >= 50, "only {count} names were found");
}

#[test]
fn a_metric_that_does_not_exist_is_seen() {
    let declared = declared();
    let check = |query: &str| -> Vec<String> {
        let names = asked(query).unwrap();
        names.iter().filter_map(|name| objection(name, &declared)).collect()
    };
    assert!(
        check("rate(auris_queue_seconds_sum[$__rate_interval]) > auris_queued_chunks").is_empty()
    );
    assert_eq!(check("sum(auris_nothing)"), ["there is no metric auris_nothing"]);
    assert_eq!(
        check("auris_queue_seconds"),
        ["auris_queue_seconds is a histogram: ask for its parts"]
    );
    assert_eq!(check("auris_queued_chunks_sum").len(), 1);
    assert!(asked("sum(rate(auris_chunks_total[5m])").is_err());
    let words: Vec<&str> = mentioned("{auris_a_total, not_auris_b} auris_c").collect();
    assert_eq!(words, ["auris_a_total", "auris_c"]);
}

#[test]
fn manifests_set_options_that_exist() {
    let help = super::harness::auris().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut count = 0;
    for entry in WalkDir::new(repository("deploy")).into_iter().map(Result::unwrap) {
        if !entry.file_type().is_file() {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        for rest in text.split("AURIS_").skip(1) {
            let end =
                rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(rest.len());
            let name = format!("AURIS_{}", &rest[..end]);
            count += 1;
            // Values of secrets are not shown.
            let known = ["=", "]"].iter().any(|end| help.contains(&format!("[env: {name}{end}")));
            assert!(known, "{}: there is no {name}", entry.path().display());
        }
    }
    assert!(count >= 8, "only {count} variables were found");
}
