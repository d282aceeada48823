//! How much of what, from the environment.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use strum::VariantArray;

use super::faults::Fault;

#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    /// For how long faults are caused.
    pub duration: Duration,
    pub jobs: u32,
    pub requests: u32,
    pub faults: Vec<Fault>,
}

impl Settings {
    pub fn read() -> anyhow::Result<Self> {
        let names: String = variable("CHAOS_FAULTS")?.unwrap_or_default();
        let named = names.split(',').filter(|name| !name.is_empty());
        let faults: Vec<Fault> = named
            .map(|name| name.parse().with_context(|| format!("CHAOS_FAULTS: {name:?} is unknown")))
            .collect::<Result<_, _>>()?;
        let all = || Fault::VARIANTS.to_vec();
        Ok(Self {
            seed: variable("CHAOS_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000)),
            duration: Duration::from_secs(variable("CHAOS_SECONDS")?.unwrap_or(180)),
            jobs: variable("CHAOS_JOBS")?.unwrap_or(200),
            requests: variable("CHAOS_REQUESTS")?.unwrap_or(500),
            faults: if faults.is_empty() { all() } else { faults },
        })
    }

    /// What the command line of every worker of this run contains.
    pub fn token(&self) -> String {
        format!("chaos-{}-{}", self.seed, std::process::id())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, duration, jobs, requests, faults } = self;
        let faults: Vec<&str> = faults.iter().map(Into::into).collect();
        write!(
            f,
            "seed {seed}: {jobs} jobs and {requests} requests during {} s of {}",
            duration.as_secs(),
            faults.join(", ")
        )
    }
}

fn variable<T: FromStr>(name: &str) -> anyhow::Result<Option<T>> {
    let Some(text) = env::var(name).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| anyhow::anyhow!("{name}={text} is not a number"))
}
