//! Tones that pass for speech are taken out of it again.
//!
//! Judged in blocks of half a second. A block in which tones are held for a good part of what
//! passes for speech belongs to a run of such blocks, and with a second of held tones together the
//! run is no speech. Nobody holds a vowel that steadily for so long; who speaks beside music or a
//! ringing telephone changes the spectrum enough.

use std::collections::VecDeque;

use super::tonal::{HOP, Tones};
use super::vad::FRAME;

/// The frames of a block, 512 ms.
const BLOCK: usize = 32;

/// From this part on, of a block's frames that pass for speech, it is a block of tones.
const TONAL_PART: f32 = 0.25;

/// A block with less that passes for speech, 96 ms, is silent.
const HEARD_HOPS: usize = 3;

/// Tones held for a second in all.
const RUN_HOPS: usize = 31;

/// A run between silences, such as a beep, is no speech either if tones are held for this part of
/// it. It is less than the whole, since at both ends tone and silence are compared.
const LONE_PART: f32 = 0.5;

/// A run goes on over so many silent blocks.
const QUIET_BLOCKS: usize = 2;

/// What may be speech does not wait longer than for so many blocks.
const MOST_BLOCKS: usize = 10;

/// What the judgement may be behind what is heard.
pub(super) const LAG: usize = (MOST_BLOCKS + 1) * BLOCK * FRAME;

/// Frames that pass for speech, in order.
#[derive(Clone, Copy, Default)]
struct Block {
    /// A bit for each frame, the first one lowest.
    speech: u32,
    frames: usize,
    /// Of the frames of speech, how many were compared, and how many of these hold a tone.
    hops: usize,
    held: usize,
}

#[derive(PartialEq)]
enum Kind {
    Silent,
    Tones,
    Speech,
}

impl Block {
    fn kind(&self) -> Kind {
        if self.hops < HEARD_HOPS {
            Kind::Silent
        } else if self.held as f32 >= TONAL_PART * self.hops as f32 {
            Kind::Tones
        } else {
            Kind::Speech
        }
    }
}

/// Judges frame by frame, some blocks behind.
pub(super) struct Gate {
    tones: Tones,
    /// The number of the frame that comes next.
    next: u64,
    block: Block,
    /// The blocks of the run that are not judged. Of a run that is no speech, the last one: it is
    /// kept if speech follows at once.
    run: VecDeque<Block>,
    /// The hops in the run, and how many hold a tone.
    hops: usize,
    held: usize,
    /// The silent blocks at its end.
    quiet: usize,
    is_tones: bool,
    /// Whether speech came just before the run.
    behind_speech: bool,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            tones: Tones::new(),
            next: 0,
            block: Block::default(),
            run: VecDeque::new(),
            hops: 0,
            held: 0,
            quiet: 0,
            is_tones: false,
            behind_speech: false,
        }
    }

    /// Hears mono samples; must be ahead of the frames by the length of a spectrum.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.tones.push(samples);
    }

    /// Whether the next frame passes for speech. `settle` is told for earlier ones, in order,
    /// whether they are.
    pub(super) fn hear(&mut self, passes: bool, settle: &mut impl FnMut(bool)) {
        let position = self.next * FRAME as u64;
        if passes {
            self.block.speech |= 1 << self.block.frames;
            if !position.is_multiple_of(HOP as u64)
                && let Some(held) = self.tones.is_held(position)
            {
                self.block.hops += 1;
                self.block.held += usize::from(held);
            }
        }
        self.next += 1;
        self.block.frames += 1;
        if self.block.frames == BLOCK {
            self.tones.forget(position.saturating_sub(8 * HOP as u64));
            self.judge(settle);
        }
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self, settle: &mut impl FnMut(bool)) {
        self.judge(settle);
        self.end_run(false, settle);
    }

    fn judge(&mut self, settle: &mut impl FnMut(bool)) {
        let block = std::mem::take(&mut self.block);
        match block.kind() {
            Kind::Speech => {
                self.end_run(true, settle);
                tell(block, true, settle);
                self.behind_speech = true;
            }
            Kind::Tones => {
                self.quiet = 0;
                self.hops += block.hops;
                self.held += block.held;
                self.extend(block, settle);
            }
            Kind::Silent if self.run.is_empty() && !self.is_tones && block.speech == 0 => {
                tell(block, false, settle);
                self.behind_speech = false;
            }
            Kind::Silent => {
                self.quiet += 1;
                self.extend(block, settle);
                if self.quiet > QUIET_BLOCKS {
                    self.end_run(false, settle);
                    self.behind_speech = false;
                }
            }
        }
    }

    /// Adds a block of tones, or a silent one, to the run.
    fn extend(&mut self, block: Block, settle: &mut impl FnMut(bool)) {
        self.run.push_back(block);
        if !self.is_tones && self.held >= RUN_HOPS {
            self.is_tones = true;
            // Half of it may still be speech.
            if self.behind_speech && self.run.len() > 1 {
                self.run.pop_front().into_iter().for_each(|block| tell(block, true, settle));
            }
        }
        if self.is_tones {
            let past = self.run.len() - 1;
            self.run.drain(..past).for_each(|block| tell(block, false, settle));
        } else if self.run.len() > MOST_BLOCKS {
            self.run.pop_front().into_iter().for_each(|block| tell(block, true, settle));
            self.behind_speech = false;
        }
    }

    /// What is not judged yet is speech, unless it is a tone that silence follows.
    fn end_run(&mut self, speech_follows: bool, settle: &mut impl FnMut(bool)) {
        let stands_alone = !self.behind_speech && !speech_follows && self.held > 0;
        let is_lone_tone = stands_alone && self.held as f32 >= LONE_PART * self.hops as f32;
        let follows_at_once = speech_follows && self.quiet == 0;
        let is_speech = if self.is_tones { follows_at_once } else { !is_lone_tone };
        self.run.drain(..).for_each(|block| tell(block, is_speech, settle));
        (self.hops, self.held, self.quiet, self.is_tones) = (0, 0, 0, false);
    }
}

fn tell(block: Block, is_speech: bool, settle: &mut impl FnMut(bool)) {
    (0..block.frames).for_each(|frame| settle(is_speech && (block.speech >> frame) & 1 == 1));
}
