//! The results of chunks.

use tokio::task::JoinSet;

use super::super::{JobId, StoreError};
use super::place::{Place, chunk, job};

#[tokio::test]
async fn chunks_of_many_tasks_are_all_kept_and_come_back_in_order() {
    let place = Place::new().await;
    let id = place.insert(job("")).await;
    let other = place.insert(job("")).await;
    let mut tasks = JoinSet::new();
    for index in (0..40).rev() {
        let store = place.store.clone();
        let job = if index % 4 == 3 { other } else { id };
        tasks.spawn(async move { store.add_chunk(job, &chunk(index)).await.unwrap() });
    }
    tasks.join_all().await;
    let indices: Vec<_> =
        place.store.chunks(id).await.unwrap().iter().map(|chunk| chunk.index).collect();
    let expected: Vec<_> = (0..40).filter(|index| index % 4 != 3).collect();
    assert_eq!(indices, expected);
    assert_eq!(place.store.chunks(other).await.unwrap()[1], chunk(7));
    assert_eq!(place.job("", id).await.done_samples, 30 * 16_000);
}

#[tokio::test]
async fn a_chunk_that_comes_twice_is_told_and_changes_nothing() {
    let place = Place::new().await;
    let id = place.insert(job("")).await;
    place.store.add_chunk(id, &chunk(5)).await.unwrap();
    let mut again = chunk(5);
    again.result_json = "{}".to_owned();
    let error = place.store.add_chunk(id, &again).await.expect_err("stored already");
    assert!(matches!(error, StoreError::ChunkTwice { job, index: 5 } if job == id), "{error}");
    assert_eq!(place.store.chunks(id).await.unwrap(), [chunk(5)]);
}

#[tokio::test]
async fn a_chunk_of_a_deleted_job_is_told() {
    let place = Place::new().await;
    let id = JobId::new();
    let error = place.store.add_chunk(id, &chunk(0)).await.expect_err("no such job");
    assert!(matches!(error, StoreError::Gone(gone) if gone == id), "{error}");
}
