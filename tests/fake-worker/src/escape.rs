//! What an engine that a file has taken over would try.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

/// Tries everything, and returns what was not refused, or ` nothing`.
pub(crate) fn attempts() -> String {
    let pid = std::process::id();
    let refused = |result: io::Result<()>| matches!(result, Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
    let parent = rustix::process::getppid();
    let signal = parent.map_or(Ok(()), rustix::process::test_kill_process);
    let file = std::env::temp_dir().join(format!("escaped-{pid}"));
    let tried = [
        ("read", fs::read("/etc/passwd").map(drop)),
        ("list", fs::read_dir(std::env::temp_dir()).map(drop)),
        ("write", fs::write(&file, "")),
        ("mode", change_mode()),
        ("environment", fs::read(format!("/proc/{}/environ", parent_id())).map(drop)),
        ("connect", TcpStream::connect("127.0.0.1:1").map(drop)),
        ("listen", TcpListener::bind("127.0.0.1:0").map(drop)),
        ("send", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("run", Command::new("/bin/true").status().map(drop)),
        ("signal", signal.map_err(io::Error::from)),
    ];
    let _ = fs::remove_file(file);
    let escaped = tried.into_iter().filter_map(|(what, result)| (!refused(result)).then_some(what));
    let escaped: Vec<&str> = escaped.collect();
    format!(" {}", if escaped.is_empty() { "nothing".to_owned() } else { escaped.join(" ") })
}

/// Of an own file, as all of the service are.
fn change_mode() -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mode = fs::metadata(&program)?.permissions();
    fs::set_permissions(&program, mode)
}

fn parent_id() -> i32 {
    rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get())
}
