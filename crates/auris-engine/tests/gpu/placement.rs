//! The model is really on the GPU and gives the same text as on the CPU.

use auris_scheduler::supervisor::ExitKind;

use super::worker::{Worker, clips, demo, models};

#[tokio::test]
async fn the_weights_are_in_the_memory_of_the_gpu() {
    for model in models() {
        let worker = Worker::on_gpu(&model.path, 1).await;
        let taken = worker.report.device_bytes.unwrap();
        assert!(taken >= model.size_bytes / 2, "{}: {taken} bytes were taken", model.name);
        assert!(worker.report.stats.device_free_bytes.is_some());
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_gpu_that_is_not_there_is_an_error_and_not_the_cpu() {
    Worker::on_gpu(&demo(), 1).await.stop().await;
    let ending = Worker::start(&demo(), Some(4_000), 1).await.map(|_| ()).unwrap_err();
    assert_eq!(ending.kind, ExitKind::WrongDevice, "{}", ending.detail);
}

#[tokio::test]
async fn gpu_and_cpu_give_the_same_text() {
    let mut gpu = Worker::on_gpu(&demo(), 2).await;
    let mut cpu = Worker::start(&demo(), None, 2).await.unwrap();
    let mut differences = Vec::new();
    for (name, chunks) in clips() {
        let (on_gpu, on_cpu) = (gpu.transcribe(&chunks).await, cpu.transcribe(&chunks).await);
        if on_gpu.texts != on_cpu.texts {
            let (on_gpu, on_cpu) = (on_gpu.texts.concat(), on_cpu.texts.concat());
            differences.push(format!("{name}\n  GPU: {on_gpu}\n  CPU: {on_cpu}"));
        }
    }
    gpu.stop().await;
    cpu.stop().await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
