//! auris: an HTTP transcription service on the best device that really works.
//!
//! In reading order, from the words that everything uses to the program itself.
//! A module may use those above it only, and what runs in the server process (layers 3 and 4)
//! nothing of the child's side; `tests/it/house.rs` checks both against this list.

// 0: vocabulary
pub mod device;
pub mod language;
pub mod metrics;
pub mod recording;
pub mod transcript;
// 1: pure or self-contained parts
pub mod audio;
pub mod format;
pub mod ipc;
pub mod models;
pub mod probe;
// 2: the child's side
pub mod engine;
pub mod worker;
// 3: the parent's side
pub mod supervisor;
pub mod scheduler;
pub mod discovery;
pub mod provision;
pub mod pipeline;
pub mod jobs;
// 4: HTTP
pub mod http;
// 5: the program
pub mod telemetry;
pub mod cli;
pub mod config;
pub mod output;
pub mod doctor;
pub mod serve;
pub mod batch;
pub mod commands;
