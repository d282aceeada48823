//! What happened, as it is counted and printed at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most kinds of violations that are printed.
const MOST_PRINTED: usize = 40;

#[derive(Debug, Default)]
pub struct Record(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// By what is counted, then by what it came to.
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
    violations: BTreeMap<String, u64>,
    worst_health: Duration,
    health_checks: u64,
}

impl Record {
    pub fn count(&self, what: &'static str, outcome: impl Into<String>) {
        *self.lock().counts.entry(what).or_default().entry(outcome.into()).or_default() += 1;
    }

    /// Something that must not happen; the same text is counted.
    pub fn violation(&self, text: impl Into<String>) {
        *self.lock().violations.entry(text.into()).or_default() += 1;
    }

    pub fn health(&self, latency: Duration) {
        let mut counts = self.lock();
        counts.worst_health = counts.worst_health.max(latency);
        counts.health_checks += 1;
    }

    pub fn is_clean(&self) -> bool {
        self.lock().violations.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { counts, violations, worst_health, health_checks } = &*self.lock();
        for (what, outcomes) in counts {
            let outcomes: Vec<String> =
                outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
            writeln!(f, "{what:<16}{}", outcomes.join(", "))?;
        }
        let worst = worst_health.as_secs_f64() * 1e3;
        writeln!(f, "{:<16}worst {worst:.0} ms of {health_checks}", "health")?;
        for (text, count) in violations.iter().take(MOST_PRINTED) {
            writeln!(f, "WRONG {count}x: {text}")?;
        }
        match violations.len() {
            0 => write!(f, "nothing is wrong"),
            kinds => write!(f, "{kinds} kinds of violations"),
        }
    }
}
