//! The results of a job's chunks, from which a job is resumed and its transcript made.

use sqlx::error::{DatabaseError, ErrorKind};

use super::{JobId, JobStore, StoreError, StoredChunk};

impl JobStore {
    /// Stores the result of a chunk, and replaces an earlier one.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when the job was deleted, and those of the database.
    pub(crate) async fn put_chunk(
        &self,
        job: JobId,
        chunk: &StoredChunk,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO chunks (job, position, start_sample, samples, result_json, done_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (job, position) DO UPDATE SET start_sample = excluded.start_sample,
                 samples = excluded.samples, result_json = excluded.result_json,
                 done_at = excluded.done_at",
        );
        let query = query.bind(job.to_string()).bind(chunk.index);
        let query = query.bind(chunk.start_sample.cast_signed()).bind(chunk.samples.cast_signed());
        let query = query.bind(&chunk.result_json).bind(chunk.done_at_ms);
        let put = query.execute(&self.writer).await;
        put.map_err(|error| match error.as_database_error().map(DatabaseError::kind) {
            Some(ErrorKind::ForeignKeyViolation) => StoreError::Gone(job),
            _ => self.failure(error),
        })?;
        Ok(())
    }

    /// Deletes the chunks from `count` on.
    pub(crate) async fn trim_chunks(&self, job: JobId, count: usize) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM chunks WHERE job = ?1 AND position >= ?2");
        let query = query.bind(job.to_string()).bind(i64::try_from(count).unwrap_or(i64::MAX));
        query.execute(&self.writer).await.map_err(|error| self.failure(error))?;
        Ok(())
    }

    /// The finished chunks of a job, in the order of the file.
    pub(crate) async fn chunks(&self, job: JobId) -> Result<Vec<StoredChunk>, StoreError> {
        let query = sqlx::query_as("SELECT * FROM chunks WHERE job = ?1 ORDER BY position");
        let query = query.bind(job.to_string());
        query.fetch_all(&self.readers).await.map_err(|error| self.failure(error))
    }
}
