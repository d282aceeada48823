//! Whom a request is counted for, and how it is known again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Whom a request is counted for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// What tells callers apart: the name of a key, or an address.
    pub name: Arc<str>,
    /// The part of the queue that it may use, if not as others: above 0, at most 1.
    pub share: Option<f64>,
}

impl<T: Into<String>> From<T> for Caller {
    fn from(name: T) -> Self {
        Self { name: name.into().into(), share: None }
    }
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Caller {}

impl Hash for Caller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// What tells a request that comes back from the others of its caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attempt {
    /// The size of its upload in bytes, if it says so.
    pub bytes: Option<u64>,
    /// Whether it says that it is sent for the first time.
    pub is_first: bool,
}

impl Attempt {
    /// Whether this can be `earlier` again.
    pub(super) fn may_follow(self, earlier: Self) -> bool {
        !self.is_first && self.bytes == earlier.bytes
    }
}
