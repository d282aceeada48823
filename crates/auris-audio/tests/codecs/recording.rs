//! Files for the cases, made by ffmpeg and sox, and what is in them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use auris_audio::{AudioStream, Ffmpeg, Limits};
use tempfile::TempDir;

use super::cases::{Case, Source};

/// A folder of recordings that goes when the run ends.
pub(super) struct Recordings {
    folder: TempDir,
    /// What was recorded, as 16 kHz mono.
    originals: RefCell<HashMap<Source, Vec<f32>>>,
}

impl Recordings {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder, originals: RefCell::default() }
    }

    /// The file of `case`.
    pub(super) fn make(&self, case: &Case) -> Result<PathBuf, String> {
        let source = self.source(case.source)?;
        let file = self.folder.path().join(case.file);
        let mut words = case.make.split_whitespace();
        let command = match words.next() {
            Some("sox") => {
                let mut command = Command::new("sox");
                command.arg(&source).args(words).arg(&file);
                command
            }
            _ => {
                let mut command = ffmpeg();
                for (number, input) in case.make.split(" -- ").enumerate() {
                    // What stands before `--` are other inputs.
                    let last = number + 1 == case.make.split(" -- ").count();
                    if last {
                        command.arg("-i").arg(&source);
                    }
                    command.args(input.split_whitespace());
                }
                command.arg(&file);
                command
            }
        };
        output(command)?;
        Ok(file)
    }

    /// What ffmpeg decodes `file` to: the mean of all channels, resampled by soxr.
    pub(super) fn reference(&self, case: &Case, file: &Path) -> Result<Vec<f32>, String> {
        let mut command = ffmpeg();
        command.args(case.ffmpeg_input.split_whitespace()).arg("-i").arg(file);
        mono(command, case.source, case.ffmpeg_filter)
    }

    /// What was recorded, mixed and resampled in the same way.
    pub(super) fn original(&self, case: &Case) -> Result<Vec<f32>, String> {
        if let Some(samples) = self.originals.borrow().get(&case.source) {
            return Ok(samples.clone());
        }
        let mut command = ffmpeg();
        command.arg("-i").arg(self.source(case.source)?);
        let samples = mono(command, case.source, "")?;
        self.originals.borrow_mut().insert(case.source, samples.clone());
        Ok(samples)
    }

    /// A WAV file of five seconds of speech over noise, other speech and noise in each channel.
    fn source(&self, source: Source) -> Result<PathBuf, String> {
        let Source { rate_hz, channels } = source;
        let file = self.folder.path().join(format!("source-{rate_hz}-{channels}.wav"));
        if file.exists() {
            return Ok(file);
        }
        let clips: Vec<PathBuf> = (0..channels).map(clip).collect();
        let speech = self.folder.path().join("speech.wav");
        let mut command = sox();
        // `--combine merge` makes a channel of each input.
        if channels > 1 {
            command.args(["--combine", "merge"]);
        }
        command.args(clips).args(["-r", &rate_hz.to_string(), "-b", "24"]).arg(&speech);
        command.args("gain -6 pad 0 5 trim 0 5".split_whitespace());
        output(command)?;
        let noise = self.folder.path().join("noise.wav");
        let mut command = sox();
        command.args(["-n", "-r", &rate_hz.to_string(), "-c", &channels.to_string(), "-b", "24"]);
        command.arg(&noise).args("synth 5".split_whitespace());
        command.args((0..channels).map(|_| "pinknoise")).args(["gain", "-36"]);
        output(command)?;
        let mut command = sox();
        command.args(["-m", "-v", "1"]).arg(speech).args(["-v", "1"]).arg(noise);
        command.args(["-b", "16"]).arg(&file);
        output(command)?;
        Ok(file)
    }
}

/// What auris decodes `file` to.
pub(super) fn decode(file: &Path) -> Result<Vec<f32>, String> {
    let file = File::open(file).map_err(|error| error.to_string())?;
    let ffmpeg = std::env::var_os("PATH").and_then(|path| Ffmpeg::find(&path));
    let limits = Limits { ffmpeg, ..Limits::default() };
    let mut stream = AudioStream::open(file, &limits).map_err(|error| error.to_string())?;
    let mut samples = Vec::new();
    while stream.read(&mut samples).map_err(|error| error.to_string())? {}
    if stream.truncated() { Err("taken for truncated".to_owned()) } else { Ok(samples) }
}

fn clip(number: u32) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/eval");
    folder.join(format!("{number:02}.flac"))
}

/// Runs `command` so that it prints the mean of all channels at 16 kHz.
fn mono(mut command: Command, source: Source, filter: &str) -> Result<Vec<f32>, String> {
    let share = 1.0 / f64::from(source.channels);
    let terms: Vec<String> =
        (0..source.channels).map(|channel| format!("{share}*c{channel}")).collect();
    let mean = format!("aformat=sample_fmts=fltp,pan=mono|c0={}", terms.join("+"));
    let resample = "aresample=16000:resampler=soxr:precision=28";
    let filters: Vec<&str> =
        [filter, &mean, resample].into_iter().filter(|text| !text.is_empty()).collect();
    command.args(["-af", &filters.join(","), "-f", "f32le", "-"]);
    let bytes = output(command)?;
    let sample = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    Ok(bytes.chunks_exact(4).map(sample).collect())
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y"]);
    command
}

fn sox() -> Command {
    let mut command = Command::new("sox");
    // Without dither, and with the same noise each time.
    command.args(["-D", "-R"]);
    command
}

fn output(mut command: Command) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let program = command.get_program().to_string_lossy();
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
