//! Room for a job, held from the end of its upload until it is accepted or refused.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Jobs, RunMode, RunningJob};
use crate::error::JobsError;
use crate::spool::SpooledBytes;
use crate::store::JobId;
use auris_scheduler::Caller;

/// Disk space to leave free in the jobs folder: the database must be able to grow.
const RESERVED_BYTES: u64 = 256 << 20;

/// Room for a job. Dropping it frees the room, and removes the audio that was stored for it unless
/// the job has a row.
#[derive(Debug)]
pub struct JobReservation {
    jobs: Jobs,
    pub(super) id: JobId,
    pub(super) running: RunningJob,
    /// Whether the job is in the database, which decides about its audio.
    pub(super) has_row: bool,
    is_kept: bool,
}

impl Jobs {
    /// Room for the audio of a job of `caller`, who declares so many bytes. Each byte must be added
    /// before it is written.
    ///
    /// # Errors
    /// [`JobsError::Quota`] or [`JobsError::DiskFull`].
    pub async fn spooled(&self, caller: &Caller, bytes: u64) -> Result<SpooledBytes, JobsError> {
        let spool = &self.inner.spool;
        let free = spool.free_bytes().await?;
        if free < bytes.saturating_add(RESERVED_BYTES) {
            return Err(JobsError::DiskFull);
        }
        let share = caller.share.unwrap_or(self.inner.settings.caller_share);
        Ok(spool.begin(&caller.name, share, bytes, free)?)
    }

    /// Reserves room for a job of `owner`.
    ///
    /// # Errors
    /// [`JobsError::Full`] or [`JobsError::Share`].
    pub fn reserve(
        &self,
        owner: String,
        caller: &Caller,
        mode: RunMode,
    ) -> Result<JobReservation, JobsError> {
        let id = JobId::new();
        let running = RunningJob::new(owner, caller.name.to_string(), mode);
        let mut unfinished = self.unfinished();
        self.check_room_among(&unfinished, caller)?;
        unfinished.insert(id, running.clone());
        drop(unfinished);
        self.count_unfinished();
        Ok(JobReservation { jobs: self.clone(), id, running, has_row: false, is_kept: false })
    }

    /// The place of a stored job among the unfinished ones; `None` if it has a task.
    pub(super) fn adopt(&self, owner: String, id: JobId) -> Option<JobReservation> {
        let running = RunningJob::new(owner.clone(), owner, RunMode::Background);
        match self.unfinished().entry(id) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => place.insert(running.clone()),
        };
        self.count_unfinished();
        Some(JobReservation { jobs: self.clone(), id, running, has_row: true, is_kept: false })
    }

    /// Checks that there is room for another job of `caller` now.
    ///
    /// # Errors
    /// [`JobsError::Full`] or [`JobsError::Share`].
    pub fn check_room(&self, caller: &Caller) -> Result<(), JobsError> {
        self.check_room_among(&self.unfinished(), caller)
    }

    fn check_room_among(
        &self,
        unfinished: &HashMap<JobId, RunningJob>,
        caller: &Caller,
    ) -> Result<(), JobsError> {
        let most = self.inner.settings.most_unfinished;
        if unfinished.len() >= most {
            return Err(JobsError::Full { unfinished: unfinished.len() });
        }
        let share = caller.share.unwrap_or(self.inner.settings.caller_share);
        let own = unfinished.values().filter(|other| *other.caller == *caller.name).count();
        if own as f64 >= (most as f64 * share).ceil() {
            return Err(JobsError::Share { unfinished: own });
        }
        Ok(())
    }
}

impl JobReservation {
    /// The job is accepted: its task owns the room from now on.
    pub(super) fn keep(mut self) -> RunningJob {
        self.is_kept = true;
        self.running.clone()
    }
}

impl Drop for JobReservation {
    fn drop(&mut self) {
        if !self.is_kept {
            self.jobs.forget(self.id, &self.running.publisher);
            if !self.has_row {
                self.jobs.inner.spool.remove_soon(self.id);
            }
        }
    }
}
