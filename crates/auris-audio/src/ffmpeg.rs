//! Converts formats without a decoder here to a WAV stream, with ffmpeg as a child process.
//!
//! The child gets one file, and its format by name: it neither guesses, opens other files, nor
//! reaches the network, which it could not (`confined`), and it has bounds on time and memory. There
//! is a bound on children as well (`slots`). What it writes is read as any other
//! WAV file, with the same limits. Nothing else starts it.

mod slots;
mod bounds;
mod confined;
mod listener;
mod listing;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdout, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Signal;
use symphonia::core::io::MediaSource;

pub(super) use self::listener::Beginning;
use self::listener::{Listener, cause};
use self::slots::{Slot, Slots};
use super::AudioError;
use auris_core::shortage::DecoderOutOfMemory;

/// The ffmpeg program. Clones share the bound on children.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    program: PathBuf,
    /// The longest that it may take for its next bytes.
    stall: Duration,
    slots: Arc<Slots>,
    is_confined: bool,
}

/// A file to convert.
pub(super) struct Input<'a> {
    pub(super) file: &'a File,
    /// The container's name.
    pub(super) container: &'static str,
    /// What ffmpeg calls its reader.
    pub(super) demuxer: &'static str,
    /// Whether the container declares the encoder's delay, so that ffmpeg removes it.
    pub(super) declares_delay: bool,
    /// Which of its audio tracks, from 1; ffmpeg's choice if `None`.
    pub(super) track: Option<u32>,
}

/// How long a child that has closed its output may take to end.
const END: Duration = Duration::from_millis(100);

/// The longest that a child may write nothing.
const STALL: Duration = Duration::from_secs(30);

/// Filters that keep the clock of the file, which begins with its first track.
///
/// `asetpts` joins without a gap what is more than 1 s before the end of what came before it, or ten
/// minutes behind it: that is another clock, as where recordings were joined. 0 keeps what is added
/// to the times, 1 that end, 2 the time of the present block. `aresample` would drop the former, and
/// takes memory for the latter: 1.6 GB for 50 minutes. What overlaps by less follows without a gap,
/// or it would be cut off. `aresample` puts silence where something is missing, from 0.06 s on, and
/// with `first_pts` before a track that begins late.
const CLOCK: &str = "asetpts='if(gt(ld(1)-PTS-ld(0),SR)+gt(PTS+ld(0)-ld(1),600*SR),\
                     st(0,ld(1)-PTS));st(2,if(N,max(PTS+ld(0),ld(1)),PTS+ld(0)));\
                     st(1,ld(2)+NB_SAMPLES);ld(2)',\
                     aresample=async=1:first_pts=0:min_hard_comp=0.06";

impl Ffmpeg {
    /// The program at this path.
    ///
    /// # Errors
    /// It is not there or cannot be run.
    pub fn new(program: PathBuf) -> io::Result<Self> {
        if program.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        access(&program, Access::EXEC_OK)?;
        let program = std::path::absolute(program)?;
        Ok(Self { program, stall: STALL, slots: Arc::new(Slots::here()), is_confined: true })
    }

    /// Lets children reach files, network and programs like any other process.
    #[must_use]
    pub fn unconfined(self) -> Self {
        Self { is_confined: false, ..self }
    }

    /// How many files may be with it at once.
    pub fn at_once(&self) -> usize {
        self.slots.total()
    }

    /// Room for one file.
    ///
    /// # Errors
    /// `ResourceBusy` if there is none now.
    pub(super) fn slot(&self) -> io::Result<Slot> {
        self.slots.take()
    }

