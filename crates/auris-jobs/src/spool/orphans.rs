//! Brings files and database together at the start. Audio that the database does not know is set
//! aside, never deleted: what is damaged or missing may be the database.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::files::{self, FileKind, SpoolFile};
use super::{HashSet, JobId, NewJob, PathBuf, Spool, SpoolError};
use super::{make_folder, on_disk, sync_folder};

/// What the database knows of a job with files.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// It needs its audio, which counts against this caller.
    NeedsAudio(String),
    /// It has ended for good.
    Ended,
}

/// The audio that is set aside.
#[derive(Debug)]
pub(crate) struct Orphans {
    pub(crate) folder: PathBuf,
    /// Each job with the size of its audio in bytes.
    pub(crate) jobs: Vec<(JobId, u64)>,
}

/// The record beside audio that is set aside.
#[derive(Debug)]
pub(crate) enum Orphan {
    Recorded(Box<NewJob>),
    /// It is missing or damaged.
    Unreadable(String),
}

/// Files found in the spool.
struct FoundFile {
    path: PathBuf,
    file: SpoolFile,
}

impl Spool {
    /// The jobs with files, accepted or not, those that are set aside included.
    pub(crate) async fn ids(&self) -> Result<Vec<JobId>, SpoolError> {
        let orphaned = self.orphaned.clone();
        on_disk("read the folder", self.folder.clone(), move |folder| {
            let found = list(folder)?.into_iter().chain(list(&orphaned)?);
            let ids: HashSet<_> = found.map(|found| found.file.id).collect();
            Ok(ids.into_iter().collect())
        })
        .await
    }

    /// Brings the files in line with what the database says: finishes what a kill has interrupted,
    /// takes back what was set aside and is needed, removes what belongs to ended or refused jobs,
    /// and sets aside the audio of unknown jobs. Returns what is set aside, which counts.
    pub(crate) async fn tidy(&self, known: HashMap<JobId, Known>) -> Result<Orphans, SpoolError> {
        let orphaned = self.orphaned.clone();
        let (kept, jobs) = on_disk("tidy up", self.folder.clone(), move |folder| {
            for (id, known) in &known {
                match known {
                    Known::NeedsAudio(_) => find_audio(folder, &orphaned, *id)?,
                    Known::Ended => files::remove(&orphaned, *id)?,
                }
            }
            let mut kept = Vec::new();
            for FoundFile { path, file } in list(folder)? {
                match (file.kind, known.get(&file.id)) {
                    (FileKind::Audio, Some(Known::NeedsAudio(caller))) => {
                        kept.push((file.id, caller.clone(), fs::metadata(&path)?.len()));
                    }
                    (FileKind::Audio, Some(Known::Ended)) => files::remove(folder, file.id)?,
                    (FileKind::Audio, None) => set_aside(folder, &orphaned, file.id)?,
                    (FileKind::Part | FileKind::Record, _) => {}
                }
            }
            let jobs = audio_in(&orphaned)?;
            let with_audio = audio_in(folder)?.into_iter().chain(jobs.clone());
            let with_audio = with_audio.map(|(id, _)| id).collect();
            remove_rests(folder, &with_audio)?;
            remove_rests(&orphaned, &with_audio)?;
            Ok((kept, jobs))
        })
        .await?;
        let kept = kept.iter().map(|(id, caller, size)| (*id, self.quota.stored(caller, *size)));
        let orphans = jobs.iter().map(|(id, size)| (*id, self.quota.stored("", *size)));
        self.kept().extend(kept.chain(orphans));
        Ok(Orphans { folder: self.orphaned.clone(), jobs })
    }

