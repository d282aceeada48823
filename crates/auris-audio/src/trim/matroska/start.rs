//! When a track begins, by the times of the first blocks (RFC 9559, section 11).
//!
//! The times of a file may begin anywhere, since it may be a part of a stream. What counts is how
//! much later the track begins than the first track with sound or pictures: so players show it.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use crate::ebml::{
    BLOCK, BLOCK_GROUP, CLUSTER, Element, SEGMENT, SIMPLE_BLOCK, TRACK_ENTRY, TRACK_NUMBER, TRACKS,
    move_to, number,
};
use crate::isobmff::read;

// Ids of elements, with their length marks.
const INFO: u64 = 0x1549_a966;
const TIMESTAMP_SCALE: u64 = 0x002a_d7b1;
const TRACK_TYPE: u64 = 0x83;
const TIMESTAMP: u64 = 0xe7;

/// Types of tracks with pictures and with sound.
const PLAYED: [u64; 2] = [1, 2];

/// In nanoseconds, where it is not written.
const DEFAULT_SCALE: u64 = 1_000_000;

/// The most elements up to the first block of a track, as many as an hour of pictures has.
const MAX_ELEMENTS: usize = 500_000;

/// Blocks may be out of order by as many.
const OUT_OF_ORDER: usize = 100;

/// How much later the track with this number begins than the first one, in seconds.
pub(super) fn delay(file: &mut (impl Read + Seek), track_number: u32) -> f64 {
    let mut walk = Walk { scale: DEFAULT_SCALE, ..Walk::default() };
    let own = u64::from(track_number);
    let mut left = None;
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        let Ok(element) = Element::read(file, at) else { break };
        let content = element.start;
        let Some(end) = walk.visit(file, element) else { break };
        at = end.unwrap_or(content);
        if left.is_none() && walk.first.contains_key(&own) {
            left = Some(OUT_OF_ORDER);
        }
        left = left.map(|left| left - 1);
        if left == Some(0) {
            break;
        }
    }
    let earliest = walk.first.values().min().copied();
    let late = walk.first.get(&own).zip(earliest).map(|(own, first)| own.saturating_sub(first));
    late.unwrap_or(0) as f64 * walk.scale as f64 / 1e9
}

#[derive(Default)]
struct Walk {
    scale: u64,
    /// The numbers of the tracks with sound or pictures.
    played: Vec<u64>,
    /// The time of the cluster.
    cluster: Option<i64>,
    /// The time of the first block of each of the tracks.
    first: BTreeMap<u64, i64>,
}

impl Walk {
    /// Looks at an element. Where the next one is: `Some(None)` is its content, `None` nowhere.
    fn visit(&mut self, file: &mut (impl Read + Seek), element: Element) -> Option<Option<u64>> {
        match element.id {
            // Their children are walked through in the same way.
            SEGMENT | CLUSTER | BLOCK_GROUP => return Some(None),
            INFO => {
                let fields = element.children(file);
                let scale = fields.iter().find(|field| field.id == TIMESTAMP_SCALE);
                self.scale = scale.and_then(|own| own.value(file)).unwrap_or(DEFAULT_SCALE);
            }
            TRACKS => {
                let entries = element.children(file);
                let entries = entries.iter().filter(|entry| entry.id == TRACK_ENTRY);
                self.played = entries.filter_map(|entry| played(file, entry)).collect();
            }
            TIMESTAMP => {
                self.cluster = element.value(file).and_then(|time| time.try_into().ok());
            }
            SIMPLE_BLOCK | BLOCK => {
                let (track, time) = block(file, &element)?;
                if let Some(cluster) = self.cluster.filter(|_| self.played.contains(&track)) {
                    let time = cluster.saturating_add(time.into());
                    let first = self.first.entry(track).or_insert(time);
                    *first = time.min(*first);
                }
            }
            _ => {}
        }
        element.end.map(Some)
    }
}

