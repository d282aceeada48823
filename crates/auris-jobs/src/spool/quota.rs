//! How many bytes of the disk the audio of jobs may take: of unfinished jobs, of uploads that become
//! jobs, of failed jobs that may be run again, and of what is set aside.
//!
//! Bytes count when they arrive. A client that declares much and sends little holds nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why no more audio is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    #[error(
        "the audio of jobs takes {held} of the {most} bytes that it may take (--max-jobs-bytes); \
         try again later"
    )]
    Full { held: u64, most: u64 },
    #[error(
        "the audio of your jobs takes {held} of the {most} bytes that it may take; try again later"
    )]
    Share { held: u64, most: u64 },
    /// However empty the spool is.
    #[error(
        "the file is larger than the {most} bytes that the audio of your jobs may take: send a \
         compressed file (FLAC, Opus, MP3), or raise the server's --max-jobs-bytes"
    )]
    TooLarge { most: u64 },
}

/// The bytes that are held. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SpoolQuota {
    /// Half of the room that there is without it.
    most: Option<u64>,
    held: Arc<Mutex<HeldBytes>>,
}

#[derive(Debug, Default)]
struct HeldBytes {
    total: u64,
    by_caller: HashMap<String, u64>,
}

/// The bytes of one file, which count until this is dropped.
#[derive(Debug)]
pub struct SpooledBytes {
    quota: SpoolQuota,
    caller: String,
    /// The most that all may have.
    most: u64,
    /// The most that its caller may have.
    share: u64,
    bytes: u64,
}

impl SpoolQuota {
    pub(super) fn new(most: Option<u64>) -> Self {
        Self { most, held: Arc::default() }
    }

    /// Room for a file of `caller` who may have this `share` of the quota, from 0 to 1, and declares
    /// so many bytes, while the disk has `free` ones. None of them counts yet.
    ///
    /// # Errors
    /// [`QuotaError`]: so many cannot be stored now, or ever.
    pub(super) fn begin(
        &self,
        caller: &str,
        share: f64,
        declared: u64,
        free: u64,
    ) -> Result<SpooledBytes, QuotaError> {
        let held = self.held();
        let most = self.most.unwrap_or_else(|| held.total.saturating_add(free) / 2);
        let (caller, share) = (caller.to_owned(), (most as f64 * share) as u64);
        let bytes = SpooledBytes { quota: self.clone(), caller, most, share, bytes: 0 };
        let checked = bytes.check(&held, declared);
        drop(held);
        checked.map(|()| bytes)
    }

    /// Counts a file that is there already, whether there is room for it or not.
    pub(super) fn stored(&self, caller: &str, size: u64) -> SpooledBytes {
        let (caller, most) = (caller.to_owned(), u64::MAX);
        let mut bytes = SpooledBytes { quota: self.clone(), caller, most, share: most, bytes: 0 };
        bytes.count(&mut self.held(), size);
        bytes
    }

    fn held(&self) -> MutexGuard<'_, HeldBytes> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpooledBytes {
    /// Counts more bytes, before they are written.
    ///
    /// # Errors
    /// [`QuotaError`]: there is no room for them, and they do not count.
    pub fn add(&mut self, more: u64) -> Result<(), QuotaError> {
        let quota = self.quota.clone();
        let mut held = quota.held();
        self.check(&held, more)?;
        self.count(&mut held, more);
        Ok(())
    }

    fn check(&self, held: &HeldBytes, more: u64) -> Result<(), QuotaError> {
        let own = held.by_caller.get(&self.caller).copied().unwrap_or(0);
        let (most, share) = (self.most, self.share);
        if self.bytes.saturating_add(more) > share.min(most) {
            return Err(QuotaError::TooLarge { most: share.min(most) });
        }
        if held.total.saturating_add(more) > most {
            return Err(QuotaError::Full { held: held.total, most });
        }
        if own.saturating_add(more) > share {
            return Err(QuotaError::Share { held: own, most: share });
        }
        Ok(())
    }

    fn count(&mut self, held: &mut HeldBytes, more: u64) {
        held.total = held.total.saturating_add(more);
        let own = held.by_caller.entry(self.caller.clone()).or_default();
        *own = own.saturating_add(more);
        self.bytes = self.bytes.saturating_add(more);
    }
}

impl Drop for SpooledBytes {
    fn drop(&mut self) {
        let mut held = self.quota.held();
        held.total = held.total.saturating_sub(self.bytes);
        if let Some(own) = held.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_while_they_are_there() {
        let quota = SpoolQuota::new(Some(100));
        let mut a = quota.begin("a", 1.0, 90, 0).unwrap();
        let mut b = quota.begin("b", 1.0, 90, 0).unwrap();
        a.add(60).unwrap();
        assert_eq!(b.add(50), Err(QuotaError::Full { held: 60, most: 100 }));
        b.add(40).unwrap();
        assert_eq!(
            quota.begin("c", 1.0, 1, 0).unwrap_err(),
            QuotaError::Full { held: 100, most: 100 }
        );
        drop(a);
        b.add(50).unwrap();
        drop(b);
        assert_eq!(quota.held().total, 0);
        assert!(quota.held().by_caller.is_empty());
    }

    #[test]
    fn a_caller_has_a_share() {
        let quota = SpoolQuota::new(Some(100));
        let mut first = quota.begin("a", 0.5, 0, 0).unwrap();
        first.add(40).unwrap();
        let refused = quota.begin("a", 0.5, 20, 0).unwrap_err();
        assert_eq!(refused, QuotaError::Share { held: 40, most: 50 });
        quota.begin("b", 0.5, 20, 0).unwrap();
        let never = quota.begin("b", 0.5, 60, 0).unwrap_err();
        assert_eq!(never, QuotaError::TooLarge { most: 50 });
        assert_eq!(first.add(20), Err(QuotaError::TooLarge { most: 50 }));
    }

    #[test]
    fn what_is_there_at_the_start_counts_even_if_it_is_too_much() {
        let quota = SpoolQuota::new(Some(100));
        let stored = quota.stored("", 150);
        assert!(quota.begin("a", 1.0, 0, 0).is_err());
        drop(stored);
        assert!(quota.begin("a", 1.0, 100, 0).is_ok());
    }

    #[test]
    fn without_a_number_it_is_half_of_the_room_that_there_is() {
        let quota = SpoolQuota::new(None);
        assert_eq!(quota.begin("a", 1.0, 6, 10).unwrap_err(), QuotaError::TooLarge { most: 5 });
        let mut held = quota.begin("a", 1.0, 60, 200).unwrap();
        held.add(60).unwrap();
        assert!(quota.begin("b", 1.0, 41, 140).is_err());
        assert!(quota.begin("b", 1.0, 40, 140).is_ok());
    }
}