    /// Finds the audio of a job that needs it, which counts against `caller`.
    pub(crate) async fn find_audio(&self, id: JobId, caller: &str) -> Result<(), SpoolError> {
        let orphaned = self.orphaned.clone();
        let size = on_disk("find audio in", self.folder.clone(), move |folder| {
            find_audio(folder, &orphaned, id)?;
            let path = folder.join(SpoolFile { id, kind: FileKind::Audio }.to_string());
            Ok(path.exists().then(|| fs::metadata(path)).transpose()?.map(|data| data.len()))
        })
        .await?;
        if let Some(size) = size {
            self.kept().entry(id).or_insert_with(|| self.quota.stored(caller, size));
        }
        Ok(())
    }

    /// What is recorded of audio that is set aside.
    pub(crate) async fn orphan(&self, id: JobId) -> Result<Orphan, SpoolError> {
        let path = self.orphaned.join(SpoolFile { id, kind: FileKind::Record }.to_string());
        on_disk("read", path, move |path| {
            let text = match fs::read(path) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(Orphan::Unreadable("its record is missing".to_owned()));
                }
                Err(error) => return Err(error),
            };
            Ok(match serde_json::from_slice::<NewJob>(&text) {
                Ok(job) if job.id == id => Orphan::Recorded(Box::new(job)),
                Ok(_) => Orphan::Unreadable("its record is that of another job".to_owned()),
                Err(error) => Orphan::Unreadable(format!("its record is damaged ({error})")),
            })
        })
        .await
    }

    /// Takes audio back that was set aside.
    pub(crate) async fn take_back(&self, id: JobId) -> Result<(), SpoolError> {
        let orphaned = self.orphaned.clone();
        let take = move |folder: &Path| move_job(&orphaned, folder, id);
        on_disk("take audio back to", self.folder.clone(), take).await
    }
}

/// The files of jobs in `folder`; none if it is missing.
fn list(folder: &Path) -> io::Result<Vec<FoundFile>> {
    let found = files::entries(folder)?.into_iter();
    Ok(found.filter_map(|path| SpoolFile::of(&path).map(|file| FoundFile { path, file })).collect())
}

/// Gives the audio of a job that needs it its name and place: a kill may have come before it had
/// one, and it may have been set aside, also in part, while another database was in use.
fn find_audio(folder: &Path, orphaned: &Path, id: JobId) -> io::Result<()> {
    let path = |kind| folder.join(SpoolFile { id, kind }.to_string());
    if path(FileKind::Part).exists() && !path(FileKind::Audio).exists() {
        fs::rename(path(FileKind::Part), path(FileKind::Audio))?;
        sync_folder(folder)?;
    }
    move_job(orphaned, folder, id)
}

fn set_aside(folder: &Path, orphaned: &Path, id: JobId) -> io::Result<()> {
    make_folder(orphaned)?;
    move_job(folder, orphaned, id)
}

/// Moves what there is of a job's audio and record. The audio goes last: a record alone is removed
/// at the start.
fn move_job(from: &Path, to: &Path, id: JobId) -> io::Result<()> {
    let mut has_moved = false;
    for kind in [FileKind::Record, FileKind::Audio] {
        let name = SpoolFile { id, kind }.to_string();
        match fs::rename(from.join(&name), to.join(&name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => {
                moved?;
                has_moved = true;
            }
        }
    }
    if has_moved {
        sync_folder(to)?;
        sync_folder(from)?;
    }
    Ok(())
}

/// Removes uploads, and records without the audio of their jobs.
fn remove_rests(folder: &Path, with_audio: &HashSet<JobId>) -> io::Result<()> {
    for path in files::entries(folder)? {
        let is_lone = SpoolFile::of(&path)
            .is_some_and(|file| file.kind == FileKind::Record && !with_audio.contains(&file.id));
        if files::is_part(&path) || is_lone {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The jobs whose audio is in `folder`, and its size in bytes.
fn audio_in(folder: &Path) -> io::Result<Vec<(JobId, u64)>> {
    let mut jobs = Vec::new();
    for FoundFile { path, file } in list(folder)? {
        if file.kind == FileKind::Audio {
            jobs.push((file.id, fs::metadata(&path)?.len()));
        }
    }
    jobs.sort_unstable();
    Ok(jobs)
}
