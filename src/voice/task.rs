//! The task that owns the worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Question, VoicePlan, VoiceState, VoiceStatus};
use crate::ipc::{ChunkId, Event, VOICE_WINDOW, Work};
use crate::metrics::{VOICE_BLOCKS, VOICE_FALLBACKS};
use crate::supervisor::{self, EndKind, Ending, WorkerEvent, WorkerHandle, restart_delay};

/// A file that is no use may be replaced.
const BAD_MODEL_DELAY: Duration = Duration::from_secs(300);

/// A worker's event, with the number of the worker.
type Numbered = (u64, WorkerEvent);

pub(super) struct Task {
    plan: VoicePlan,
    status: Arc<Mutex<VoiceStatus>>,
    events: mpsc::UnboundedSender<Numbered>,
    received: mpsc::UnboundedReceiver<Numbered>,
    /// None while it is waited for the next start.
    worker: Option<WorkerHandle>,
    loaded: bool,
    next_start: Instant,
    /// Bad ends in a row.
    failures: u32,
    next_block: ChunkId,
    waiting: VecDeque<Question>,
    running: Option<Running>,
}

/// The block that the worker has.
struct Running {
    id: ChunkId,
    question: Question,
    deadline: Instant,
    probabilities: Option<Vec<f32>>,
}

impl Task {
    pub(super) fn new(plan: VoicePlan, status: Arc<Mutex<VoiceStatus>>) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        Self {
            plan,
            status,
            events,
            received,
            worker: None,
            loaded: false,
            next_start: Instant::now(),
            failures: 0,
            next_block: 0,
            waiting: VecDeque::new(),
            running: None,
        }
    }

    /// Answers until nobody can ask any more.
    pub(super) async fn run(mut self, mut questions: mpsc::UnboundedReceiver<Question>) {
        self.start();
        loop {
            self.send_next();
            let deadline = self.running.as_ref().map(|running| running.deadline);
            let is_away = self.worker.is_none();
            tokio::select! {
                question = questions.recv() => match question {
                    None => return,
                    Some(_) if is_away => self.fall_back("restarting"),
                    Some(question) => self.waiting.push_back(question),
                },
                // The task holds a sender, so that there is always a next one.
                Some((number, event)) = self.received.recv() => self.hear(number, event),
                () = sleep_until(deadline.unwrap_or(self.next_start)), if deadline.is_some() => {
                    self.kill(format!("no answer for a block within {:?}", self.plan.block_limit));
                }
                () = sleep_until(self.next_start), if is_away => self.start(),
            }
        }
    }

    fn start(&mut self) {
        let number = self.update(|status| {
            status.workers_started += 1;
            status.state = VoiceState::Starting;
            status.workers_started
        });
        let VoicePlan { program, limits, .. } = &self.plan;
        let (spec, events) = (self.plan.load_spec(), self.events.clone());
        let wrap = move |event| (number, event);
        self.worker = Some(supervisor::start(program, spec, *limits, events, wrap));
        self.loaded = false;
    }

    fn hear(&mut self, number: u64, event: WorkerEvent) {
        // One that was replaced has nothing to say.
        if self.worker.is_none() || number != self.status().workers_started {
            return;
        }
        match event {
            WorkerEvent::Loaded(_) => {
                self.loaded = true;
                self.update(|status| status.state = VoiceState::Ready);
                tracing::info!("voice activity is judged by {}", self.plan.model.display());
            }
            WorkerEvent::Chunk(Event::Voice { id, probabilities }) => {
                if let Some(running) = self.running.as_mut().filter(|running| running.id == id) {
                    running.probabilities = Some(probabilities);
                }
            }
            WorkerEvent::Chunk(Event::Done { id, .. }) => self.answer(id),
            WorkerEvent::Chunk(Event::Failed { failure, .. }) => {
                self.kill(format!("a block failed: {failure}"));
            }
            WorkerEvent::Chunk(_) => {}
            WorkerEvent::Ended(ending) => self.ended(&ending),
        }
    }

    fn answer(&mut self, id: ChunkId) {
        let Some(running) = self.running.take_if(|running| running.id == id) else { return };
        let windows = running.question.samples.len().div_ceil(VOICE_WINDOW);
        let is_whole = |probabilities: &Vec<f32>| {
            let range = 0.0..=1.0;
            probabilities.len() == windows && probabilities.iter().all(|p| range.contains(p))
        };
        let Some(probabilities) = running.probabilities.filter(is_whole) else {
            self.fall_back("nonsense");
            return self.kill("a block's answer makes no sense".to_owned());
        };
        self.failures = 0;
        self.update(|status| status.blocks += 1);
        metrics::counter!(VOICE_BLOCKS).increment(1);
        // The asker may be gone.
        let _ = running.question.answer.send(probabilities);
    }

    /// Ends the worker by force; its end is told of as an event.
    fn kill(&mut self, reason: String) {
        // Nobody waits for the end of a process.
        if self.running.take().is_some() {
            self.fall_back("failed");
        }
        self.loaded = false;
        if let Some(worker) = &self.worker {
            worker.kill(reason);
        }
    }

    fn ended(&mut self, ending: &Ending) {
        self.worker = None;
        self.loaded = false;
        self.failures = self.failures.saturating_add(1);
        let delay = match ending.kind {
            EndKind::BadModel => BAD_MODEL_DELAY,
            _ => restart_delay(self.failures),
        };
        self.next_start = Instant::now() + delay;
        let (reason, detail) = (ending.kind.as_str(), ending.detail.as_str());
        tracing::warn!(reason, detail, "the worker for voice activity ended; next in {delay:?}");
        self.update(|status| {
            status.state = VoiceState::Restarting;
            status.last_failure = Some((reason, ending.detail.clone(), SystemTime::now()));
        });
        let left = self.waiting.drain(..).count() + usize::from(self.running.take().is_some());
        (0..left).for_each(|_| self.fall_back(reason));
    }

    /// Counts a block that is left to its asker.
    fn fall_back(&self, reason: &'static str) {
        self.update(|status| status.fallbacks += 1);
        metrics::counter!(VOICE_FALLBACKS, "reason" => reason).increment(1);
    }

    fn send_next(&mut self) {
        let Some(worker) = self.worker.as_ref().filter(|_| self.loaded) else { return };
        if self.running.is_some() {
            return;
        }
        // Who has left needs no answer.
        let mut waiting = std::iter::from_fn(|| self.waiting.pop_front());
        let Some(question) = waiting.find(|next| !next.answer.is_closed()) else { return };
        self.next_block += 1;
        let (id, samples) = (self.next_block, Arc::clone(&question.samples));
        worker.run(id, Work::Voice, samples);
        let deadline = Instant::now() + self.plan.block_limit;
        self.running = Some(Running { id, question, deadline, probabilities: None });
    }

    fn update<T>(&self, change: impl FnOnce(&mut VoiceStatus) -> T) -> T {
        change(&mut self.status())
    }

    fn status(&self) -> MutexGuard<'_, VoiceStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
