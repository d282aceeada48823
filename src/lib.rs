//! auris: an HTTP transcription service on the best working device. This crate is the server and the
//! command line; what they are made of is in `crates/`, see ARCHITECTURE.md.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the library serves its own program and tests only")]

pub mod http;
pub mod telemetry;
pub mod cli;
pub mod config;
pub mod output;
pub mod doctor;
pub mod serve;
pub mod batch;
pub mod commands;
