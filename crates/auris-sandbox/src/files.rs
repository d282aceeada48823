//! Landlock: which files may be opened, and that nobody outside is signalled or connected to.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Sandbox, is_shortage};

/// The newest version whose restrictions are used. Later ones also restrict what GPU drivers need.
const NEWEST: ABI = ABI::V6;

/// Restricts the calling thread. Returns the version that holds; `None` if none does.
pub(super) fn restrict(sandbox: &Sandbox<'_>) -> Result<Option<u32>, Box<dyn Error>> {
    let every_file = AccessFs::from_all(NEWEST);
    let run = AccessFs::from_read(NEWEST);
    let read = run & !BitFlags::from(AccessFs::Execute);
    let write = every_file & !BitFlags::from(AccessFs::Execute);
    let mut ruleset = Ruleset::default()
        .handle_access(every_file)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (paths, access) in
        [(&sandbox.readable, read), (&sandbox.writable, write), (&sandbox.executable, run)]
    {
        for path in paths {
            if let Some(file) = open(path)? {
                ruleset = ruleset.add_rule(beneath(file, access))?;
            }
        }
    }
    if let Some(file) = sandbox.open_file {
        allow_reading(&mut ruleset, file);
    }
    let status = ruleset.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            let known = Some(effective_abi as u32);
            kernel_abi.and_then(|newer| u32::try_from(newer).ok()).or(known)
        }
        _ => None,
    })
}

/// What is there, to name it in a rule. `None` if nothing is, or nothing that can be reached.
fn open(path: &PathBuf) -> io::Result<Option<File>> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    match opened {
        Err(error) if error.raw_os_error().is_some_and(is_shortage) => Err(error),
        opened => Ok(opened.ok()),
    }
}

/// A folder with all that is below it, or a file, which has fewer rights.
fn beneath(file: File, access: BitFlags<AccessFs>) -> PathBeneath<File> {
    let is_folder = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    let access = if is_folder { access } else { access & AccessFs::from_file(NEWEST) };
    PathBeneath::new(file, access)
}

/// The kernel takes no rule for a file outside of all file systems, such as a pipe, and restricts
/// none either.
fn allow_reading(ruleset: &mut RulesetCreated, file: impl AsFd) {
    let _ = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile));
}
