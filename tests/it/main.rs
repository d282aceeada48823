//! The real program over loopback, with real child processes.
#![allow(missing_docs, reason = "tests are read, not linked to")]

mod harness;

mod accuracy;
mod faults;
mod house;
mod service;
