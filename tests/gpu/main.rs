//! What only a machine with an NVIDIA GPU can show: `make test-gpu`, with `--nocapture` for the
//! tables. Built with the feature `cuda` alone, so that it fails where there is no GPU instead of
//! passing unseen.
//!
//! `AURIS_GPU_MODELS=FILE,FILE` names further models to measure; weights without meaning will do.
#![allow(missing_docs, unreachable_pub, reason = "tests are read, not linked to")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests may")]

mod worker;

mod faults;
mod placement;
mod speed;
