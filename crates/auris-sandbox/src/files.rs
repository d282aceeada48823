//! Landlock: which files may be opened, and that nobody outside is signalled or connected to.

use std::os::fd::AsFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::Sandbox;

/// The newest version whose restrictions are used. Later ones also restrict what GPU drivers need.
const NEWEST: ABI = ABI::V6;

/// Restricts the calling thread. Returns the version that holds; `None` if none does.
pub(super) fn restrict(sandbox: &Sandbox<'_>) -> Result<Option<u32>, RulesetError> {
    let every_file = AccessFs::from_all(NEWEST);
    let run = AccessFs::from_read(NEWEST);
    let read = run & !BitFlags::from(AccessFs::Execute);
    let write = every_file & !BitFlags::from(AccessFs::Execute);
    let mut ruleset = Ruleset::default()
        .handle_access(every_file)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(&sandbox.readable, read))?
        .add_rules(path_beneath_rules(&sandbox.writable, write))?
        .add_rules(path_beneath_rules(&sandbox.executable, run))?;
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

/// The kernel takes no rule for a file outside of all file systems, such as a pipe, and restricts
/// none either.
fn allow_reading(ruleset: &mut RulesetCreated, file: impl AsFd) {
    let _ = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile));
}
