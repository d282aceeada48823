//! Reads ffmpeg's messages while it works: which codec it decodes, where it puts silence, and why it
//! fails.
//!
//! Lines of the level `info` name the codec, long before the end, those of the level `verbose` give
//! the silence, and error lines the cause. The rest is dropped, since it may hold the file's own
//! metadata.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use symphonia::core::codecs::audio::{AudioCodecId, well_known as codec};

/// What is kept of its errors.
const MAX_ERROR_BYTES: usize = 16 << 10;

/// The longest line that is understood.
const MAX_LINE_BYTES: u64 = 4 << 10;

/// How long to wait for what is said before the first output is written.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known when the output begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// The codec that is decoded, if it is one that is known here.
    pub(crate) codec: Option<AudioCodecId>,
    /// The silence before the audio, in frames of the output.
    pub(crate) silence: u64,
}

/// Reads all messages of a child, so that it never blocks on a full pipe.
pub(super) struct Listener {
    beginning: Receiver<Beginning>,
    gaps: Arc<AtomicU64>,
    errors: JoinHandle<String>,
}

impl Listener {
    /// Listens to `stderr` until it ends.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn new(stderr: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, beginning) = mpsc::channel();
        let gaps = Arc::new(AtomicU64::new(0));
        let gaps_so_far = Arc::clone(&gaps);
        let listening = thread::Builder::new().name("listener".to_owned());
        let errors = listening.spawn(move || {
            let mut errors = String::new();
            let mut known = Beginning::default();
            // What cannot be read is ignored.
            let _ = for_each_line(BufReader::new(stderr), |line| {
                known.codec = known.codec.or_else(|| decoded_codec(line));
                gaps_so_far.fetch_add(added_silence(line).unwrap_or(0), Ordering::Relaxed);
                if line.starts_with("[info] Output #0,") {
                    known.silence = gaps_so_far.swap(0, Ordering::Relaxed);
                    // The receiver may be gone.
                    let _ = sender.send(known);
                }
                if is_error(line) && errors.len() + line.len() < MAX_ERROR_BYTES {
                    errors.push_str(line);
                    errors.push('\n');
                }
            });
            errors
        })?;
        Ok(Self { beginning, gaps, errors })
    }

    /// What is known of a child that has begun to write its output; nothing if it has not said it.
    pub(super) fn beginning(&self) -> Beginning {
        self.beginning.recv_timeout(PATIENCE).unwrap_or_default()
    }

    /// The silence put into the audio so far, in frames of the output.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// The lines of errors of a child that has ended.
    pub(super) fn errors(self) -> String {
        self.errors.join().unwrap_or_default()
    }
}

fn for_each_line(mut reader: impl BufRead, mut on_line: impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? > 0 {
        on_line(String::from_utf8_lossy(&line).trim());
        line.clear();
    }
    Ok(())
}

/// The codec of a line such as `Stream #0:1 -> #0:0 (mp3 (mp3float) -> pcm_f32le (native))`: a name
/// of FFmpeg's `codec_desc.c`.
fn decoded_codec(line: &str) -> Option<AudioCodecId> {
    // The file's own metadata is in other lines.
    let stream = line.strip_prefix("[info]")?.trim_start().strip_prefix("Stream #")?;
    let (_, mapping) = stream.split_once(" -> #0:0 (")?;
    Some(match mapping.split([' ', ')']).next()? {
        "aac" => codec::CODEC_ID_AAC,
        "mp3" => codec::CODEC_ID_MP3,
        "mp2" => codec::CODEC_ID_MP2,
        "ac3" => codec::CODEC_ID_AC3,
        "eac3" => codec::CODEC_ID_EAC3,
        "dts" => codec::CODEC_ID_DCA,
        "truehd" => codec::CODEC_ID_TRUEHD,
        "opus" => codec::CODEC_ID_OPUS,
        "vorbis" => codec::CODEC_ID_VORBIS,
        "speex" => codec::CODEC_ID_SPEEX,
        "wmav1" | "wmav2" | "wmapro" | "wmavoice" | "wmalossless" => codec::CODEC_ID_WMA,
        "wavpack" => codec::CODEC_ID_WAVPACK,
        "musepack7" | "musepack8" => codec::CODEC_ID_MUSEPACK,
        "ape" => codec::CODEC_ID_MONKEYS_AUDIO,
        "tta" => codec::CODEC_ID_TTA,
        "adpcm_g722" => codec::CODEC_ID_ADPCM_G722,
        "adpcm_g726" => codec::CODEC_ID_ADPCM_G726,
        "pcm_s16le" => codec::CODEC_ID_PCM_S16LE,
        "pcm_s16be" => codec::CODEC_ID_PCM_S16BE,
        "pcm_u8" => codec::CODEC_ID_PCM_U8,
        "pcm_mulaw" => codec::CODEC_ID_PCM_MULAW,
        "pcm_alaw" => codec::CODEC_ID_PCM_ALAW,
        _ => return None,
    })
}

