//! Checks of what the server needs besides devices: its address and its spool. If a server is
//! already running at the address, also what it reports about its devices.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use indicatif::BinaryBytes;
use serde_json::Value;
use tokio::net::TcpListener;

use super::report::{Area, Check, GpuExpectation, Severity};
use crate::cli::AccessArgs;
use crate::config;
use auris_sandbox::Confinement;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The default largest upload. Less room than for one is worth a warning.
const ROOM_BYTES: u64 = 2 << 30;

/// The address, and the server on it if there is one.
pub(super) async fn listen(address: SocketAddr, expectation: GpuExpectation) -> Vec<Check> {
    let check = |more: &str| Check::pass(Area::Service, "port", format!("{address} {more}"));
    let Err(error) = TcpListener::bind(address).await else { return vec![check("is free")] };
    if error.kind() != ErrorKind::AddrInUse {
        let cause = format!("it cannot be listened on: {error}");
        let fix = "give an address of this machine and a port above 1023 with --listen";
        return vec![check("cannot be used").with_problem(Severity::Fail, cause, fix)];
    }
    match devices_of(address).await {
        Some(devices) => {
            let mut checks = vec![check("is taken by a running auris")];
            checks.extend(running(&devices, expectation));
            checks
        }
        // Another address works as well, and the user may mean another machine's.
        None => vec![check("is taken").with_problem(
            Severity::Warn,
            "another program listens there, or an auris that does not respond",
            "end it, or give another address with --listen",
        )],
    }
}

/// What a running auris reports about its devices; `None` if another program listens there.
async fn devices_of(address: SocketAddr) -> Option<Value> {
    let client = auris_models::local_http_client(ANSWER_TIMEOUT).ok()?;
    let get = async |path: &str| {
        let url = format!("http://{}{path}", config::reachable(address));
        let request = async { client.get(url).send().await?.text().await };
        let text = tokio::time::timeout(ANSWER_TIMEOUT, request).await.ok()?.ok()?;
        serde_json::from_str::<Value>(&text).ok()
    };
    let health = get("/healthz").await?;
    if health["status"] != "ok" {
        return None;
    }
    get("/v1/devices").await.filter(|devices| devices["devices"].is_array())
}

fn running(list: &Value, expectation: GpuExpectation) -> Vec<Check> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let array = |key: &str| list[key].as_array().cloned().unwrap_or_default();
    let mut checks = Vec::new();
    for device in array("devices") {
        let area = if device["backend"] == "cpu" { Area::Service } else { Area::Gpu };
        let state = format!("{} is {}", text(&device["id"]), text(&device["state"]));
        let check = Check::pass(area, "server-device", state);
        let advice = text(&device["advice"]);
        let tried =
            "the server tries it again automatically; the other lines show what is wrong now";
        // The server itself recovers a failed device, which costs time but no transcript.
        checks.push(match (text(&device["reason"]), advice) {
            (reason, advice) if !reason.is_empty() => check.with_problem(
                Severity::Warn,
                reason,
                if advice.is_empty() { tried } else { &advice },
            ),
            (_, advice) if !advice.is_empty() => {
                check.with_problem(Severity::Warn, "it runs out of memory at times", advice)
            }
            _ => check,
        });
    }
    for unused in array("unused") {
        let reason = text(&unused["reason"]);
        let observed = format!("{} is not used", text(&unused["backend"]));
        let check = Check::pass(Area::Gpu, "server-device", observed);
        checks.push(if expectation.level() == Severity::Fail {
            check.with_problem(
                Severity::Warn,
                reason,
                "fix it; the server checks again automatically",
            )
        } else {
            Check { observed: format!("{}: {reason}", check.observed), ..check }
        });
    }
    checks
}

/// Whether `auris serve` starts with these keys, or without any, on this address.
pub(super) fn access(args: &AccessArgs, address: SocketAddr) -> Check {
    let check = |observed: String| Check::pass(Area::Service, "access", observed);
    let examine = || {
        let access = config::access(args, address)?;
        Ok::<_, anyhow::Error>((access.keys.is_empty(), config::is_open(args, &access, address)?))
    };
    match examine() {
        Ok((false, _)) => check("with keys".to_owned()),
        Ok((true, false)) => check("without keys, from this machine only".to_owned()),
        Ok((true, true)) => check(format!("without keys, for anyone who can reach {address}")),
        Err(error) => check("`auris serve` does not start".to_owned()).with_problem(
            Severity::Fail,
            format!("{error:#}"),
            "change --api-keys, --api-keys-file or --listen as the cause says",
        ),
    }
}

