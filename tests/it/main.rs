//! The real program over loopback, with real child processes.
#![allow(missing_docs, unreachable_pub, reason = "tests are read, not linked to")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may panic")]

mod fake_driver;
#[path = "../fake-worker/src/text.rs"]
mod fake_text;
mod answer;
mod harness;
mod signals;

mod accuracy;
mod adapters;
mod architecture;
mod attacks;
mod bad_clients;
mod bad_input;
mod bad_models;
mod bombs;
mod browsers;
mod channels;
mod command_line;
mod confinement;
mod detection;
mod doctor;
mod faults;
mod fields;
mod gpus;
mod guides;

mod jobs;
mod keys;
mod limits;
mod linking;
mod missing_models;
mod observability;
mod people;
mod probe;
mod readme;
mod recordings;
mod seeds;
mod service;
mod silence;
mod streaming;
