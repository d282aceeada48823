//! What a confined thread can still do, on the kernel that runs the tests.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use super::*;

/// Whether this kernel has all that confines. Without it there is little to test.
fn is_whole() -> bool {
    Confinement::available().unwrap().is_whole()
}

/// Runs `work` on a thread that `sandbox` confines.
#[track_caller]
fn confined<T: Send>(sandbox: Sandbox<'_>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sandbox.confine_thread().unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn denied<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn only_what_is_named_can_be_read_and_nothing_written() {
    if !is_whole() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["model", "spool", "cache"] {
        std::fs::write(path(name), name).unwrap();
    }
    let sandbox = Sandbox {
        readable: vec![path("model"), path("missing")],
        writable: vec![path("cache")],
        ..Sandbox::default()
    };
    confined(sandbox, || {
        assert_eq!(std::fs::read_to_string(path("model")).unwrap(), "model");
        assert!(denied(std::fs::read(path("spool"))));
        assert!(denied(std::fs::read("/etc/passwd")));
        assert!(denied(std::fs::read_dir(folder.path())));
        assert!(denied(OpenOptions::new().append(true).open(path("model"))));
        assert!(denied(std::fs::write(path("new"), "")));
        assert!(denied(std::fs::remove_file(path("model"))));
        let emptied = rustix::fs::open(
            path("model"),
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::TRUNC,
            rustix::fs::Mode::empty(),
        );
        assert_eq!(emptied.err(), Some(rustix::io::Errno::ACCESS));
        std::fs::write(path("cache"), "more").unwrap();
    });
    assert_eq!(std::fs::read_to_string(path("cache")).unwrap(), "more");
    std::fs::read("/etc/passwd").unwrap(); // other threads are free
}

#[test]
fn an_open_file_without_a_name_can_be_opened_again() {
    if !is_whole() {
        return;
    }
    let mut file = tempfile::tempfile().unwrap();
    let other = tempfile::tempfile().unwrap();
    file.write_all(b"audio").unwrap();
    let sandbox = Sandbox { open_file: Some(&file), ..Sandbox::default() };
    let again = |file: &File| {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", file.as_raw_fd())
    };
    confined(sandbox, || {
        assert_eq!(std::fs::read(again(&file)).unwrap(), b"audio");
        assert!(denied(std::fs::write(again(&file), "")));
        assert!(denied(std::fs::read(again(&other))));
    });
    // A pipe needs no rule.
    let (reader, _writer) = io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(reader));
    confined(Sandbox { open_file: Some(&pipe), ..Sandbox::default() }, || {
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "audio", "open descriptors stay");
    });
}

#[test]
fn no_other_machine_can_be_reached() {
    if !is_whole() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    confined(Sandbox::default(), || {
        assert!(denied(TcpStream::connect(address)));
        assert!(denied(TcpListener::bind("127.0.0.1:0")));
        assert!(denied(UdpSocket::bind("127.0.0.1:0")));
        assert!(denied(UnixDatagram::unbound()));
    });
    let sandbox = Sandbox { gpu_driver: true, ..Sandbox::default() };
    confined(sandbox, || {
        assert!(denied(UdpSocket::bind("[::1]:0")));
        UnixDatagram::unbound().unwrap();
    });
}

#[test]
fn programs_run_only_where_they_may_and_inherit_the_walls() {
    if !is_whole() {
        return;
    }
    assert!(denied(confined(Sandbox::default(), || Command::new("/bin/true").status())));
    let executable = ["/usr", "/bin", "/lib", "/lib64"].map(PathBuf::from).to_vec();
    let writable = vec![PathBuf::from("/dev/null")];
    let sandbox = || Sandbox {
        executable: executable.clone(),
        writable: writable.clone(),
        ..Sandbox::default()
    };
    let run = |script: &str| {
        let output =
            confined(sandbox(), || Command::new("/bin/sh").args(["-c", script]).output().unwrap());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("echo here"), "here\n");
    assert_eq!(run("cat /etc/passwd || echo none"), "none\n");
    assert_eq!(run("unshare --user true || echo none"), "none\n");
    assert_eq!(run("taskset --pid 1 $$ >/dev/null || echo none"), "none\n");
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    std::fs::copy("/bin/true", &own).unwrap();
    assert!(denied(confined(sandbox(), || Command::new(&own).status())));
    for request in
        ["fcntl(STDOUT, 8, $$+0)", "fcntl(STDOUT, 10, 9)", "ioctl(STDOUT, 0x8901, pack(q(i), $$))"]
    {
        let script = format!("perl -e '{request} || print $!{{EPERM}} ? q(none) : $!'");
        assert_eq!(run(&script), "none", "{request}");
    }
    if Confinement::available().unwrap().landlock >= Some(6) {
        assert_eq!(run("kill -0 $PPID || echo none"), "none\n");
    }
}

