//! The edit list of an MP4 track (ISO/IEC 14496-12, section 8.6.6).

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::{Padding, PlayedPart, Span};
use crate::isobmff::{after_times, child, children, handler_type, id, read, version};
use crate::timestamps::first_decode_times;

/// The most edits; a file with more is hostile.
const MAX_EDITS: u32 = 10_000;

/// What the edit list of the track with this id leaves out, and when the track begins; `None` if
/// nothing is declared.
///
/// A list places the track on the clock of the file, which begins at 0: a delay holds for files with
/// one track as well. The times of fragments may begin anywhere, since a file may be a part of a
/// stream: what counts is how much later this track begins than the first one.
pub(super) fn padding(file: &mut (impl Read + Seek), track_id: u32) -> Option<Padding> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let movie = child(file, 0..end, b"moov")?;
    let header = child(file, movie.clone(), b"mvhd")?;
    let movie_scale = time_scale(file, &header)?;
    let is_fragmented = child(file, movie.clone(), b"mvex").is_some();
    let times = match is_fragmented {
        true => first_decode_times(file),
        false => BTreeMap::new(),
    };
    let mut own = None;
    let mut first_start = f64::INFINITY;
    for track in children(file, movie, b"trak") {
        let Some(track) = TrackEdits::read(file, track, movie_scale) else { continue };
        let start = match times.get(&track.id) {
            Some(time) => *time as f64 / track.scale,
            // Declared, but without fragments: nothing of it is played.
            None if !times.is_empty() && track.id != track_id => continue,
            None => 0.0,
        };
        let first_edit = track.edits.iter().find_map(|edit| edit.start);
        let start = (start - first_edit.unwrap_or(0.0)).max(0.0);
        first_start = first_start.min(start);
        if track.id == track_id {
            own = Some((track.edits, start));
        }
    }
    let (edits, start) = own?;
    let late = start - first_start;
    if edits.is_empty() && late == 0.0 {
        return None;
    }
    let mut padding = Padding { delay: late, ..Padding::NONE };
    let mut parts = Vec::new();
    let mut silence = 0.0;
    for Edit { seconds, start } in edits {
        match start {
            None => silence += seconds,
            // The last one, or one that was written before its length was known.
            Some(start) if seconds == 0.0 || is_fragmented => {
                parts.push(PlayedPart { silence, range: start..f64::INFINITY });
                break;
            }
            Some(start) => {
                parts.push(PlayedPart { silence, range: start..start + seconds });
                silence = 0.0;
            }
        }
    }
    let mut parts = parts.into_iter();
    if let Some(PlayedPart { silence, range }) = parts.next() {
        padding.start = Span::Seconds(range.start);
        padding.end = range.end.is_finite().then_some(Span::Seconds(range.end));
        padding.delay += silence;
    }
    padding.more = parts.collect();
    Some(padding)
}

/// What matters here of a track with sound or pictures.
struct TrackEdits {
    id: u32,
    /// Units of its times in a second.
    scale: f64,
    edits: Vec<Edit>,
}

impl TrackEdits {
    fn read(file: &mut (impl Read + Seek), track: Range<u64>, movie_scale: f64) -> Option<Self> {
        let header = child(file, track.clone(), b"tkhd")?;
        let id = id(file, &header)?;
        let media = child(file, track.clone(), b"mdia")?;
        if let Some(handler) = child(file, media.clone(), b"hdlr")
            && !matches!(&handler_type(file, &handler).ok()?, b"soun" | b"vide")
        {
            return None;
        }
        let header = child(file, media, b"mdhd")?;
        let scale = time_scale(file, &header)?;
        let list = child(file, track, b"edts").and_then(|edits| child(file, edits, b"elst"));
        let edits = list.and_then(|list| edits(file, list.start, movie_scale, scale).ok());
        Some(Self { id, scale, edits: edits.unwrap_or_default() })
    }
}

/// A stretch of the track that is played, or of silence.
struct Edit {
    seconds: f64,
    /// Where it begins in the track, in seconds; `None` for silence.
    start: Option<f64>,
}

/// The edits at `at`, whose lengths are in units of the movie, and whose starts are in units of the
/// track.
fn edits(
    file: &mut (impl Read + Seek),
    at: u64,
    movie_scale: f64,
    scale: f64,
) -> io::Result<Vec<Edit>> {
    file.seek(SeekFrom::Start(at))?;
    let is_long = version(file)? == 1;
    let count = u32::from_be_bytes(read(file)?);
    let mut edits = Vec::new();
    for _ in 0..count.min(MAX_EDITS) {
        let (duration, media_time) = match is_long {
            true => (u64::from_be_bytes(read(file)?), i64::from_be_bytes(read(file)?)),
            false => {
                let duration = u32::from_be_bytes(read(file)?);
                (u64::from(duration), i64::from(i32::from_be_bytes(read(file)?)))
            }
        };
        let is_still = read::<4>(file)? == [0; 4]; // a speed of 0 holds a picture
        let start = u64::try_from(media_time).ok().filter(|_| !is_still);
        edits.push(Edit {
            seconds: duration as f64 / movie_scale,
            start: start.map(|time| time as f64 / scale),
        });
    }
    Ok(edits)
}

