//! auris: an HTTP transcription service on the best device that really works. This crate is the
//! server and the command line; what they are made of is in `crates/`, see ARCHITECTURE.md.

#![forbid(unsafe_code)]

pub mod http;
pub mod telemetry;
pub mod cli;
pub mod config;
pub mod output;
pub mod doctor;
pub mod serve;
pub mod batch;
pub mod commands;
