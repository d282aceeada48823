//! Result files: all of an input's, or none.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(super) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| {
        format!("cannot create the folder {}: give another with --output-dir", folder.display())
    })
}

/// Writes every text to a temporary file beside its place, and only then renames all of them. After
/// an error none is left.
pub(super) fn write_all(results: &[(PathBuf, String)]) -> anyhow::Result<()> {
    let mut written = Vec::new();
    for (path, text) in results {
        let folder = path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(".auris-")
            .permissions(Permissions::from_mode(0o666)) // less the umask
            .tempfile_in(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        written.push((file, path));
    }
    let mut moved: Vec<PathBuf> = Vec::new();
    for (file, path) in written {
        if let Err(error) = file.persist(path) {
            for path in moved {
                // It was written a moment ago, so only a second fault can prevent its removal.
                let _ = fs::remove_file(path);
            }
            return Err(error.error).with_context(|| format!("cannot write {}", path.display()));
        }
        moved.push(path.to_path_buf());
    }
    Ok(())
}
