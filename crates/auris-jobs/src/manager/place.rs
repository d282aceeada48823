//! Room for a job, held from before its upload until it is accepted or refused.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::{Jobs, RunningJob};
use crate::error::JobsError;
use crate::progress::ProgressPublisher;
use crate::store::JobId;
use auris_scheduler::Caller;

/// Disk space to leave free in the jobs folder: the database must be able to grow.
const RESERVED_BYTES: u64 = 256 << 20;

/// Room for a job. Dropping it frees the room and removes the audio that was stored for it.
#[derive(Debug)]
pub struct Place {
    jobs: Jobs,
    id: JobId,
    running: RunningJob,
    is_kept: bool,
}

impl Jobs {
    /// Reserves room for a job of `owner` with `bytes` of audio, as far as known; a client may
    /// wait for it or not.
    ///
    /// # Errors
    /// [`JobsError::Full`], [`JobsError::Share`] or [`JobsError::DiskFull`].
    pub fn reserve(
        &self,
        owner: &str,
        caller: &Caller,
        bytes: u64,
        attended: bool,
    ) -> Result<Place, JobsError> {
        let free = self.inner.spool.free_bytes()?;
        if free < bytes.saturating_add(RESERVED_BYTES) {
            return Err(JobsError::DiskFull);
        }
        let id = JobId::new();
        let running = RunningJob {
            owner: owner.to_owned(),
            caller: caller.name.to_string(),
            attended,
            live: ProgressPublisher::new(),
            cancelled: CancellationToken::new(),
        };
        let mut unfinished = self.unfinished();
        self.check_room(&unfinished, &running, caller.share)?;
        unfinished.insert(id, running.clone());
        drop(unfinished);
        self.count_unfinished();
        Ok(Place { jobs: self.clone(), id, running, is_kept: false })
    }

    fn check_room(
        &self,
        unfinished: &HashMap<JobId, RunningJob>,
        running: &RunningJob,
        share: Option<f64>,
    ) -> Result<(), JobsError> {
        let most = self.inner.settings.most_unfinished;
        if unfinished.len() >= most {
            return Err(JobsError::Full { unfinished: unfinished.len() });
        }
        let share = share.unwrap_or(self.inner.settings.caller_share);
        let own = unfinished.values().filter(|other| other.caller == running.caller).count();
        if own as f64 >= (most as f64 * share).ceil() {
            return Err(JobsError::Share { unfinished: own });
        }
        Ok(())
    }
}

impl Place {
    pub(super) fn id(&self) -> JobId {
        self.id
    }

    pub(super) fn running(&self) -> &RunningJob {
        &self.running
    }

    /// The job is accepted: its task owns the room from now on.
    pub(super) fn keep(mut self) -> RunningJob {
        self.is_kept = true;
        self.running.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        self.jobs.forget(self.id);
        if let Err(error) = self.jobs.inner.spool.remove(self.id) {
            tracing::warn!(job.id = %self.id, "audio of a refused job is left over: {error}");
        }
    }
}
