//! How probable speech is, frame by frame: by earshot's network in this process, or by a judge
//! elsewhere as long as there is one.

use std::sync::Arc;

use super::SAMPLE_RATE_HZ;
use super::level::Leveller;
use super::vad::FRAME;

/// Tells how probable speech is, from 0 to 1, in each window of 512 samples (mono f32 at 16 kHz),
/// or nothing if it cannot. Called on a blocking thread. It hears each block without what came
/// before.
pub type VoiceJudge = Arc<dyn Fn(&[f32]) -> Option<Vec<f32>> + Send + Sync>;

/// What judges where no judge does.
pub const BUILT_IN_VOICE_NETWORK: &str = "earshot";

/// The samples of a judge's window, in frames.
const WINDOW_FRAMES: usize = 2;
const WINDOW: usize = WINDOW_FRAMES * FRAME;

/// A judge gets blocks of 15.4 s.
const BLOCK: usize = 480 * WINDOW;

/// Before each, the 2 s that came before it: a judge has forgotten them.
const CONTEXT: usize = 64 * WINDOW;

/// earshot's network takes the start of any noise for speech. So it hears this much of the stream
/// once before it is asked.
const PRIMING: usize = SAMPLE_RATE_HZ as usize;

/// Judges what is pushed.
pub(super) enum Network {
    Earshot(Earshot),
    Judge(Judge),
}

impl Network {
    pub(super) fn new(judge: Option<VoiceJudge>) -> Self {
        match judge {
            Some(judge) => Self::Judge(Judge { judge, samples: Vec::new(), context: 0 }),
            None => Self::Earshot(Earshot::new()),
        }
    }

    /// How far the probabilities may be behind what was pushed, in samples.
    pub(super) fn lag(&self) -> usize {
        match self {
            Self::Earshot(_) => PRIMING,
            // It may give up at the end of a block.
            Self::Judge(_) => BLOCK + PRIMING,
        }
    }

    /// Hears samples in [-1, 1], and adds the probabilities of the frames that are known by now.
    pub(super) fn push(&mut self, samples: &[f32], probabilities: &mut Vec<f32>) {
        match self {
            Self::Earshot(earshot) => earshot.push(samples, probabilities),
            Self::Judge(judge) => {
                judge.samples.extend_from_slice(samples);
                while let Self::Judge(judge) = self
                    && judge.samples.len() >= judge.context + BLOCK
                {
                    self.ask(BLOCK, probabilities);
                }
            }
        }
    }

    /// The stream has ended. The last frame is filled up with silence.
    pub(super) fn finish(&mut self, probabilities: &mut Vec<f32>) {
        if let Self::Judge(judge) = self {
            let rest = judge.samples.len() - judge.context;
            if rest > 0 {
                self.ask(rest, probabilities);
            }
        }
        if let Self::Earshot(earshot) = self {
            earshot.finish(probabilities);
        }
    }

    /// Asks the judge for the next `length` samples. Without an answer, earshot goes on from there.
    fn ask(&mut self, length: usize, probabilities: &mut Vec<f32>) {
        let Self::Judge(judge) = self else { return };
        let block = &judge.samples[..judge.context + length];
        let windows = block.len().div_ceil(WINDOW);
        match (judge.judge)(block).filter(|answer| answer.len() == windows) {
            Some(answer) => {
                let new = &answer[judge.context / WINDOW..];
                let frames = new.iter().flat_map(|p| [*p; WINDOW_FRAMES]);
                probabilities.extend(frames.take(length.div_ceil(FRAME)));
                let past = block.len().saturating_sub(CONTEXT) / WINDOW * WINDOW;
                judge.context = block.len() - past;
                judge.samples.drain(..past);
            }
            None => {
                let rest = judge.samples.split_off(judge.context);
                let mut earshot = Earshot::new();
                earshot.push(&rest, probabilities);
                *self = Self::Earshot(earshot);
            }
        }
    }
}

/// A judge, and what it has not judged yet.
pub(super) struct Judge {
    judge: VoiceJudge,
    samples: Vec<f32>,
    /// How many of the samples are judged already.
    context: usize,
}

/// earshot's network behind a [`Leveller`].
pub(super) struct Earshot {
    network: Box<earshot::Detector>,
    leveller: Leveller,
    /// Turned down, but not judged.
    waiting: Vec<f32>,
    primed: bool,
}

