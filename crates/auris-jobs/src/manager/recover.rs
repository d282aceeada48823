//! Makes the rows of jobs again whose audio the database does not know.

use std::path::Path;

use super::Jobs;
use super::start::JobsFolder;
use crate::error::JobsError;
use crate::spool::{Orphan, Spool};
use crate::store::{Inserted, JobId, NewJob};

/// What became of audio that was set aside.
#[derive(Debug)]
pub struct RecoveredJob {
    pub id: JobId,
    pub outcome: Recovery,
}

/// What became of a job whose audio was set aside.
#[derive(Debug, PartialEq)]
pub enum Recovery {
    /// The next server runs it.
    Queued {
        audio_seconds: f64,
        /// Whether another job has its idempotency key by now, so that it has none any more.
        lost_key: bool,
    },
    /// It stays where it is.
    Unreadable(String),
}

impl Jobs {
    /// Queues the jobs in `folder` again whose audio is there and whose rows are not. No server may
    /// use the folder meanwhile. Jobs that are known stay as they are, so that repeating it changes
    /// nothing.
    ///
    /// # Errors
    /// The folder or the database cannot be used; a folder that has no audio of jobs is none.
    pub async fn recover(folder: &Path) -> Result<Vec<RecoveredJob>, JobsError> {
        Spool::check(folder).await?;
        let folder = JobsFolder::open(folder, Some(u64::MAX)).await?;
        let mut recovered = Vec::new();
        for (id, _) in &folder.orphans.jobs {
            let outcome = match folder.spool.orphan(*id).await? {
                Orphan::Recorded(job) => folder.queue(*job).await?,
                Orphan::Unreadable(reason) => Recovery::Unreadable(reason),
            };
            recovered.push(RecoveredJob { id: *id, outcome });
        }
        folder.store.empty_log().await?;
        Ok(recovered)
    }
}

impl JobsFolder {
    async fn queue(&self, mut job: NewJob) -> Result<Recovery, JobsError> {
        let (id, audio_seconds) = (job.id, job.audio_seconds);
        let key = job.idempotency_key.as_deref();
        let taken = match key {
            Some(key) => self.store.find(&job.owner, key).await?.is_some(),
            None => false,
        };
        if taken {
            job.idempotency_key = None;
        }
        // The row first: a server finds the audio of a queued job wherever it is.
        if !matches!(self.store.insert(job).await?, Inserted::New) {
            return Ok(Recovery::Unreadable("its record contradicts the database".to_owned()));
        }
        self.spool.take_back(id).await?;
        Ok(Recovery::Queued { audio_seconds, lost_key: taken })
    }
}
