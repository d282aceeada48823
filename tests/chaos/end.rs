//! What must hold once all clients have what they wanted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::client::{Answer, attempt};
use super::jobs;
use super::run::Run;
use super::server::{Resources, Server};

/// How many requests with a known key are sent once more.
const REPEATED: usize = 20;

/// How long a job may still take.
const JOB_LIMIT: Duration = Duration::from_secs(60);

/// How long the server may take to close and remove what it no longer needs.
const TIDY_LIMIT: Duration = Duration::from_secs(20);

/// More descriptors and memory than at the start, for connections and caches.
const MORE_DESCRIPTORS: usize = 16;
const MORE_BYTES: u64 = 250 << 20;

/// Every accepted job is listed once, and every listed job ends right.
pub async fn check_jobs(run: &Run) {
    let listed = list(run).await;
    let accepted = run.accepted().clone();
    for id in accepted.keys() {
        match listed.get(id) {
            Some(1) => run.record.count("jobs listed", "accepted"),
            Some(_) => run.record.violation("a job is listed twice"),
            None if run.is_lost(id) => run.record.count("jobs listed", "lost with the database"),
            None => run.record.violation("an accepted job is not listed"),
        }
    }
    for id in listed.keys() {
        let accepted = accepted.get(id);
        if accepted.is_none() {
            run.record.count("jobs listed", "of requests and lost connections");
        }
        check_listed(run, id, accepted.map(|job| job.file)).await;
    }
    let keyed = accepted.iter().filter(|(_, job)| job.key.is_some());
    for (id, job) in keyed.take(REPEATED) {
        if run.is_lost(id) {
            continue;
        }
        let again = jobs::submit(run, job.file, job.key.as_deref(), job.has_webhook).await;
        if again != *id {
            run.record.violation("a job was accepted again under its key");
        }
    }
}

/// How often each job is listed.
async fn list(run: &Run) -> BTreeMap<String, u32> {
    let mut listed = BTreeMap::new();
    let mut path = "/v1/jobs?limit=100".to_owned();
    loop {
        let answer = attempt(run, "lists", &path, |url| run.client.get(url)).await;
        let body = match answer {
            Answer::Success(_, body) => body,
            Answer::Again(pause) => {
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        let page: Value = serde_json::from_str(&body).unwrap_or_default();
        let ids = page["data"].as_array().into_iter().flatten();
        let ids: Vec<&str> = ids.filter_map(|job| job["id"].as_str()).collect();
        for id in &ids {
            *listed.entry((*id).to_owned()).or_default() += 1;
        }
        match ids.last().filter(|_| page["has_more"] == true) {
            Some(last) => path = format!("/v1/jobs?limit=100&after={last}"),
            None => return listed,
        }
    }
}

/// Checks a job. Which `file` it has is not known if its acceptance was not received.
async fn check_listed(run: &Run, id: &str, file: Option<usize>) {
    let path = format!("/v1/jobs/{id}");
    let asked = Instant::now();
    while asked.elapsed() < JOB_LIMIT {
        match jobs::ask(run, &path).await {
            Some(job) if !job["ended_at"].is_null() => {
                let of_text = || run.files.iter().position(|file| job["text"] == file.text);
                return jobs::check(run, file.or_else(of_text).unwrap_or(0), &job);
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    run.record.violation("a job does not end");
}

/// The end of every job was reported, as one event.
pub async fn check_webhooks(run: &Run, limit: Instant) {
    let accepted = run.accepted().clone();
    for (id, _) in accepted.iter().filter(|(_, job)| job.has_webhook) {
        while run.receiver.events(id) == 0 && !run.is_lost(id) && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match run.receiver.events(id) {
            0 if run.is_lost(id) => run.record.count("webhooks", "lost with the database"),
            0 => run.record.violation("a job's end was not reported"),
            1 => run.record.count("webhooks", "delivered"),
            _ if run.is_repeated(id) => run.record.count("webhooks", "repeated"),
            _ => run.record.violation("a job's end was reported as two events"),
        }
    }
}

/// Nothing is left: no file, no process, no descriptor, not much memory.
pub async fn check_leftovers(
    run: &Run,
    mut server: Server,
    before: Resources,
) -> anyhow::Result<()> {
    let tidied = Instant::now() + TIDY_LIMIT;
    let is_tidy = |now: Resources| {
        now.descriptors <= before.descriptors + MORE_DESCRIPTORS
            && server.spool_files() + server.kept_files() == 0
    };
    while !is_tidy(server.resources()?) && Instant::now() < tidied {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let now = server.resources()?;
    let megabytes = |bytes: u64| bytes >> 20;
    println!(
        "{:<16}{} descriptors and {} MB at first, {} and {} MB at the end",
        "server",
        before.descriptors,
        megabytes(before.resident_bytes),
        now.descriptors,
        megabytes(now.resident_bytes)
    );
    let spool = (server.spool_files(), "files are left in the spool");
    let kept = (server.kept_files(), "audio of jobs is left");
    let open = now.descriptors.saturating_sub(before.descriptors + MORE_DESCRIPTORS);
    for (count, what) in [spool, kept, (open, "descriptors are left open")] {
        if count > 0 {
            run.record.violation(format!("{what}: {count}"));
        }
    }
    if now.resident_bytes > before.resident_bytes + MORE_BYTES {
        run.record.violation("memory is not given back");
    }
    server.signal(Signal::TERM)?;
    if !server.ended().await?.success() {
        run.record.violation("the server fails at its end");
    }
    if !server.has_no_workers(Duration::from_secs(5)).await {
        run.record.violation("workers are left");
    }
    let log = server.log();
    for line in log.lines().filter(|line| line.contains("panicked")) {
        run.record.violation(format!("the server's log has {}", line.trim()));
    }
    for _ in log.lines().filter(|line| line.contains(" ERROR ")) {
        run.record.count("log", "ERROR");
    }
    Ok(())
}