impl Earshot {
    fn new() -> Self {
        Self {
            network: earshot::Detector::default_boxed(),
            leveller: Leveller::new(),
            waiting: Vec::new(),
            primed: false,
        }
    }

    fn push(&mut self, samples: &[f32], probabilities: &mut Vec<f32>) {
        self.leveller.push(samples, &mut self.waiting);
        if self.primed || self.waiting.len() >= PRIMING {
            self.judge(probabilities);
        }
    }

    fn finish(&mut self, probabilities: &mut Vec<f32>) {
        self.leveller.finish(&mut self.waiting);
        self.waiting.resize(self.waiting.len().next_multiple_of(FRAME), 0.0);
        self.judge(probabilities);
    }

    fn judge(&mut self, probabilities: &mut Vec<f32>) {
        let waiting = std::mem::take(&mut self.waiting);
        if !self.primed {
            self.primed = true;
            for frame in waiting[..waiting.len().min(PRIMING)].chunks_exact(FRAME) {
                self.network.predict_f32(frame);
            }
        }
        let frames = waiting.chunks_exact(FRAME);
        self.waiting.extend_from_slice(frames.remainder());
        probabilities.extend(frames.map(|frame| self.network.predict_f32(frame)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A judge that takes each window for as probable as its first sample, and what it was asked.
    fn judge(answers: usize) -> (VoiceJudge, Arc<Mutex<Vec<Vec<f32>>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let judge = move |samples: &[f32]| {
            let mut log = log.lock().unwrap();
            log.push(samples.to_vec());
            let answer = samples.chunks(WINDOW).map(|window| window[0]).collect();
            (log.len() <= answers).then_some(answer)
        };
        (Arc::new(judge), asked)
    }

    /// Each window another value.
    fn steps(samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (n / WINDOW % 1_000) as f32 / 1_000.0).collect()
    }

    fn judged(judge: VoiceJudge, samples: &[f32], piece: usize) -> Vec<f32> {
        let mut network = Network::new(Some(judge));
        let mut probabilities = Vec::new();
        samples.chunks(piece).for_each(|piece| network.push(piece, &mut probabilities));
        network.finish(&mut probabilities);
        probabilities
    }

    #[test]
    fn every_window_is_judged_once_and_with_what_came_before() {
        for length in [0, 1, 255, 257, 512, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 700] {
            let samples = steps(length);
            let (judge, asked) = judge(usize::MAX);
            let expected: Vec<f32> = samples.chunks(FRAME).map(|frame| frame[0]).collect();
            assert_eq!(judged(judge, &samples, 4_096), expected, "{length}");
            let asked = asked.lock().unwrap();
            assert!(asked.iter().all(|block| block.len() <= CONTEXT + BLOCK));
            let (context, first) = (BLOCK - CONTEXT, asked.first());
            assert_eq!(first.map_or(0, Vec::len), length.min(BLOCK));
            if let Some(second) = asked.get(1) {
                assert_eq!(second[..CONTEXT], samples[context..BLOCK]);
            }
        }
    }

    #[test]
    fn where_a_judge_has_no_answer_earshot_goes_on() {
        let samples = steps(3 * BLOCK + 700);
        for answers in [0, 1, 2, 3] {
            let (judge, asked) = judge(answers);
            let probabilities = judged(judge, &samples, 4_096);
            assert_eq!(probabilities.len(), samples.len().div_ceil(FRAME));
            let own = answers * BLOCK / FRAME;
            let expected: Vec<f32> = samples.chunks(FRAME).map(|frame| frame[0]).collect();
            assert_eq!(probabilities[..own], expected[..own]);
            let mut alone = Network::new(None);
            let mut earshots = Vec::new();
            alone.push(&samples[answers * BLOCK..], &mut earshots);
            alone.finish(&mut earshots);
            assert_eq!(probabilities[own..], earshots);
            assert_eq!(asked.lock().unwrap().len(), answers + 1, "it is not asked again");
        }
    }

    #[test]
    fn an_answer_of_another_length_is_none() {
        let short: VoiceJudge = Arc::new(|_: &[f32]| Some(vec![1.0]));
        let probabilities = judged(short, &vec![0.0; 2 * SAMPLE_RATE_HZ as usize], 4_096);
        assert!(probabilities.iter().all(|p| *p < 0.5));
    }
}
