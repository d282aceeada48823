//! The database of jobs on folders that vanish.

mod chunks;
mod contention;
mod deliveries;
mod jobs;
mod open;
pub(in crate::jobs) mod place;
