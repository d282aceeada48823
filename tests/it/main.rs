//! The real server and the real program, over loopback, with real child processes.

fn main() {}
