//! The results of chunks.

use tokio::task::JoinSet;

use super::super::{JobId, StoreError, StoredChunk};
use super::test_store::{TestStore, chunk, job};

#[tokio::test]
async fn chunks_of_many_tasks_are_all_kept_and_come_back_in_order() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    let other = test.insert(job("")).await;
    let mut tasks = JoinSet::new();
    for index in (0..40).rev() {
        let store = test.store.clone();
        let job = if index % 4 == 3 { other } else { id };
        tasks.spawn(async move { store.put_chunk(job, &chunk(index)).await.unwrap() });
    }
    tasks.join_all().await;
    let indices: Vec<_> =
        test.store.chunks(id).await.unwrap().iter().map(|chunk| chunk.index).collect();
    let expected: Vec<_> = (0..40).filter(|index| index % 4 != 3).collect();
    assert_eq!(indices, expected);
    assert_eq!(test.store.chunks(other).await.unwrap()[1], chunk(7));
    assert_eq!(test.job("", id).await.done_samples, 30 * 16_000);
}

#[tokio::test]
async fn a_chunk_takes_the_place_of_an_earlier_one() {
    let test = TestStore::new().await;
    let id = test.insert(job("")).await;
    test.store.put_chunk(id, &chunk(5)).await.unwrap();
    let again = StoredChunk {
        index: 5,
        start_sample: 1,
        samples: 2,
        result_json: "{}".to_owned(),
        done_at_ms: 3,
    };
    test.store.put_chunk(id, &again).await.unwrap();
    assert_eq!(test.store.chunks(id).await.unwrap(), [again]);
}

#[tokio::test]
async fn storing_a_chunk_of_a_deleted_job_fails() {
    let test = TestStore::new().await;
    let id = JobId::new();
    let error = test.store.put_chunk(id, &chunk(0)).await.expect_err("no such job");
    assert!(matches!(error, StoreError::Gone(gone) if gone == id), "{error}");
}
