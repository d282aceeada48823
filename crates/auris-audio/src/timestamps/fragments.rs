//! Fragmented MP4 (ISO/IEC 14496-12, section 8.8): each fragment has the decode time of its first
//! sample, `tfdt`, which the decoding library ignores.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use symphonia::core::packet::Packet;
use symphonia::core::units::Timestamp;

use crate::isobmff::{child, children, id, read, read_box, version};

/// The most boxes of a file, as many as two days of fragments of a second have; one with more is
/// hostile.
const MAX_BOXES: usize = 400_000;

/// The most tracks whose times are kept.
const MAX_TRACKS: usize = 100;

/// The fragments of a track, in the order of the file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fragments {
    /// The number of the first sample of each fragment, and its decode time in units of the track.
    starts: Vec<(u64, u64)>,
    /// The next of them.
    next: usize,
    /// How many samples have been read.
    samples: u64,
    /// What to add to the reader's times.
    offset: i64,
}

impl Fragments {
    /// Those of the track with this id; `None` if the file has none with a time.
    pub(super) fn read_from(
        mut file: &File,
        start: u64,
        track_id: u32,
    ) -> io::Result<Option<Self>> {
        let here = file.stream_position()?;
        let starts = starts(&mut BufReader::new(file), start, track_id);
        file.seek(SeekFrom::Start(here))?;
        let starts = starts.filter(|starts| !starts.is_empty());
        Ok(starts.map(|starts| Self { starts, ..Self::default() }))
    }

    /// Gives the next packet of the track its time.
    pub(super) fn correct(&mut self, packet: &mut Packet) {
        let pts = packet.pts.get();
        while let Some((first, time)) =
            self.starts.get(self.next).filter(|(n, _)| *n <= self.samples)
        {
            if *first == self.samples {
                self.offset = i64::try_from(*time).unwrap_or(i64::MAX).saturating_sub(pts);
            }
            self.next += 1;
        }
        self.samples += 1;
        packet.pts = Timestamp::new(pts.saturating_add(self.offset));
    }
}

/// For each fragment of the track with this id, the number of its first sample and its time.
fn starts(file: &mut (impl Read + Seek), start: u64, track_id: u32) -> Option<Vec<(u64, u64)>> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let mut samples = u64::from(samples_before(file, start..end, track_id).unwrap_or(0));
    let mut starts = Vec::new();
    for_each_part(file, start..end, |file, part| {
        if part.track_id == track_id {
            starts.extend(decode_time(file, &part.content).map(|time| (samples, time)));
            let runs = children(file, part.content, b"trun");
            samples +=
                runs.iter().filter_map(|run| count(file, run, 4).ok()).map(u64::from).sum::<u64>();
        }
        true
    });
    Some(starts)
}

/// The decode time of the first fragment of each track, by its id, in units of the track.
pub(crate) fn first_decode_times(file: &mut (impl Read + Seek)) -> BTreeMap<u32, u64> {
    let mut times = BTreeMap::new();
    let Ok(end) = file.seek(SeekFrom::End(0)) else { return times };
    let tracks = child(file, 0..end, b"moov").map(|movie| children(file, movie, b"trak").len());
    let wanted = tracks.unwrap_or(0).min(MAX_TRACKS);
    for_each_part(file, 0..end, |file, part| {
        if !times.contains_key(&part.track_id) {
            times.extend(decode_time(file, &part.content).map(|time| (part.track_id, time)));
        }
        times.len() < wanted
    });
    times
}

/// What a fragment has of one track.
struct Fragment {
    track_id: u32,
    /// Where its boxes are.
    content: Range<u64>,
}

/// Calls `visit` with each part of each fragment, until it returns false.
fn for_each_part<F: Read + Seek>(
    file: &mut F,
    Range { start: mut at, end }: Range<u64>,
    mut visit: impl FnMut(&mut F, Fragment) -> bool,
) {
    for _ in 0..MAX_BOXES {
        let Ok((name, content)) = read_box(file, at, end) else { return };
        at = content.end;
        if name == *b"moof" {
            for content in children(file, content, b"traf") {
                let Some(header) = child(file, content.clone(), b"tfhd") else { continue };
                let Ok(track_id) = count(file, &header, 4) else { continue };
                if !visit(file, Fragment { track_id, content }) {
                    return;
                }
            }
        }
    }
}

fn decode_time(file: &mut (impl Read + Seek), part: &Range<u64>) -> Option<u64> {
    let time = child(file, part.clone(), b"tfdt")?;
    file.seek(SeekFrom::Start(time.start)).ok()?;
    match version(file).ok()? {
        1 => read(file).map(u64::from_be_bytes).ok(),
        _ => read(file).map(|bytes| u32::from_be_bytes(bytes).into()).ok(),
    }
}

/// How many samples of the track come before the first fragment.
fn samples_before(
    file: &mut (impl Read + Seek),
    container: Range<u64>,
    track_id: u32,
) -> Option<u32> {
    let movie = child(file, container, b"moov")?;
    let track = children(file, movie, b"trak").into_iter().find(|track| {
        child(file, track.clone(), b"tkhd").and_then(|header| id(file, &header)) == Some(track_id)
    })?;
    let table = [b"mdia", b"minf", b"stbl", b"stsz"];
    let sizes = table.into_iter().try_fold(track, |parent, kind| child(file, parent, kind))?;
    count(file, &sizes, 8).ok()
}

/// The number at this place of a box.
fn count(file: &mut (impl Read + Seek), content: &Range<u64>, offset: u64) -> io::Result<u32> {
    file.seek(SeekFrom::Start(content.start + offset))?;
    read(file).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use symphonia::core::units::Duration;

    use super::*;
    use crate::isobmff::tests::{boxed, numbers};

    /// A fragment with this many samples of track 2.
    fn fragment(time: &[i32], samples: i32) -> Vec<u8> {
        let part = |id: i32| {
            [
                boxed(b"tfhd", &numbers(&[0, id])),
                boxed(b"tfdt", &numbers(time)),
                boxed(b"trun", &numbers(&[0, samples])),
            ]
            .concat()
        };
        [
            boxed(b"moof", &[boxed(b"traf", &part(1)), boxed(b"traf", &part(2))].concat()),
            boxed(b"mdat", &[0; 5]),
        ]
        .concat()
    }

    fn file() -> Vec<u8> {
        [fragment(&[0, 100], 2), fragment(&[1 << 24, 0, 9_000], 3)].concat()
    }

    #[test]
    fn packets_get_the_times_of_their_fragments() {
        let starts = starts(&mut Cursor::new(file()), 0, 2).unwrap();
        assert_eq!(starts, [(0, 100), (2, 9_000)]);
        let mut fragments = Fragments { starts, ..Fragments::default() };
        let times = (0..5).map(|n| {
            let mut packet = Packet::new(2, Timestamp::new(n * 10), Duration::new(10), [0]);
            fragments.correct(&mut packet);
            packet.pts.get()
        });
        assert_eq!(times.collect::<Vec<_>>(), [100, 110, 9_000, 9_010, 9_020]);
    }

    #[test]
    fn damage_does_not_panic() {
        let whole = file();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            let _ = starts(&mut Cursor::new(&bytes), 0, 2);
            first_decode_times(&mut Cursor::new(&bytes));
            let _ = starts(&mut Cursor::new(&whole[..at]), 0, 2);
        }
    }
}
