//! Tests that need an NVIDIA GPU: `make test-gpu`, with `--nocapture` for the tables. Built only
//! with the feature `cuda`, so that they fail without a GPU instead of passing unnoticed.
//!
//! `AURIS_GPU_MODELS=FILE,FILE` names further models to measure; meaningless weights will do.
#![allow(unreachable_pub, reason = "tests are read, not linked to")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests may")]

mod worker;

mod faults;
mod placement;
mod speed;