#[test]
fn other_processes_are_out_of_reach() {
    if !is_whole() {
        return;
    }
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&other);
    let results = confined(Sandbox::default(), || {
        let limit = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        [
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).map(drop),
            rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).map(drop),
            rustix::process::setpriority_process(Some(pid), 19),
            rustix::process::setpriority_user(rustix::process::getuid(), 19),
        ]
    });
    for result in results {
        assert_eq!(result, Err(rustix::io::Errno::PERM));
    }
    assert!(Path::new(&format!("/proc/{}", other.id())).exists());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn attributes_of_files_cannot_be_changed() {
    if !is_whole() {
        return;
    }
    use rustix::fs::{AtFlags, CWD, Mode, Timestamps, UTIME_NOW, XattrFlags, chmodat, chownat};
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path();
    let attempts = || {
        let now = || rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now(), last_modification: now() };
        let name = c"user.auris";
        [
            rustix::fs::chmod(path, Mode::RUSR),
            rustix::fs::fchmod(&file, Mode::RUSR),
            chmodat(CWD, path, Mode::RUSR, AtFlags::empty()),
            rustix::fs::chown(path, None, None),
            rustix::fs::fchown(&file, None, None),
            chownat(CWD, path, None, None, AtFlags::SYMLINK_NOFOLLOW),
            rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
            rustix::fs::setxattr(path, name, b"", XattrFlags::empty()),
            rustix::fs::fsetxattr(&file, name, b"", XattrFlags::empty()),
            rustix::fs::removexattr(path, name),
        ]
    };
    for result in confined(Sandbox::default(), attempts) {
        assert_eq!(result, Err(rustix::io::Errno::PERM));
    }
    let driver = Sandbox { gpu_driver: true, ..Sandbox::default() };
    assert_eq!(confined(driver, || rustix::fs::chmod(path, Mode::RUSR)), Ok(()));
}

#[test]
fn a_shortage_is_no_lack_of_the_kernel() {
    if !is_whole() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let check = |call, number, expected: Result<bool, i32>| {
        let readable = vec![folder.path().to_owned()];
        let sandbox = Sandbox { readable, ..Sandbox::default() };
        let confined = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                system_calls::fail(call, number).unwrap();
                sandbox.confine_thread()
            });
            thread.join().unwrap()
        });
        let found = confined.map(|confinement| confinement.landlock.is_some());
        assert_eq!(found.map_err(|error| error.raw_os_error().unwrap()), expected, "{number}");
    };
    check(libc::SYS_landlock_add_rule, libc::ENOMEM, Err(libc::ENOMEM));
    check(libc::SYS_landlock_restrict_self, libc::ENOMEM, Err(libc::ENOMEM));
    check(libc::SYS_openat, libc::EMFILE, Err(libc::EMFILE));
    check(libc::SYS_openat, libc::ENOENT, Ok(true));
    check(libc::SYS_landlock_restrict_self, libc::E2BIG, Ok(false));
    check(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP, Ok(false));
}

#[test]
fn threads_still_start_and_signal_their_own_process() {
    let sum = confined(Sandbox::default(), || {
        thread::spawn(|| {
            let own = rustix::process::getpid();
            rustix::process::test_kill_process(own).map(|()| 7)
        })
        .join()
        .unwrap()
    });
    assert_eq!(sum, Ok(7));
}

#[test]
fn what_the_machine_has_is_found_by_trying_it() {
    let available = Confinement::available().unwrap();
    let lsm = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    assert!(!lsm.contains("landlock") || available.landlock.is_some(), "{available:?}");
    assert!(!Confinement::default().is_whole());
    assert!(!Confinement { landlock: Some(2), seccomp: true }.is_whole());
    std::fs::read("/etc/passwd").unwrap();
}
