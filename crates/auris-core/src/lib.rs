//! Types that all of auris shares, in reading order.

#![forbid(unsafe_code)]

pub mod device;
pub mod language;
pub mod recording;
pub mod transcript;
pub mod metrics;
pub mod shortage;
pub mod ipc;
pub mod cgroup;
pub mod probe;
