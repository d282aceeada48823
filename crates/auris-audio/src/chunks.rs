//! A stream cut into chunks: one signal after its pauses, or each channel after its own.
//!
//! The channels of a file are decoded once, side by side. Whichever is furthest behind is cut next:
//! so chunks come in the order in which they begin, and no channel has more than a chunk pending
//! while it waits for another.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::segment::{ChunkPolicy, Cut, Cutter};
use super::{AudioError, AudioInfo, AudioStream, Losses, SAMPLE_RATE_HZ};
use auris_core::recording::{Channel, TranscribedParts};

/// A stretch of the file, or of one of its channels, to transcribe as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its number, from 0, in the order in which chunks begin.
    pub index: usize,
    /// Its channel, if each is transcribed on its own.
    pub channel: Option<Channel>,
    /// Its first sample, counted at 16 kHz from the start of the file.
    pub start_sample: u64,
    /// Mono f32 in [-1, 1] at 16 kHz, at most [`ChunkPolicy::max`] of it and never empty.
    pub samples: Arc<[f32]>,
    /// The spans of speech, as ranges of `samples`: in order, disjoint, never empty, accurate to
    /// about 0.1 s. Empty without voice activity detection, and if it found no speech.
    pub speech: Vec<Range<usize>>,
}

impl Chunk {
    /// When it starts, from the start of the file.
    pub fn start(&self) -> Duration {
        duration_of(self.start_sample)
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len() as u64)
    }
}

/// What comes next in a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// A stretch to transcribe.
    Chunk(Chunk),
    /// A stretch that is left out because it has no speech.
    Silence,
}

/// A stream cut into chunks. The samples of a channel's chunks in a row are the whole channel, bit by
/// bit, but for the silence that is left out.
pub struct Chunks {
    stream: AudioStream,
    channels: Vec<ChannelCutter>,
    /// What was decoded last, of each channel.
    decoded: Vec<Vec<f32>>,
    next_index: usize,
    silent_samples: u64,
    ended: bool,
}

/// A signal on its way to chunks.
struct ChannelCutter {
    /// Its channel, if each is transcribed on its own.
    channel: Option<Channel>,
    cutter: Cutter,
}

impl Chunks {
    /// Cuts `stream` by `policy`; `min` is taken as at most `max`, and `max` as at least 1 s.
    pub fn new(stream: AudioStream, policy: ChunkPolicy) -> Self {
        let channels = stream.parts().split.into_iter().map(Some);
        let channels = channels.chain([None]).take(stream.signals());
        let cutter = |channel| ChannelCutter { channel, cutter: Cutter::new(policy) };
        let channels: Vec<ChannelCutter> = channels.map(cutter).collect();
        Self {
            stream,
            decoded: vec![Vec::new(); channels.len()],
            channels,
            next_index: 0,
            silent_samples: 0,
            ended: false,
        }
    }

    /// The next chunk, or none at the end. Decodes through silence, however long it is.
    ///
    /// # Errors
    /// Those of [`AudioStream::read_signals`]; what was decoded since the last chunk is lost.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, AudioError> {
        loop {
            match self.next_piece()? {
                Some(Piece::Chunk(chunk)) => return Ok(Some(chunk)),
                Some(Piece::Silence) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next chunk, or some silence before it, or none at the end. Decodes little more than the
    /// longest chunk.
    ///
    /// # Errors
    /// Those of [`AudioStream::read_signals`]; what was decoded since the last chunk is lost.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, AudioError> {
        while self.furthest_behind().is_some_and(|next| next.cutter.needs_more()) {
            self.decode()?;
        }
        let index = self.next_index;
        let Some(next) = self.furthest_behind() else { return Ok(None) };
        let channel = next.channel;
        Ok(Some(match next.cutter.cut_next() {
            Cut::Silence(samples) => {
                self.silent_samples += samples as u64;
                Piece::Silence
            }
            Cut::Chunk { start, samples, speech } => {
                self.next_index += 1;
                let samples = samples.into();
                Piece::Chunk(Chunk { index, channel, start_sample: start, samples, speech })
            }
        }))
    }

    /// What the file is.
    pub fn info(&self) -> &AudioInfo {
        self.stream.info()
    }

    /// Which track and channels of the file are decoded.
    pub fn parts(&self) -> TranscribedParts {
        self.stream.parts()
    }

    /// Samples of each channel at 16 kHz decoded so far, a little ahead of the chunks returned.
    pub fn decoded_samples(&self) -> u64 {
        self.stream.decoded_samples()
    }

    /// Samples of all channels that are left out of the chunks so far because they have no speech.
    pub fn silent_samples(&self) -> u64 {
        self.silent_samples
    }

    /// Whether the file broke off; what there was has been decoded. Final after the last chunk.
    pub fn truncated(&self) -> bool {
        self.stream.truncated()
    }

    /// What is missing so far. Final after the last chunk.
    pub fn losses(&self) -> Losses {
        self.stream.losses()
    }

    /// Of the channels that are not done, the one that is furthest behind; the first of several.
    fn furthest_behind(&mut self) -> Option<&mut ChannelCutter> {
        let open = self.channels.iter_mut().filter(|channel| !channel.cutter.is_done());
        open.min_by_key(|channel| channel.cutter.start())
    }

    fn decode(&mut self) -> Result<(), AudioError> {
        self.decoded.iter_mut().for_each(Vec::clear);
        self.ended = !self.stream.read_signals(&mut self.decoded)?;
        for (channel, samples) in self.channels.iter_mut().zip(&self.decoded) {
            channel.cutter.push(samples);
            if self.ended {
                channel.cutter.finish();
            }
        }
        Ok(())
    }
}

fn duration_of(samples: u64) -> Duration {
    let rate = u64::from(SAMPLE_RATE_HZ);
    let nanos = (samples % rate) * 1_000_000_000 / rate;
    Duration::from_secs(samples / rate) + Duration::from_nanos(nanos)
}
