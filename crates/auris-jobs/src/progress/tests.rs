use std::time::Duration;

use super::*;
use auris_core::device::{Backend, DeviceId};
use auris_scheduler::ChunkDone;

fn chunk(index: usize, recalled: bool) -> Step {
    let done = ChunkDone {
        segments: Vec::new(),
        languages: Vec::new(),
        device: DeviceId::cpu(),
        backend: Backend::Cpu,
        model: "demo".to_owned(),
        fallback_reason: None,
        queue_time: Duration::ZERO,
        inference_time: Duration::ZERO,
    };
    let (start_sample, samples) = (index as u64 * 16_000, 16_000);
    let result = ChunkResult { index, start_sample, samples, channel: None, done };
    Step::Chunk { result: Arc::new(result), recalled }
}

fn ended() -> ProgressState {
    ProgressState::told(None, Vec::new(), progress(0.0), End::Cancelled)
}

fn progress(done_seconds: f64) -> Progress {
    Progress { done_seconds, total_seconds: 10.0 }
}

/// What a subscriber receives until it would have to wait, as chunk numbers and `end`.
async fn heard(follower: &mut ProgressSubscriber) -> String {
    let mut heard = Vec::new();
    while let Ok(Some(news)) = tokio::time::timeout(Duration::ZERO, follower.next()).await {
        heard.push(match news {
            ProgressUpdate::Chunk { result, .. } => result.index.to_string(),
            ProgressUpdate::End(End::Failed(fault)) => fault.code,
            ProgressUpdate::End(_) => "end".to_owned(),
        });
    }
    heard.join(" ")
}

#[tokio::test]
async fn every_subscriber_gets_each_chunk_once_in_order() {
    let live = ProgressPublisher::new();
    let mut early = live.follow();
    live.push(&chunk(1, false), progress(1.0));
    assert_eq!(heard(&mut early).await, "");
    live.push(&chunk(0, false), progress(2.0));
    assert_eq!(heard(&mut early).await, "0 1");
    live.push(&chunk(2, false), progress(3.0));
    let fault = ApiFailure { code: "no_audio".to_owned(), message: String::new(), param: None };
    live.end(End::Failed(fault));
    live.end(End::Cancelled);
    assert_eq!(heard(&mut early).await, "2 no_audio");
    assert_eq!(heard(&mut live.follow()).await, "0 1 2 no_audio");
    assert!(matches!(live.follow().end().await, End::Failed(_)));
}

#[tokio::test]
async fn dropping_the_publisher_interrupts_subscribers() {
    let live = ProgressPublisher::new();
    let mut follower = live.follow();
    live.push(&chunk(0, false), progress(1.0));
    drop(live);
    assert_eq!(heard(&mut follower).await, "0 end");
    let mut cancelled = ProgressSubscriber::of(ended());
    assert_eq!(heard(&mut cancelled).await, "end");
    assert!(matches!(ProgressSubscriber::of(ended()).end().await, End::Cancelled));
}

#[test]
fn what_was_recalled_does_not_count_for_the_pace() {
    let live = ProgressPublisher::new();
    live.begin();
    let route = Route { model: "demo".into(), ..Route::default() };
    live.push(&Step::Routed(Box::new(route)), progress(0.0));
    live.push(&chunk(0, true), progress(4.0));
    let eta = |seconds| live.look(|story| story.eta_after(Duration::from_secs(seconds)));
    assert_eq!(eta(3), None);
    live.push(&chunk(1, false), progress(6.0));
    assert_eq!(eta(3), Some(6.0));
}
