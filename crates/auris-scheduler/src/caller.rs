//! The client that a request is counted for.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The client that a request is counted for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Identifies the caller: the name of a key, or an address.
    pub name: Arc<str>,
    /// The share of the queue that it may use, if it differs from the default: above 0, at most 1.
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