    /// Looks for it in the folders of `PATH`.
    pub fn find(path: &std::ffi::OsStr) -> Option<Self> {
        std::env::split_paths(path).find_map(|folder| Self::new(folder.join("ffmpeg")).ok())
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts to convert a file of up to `max_duration` to a WAV stream.
    ///
    /// # Errors
    /// It cannot be started; `ResourceBusy` if that is for lack of processes, descriptors or memory.
    pub(super) fn convert(
        &self,
        slot: Slot,
        input: &Input<'_>,
        max_duration: Duration,
    ) -> io::Result<(Conversion, Output)> {
        // It names the codec at the level `info`, and silence at the level `verbose`.
        let mut command = self.command(input, "level+verbose")?;
        command.args(["-nostats", "-vn", "-sn", "-dn", "-map_metadata", "-1"]);
        if let Some(track) = input.track {
            command.args(["-map", &format!("0:a:{}", track.saturating_sub(1))]);
        }
        command.args(["-af", CLOCK]);
        command.args(["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]);
        command.stdout(Stdio::piped());
        let mut child = self.spawn(command, input)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut conversion = Conversion { child, listener: None, slot: Some(slot) };
        conversion.listener = stderr.map(Listener::new).transpose().map_err(busy)?;
        bounds::set(&conversion.child, max_duration, self.slots.child_bytes())?;
        let stdout = stdout.ok_or(ErrorKind::BrokenPipe)?;
        Ok((conversion, Output { stdout, stall: self.stall }))
    }

    fn spawn(&self, mut command: process::Command, input: &Input<'_>) -> io::Result<Child> {
        let child = match self.is_confined {
            true => confined::spawn(command, &self.program, input.file),
            false => command.spawn(),
        };
        child.map_err(busy)
    }

    /// The program with `input`, which is all that it gets. It says what is of this `level`.
    fn command(&self, input: &Input<'_>, level: &str) -> io::Result<process::Command> {
        let mut command = process::Command::new(&self.program);
        // Neither secrets nor settings reach it.
        command.env_clear().current_dir("/");
        command.args(["-hide_banner", "-nostdin", "-v", level]);
        // In an MPEG transport stream, a jump by ten seconds would be the start of another clock.
        command.args(["-dts_delta_threshold", "600"]);
        // Without an offset, the times of a transport stream would begin with the track that is
        // decoded, whatever the pictures do. This one is less than a sample.
        command.args(["-itsoffset", "0.00001"]);
        command.args(["-threads", "1", "-protocol_whitelist", "file", "-f", input.demuxer]);
        // A file without a name can still be opened again by its descriptor, and read from any
        // place, which standard input as such could not.
        command.args(["-i", "file:/dev/fd/0"]);
        command.stdin(input.file.try_clone()?).stderr(Stdio::piped());
        Ok(command)
    }
}

/// A child at work. It ends with this.
pub(super) struct Conversion {
    child: Child,
    /// Reads its standard error.
    listener: Option<Listener>,
    /// Until it has ended.
    slot: Option<Slot>,
}

impl Conversion {
    /// What is known of its output. Once it has begun to write.
    pub(super) fn beginning(&self) -> Beginning {
        self.listener.as_ref().map(Listener::beginning).unwrap_or_default()
    }

    /// The silence that it has put into gaps so far, in frames of its output.
    pub(super) fn gaps(&self) -> u64 {
        self.listener.as_ref().map_or(0, Listener::gaps)
    }

    /// Whether it has failed, once its output has ended.
    ///
    /// # Errors
    /// It was killed, as the kernel does when memory runs out.
    pub(super) fn failed(&mut self) -> io::Result<bool> {
        let status = self.child.wait()?;
        self.slot = None;
        if was_killed(status) { Err(killed()) } else { Ok(!status.success()) }
    }

    /// Why it gave no audio of a file in this container. It is ended.
    pub(super) fn failure(mut self, container: &'static str) -> AudioError {
        let status = self.own_end();
        self.end();
        let errors = self.listener.take().map(Listener::errors).unwrap_or_default();
        tracing::debug!(target: "auris::ffmpeg", "{}", errors.trim());
        if status.is_some_and(was_killed) {
            return killed().into();
        }
        if errors.contains(NO_MEMORY) {
            return killed().into();
        }
        if let Some(lack) = LACKS.iter().find(|lack| errors.contains(**lack)) {
            let message = format!("ffmpeg reports: {lack}");
            return io::Error::new(ErrorKind::ResourceBusy, message).into();
        }
        if status.and_then(|status| status.code()) == Some(CANNOT_RUN) {
            return io::Error::other("ffmpeg cannot be run: a library is missing").into();
        }
        if errors.contains("does not contain any stream") {
            return AudioError::NoAudioTrack { container };
        }
        let cause = cause(&errors).unwrap_or_else(|| "ffmpeg finds no audio in it".to_owned());
        AudioError::Corrupt { container, cause }
    }

    /// How it ended by itself; `None` if it still runs.
    fn own_end(&mut self) -> Option<ExitStatus> {
        let pause = END / 20;
        (0..20).find_map(|_| {
            let status = self.child.try_wait().ok().flatten();
            if status.is_none() {
                thread::sleep(pause);
            }
            status
        })
    }

    fn end(&mut self) {
        // Both fail only if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Conversion {
    fn drop(&mut self) {
        self.end();
    }
}

/// What ffmpeg 7 says when it cannot start a thread, and the system's words.
const LACKS: [&str; 4] = [
    "pthread_create() failed",
    "Resource temporarily unavailable",
    "Too many open files",
    "Input/output error",
];
const NO_MEMORY: &str = "Cannot allocate memory";

/// The exit status of the dynamic loader, and of a shell, for what cannot be run.
const CANNOT_RUN: i32 = 127;

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

fn killed() -> io::Error {
    io::Error::other(DecoderOutOfMemory)
}

/// Marks what will pass: the system has no process, thread, descriptor or memory left.
fn busy(error: io::Error) -> io::Error {
    let passing = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    match Errno::from_io_error(&error).filter(|errno| passing.contains(errno)) {
        Some(_) => {
            let message = format!("ffmpeg cannot be started: {error}");
            io::Error::new(ErrorKind::ResourceBusy, message)
        }
        None => error,
    }
}

/// What a child writes.
pub(super) struct Output {
    stdout: ChildStdout,
    stall: Duration,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stall = Timespec::try_from(self.stall).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
        match poll(&mut ready, Some(&stall)) {
            Ok(0) => Err(io::Error::new(ErrorKind::TimedOut, "ffmpeg hangs")),
            Ok(_) => self.stdout.read(buffer),
            Err(error) => Err(io::Error::from(error)),
        }
    }
}

impl Seek for Output {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(ErrorKind::Unsupported.into())
    }
}

impl MediaSource for Output {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that says nothing.
    fn silent() -> (Conversion, Output) {
        let mut command = process::Command::new("sleep");
        let mut child = command.arg("600").stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let stall = Duration::from_millis(10);
        (Conversion { child, listener: None, slot: None }, Output { stdout, stall })
    }

    #[test]
    fn a_hanging_child_is_abandoned() {
        let (conversion, mut output) = silent();
        let error = output.read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let process = PathBuf::from(format!("/proc/{}", conversion.child.id()));
        assert!(process.exists());
        drop(conversion);
        assert!(!process.exists(), "the child outlives its conversion");
    }

    #[test]
    fn what_the_system_lacks_will_pass_and_other_errors_will_not() {
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert_eq!(busy(errno.into()).kind(), ErrorKind::ResourceBusy, "{errno}");
        }
        assert_eq!(busy(Errno::NOENT.into()).kind(), ErrorKind::NotFound);
    }
}