/// How many units of time a second has, by a box that begins as `mvhd` and `mdhd` do.
fn time_scale(file: &mut (impl Read + Seek), header: &Range<u64>) -> Option<f64> {
    let scale = after_times(file, header).ok()?;
    (scale > 0).then(|| f64::from(scale))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::isobmff::tests::{boxed, numbers};

    /// A file with the given edits (duration in ms, start in 1/44100 s) of its track 2.
    fn file(edits: &[(i32, i32)], more: &[u8]) -> Vec<u8> {
        let list: Vec<i32> = [0, edits.len() as i32]
            .into_iter()
            .chain(edits.iter().flat_map(|(duration, time)| [*duration, *time, 1 << 16]))
            .collect();
        let media = boxed(b"mdia", &boxed(b"mdhd", &numbers(&[0, 0, 0, 44_100, 0])));
        let list = boxed(b"edts", &boxed(b"elst", &numbers(&list)));
        let track = |id| [boxed(b"tkhd", &numbers(&[0, 0, 0, id])), media.clone(), list.clone()];
        let tracks = [
            boxed(b"trak", &boxed(b"tkhd", &numbers(&[0, 0, 0, 1]))),
            boxed(b"trak", &track(2).concat()),
        ];
        let header = boxed(b"mvhd", &numbers(&[0, 0, 0, 1_000, 0]));
        let movie = boxed(b"moov", &[header, tracks.concat(), more.to_vec()].concat());
        [boxed(b"mdat", &[0; 9]), movie].concat()
    }

    fn found(bytes: &[u8], track_id: u32) -> Option<Padding> {
        padding(&mut Cursor::new(bytes), track_id)
    }

    #[track_caller]
    fn check(bytes: &[u8], track_id: u32, expected: Option<(f64, Option<f64>)>) {
        let seconds = |span| match span {
            Span::Seconds(seconds) => seconds,
            Span::Frames(_) => unreachable!("{span:?}"),
        };
        let found = found(bytes, track_id);
        let found = found.map(|found| (seconds(found.start), found.end.map(seconds)));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_edit_reports_where_the_recording_begins_and_ends() {
        check(&file(&[(500, 44_100)], b""), 2, Some((1.0, Some(1.5))));
        check(&file(&[(500, -1), (500, 44_100)], b""), 2, Some((1.0, Some(1.5))));
        check(&file(&[(0, 44_100)], b""), 2, Some((1.0, None)));
        check(&file(&[(500, 44_100)], &boxed(b"mvex", b"")), 2, Some((1.0, None)));
        check(&file(&[(500, 44_100)], b""), 1, None);
        check(&file(&[], b""), 2, None);
    }

    #[test]
    fn several_edits_are_parts_in_their_order() {
        let edits = [(250, -1), (500, 44_100), (125, -1), (125, -1), (500, 22_050), (0, 4_410)];
        let found = found(&file(&edits, b""), 2).unwrap();
        assert_eq!((found.delay, found.end), (0.25, Some(Span::Seconds(1.5))));
        let more = [
            PlayedPart { silence: 0.25, range: 0.5..1.0 },
            PlayedPart { silence: 0.0, range: 0.1..f64::INFINITY },
        ];
        assert_eq!(found.more, more);
    }

    /// A fragment that begins at these times of the tracks 2 and 3, in 1/44100 s.
    fn fragment(times: [i32; 2]) -> Vec<u8> {
        let part = |(id, time)| {
            let boxes = [boxed(b"tfhd", &numbers(&[0, id])), boxed(b"tfdt", &numbers(&[0, time]))];
            boxed(b"traf", &boxes.concat())
        };
        let parts: Vec<u8> = (2..).zip(times).flat_map(part).collect();
        boxed(b"moof", &parts)
    }

    #[test]
    fn a_track_of_fragments_is_late_by_what_it_begins_after_the_first() {
        let media = boxed(b"mdia", &boxed(b"mdhd", &numbers(&[0, 0, 0, 44_100, 0])));
        let other = boxed(b"tkhd", &numbers(&[0, 0, 0, 3]));
        let other = boxed(b"trak", &[other, media].concat());
        let more = [boxed(b"mvex", b""), other].concat();
        let delay = |own, other| {
            let bytes = [file(&[(0, 441)], &more), fragment([own, other])].concat();
            found(&bytes, 2).unwrap().delay
        };
        assert_eq!(delay(44_541, 0), 1.0);
        assert_eq!(delay(44_541, 22_050), 0.5);
        assert_eq!(delay(0, 0), 0.0);
        assert_eq!(delay(44_100, 88_200), 0.0);
    }

    #[test]
    fn damage_reports_nothing() {
        let whole = file(&[(500, 44_100)], b"");
        for length in 0..whole.len() {
            check(&whole[..length], 2, None);
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            padding(&mut Cursor::new(bytes), 2);
        }
    }
}
