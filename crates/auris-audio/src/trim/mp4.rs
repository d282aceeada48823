//! The edit list of an MP4 track (ISO/IEC 14496-12, section 8.6.6).

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::{Padding, Span};
use crate::isobmff::{after_times, child, children, id, read, version};

/// The edits that are looked at: a delay, the recording, and whether there is more.
const MAX_EDITS: u32 = 3;

/// What the edit list of the track with this id leaves out; `None` if there is no such list.
pub(super) fn padding(file: &mut (impl Read + Seek), track_id: u32) -> Option<Padding> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let movie = child(file, 0..end, b"moov")?;
    let header = child(file, movie.clone(), b"mvhd")?;
    let movie_scale = time_scale(file, &header)?;
    let is_fragmented = child(file, movie.clone(), b"mvex").is_some();
    let track = children(file, movie, b"trak").into_iter().find(|track| {
        child(file, track.clone(), b"tkhd").and_then(|header| id(file, &header)) == Some(track_id)
    })?;
    let media = child(file, track.clone(), b"mdia")?;
    let header = child(file, media, b"mdhd")?;
    let media_scale = time_scale(file, &header)?;
    let edits = child(file, track, b"edts")?;
    let list = child(file, edits, b"elst")?;
    let edits = read_edits(file, list.start).ok()?;
    let first = edits.first()?;
    let start = first.media_time as f64 / media_scale;
    // Several edits do not say where the recording ends, and the list of a fragmented file was
    // written before that was known.
    let ends = edits.len() == 1 && !is_fragmented && first.duration > 0;
    let end = ends.then(|| Span::Seconds(start + first.duration as f64 / movie_scale));
    Some(Padding { start: Span::Seconds(start), end, ..Padding::NONE })
}

/// A stretch of the track that is played.
struct Edit {
    /// In units of the movie.
    duration: u64,
    /// Where it begins, in units of the track.
    media_time: u64,
}

/// The first edits that play something.
fn read_edits(file: &mut (impl Read + Seek), start: u64) -> io::Result<Vec<Edit>> {
    file.seek(SeekFrom::Start(start))?;
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
        read::<4>(file)?; // its speed
        // A negative time is a delay before the track.
        edits
            .extend(u64::try_from(media_time).ok().map(|time| Edit { duration, media_time: time }));
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

    #[track_caller]
    fn check(bytes: &[u8], track_id: u32, expected: Option<(f64, Option<f64>)>) {
        let found = padding(&mut Cursor::new(bytes), track_id);
        let seconds = |span| match span {
            Span::Seconds(seconds) => seconds,
            Span::Frames(_) => unreachable!("{span:?}"),
        };
        let found = found.map(|found| (seconds(found.start), found.end.map(seconds)));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_edit_reports_where_the_recording_begins_and_ends() {
        check(&file(&[(500, 44_100)], b""), 2, Some((1.0, Some(1.5))));
        check(&file(&[(500, -1), (500, 44_100)], b""), 2, Some((1.0, Some(1.5))));
        check(&file(&[(0, 44_100)], b""), 2, Some((1.0, None)));
        check(&file(&[(500, 44_100), (500, 0)], b""), 2, Some((1.0, None)));
        check(&file(&[(500, 44_100)], &boxed(b"mvex", b"")), 2, Some((1.0, None)));
        check(&file(&[(500, 44_100)], b""), 1, None);
        check(&file(&[], b""), 2, None);
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
