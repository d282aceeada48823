//! Lists the audio tracks that ffmpeg finds in a file, from what it prints about its input.

use std::io::{self, Read};
use std::process::{ChildStderr, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Conversion, Ffmpeg, Input, bounds, busy};
use crate::tracks::{Entry, Tracks, language};

/// What is kept of what it says.
const MAX_STDERR_BYTES: u64 = 16 << 10;

/// ffmpeg's readers of containers that may hold several audio tracks.
const SEVERAL: [&str; 6] = ["avi", "asf", "mpeg", "mpegts", "mxf", "rm"];

impl Input<'_> {
    /// Whether there may be several audio tracks in it.
    pub(crate) fn may_hold_several_tracks(&self) -> bool {
        SEVERAL.contains(&self.demuxer)
    }
}

impl Ffmpeg {
    /// The audio tracks of a file, in the order in which ffmpeg counts them; none if it says none. The
    /// caller holds a slot.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn tracks(&self, input: &Input<'_>) -> io::Result<Tracks> {
        let mut command = self.command(input, "info")?;
        command.stdout(Stdio::null());
        let mut child = self.spawn(command, input)?;
        let stderr = child.stderr.take();
        let conversion = Conversion { child, listener: None, slot: None };
        bounds::set(&conversion.child, Duration::ZERO, self.slots.child_bytes())?;
        let (sender, words) = mpsc::channel();
        if let Some(stderr) = stderr {
            // If the child hangs, this thread is not awaited; it ends with the child.
            let listing = thread::Builder::new().name("listing".to_owned());
            listing.spawn(move || sender.send(said(stderr))).map_err(busy)?;
        }
        let words = words.recv_timeout(self.stall).unwrap_or_default();
        Ok(Tracks::new(words.lines().filter_map(entry)))
    }
}

/// What a child says until its end.
fn said(mut stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    // What cannot be read is ignored.
    let _ = stderr.by_ref().take(MAX_STDERR_BYTES).read_to_end(&mut words);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&words).into_owned()
}

/// A line such as `  Stream #0:1[0x2](hin): Audio: aac (LC), 16000 Hz, mono, fltp (default)`.
fn entry(line: &str) -> Option<Entry> {
    let stream = line.trim_start().strip_prefix("Stream #0:")?;
    let (head, audio) = stream.split_once(": Audio: ")?;
    let declared = head.rsplit_once('(').and_then(|(_, tag)| tag.strip_suffix(')'));
    let codec = audio.split([' ', ',']).next().filter(|codec| !codec.is_empty())?;
    let (_, layout) = audio.split_once(" Hz, ").unwrap_or_default();
    let channels = channels(layout.split(',').next().unwrap_or_default());
    let is_default = audio.ends_with("(default)");
    Some(Entry {
        is_default,
        ..Entry::new(0, codec.to_owned(), declared.and_then(language), channels)
    })
}

/// How many channels a layout has: `mono`, `stereo`, `5.1(side)`, `3 channels`.
fn channels(layout: &str) -> Option<u32> {
    match layout {
        "mono" => return Some(1),
        "stereo" | "downmix" => return Some(2),
        _ => {}
    }
    if let Some(count) = layout.strip_suffix(" channels") {
        return count.parse().ok();
    }
    let (front, low) = layout.split('(').next()?.split_once('.')?;
    Some(front.parse::<u32>().ok()?.saturating_add(low.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(&str, Option<&str>, Option<u32>, bool)>) {
        let found = entry(line);
        let found = found.as_ref().map(|Entry { is_default, track, .. }| {
            (track.codec.as_str(), track.language.as_deref(), track.channels, *is_default)
        });
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_line_reports_of_an_audio_track() {
        check(
            "  Stream #0:1[0x2](hin): Audio: aac (LC) (mp4a / 0x6134706D), 16000 Hz, mono, fltp, 65 kb/s (default)",
            Some(("aac", Some("hin"), Some(1), true)),
        );
        check(
            "  Stream #0:0[0x100]: Audio: mp2 ([4][0][0][0] / 0x0004), 16000 Hz, stereo, s16p, 64 kb/s",
            Some(("mp2", None, Some(2), false)),
        );
        check(
            "    Stream #0:12(und): Audio: ac3, 48000 Hz, 5.1(side), fltp, 384 kb/s",
            Some(("ac3", None, Some(6), false)),
        );
        check(
            "Stream #0:2: Audio: pcm_s16le, 8000 Hz, 3 channels",
            Some(("pcm_s16le", None, Some(3), false)),
        );
        check("Stream #0:0: Audio: none", Some(("none", None, None, false)));
    }

    #[test]
    fn other_lines_tell_nothing() {
        check("  Stream #0:0(eng): Video: h264, yuv420p, 32x32", None);
        check("  title           : Stream #0:1: Audio: aac", None);
        check("Stream #0:0: Audio: ", None);
        check("At least one output file must be specified", None);
        check("", None);
    }
}
