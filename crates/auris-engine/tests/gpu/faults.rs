//! Faults of a real GPU: out of memory, and a worker that is killed in the middle of a chunk.

use auris_scheduler::supervisor::ExitKind;
use rustix::process::{Pid, Signal, kill_process};

use super::worker::{Worker, clips, demo, long_chunks, megabytes, models, processes, timed};

/// The number of slots of each worker that only fills the memory.
const BALLAST_SLOTS: usize = 64;

/// The most such workers.
const MOST_BALLAST: usize = 64;

/// Device memory that another process's start may take or free by chance, in bytes.
const TOLERANCE: u64 = 64 << 20;

#[tokio::test]
async fn out_of_memory_ends_only_the_new_worker() {
    let (_, clip) = clips().remove(0);
    let mut resident = Worker::on_gpu(&demo(), 1).await;
    let free = resident.report.stats.device_free_bytes.unwrap();
    let before = resident.transcribe(&clip).await.texts;

    let largest = models().into_iter().max_by_key(|model| model.size_bytes).unwrap();
    let mut ballast = Vec::new();
    let ending = loop {
        assert!(ballast.len() < MOST_BALLAST, "the memory is not to be filled: name larger models");
        match Worker::start(&largest.path, Some(0), BALLAST_SLOTS).await {
            Ok(worker) => ballast.push(worker),
            Err(ending) => break ending,
        }
    };
    let detail = &ending.detail;
    assert_eq!(ending.kind, ExitKind::OutOfMemory, "{detail}");
    assert_eq!(resident.transcribe(&clip).await.texts, before, "a neighbour is disturbed");

    let held = ballast.len();
    let (_, given_back) = timed(async {
        for worker in ballast {
            worker.stop().await;
        }
    })
    .await;
    let after = resident.transcribe(&clip).await.stats[0].device_free_bytes.unwrap();
    println!(
        "\n| MB free at first | workers of {BALLAST_SLOTS} slots until full | the next one ended as | MB free afterwards | given back in s |"
    );
    println!("|---|---|---|---|---|");
    println!(
        "| {:.0} | {held} | {}: {detail} | {:.0} | {:.2} |",
        megabytes(free),
        ending.kind,
        megabytes(after),
        given_back.as_secs_f64()
    );
    assert!(after + TOLERANCE >= free, "{free} bytes were free, {after} are");
    resident.stop().await;
}

#[tokio::test]
async fn a_killed_worker_is_replaced_and_leaves_no_memory_taken() {
    println!(
        "\n| model | end seen after s | successor ready after s | its first chunk done after s |"
    );
    println!("|---|---|---|---|");
    for model in models() {
        let chunk = long_chunks(1);
        let others = processes();
        let mut worker = Worker::on_gpu(&model.path, 1).await;
        let free = worker.report.stats.device_free_bytes.unwrap();
        let expected = worker.transcribe(&chunk).await.texts;
        let mut own = processes().difference(&others).copied().collect::<Vec<_>>();
        let process = own.pop().and_then(Pid::from_raw).unwrap();

        worker.send(&chunk[0].0, chunk[0].1);
        worker.at_work().await;
        kill_process(process, Signal::KILL).unwrap();
        let (ending, noticed) = timed(worker.end()).await;
        assert_eq!(ending.kind, ExitKind::Killed, "{}", ending.detail);

        let (mut successor, ready) = timed(Worker::on_gpu(&model.path, 1)).await;
        let (again, transcribed) = timed(successor.transcribe(&chunk)).await;
        println!(
            "| {} | {:.3} | {:.2} | {:.2} |",
            model.name,
            noticed.as_secs_f64(),
            ready.as_secs_f64(),
            transcribed.as_secs_f64()
        );
        assert_eq!(again.texts, expected);
        let now = successor.report.stats.device_free_bytes.unwrap();
        assert!(now + TOLERANCE >= free, "{}: {free} bytes were free, {now} are", model.name);
        successor.stop().await;
    }
}