/// The number of a track, if it has sound or pictures.
fn played(file: &mut (impl Read + Seek), entry: &Element) -> Option<u64> {
    let fields = entry.children(file);
    let mut field = |id| fields.iter().find(|field| field.id == id)?.value(file);
    PLAYED.contains(&field(TRACK_TYPE)?).then(|| field(TRACK_NUMBER)).flatten()
}

/// The track of a block, and its time on the clock of its cluster.
fn block(file: &mut (impl Read + Seek), block: &Element) -> Option<(u64, i16)> {
    move_to(file, block.start).ok()?;
    let (track, _) = number(file, false).ok()?;
    Some((track, i16::from_be_bytes(read(file).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::ebml::tests::{element, with_size};

    /// A cluster at this time with blocks of tracks at times on its clock.
    fn cluster(time: u16, blocks: &[(u8, i16)]) -> Vec<u8> {
        let blocks = blocks.iter().enumerate().flat_map(|(n, (track, time))| {
            let content = [&[0x80 | track], &time.to_be_bytes()[..], &[0, 1, 2]].concat();
            match n % 2 {
                0 => element(SIMPLE_BLOCK, &content),
                _ => element(BLOCK_GROUP, &element(BLOCK, &content)),
            }
        });
        [element(TIMESTAMP, &time.to_be_bytes()), blocks.collect()].concat()
    }

    /// Track 1 has pictures, 2 and 3 sound, 4 subtitles.
    fn tracks() -> Vec<u8> {
        let track = |number, kind| {
            let fields = [element(TRACK_NUMBER, &[number]), element(TRACK_TYPE, &[kind])];
            element(TRACK_ENTRY, &fields.concat())
        };
        let tracks = [track(1, 1), track(2, 2), track(3, 2), track(4, 17)].concat();
        element(TRACKS, &tracks)
    }

    fn delay_of(track: u32, clusters: &[Vec<u8>]) -> f64 {
        let clusters: Vec<u8> = clusters.iter().flat_map(|own| element(CLUSTER, own)).collect();
        let file = element(SEGMENT, &[tracks(), clusters].concat());
        delay(&mut Cursor::new(file), track)
    }

    #[test]
    fn a_track_is_late_by_what_it_begins_after_the_first() {
        let film =
            [cluster(5_000, &[(4, 0), (1, 40), (1, 80)]), cluster(9_000, &[(1, 0), (2, 40)])];
        assert_eq!(delay_of(2, &film), 4.0);
        assert_eq!(delay_of(1, &film), 0.0);
        assert_eq!(delay_of(2, &film[1..]), 0.04);
        // Nothing but sound, from a stream.
        assert_eq!(delay_of(2, &[cluster(7_000, &[(4, 0), (2, 30), (2, 50)])]), 0.0);
        // Out of order.
        assert_eq!(delay_of(2, &[cluster(7_000, &[(2, 500), (1, 0), (3, 100)])]), 0.5);
        assert_eq!(delay_of(2, &[]), 0.0);
    }

    #[test]
    fn clusters_of_unknown_size_and_scales_are_read() {
        let cluster = with_size(CLUSTER, None, &cluster(1_000, &[(1, 0), (2, 500)]));
        let info = element(INFO, &element(TIMESTAMP_SCALE, &100_000_u32.to_be_bytes()));
        let file = with_size(SEGMENT, None, &[info, tracks(), cluster].concat());
        assert_eq!(delay(&mut Cursor::new(file), 2), 0.05);
    }

    #[test]
    fn damage_does_not_panic() {
        let clusters = element(CLUSTER, &cluster(5_000, &[(1, 40), (2, 80)]));
        let whole = element(SEGMENT, &[tracks(), clusters].concat());
        for at in 0..whole.len() {
            for value in [0, 1, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                delay(&mut Cursor::new(&bytes), 2);
            }
        }
    }
}
