//! How many uploads each caller has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use auris_scheduler::Caller;

use crate::http::error::ApiError;

/// When to retry if a caller has too many uploads open, in seconds.
const RETRY_SECONDS: u64 = 5;

/// The uploads that are being received. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OpenUploads(Arc<Mutex<HashMap<Arc<str>, usize>>>);

/// An upload that is being received. Dropping it makes room for another one.
#[derive(Debug)]
pub(super) struct OpenUpload {
    uploads: OpenUploads,
    caller: Arc<str>,
}

impl OpenUploads {
    /// Begins an upload of `caller`, who may have `most` open.
    ///
    /// # Errors
    /// 429: it has as many.
    pub(super) fn begin(&self, caller: &Caller, most: usize) -> Result<OpenUpload, ApiError> {
        let mut open = self.lock();
        let count = open.entry(Arc::clone(&caller.name)).or_default();
        if *count >= most {
            let message = format!(
                "this client has {most} uploads open: finish one of them before the next one"
            );
            return Err(ApiError::rate_limited(message, RETRY_SECONDS));
        }
        *count += 1;
        Ok(OpenUpload { uploads: self.clone(), caller: Arc::clone(&caller.name) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        let mut open = self.uploads.lock();
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_uploads() {
        let uploads = OpenUploads::default();
        let begin = |caller: &str| uploads.begin(&caller.into(), 2);
        let first = begin("a").unwrap();
        let _second = begin("a").unwrap();
        assert!(begin("a").is_err());
        let other = begin("b").unwrap();
        drop((first, other));
        assert!(begin("a").is_ok());
        assert_eq!(uploads.lock().len(), 1, "nothing is kept of who has no upload");
    }
}
