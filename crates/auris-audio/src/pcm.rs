//! From decoded planes of any sample type to clean signals: one, or one for each channel.

use symphonia::core::audio::GenericAudioBufferRef;

use super::AudioError;
use super::block::finite_or_zero;
use super::cancellation::Cancellation;
use auris_core::recording::{Channel, ChannelChoice};

/// What becomes of the channels of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signals {
    /// One signal of all of them.
    Mixed,
    /// One signal of the channel with this number, from 0.
    One(usize),
    /// A signal of each of so many.
    Each(usize),
}

impl Signals {
    /// What `choice` means for a track that has `channels` of them.
    ///
    /// # Errors
    /// [`AudioError::NoChannel`].
    pub(super) fn choose(choice: ChannelChoice, channels: usize) -> Result<Self, AudioError> {
        let one = |index: usize, least: usize| match channels >= least {
            true => Ok(Self::One(index)),
            false => Err(AudioError::NoChannel { wanted: choice, found: channels }),
        };
        match choice {
            ChannelChoice::Mix => Ok(Self::Mixed),
            ChannelChoice::Left => one(0, 2),
            ChannelChoice::Right => one(1, 2),
            ChannelChoice::Number(number) => {
                one(usize::from(number).saturating_sub(1), number.into())
            }
            ChannelChoice::Split => Ok(Self::Each(channels)),
        }
    }

    /// How many signals there are.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Mixed | Self::One(_) => 1,
            Self::Each(count) => count,
        }
    }

    /// What the signals are called, if each channel is one.
    pub(super) fn split(self) -> Vec<Channel> {
        match self {
            Self::Mixed | Self::One(_) => Vec::new(),
            Self::Each(count) => Channel::all(count),
        }
    }
}

/// Makes signals of frames, with buffers that are used again for each block.
#[derive(Default)]
pub(super) struct Mixer {
    planes: Vec<Vec<f32>>,
    cancellation: Cancellation,
}

impl Mixer {
    /// Appends the channels of `decoded`, clipped to [-1, 1], to `signals`, of which there are as
    /// many as `wanted` says.
    pub(super) fn append(
        &mut self,
        decoded: &GenericAudioBufferRef<'_>,
        wanted: Signals,
        signals: &mut [Vec<f32>],
    ) {
        decoded.copy_to_vecs_planar(&mut self.planes);
        let start = signals.first().map_or(0, Vec::len);
        append_signals(&self.planes, wanted, signals);
        if let (Signals::Mixed, [left, right], [mixed]) = (wanted, &self.planes[..], signals) {
            let rate_hz = decoded.spec().rate();
            self.cancellation.mend([left, right], &mut mixed[start..], rate_hz);
        }
    }
}

/// Streams that are chained may have other channels than the first one. Then every signal is the
/// mean of all of them, so that nothing is lost.
fn append_signals(planes: &[Vec<f32>], wanted: Signals, signals: &mut [Vec<f32>]) {
    match (wanted, signals) {
        (Signals::One(index), [signal]) if index < planes.len() => {
            append_mean(&planes[index..=index], signal);
        }
        (Signals::Each(count), signals) if count == planes.len() => {
            for (plane, signal) in planes.chunks(1).zip(signals) {
                append_mean(plane, signal);
            }
        }
        (_, signals) => signals.iter_mut().for_each(|signal| append_mean(planes, signal)),
    }
}

/// Appends the mean of `planes` (one for each channel, of equal length) to `mono`.
/// What is no number counts as 0: a single NaN would spread through a whole block of the
/// resampler's transform.
fn append_mean(planes: &[Vec<f32>], mono: &mut Vec<f32>) {
    let Some((first, others)) = planes.split_first() else { return };
    let start = mono.len();
    mono.extend(first.iter().copied().map(finite_or_zero));
    let mixed = &mut mono[start..];
    for plane in others {
        for (sum, sample) in mixed.iter_mut().zip(plane) {
            *sum += finite_or_zero(*sample);
        }
    }
    let share = 1.0 / planes.len() as f32;
    for sample in mixed {
        *sample = (*sample * share).clamp(-1.0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(planes: &[Vec<f32>]) -> Vec<f32> {
        let mut mono = Vec::new();
        append_mean(planes, &mut mono);
        mono
    }

    #[test]
    fn channels_are_averaged() {
        assert_eq!(mean(&[vec![0.5, -0.5], vec![0.25, 0.5]]), [0.375, 0.0]);
    }

    #[track_caller]
    fn check(wanted: Signals, planes: &[Vec<f32>], expected: &[f32]) {
        let mut signals = vec![Vec::new(); wanted.count()];
        append_signals(planes, wanted, &mut signals);
        assert_eq!(signals.concat(), expected, "{wanted:?}");
    }

    #[test]
    fn channels_are_taken_alone_or_each() {
        let stereo = [vec![0.5, f32::NAN], vec![2.0, 0.25]];
        check(Signals::One(0), &stereo, &[0.5, 0.0]);
        check(Signals::One(1), &stereo, &[1.0, 0.25]);
        check(Signals::Each(2), &stereo, &[0.5, 0.0, 1.0, 0.25]);
        check(Signals::Mixed, &stereo, &[1.0, 0.125]);
    }

    #[test]
    fn of_other_channels_than_expected_nothing_is_lost() {
        check(Signals::Each(2), &[vec![0.5]], &[0.5, 0.5]);
        check(Signals::Each(2), &[vec![0.25], vec![0.5], vec![0.0]], &[0.25, 0.25]);
        check(Signals::One(1), &[vec![0.5]], &[0.5]);
    }

    #[test]
    fn only_channels_that_are_there_can_be_chosen() {
        let chosen = |choice, channels| Signals::choose(choice, channels).ok();
        let number = ChannelChoice::Number;
        for (choice, channels, expected) in [
            (ChannelChoice::Mix, 1, Some(Signals::Mixed)),
            (ChannelChoice::Split, 1, Some(Signals::Each(1))),
            (ChannelChoice::Left, 1, None),
            (ChannelChoice::Right, 1, None),
            (number(1), 1, Some(Signals::One(0))),
            (number(2), 1, None),
            (ChannelChoice::Left, 2, Some(Signals::One(0))),
            (ChannelChoice::Right, 2, Some(Signals::One(1))),
            (number(3), 2, None),
            (ChannelChoice::Split, 6, Some(Signals::Each(6))),
        ] {
            assert_eq!(chosen(choice, channels), expected, "{choice} of {channels}");
        }
    }

    #[test]
    fn what_is_no_number_becomes_silence() {
        let bad = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.5];
        assert_eq!(mean(&[bad]), [0.0, 0.0, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn overshoot_is_clipped() {
        assert_eq!(mean(&[vec![1.5, -7.0]]), [1.0, -1.0]);
    }
}
