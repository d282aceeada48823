use std::time::Duration;

use super::*;
use crate::pipeline::FailureCode;
use auris_core::device::{Backend, DeviceId};
use auris_core::transcript::Run;

fn chunk(index: usize, from_checkpoint: bool) -> Step {
    let run = Run {
        start: index as f64,
        end: index as f64 + 1.0,
        device: DeviceId::cpu(),
        backend: Backend::Cpu,
        model: "demo".to_owned(),
        fallback_reason: None,
        channel: None,
    };
    let result = ChunkResult {
        index,
        start_sample: index as u64 * 16_000,
        samples: 16_000,
        run,
        segments: Vec::new(),
        skipped: Vec::new(),
        queue_time: Duration::ZERO,
        inference_time: Duration::ZERO,
    };
    Step::Chunk { result: Arc::new(result), from_checkpoint }
}

fn ended() -> ProgressState {
    ProgressState::from_stored(None, Vec::new(), progress(0.0), TranscriptionEnd::Cancelled)
}

fn progress(done_seconds: f64) -> TranscriptionProgress {
    TranscriptionProgress { done_seconds, total_seconds: 10.0 }
}

/// What a subscriber receives until it would have to wait, as chunk numbers and `end`.
async fn received(subscriber: &mut ProgressSubscriber) -> String {
    let mut received = Vec::new();
    while let Ok(Some(update)) = tokio::time::timeout(Duration::ZERO, subscriber.next()).await {
        received.push(match update {
            ProgressUpdate::Chunk { result, .. } => result.index.to_string(),
            ProgressUpdate::End(TranscriptionEnd::Failed(failure)) => {
                <&str>::from(failure.code).to_owned()
            }
            ProgressUpdate::End(_) => "end".to_owned(),
        });
    }
    received.join(" ")
}

#[tokio::test]
async fn every_subscriber_gets_each_chunk_once_in_order() {
    let publisher = ProgressPublisher::default();
    let mut early = publisher.subscribe();
    publisher.push(chunk(1, false), progress(1.0));
    assert_eq!(received(&mut early).await, "");
    publisher.push(chunk(0, false), progress(2.0));
    assert_eq!(received(&mut early).await, "0 1");
    publisher.push(chunk(2, false), progress(3.0));
    let failure = ApiFailure { code: FailureCode::NoAudio, message: String::new(), param: None };
    publisher.end(TranscriptionEnd::Failed(failure));
    publisher.end(TranscriptionEnd::Cancelled);
    assert_eq!(received(&mut early).await, "2 no_audio");
    assert_eq!(received(&mut publisher.subscribe()).await, "0 1 2 no_audio");
    assert!(matches!(publisher.subscribe().end().await, TranscriptionEnd::Failed(_)));
}

#[tokio::test]
async fn dropping_the_publisher_interrupts_subscribers() {
    let publisher = ProgressPublisher::default();
    let mut subscriber = publisher.subscribe();
    publisher.push(chunk(0, false), progress(1.0));
    drop(publisher);
    assert_eq!(received(&mut subscriber).await, "0 end");
    let mut cancelled = ProgressSubscriber::of(ended());
    assert_eq!(received(&mut cancelled).await, "end");
    assert!(matches!(ProgressSubscriber::of(ended()).end().await, TranscriptionEnd::Cancelled));
}

#[test]
fn chunks_of_the_checkpoint_do_not_count_for_the_speed() {
    let publisher = ProgressPublisher::default();
    publisher.begin();
    let route = Route { model: "demo".into(), ..Route::default() };
    publisher.push(Step::Routed(route.into()), progress(0.0));
    publisher.push(chunk(0, true), progress(4.0));
    let eta = |seconds| publisher.state().eta_after(Duration::from_secs(seconds));
    assert_eq!(eta(3), None);
    publisher.push(chunk(1, false), progress(6.0));
    assert_eq!(eta(3), Some(6.0));
}
