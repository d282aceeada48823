//! The database of jobs in temporary folders.

mod chunks;
mod contention;
mod deliveries;
mod jobs;
mod open;
pub(crate) mod test_store;
