//! How probable speech is, window by window: the Silero network, run in this process.
//!
//! The network has a memory (an LSTM), so that it is run over a stream in order; README.md beside
//! this file says where the weights come from.

use std::sync::{Arc, LazyLock};

use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, op_registry};

/// The samples of one probability, 32 ms.
pub(super) const WINDOW: usize = 512;

/// Before each window the network sees the end of the one before it.
const CONTEXT: usize = 64;

/// So many windows are run at once, 1 s: all layers but the LSTM take them together.
const BATCH: usize = 32;

/// How far the probabilities may be behind what was pushed, in samples.
pub(super) const LAG: usize = BATCH * WINDOW;

/// The numbers in the network's memory, of each of two kinds.
const STATE: [usize; 3] = [1, 1, 128];

static NETWORK: LazyLock<Result<Network, String>> = LazyLock::new(|| {
    let network = Network::load();
    if let Err(error) = &network {
        tracing::error!("speech cannot be detected, so nothing is skipped: {error}");
    }
    network
});

/// The weights, shared by all streams.
struct Network {
    model: Model,
    inputs: [NodeId; 3],
    outputs: [NodeId; 3],
}

impl Network {
    fn load() -> Result<Self, String> {
        let operators = op_registry!(
            Add,
            Cast,
            Concat,
            ConstantOfShape,
            Conv,
            LSTM,
            Pad,
            Pow,
            Relu,
            Reshape,
            Sigmoid,
            Slice,
            Sqrt,
            Squeeze,
            Transpose,
            Unsqueeze
        );
        let model = ModelOptions::with_ops(operators)
            .load_static_slice(include_bytes!("silero_vad.onnx"))
            .map_err(|error| error.to_string())?;
        let ids = |names: [&str; 3]| {
            let [first, second, third] = names.map(|name| model.node_id(name));
            Ok::<_, rten::RunError>([first?, second?, third?])
        };
        let inputs = ids(["input", "h", "c"]).map_err(|error| error.to_string())?;
        let outputs = ids(["speech_probs", "hn", "cn"]).map_err(|error| error.to_string())?;
        Ok(Self { model, inputs, outputs })
    }
}

/// What the network remembers of a stream.
struct RecurrentState {
    hidden: Value,
    cell: Value,
    /// One thread; without it the work would be split over all cores, in parts too small for it.
    thread: Arc<ThreadPool>,
}

impl RecurrentState {
    fn new() -> Option<Self> {
        let zeros = || Value::from_shape(STATE, vec![0.0_f32; STATE[2]]).ok();
        let thread = Arc::new(ThreadPool::with_num_threads(1));
        Some(Self { hidden: zeros()?, cell: zeros()?, thread })
    }

    /// The probabilities of `windows`, each of which has its context before it.
    fn run(self, network: &Network, windows: Vec<f32>) -> Result<(Vec<f32>, Self), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let shape = [windows.len() / (CONTEXT + WINDOW), CONTEXT + WINDOW];
        let windows = Value::from_shape(shape, windows).map_err(|error| text(&error))?;
        let [input, hidden, cell] = network.inputs;
        let inputs =
            vec![(input, windows.into()), (hidden, self.hidden.into()), (cell, self.cell.into())];
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.thread)));
        let [probabilities, hidden, cell] = network
            .model
            .run_n(inputs, network.outputs, Some(options))
            .map_err(|error| text(&error))?;
        let (_, probabilities) =
            probabilities.into_shape_vec::<f32, 1>().map_err(|error| text(&error))?;
        Ok((probabilities, Self { hidden, cell, thread: self.thread }))
    }
}

/// The network on one stream.
pub(super) struct SpeechModel {
    /// `None` after a failure, which no sound can cause; all that follows is then speech.
    state: Option<RecurrentState>,
    /// The context of the next window, and what was pushed behind it.
    samples: Vec<f32>,
}

impl SpeechModel {
    pub(super) fn new() -> Self {
        Self { state: RecurrentState::new(), samples: vec![0.0; CONTEXT] }
    }

    /// Takes more of the stream, and adds the probabilities that are known by now.
    pub(super) fn push(&mut self, samples: &[f32], probabilities: &mut Vec<f32>) {
        // The network asks for [-1, 1]; the resampler may overshoot. It would never forget a NaN.
        let clean = |sample: &f32| if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) };
        self.samples.extend(samples.iter().map(clean));
        while self.samples.len() >= CONTEXT + BATCH * WINDOW {
            self.run(BATCH, probabilities);
        }
    }

    /// The stream has ended. The last window is filled up with silence.
    pub(super) fn finish(&mut self, probabilities: &mut Vec<f32>) {
        let windows = (self.samples.len() - CONTEXT).div_ceil(WINDOW);
        if windows > 0 {
            self.samples.resize(CONTEXT + windows * WINDOW, 0.0);
            self.run(windows, probabilities);
        }
    }

    fn run(&mut self, count: usize, probabilities: &mut Vec<f32>) {
        let windows =
            self.samples.windows(CONTEXT + WINDOW).step_by(WINDOW).take(count).flatten().copied();
        let found = match (&*NETWORK, self.state.take()) {
            (Ok(network), Some(state)) => match state.run(network, windows.collect()) {
                Ok((found, state)) => {
                    self.state = Some(state);
                    found
                }
                Err(error) => {
                    tracing::error!("speech cannot be detected, so no more is skipped: {error}");
                    Vec::new()
                }
            },
            _ => Vec::new(),
        };
        let unknown = std::iter::repeat_n(1.0, count.saturating_sub(found.len()));
        probabilities.extend(found.into_iter().chain(unknown));
        self.samples.drain(..count * WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::decode_fixture;

    fn probabilities(samples: &[f32], piece: usize) -> Vec<f32> {
        let mut model = SpeechModel::new();
        let mut probabilities = Vec::new();
        samples.chunks(piece).for_each(|piece| model.push(piece, &mut probabilities));
        model.finish(&mut probabilities);
        probabilities
    }

    fn speech() -> Vec<f32> {
        decode_fixture("eval/00.flac").unwrap().samples
    }

    #[test]
    fn the_probabilities_are_those_of_the_published_network() {
        // Every eighth, by onnxruntime 1.32.
        let expected: [f32; 14] = [
            0.1303, 0.3916, 0.9991, 1.0, 1.0, 0.999, 1.0, 1.0, 0.6274, 0.0625, 0.0767, 0.0426,
            0.0267, 0.0032,
        ];
        let found: Vec<f32> = probabilities(&speech(), 4_096).into_iter().step_by(8).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3, "{found} instead of {expected}");
        }
    }

    #[test]
    fn every_window_has_a_probability_however_it_is_pushed() {
        let samples = speech();
        for length in [0, 1, 511, 512, 513, LAG - 1, LAG, LAG + 1, samples.len()] {
            let whole = probabilities(&samples[..length], length.max(1));
            assert_eq!(whole.len(), length.div_ceil(WINDOW), "{length}");
            assert_eq!(probabilities(&samples[..length], 777), whole, "{length}");
        }
    }

    #[test]
    fn a_broken_sample_does_no_harm_to_what_follows() {
        let broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX].repeat(128);
        let found = probabilities(&[broken, speech()].concat(), 4_096);
        assert!(found.iter().all(|probability| (0.0..=1.0).contains(probability)));
        let speech = found.iter().filter(|probability| **probability > 0.9).count();
        assert!(speech > 50, "{speech} windows of speech");
    }
}