/// How many frames a line such as `[Parsed_aresample_0 @ 0x5] [SWR @ 0x5] [verbose] adding 5 audio
/// samples of silence` says.
fn added_silence(line: &str) -> Option<u64> {
    let (_, said) = line.strip_prefix("[Parsed_aresample_")?.split_once("] [verbose] adding ")?;
    said.strip_suffix(" audio samples of silence")?.parse().ok()
}

/// Whether a line such as `[avi @ 0x55d0] [error] broken` or `[fatal] broken` is one of an error.
fn is_error(line: &str) -> bool {
    let said = match line.split_once("] ") {
        Some((part, said)) if part.contains(" @ ") => said,
        _ => line,
    };
    ["[error]", "[fatal]", "[panic]"].iter().any(|level| said.starts_with(level))
}

/// The last of some lines of errors, without what ffmpeg puts before it: `[avi @ 0x55d0] [error]`,
/// `file:/dev/fd/0:`. `None` if it contains a path.
pub(super) fn cause(errors: &str) -> Option<String> {
    let line = errors.lines().next_back()?;
    let line = line.rsplit_once("/dev/fd/0: ").map_or(line, |(_, cause)| cause);
    let line = line.rsplit_once("] ").map_or(line, |(_, cause)| cause).trim();
    let is_clean = !line.contains('/') && !line.chars().any(char::is_control);
    let short: String = line.chars().take(120).collect();
    (is_clean && !short.is_empty()).then(|| short.trim_end_matches(['.', ':']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_and_silence_are_known_while_the_child_works() {
        let (reader, mut writer) = io::pipe().unwrap();
        let listener = Listener::new(reader).unwrap();
        let silence = "[Parsed_aresample_0 @ 0x5] [SWR @ 0x6] [verbose] adding";
        let said = format!(
            "[info]   Stream #0:0[0x100]: Video: h264\n[info] Stream mapping:\n\
             [info]   Stream #0:1 -> #0:0 (mp3 (mp3float) -> pcm_f32le (native))\n\
             {silence} 16384 audio samples of silence\n{silence} 5 audio samples of silence\n\
             [info] Output #0, wav, to 'pipe:1':\n"
        );
        io::Write::write_all(&mut writer, said.as_bytes()).unwrap();
        let expected = Beginning { codec: Some(codec::CODEC_ID_MP3), silence: 16_389 };
        assert_eq!(listener.beginning(), expected);
        assert_eq!(listener.gaps(), 0);
        let said = format!("{silence} 7 audio samples of silence\n");
        io::Write::write_all(&mut writer, said.as_bytes()).unwrap();
        drop(writer);
        let gaps = Arc::clone(&listener.gaps);
        assert_eq!(listener.errors(), "");
        assert_eq!(gaps.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn an_unknown_codec_does_not_block() {
        let said = "[info]   Stream #0:0 -> #0:0 (nellymoser (native) -> pcm_f32le (native))\n\
                    [info] Output #0, wav, to 'pipe:1':\n";
        assert_eq!(Listener::new(said.as_bytes()).unwrap().beginning(), Beginning::default());
        assert_eq!(Listener::new(&b""[..]).unwrap().beginning(), Beginning::default());
    }

    #[test]
    fn only_errors_are_kept_and_not_without_end() {
        let title = "[info]     title : [error] Stream #0:0 -> #0:0 (mp3 (native)) a secret\n";
        let said = format!("{title}[avi @ 0x5] [error] broken\n{}", title.repeat(10_000));
        let listener = Listener::new(io::Cursor::new(said)).unwrap();
        assert_eq!(listener.beginning(), Beginning::default());
        assert_eq!(listener.errors(), "[avi @ 0x5] [error] broken\n");
        let said = format!("[error] {}\n", "x".repeat(1_000)).repeat(1_000);
        let kept = Listener::new(io::Cursor::new(said)).unwrap().errors();
        assert!((10_000..MAX_ERROR_BYTES).contains(&kept.len()), "{}", kept.len());
    }

    #[test]
    fn causes_are_short_and_have_no_paths() {
        let check = |errors: &str, expected: Option<&str>| {
            assert_eq!(cause(errors).as_deref(), expected, "{errors:?}");
        };
        check("[error] file:/dev/fd/0: Invalid data found\n", Some("Invalid data found"));
        check("[wmav2 @ 0x5] [error] a\n[asf @ 0x5581] [error] broken.\n", Some("broken"));
        check("[fatal] cannot open /home/ravi/secret", None);
        check("[error] ", None);
        check("", None);
        assert_eq!(cause(&format!("[error] {}", "x".repeat(500))).unwrap().len(), 120);
    }
}