pub(super) fn spool(given: Option<&Path>) -> Check {
    let check = |observed: String| Check::pass(Area::Service, "spool", observed);
    let folder = match config::spool(given) {
        Ok(folder) => folder,
        Err(error) => {
            let observed = given.map_or_else(String::new, |folder| folder.display().to_string());
            let fix = "create it, make it writable, or give another one with --spool-dir";
            return check(observed).with_problem(Severity::Fail, format!("{error:#}"), fix);
        }
    };
    let Ok(room) = rustix::fs::statvfs(&folder) else {
        return check(format!("{} is writable", folder.display()));
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let check = check(format!("{}: {} free", folder.display(), BinaryBytes(free)));
    if free >= ROOM_BYTES {
        return check;
    }
    check.with_problem(
        Severity::Warn,
        format!("one upload may take {}", BinaryBytes(ROOM_BYTES)),
        "free space, give another folder with --spool-dir, or lower --max-upload-bytes",
    )
}

/// Whether workers and ffmpeg are kept from files and networks. `None` if that cannot be tried.
pub(super) fn sandbox(is_off: bool, available: Option<Confinement>) -> Check {
    let available = available.unwrap_or_default();
    let landlock = available.landlock.map(|version| format!("Landlock {version}"));
    let seccomp = available.seccomp.then(|| "seccomp".to_owned());
    let found: Vec<String> = landlock.into_iter().chain(seccomp).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let check = Check::pass(Area::Service, "sandbox", found);
    if is_off {
        return check.with_problem(
            Severity::Warn,
            "--no-sandbox lets workers and ffmpeg reach files and the network",
            "start without it, and report what fails then",
        );
    }
    if available.is_whole() {
        return check;
    }
    check.with_problem(
        Severity::Warn,
        "a model or a recording that takes over a worker or ffmpeg would reach more than it needs",
        format!(
            "use Linux 6.2 or newer with `landlock` in /sys/kernel/security/lsm (Landlock {} or \
             newer), and let the container make these system calls",
            Confinement::WHOLE_LANDLOCK
        ),
    )
}

/// Whether ffmpeg is there for the formats that auris cannot decode itself.
pub(super) fn ffmpeg(given: Option<&Path>) -> Check {
    let check = |observed: String| Check::pass(Area::Service, "ffmpeg", observed);
    match config::ffmpeg(given) {
        Ok(Some(ffmpeg)) => check(ffmpeg.program().display().to_string()),
        Ok(None) => check("none: files such as AMR, WMA, AC-3 and AVI are refused".to_owned()),
        Err(error) => check(String::new()).with_problem(
            Severity::Fail,
            format!("{error:#}"),
            "give another --ffmpeg",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_server_reports_what_its_devices_lack() {
        let list = serde_json::json!({
            "devices": [
                {"id": "cpu", "backend": "cpu", "state": "ready", "reason": null},
                {"id": "cuda:0", "backend": "cuda", "state": "recovering",
                 "reason": "the worker crashed", "advice": null},
                {"id": "cuda:1", "backend": "cuda", "state": "ready", "reason": null,
                 "advice": "start with --max-per-device 2"},
            ],
            "unused": [{"backend": "cuda", "reason": "no driver"}],
        });
        let expectation = GpuExpectation { wanted: true, demanded: false, there: true };
        let checks = running(&list, expectation);
        let levels: Vec<Severity> = checks.iter().map(|check| check.level).collect();
        assert_eq!(levels, [Severity::Pass, Severity::Warn, Severity::Warn, Severity::Warn]);
        assert_eq!(checks[1].cause.as_deref(), Some("the worker crashed"));
        assert_eq!(checks[2].fix.as_deref(), Some("start with --max-per-device 2"));
        let quiet = running(&list, GpuExpectation { there: false, ..expectation });
        assert_eq!(quiet[3].level, Severity::Pass);
        assert_eq!(quiet[3].observed, "cuda is not used: no driver");
        assert!(running(&Value::Null, expectation).is_empty());
    }

    #[test]
    fn what_does_not_confine_is_reported() {
        let check = |off, landlock, seccomp| sandbox(off, Some(Confinement { landlock, seccomp }));
        let whole = check(false, Some(7), true);
        assert_eq!((whole.level, whole.observed.as_str()), (Severity::Pass, "Landlock 7, seccomp"));
        assert_eq!(check(true, Some(7), true).level, Severity::Warn);
        for (landlock, seccomp, observed) in
            [(Some(2), true, "Landlock 2, seccomp"), (None, true, "seccomp"), (None, false, "none")]
        {
            let check = check(false, landlock, seccomp);
            assert_eq!((check.level, check.observed.as_str()), (Severity::Warn, observed));
        }
        assert_eq!(sandbox(false, None).observed, "none");
    }

    #[test]
    fn a_spool_must_be_writable() {
        let folder = tempfile::tempdir().unwrap();
        assert_ne!(spool(Some(folder.path())).level, Severity::Fail);
        let check = spool(Some(Path::new("/nowhere")));
        assert_eq!(check.level, Severity::Fail);
        assert!(check.fix.unwrap().contains("--spool-dir"));
    }
}
