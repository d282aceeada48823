//! What is done to the server, in an order that follows from the seed.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fastrand::Rng;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use strum::{EnumString, IntoStaticStr, VariantArray};
use tokio::process::Command;
use tokio::time::sleep;

use super::run::Run;
use super::server::Server;
use super::{DISK_SIZE, bad_clients, job_database};

/// How often a server that did not start is started again.
const MOST_STARTS: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Fault {
    /// The server is killed.
    Kill,
    /// The server is asked to stop, and drains.
    Terminate,
    KillWorker,
    /// A worker stands still for a moment, or until the server notices.
    StopWorker,
    /// The server stands still for a second.
    Stop,
    /// The server can open no more files and connections.
    Descriptors,
    /// The disk of spool and jobs is full.
    Disk,
    /// Clients that are silent, slow or do not read.
    Clients,
    /// The server is killed, and the log of its database is overwritten in places.
    Database,
}

pub struct Chaos {
    pub run: Arc<Run>,
    pub server: Server,
    pub rng: Rng,
    /// Whether the disk of the server's folder may be made full.
    pub has_own_disk: bool,
}

impl Chaos {
    /// Causes faults until the time is over. All of them before one again.
    pub async fn cause(&mut self) -> anyhow::Result<()> {
        let end = self.run.started + self.run.settings.duration;
        let mut faults = self.run.settings.faults.clone();
        loop {
            self.rng.shuffle(&mut faults);
            for fault in &faults {
                self.pause(200..1_500).await;
                if Instant::now() >= end {
                    return Ok(());
                }
                let name: &str = fault.into();
                let caused = self.cause_one(*fault).await;
                caused.with_context(|| format!("the fault {name} cannot be caused"))?;
                self.run.record.count("faults", name);
            }
        }
    }

    async fn cause_one(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill => {
                self.kill().await?;
                self.pause(0..300).await;
                self.start().await
            }
            Fault::Terminate => self.terminate().await,
            Fault::KillWorker => {
                if let Some(worker) = self.worker() {
                    let _ = kill_process(worker, Signal::KILL);
                }
                Ok(())
            }
            Fault::StopWorker => {
                let Some(worker) = self.worker() else { return Ok(()) };
                let _ = kill_process(worker, Signal::STOP);
                // More than --stall-seconds: the server kills it if it had something to do.
                let until_noticed = self.rng.bool();
                self.pause(if until_noticed { 6_000..8_000 } else { 300..2_000 }).await;
                let _ = kill_process(worker, Signal::CONT);
                Ok(())
            }
            Fault::Stop => {
                self.run.hinder();
                self.server.signal(Signal::STOP)?;
                self.pause(800..1_200).await;
                self.server.signal(Signal::CONT)?;
                self.run.unhinder();
                Ok(())
            }
            Fault::Descriptors => self.exhaust_descriptors().await,
            Fault::Disk if !self.has_own_disk => Ok(()),
            Fault::Disk => self.fill_disk().await,
            Fault::Clients => {
                // While they are there, other faults go on.
                let duration = Duration::from_millis(self.rng.u64(4_000..8_000));
                tokio::spawn(bad_clients::attack(self.server.address, duration));
                Ok(())
            }
            Fault::Database => self.damage_database().await,
        }
    }

    async fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.u64(milliseconds))).await;
    }

    fn worker(&mut self) -> Option<Pid> {
        let workers = self.server.workers();
        self.rng.choice(workers)
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        self.run.close();
        self.server.signal(Signal::KILL)?;
        self.server.ended().await?;
        self.check_workers().await;
        Ok(())
    }

    async fn terminate(&mut self) -> anyhow::Result<()> {
        self.run.hinder();
        self.server.signal(Signal::TERM)?;
        let status = self.server.ended().await;
        self.run.close();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                self.run.record.violation(format!("after SIGTERM it ended with {status}"));
            }
            Err(error) => {
                self.run.record.violation(format!("after SIGTERM {error}"));
                self.kill().await?;
            }
        }
        self.check_workers().await;
        self.start().await
    }

    async fn check_workers(&self) {
        if !self.server.has_no_workers(Duration::from_secs(10)).await {
            self.run.record.violation("workers outlive their server");
        }
    }

    /// Starts the server again, and opens it to its clients.
    async fn start(&mut self) -> anyhow::Result<()> {
        for _ in 0..MOST_STARTS {
            match self.server.restart().await {
                Ok(()) => {
                    self.run.open(self.server.address);
                    return Ok(());
                }
                Err(error) => self.run.record.violation(format!("after a stop: {error}")),
            }
        }
        self.server.restart().await
    }

    async fn exhaust_descriptors(&mut self) -> anyhow::Result<()> {
        let pid = Some(self.server.pid()?);
        self.run.hinder();
        let open = self.server.descriptors()?;
        let first_free = (0..).find(|number| !open.contains(number)).unwrap_or(0);
        let current = Some(first_free + self.rng.u64(0..4));
        let before = limits(&self.server)?;
        prlimit(pid, Resource::Nofile, Rlimit { current, maximum: before.maximum })?;
        self.pause(1_000..3_000).await;
        prlimit(pid, Resource::Nofile, before)?;
        self.pause(100..200).await;
        self.run.unhinder();
        Ok(())
    }

    async fn fill_disk(&mut self) -> anyhow::Result<()> {
        for kilobytes in [64, 512, 4_096] {
            let disk = rustix::fs::statvfs(&self.server.folder)?;
            let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
            // Fails if more has been written meanwhile.
            if self.resize(&format!("{}k", used / 1024 + kilobytes)).await? {
                self.pause(1_000..4_000).await;
                ensure!(self.resize(DISK_SIZE).await?, "the disk cannot be enlarged");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the disk another size; returns whether that is possible.
    async fn resize(&self, size: &str) -> anyhow::Result<bool> {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(&self.server.folder);
        Ok(mount.stderr(Stdio::null()).status().await?.success())
    }

    async fn damage_database(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let ended = job_database::ended(&self.server.jobs()).await?;
        if !job_database::damage_log(&self.server.jobs(), &mut self.rng)? {
            return self.start().await;
        }
        self.run.may_repeat(&ended);
        match self.server.restart().await {
            Ok(()) if !self.advises_recovery().await => {
                self.run.open(self.server.address);
                return Ok(());
            }
            Ok(()) => {
                self.run.record.count("recoveries", "of jobs");
                self.server.signal(Signal::TERM)?;
                self.server.ended().await?;
            }
            // A checkpoint was cut short, and what it had yet to move is damaged.
            Err(_) if self.server.log_since_start().contains("jobs recover") => {
                self.run.record.count("recoveries", "of the database");
                job_database::set_aside(&self.server.jobs())?;
                self.run.may_lose(&ended);
            }
            Err(error) => self.run.record.violation(format!("after damage: {error:#}")),
        }
        if let Err(error) = self.server.recover().await {
            self.run.record.violation(format!("{error:#}"));
        }
        self.start().await
    }

    /// Whether the server has found audio that its database does not know, and says what to do.
    async fn advises_recovery(&self) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(1) {
            if self.server.log_since_start().contains("jobs recover") {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

/// The server's own limits of descriptors.
fn limits(server: &Server) -> anyhow::Result<Rlimit> {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", server.pid()?.as_raw_nonzero()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.context("no limit of files")?.split_whitespace();
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    Ok(Rlimit { current: number(), maximum: number() })
}
