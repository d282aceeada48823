//! What a child may take of the machine.

use std::fs;
use std::io;
use std::process::Child;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// The most address space, of which libraries and threads alone take 400 MB. What it may write to of
/// that has a lower bound (`slots`).
const MAX_ADDRESS_SPACE: u64 = 4 << 30;

/// As a worker's, so that the kernel kills the child if it is the one that takes the memory.
const OOM_SCORE: &str = "500";

/// CPU time that each file may take, whatever its length.
const BASE_CPU: Duration = Duration::from_secs(60);

/// How much faster than real time decoding must be beyond that; slow codecs are 100 times faster.
const MIN_SPEED: u32 = 20;

/// What a child that has used up its CPU time may take to end by itself, as ffmpeg does. So one that
/// is killed was killed from outside.
const CPU_GRACE: Duration = Duration::from_secs(10);

/// Sets the bounds of a child that decodes up to `max_duration`. It has none in its first instants,
/// since code between fork and exec would not be safe.
pub(super) fn set(child: &Child, max_duration: Duration, most_bytes: u64) -> io::Result<()> {
    // It fails without /proc, and if the child has ended.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
    let cpu = BASE_CPU + max_duration / MIN_SPEED;
    limit(child, Resource::Cpu, cpu.as_secs(), (cpu + CPU_GRACE).as_secs())?;
    limit(child, Resource::As, MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE)?;
    limit(child, Resource::Data, most_bytes, most_bytes)?;
    limit(child, Resource::Fsize, 0, 0)?;
    limit(child, Resource::Core, 0, 0)
}

fn limit(child: &Child, resource: Resource, limit: u64, maximum: u64) -> io::Result<()> {
    let limit = Rlimit { current: Some(limit), maximum: Some(maximum) };
    match prlimit(Some(Pid::from_child(child)), resource, limit) {
        // It has ended already and has reported why.
        Ok(_) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_bounded() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        set(&child, Duration::from_secs(200), 512 << 20).unwrap();
        let read = |file| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
        let limits = read("limits");
        let check = |name: &str, expected: u64, maximum: u64| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
            assert_eq!(words[..2], [expected.to_string(), maximum.to_string()], "{name}");
        };
        check("Max cpu time", 70, 80);
        check("Max address space", MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE);
        check("Max data size", 512 << 20, 512 << 20);
        check("Max file size", 0, 0);
        check("Max core file size", 0, 0);
        assert_eq!(read("oom_score_adj").trim(), OOM_SCORE);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
