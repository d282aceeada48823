//! Jobs that outlive their client: stored, resumed, followed, told of by webhook.

pub mod spool;
pub mod store;
pub mod webhook;
