//! Codec delay and discard padding of a Matroska track (RFC 9559, sections 5.1.4.1.25 and
//! 5.1.3.5.7).

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};

use super::{Padding, Span};
use crate::ebml::{
    BLOCK, BLOCK_GROUP, CLUSTER, Element, SEGMENT, SIMPLE_BLOCK, TRACK_ENTRY, TRACK_NUMBER, TRACKS,
    move_to, number,
};

mod start;

// Ids of elements, with their length marks.
const CODEC_DELAY: u64 = 0x56aa;
const DISCARD_PADDING: u64 = 0x75a2;

/// The most elements, as many as a day of packets has; a file with more is hostile.
const MAX_ELEMENTS: usize = 5_000_000;

/// The clusters at the end in which a track's last block is looked for.
const LAST_CLUSTERS: usize = 4;

const NANOS: f64 = 1e9;

/// What the file declares for the track with this number, up to damage.
pub(super) fn padding(file: &mut (impl Read + Seek), track_number: u32) -> Option<Padding> {
    let file_end = file.seek(SeekFrom::End(0)).ok()?;
    let mut padding = Padding::NONE;
    let mut last_clusters = VecDeque::new();
    let mut is_open_ended = false;
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        let Ok(element) = Element::read(file, at) else { break };
        at = element.end.unwrap_or(element.start);
        match element.id {
            // Their children are walked through in the same way.
            SEGMENT => {
                is_open_ended = element.end.is_none();
                at = element.start;
            }
            CLUSTER if element.end.is_none() => {}
            CLUSTER => {
                last_clusters.push_front(element);
                last_clusters.truncate(LAST_CLUSTERS);
            }
            TRACKS => padding.start = codec_delay(file, &element, track_number),
            _ => {}
        }
    }
    padding.open_ended = is_open_ended && at == file_end;
    let tail = last_clusters.iter().find_map(|last| discard_padding(file, last, track_number));
    padding.tail = tail.unwrap_or(Span::NONE);
    padding.delay = start::delay(file, track_number);
    Some(padding)
}

/// How much of the track's start is not of the recording.
fn codec_delay(file: &mut (impl Read + Seek), tracks: &Element, track_number: u32) -> Span {
    for entry in tracks.children(file).iter().filter(|element| element.id == TRACK_ENTRY) {
        let fields = entry.children(file);
        let mut field = |id| fields.iter().find(|field| field.id == id)?.value(file);
        if field(TRACK_NUMBER) == Some(u64::from(track_number)) {
            return Span::Seconds(field(CODEC_DELAY).unwrap_or(0) as f64 / NANOS);
        }
    }
    Span::NONE
}

/// How much of the track's last block in this cluster is not of the recording; `None` if the
/// track has no block there.
fn discard_padding(
    file: &mut (impl Read + Seek),
    cluster: &Element,
    track_number: u32,
) -> Option<Span> {
    for block in cluster.children(file).iter().rev() {
        let fields = match block.id {
            BLOCK_GROUP => block.children(file),
            _ => Vec::new(),
        };
        let field = |id| fields.iter().find(|field| field.id == id);
        let frames = if block.id == SIMPLE_BLOCK { Some(block) } else { field(BLOCK) };
        if frames.is_some_and(|frames| is_of_track(file, frames, track_number)) {
            let discarded = field(DISCARD_PADDING).and_then(|padding| padding.value(file));
            return Some(Span::Seconds(discarded.unwrap_or(0) as f64 / NANOS));
        }
    }
    None
}

/// Whether a block belongs to the track with this number.
fn is_of_track(file: &mut (impl Read + Seek), block: &Element, track_number: u32) -> bool {
    move_to(file, block.start).is_ok()
        && number(file, false).is_ok_and(|(track, _)| track == u64::from(track_number))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::ebml::tests::{element, with_size};

    /// Track 2 has a delay of 1 s; its last block, and then one of track 1, are in the cluster.
    fn cluster(last_blocks: &[u8]) -> Vec<u8> {
        [element(SIMPLE_BLOCK, &[0x82, 0, 0, 0]), last_blocks.to_vec(), block(1, 3)].concat()
    }

    /// A block whose last milliseconds are to be discarded.
    fn block(track: u8, discarded_ms: u32) -> Vec<u8> {
        let padding = u64::from(discarded_ms) * 1_000_000;
        let fields = [
            element(BLOCK, &[0x80 | track, 0, 0, 0]),
            element(DISCARD_PADDING, &padding.to_be_bytes()),
        ];
        element(BLOCK_GROUP, &fields.concat())
    }

    fn tracks() -> Vec<u8> {
        let delay = 1_000_000_000_u32.to_be_bytes();
        let track = |number, delay: &[u8]| {
            element(TRACK_ENTRY, &[element(TRACK_NUMBER, &[number]), delay.to_vec()].concat())
        };
        element(TRACKS, &[track(1, b""), track(2, &element(CODEC_DELAY, &delay))].concat())
    }

    fn padding_of(bytes: &[u8]) -> Padding {
        padding(&mut Cursor::new(bytes), 2).unwrap()
    }

    #[test]
    fn a_track_reports_its_delay_and_its_last_block_its_padding() {
        let first = element(CLUSTER, &cluster(&block(2, 7)));
        let last = element(CLUSTER, &cluster(&block(2, 13)));
        let file = element(SEGMENT, &[tracks(), first, last].concat());
        let expected =
            Padding { start: Span::Seconds(1.0), tail: Span::Seconds(0.013), ..Padding::NONE };
        assert_eq!(padding_of(&file), expected);
    }

    #[test]
    fn a_live_recording_is_whole_where_a_block_ends() {
        let blocks = with_size(CLUSTER, None, &cluster(b""));
        let file = with_size(SEGMENT, None, &[tracks(), blocks.clone(), blocks].concat());
        assert!(padding_of(&file).open_ended);
        assert!(!padding_of(&file[..file.len() - 1]).open_ended);
        let closed = element(SEGMENT, &tracks());
        assert!(!padding_of(&closed).open_ended);
    }

    #[test]
    fn damage_does_not_panic() {
        let whole = element(SEGMENT, &[tracks(), element(CLUSTER, &cluster(b""))].concat());
        for at in 0..whole.len() {
            for value in [0, 1, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                padding_of(&bytes);
            }
            padding_of(&whole[..at]);
        }
    }
}
