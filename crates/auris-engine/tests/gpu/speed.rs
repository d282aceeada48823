//! Measures speed and memory. The numbers are for reading; only their plausibility is checked.

use super::worker::{Worker, long_chunks, megabytes, models, seconds};

const SLOTS: [usize; 4] = [1, 2, 4, 8];

#[tokio::test]
async fn speed_and_memory_by_slots() {
    println!(
        "\n| model | slots | ready s | load s | warm-up s | taken MB | estimate MB | per further slot MB | × real time | busy % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for model in models() {
        let mut first = None;
        for slots in SLOTS {
            let mut worker = Worker::on_gpu(&model.path, slots).await;
            let chunks = long_chunks(slots.max(2) * 4);
            let outcome = worker.transcribe(&chunks).await;
            let audio: f64 = chunks.iter().map(|(samples, _)| seconds(samples)).sum();

            // What was in use when the worker was ready, and what a chunk added.
            let ready = worker.report.stats.device_free_bytes.unwrap();
            let least = outcome.stats.iter().filter_map(|stats| stats.device_free_bytes).min();
            let taken = worker.report.device_bytes.unwrap() + ready.saturating_sub(least.unwrap());
            let one = *first.get_or_insert(taken);
            let further = taken.saturating_sub(one) / (slots as u64 - 1).max(1);
            let estimate = model.size_bytes + slots as u64 * model.dimensions.slot_bytes();
            let busy = outcome.stats.iter().filter_map(|stats| stats.utilisation_percent).max();
            println!(
                "| {} | {slots} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} | {} |",
                model.name,
                worker.start_seconds,
                worker.report.load_seconds,
                worker.report.warm_up_seconds,
                megabytes(taken),
                megabytes(estimate),
                megabytes(further),
                audio / outcome.wall_seconds,
                busy.map_or("unknown".to_owned(), |percent| percent.to_string()),
            );
            assert!(taken >= model.size_bytes / 2, "{} is not on the GPU", model.name);
            worker.stop().await;
        }
    }
}
