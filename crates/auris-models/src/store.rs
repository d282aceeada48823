//! The folders that models are kept in, and the search in them.
//!
//! One folder may be written; the others come with the program and are never changed. Calls
//! read a directory or the first bytes of a file, no more, and block for as long as that takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::error::ModelError;
use super::header::{self, Dimensions, Languages};
use super::registry::{self, DEFAULT_ENDPOINT, PublishedModel};

/// An installed model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    pub name: String,
    pub path: PathBuf,
    /// Its length, which is also about what the weights take in memory.
    pub size_bytes: u64,
    pub languages: Languages,
    /// What decides the memory that its use takes.
    pub dimensions: Dimensions,
}

impl PublishedModel {
    /// The published file, if it is at `path`.
    pub(super) fn file_at(&self, path: PathBuf) -> ModelFile {
        ModelFile {
            name: self.name.to_owned(),
            path,
            size_bytes: self.size_bytes,
            languages: self.languages,
            dimensions: self.dimensions,
        }
    }
}

/// A line of the list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelListing {
    pub name: String,
    /// The length of its file: as published, or of a file of the user's own.
    pub size_bytes: u64,
    /// The languages; `None` for a file of the user's own that is no model.
    pub languages: Option<Languages>,
    /// Where it is, if it is installed.
    pub path: Option<PathBuf>,
}

/// The models folders of this installation.
#[derive(Debug, Clone)]
pub struct ModelStore {
    folder: PathBuf,
    read_only: Vec<PathBuf>,
}

impl ModelStore {
    /// `folder` takes downloads and is searched first, then each of `read_only` in order.
    ///
    /// Nothing is created here; a folder that does not exist is empty.
    pub fn new(folder: PathBuf, read_only: Vec<PathBuf>) -> Self {
        Self { folder, read_only }
    }

    /// The folder that takes downloads.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Finds a model by name (`tiny-q8_0`, or `my-own` for a `ggml-my-own.bin` in one of the
    /// folders) or by the path of a .bin file, and checks the file's header and length.
    ///
    /// For input of the operator, not of requests: a path may lead anywhere.
    ///
    /// # Errors
    /// [`ModelError::Unknown`], [`ModelError::NoSuchFile`], [`ModelError::NotInstalled`] and
    /// [`ModelError::BundledMissing`] when there is no file; [`ModelError::Unreadable`],
    /// [`ModelError::NotAModel`] and [`ModelError::WrongSize`] when it cannot be used.
    pub fn resolve(&self, name_or_path: &str) -> Result<ModelFile, ModelError> {
        if let Some(entry) = registry::find(name_or_path) {
            return self.resolve_entry(entry);
        }
        let path = Path::new(name_or_path);
        let is_name = is_plain_name(name_or_path);
        if path.is_file() && (!is_name || name_or_path.ends_with(".bin")) {
            return inspect(path);
        }
        if let Some(entry) = registry::find_file(name_or_path) {
            return self.resolve_entry(entry);
        }
        let is_bin = name_or_path.ends_with(".bin");
        if !is_name && !name_or_path.is_empty() {
            return Err(ModelError::NoSuchFile(path.to_owned()));
        }
        let file_name =
            if is_bin { name_or_path.to_owned() } else { format!("ggml-{name_or_path}.bin") };
        match self.find(&file_name) {
            Some(path) => inspect(&path),
            None if is_bin => Err(ModelError::NoSuchFile(path.to_owned())),
            None => Err(ModelError::Unknown(name_or_path.chars().take(80).collect())),
        }
    }

    /// Every known model, and every other model file in the folders, with where it is.
    pub fn list(&self) -> Vec<ModelListing> {
        let known = registry::REGISTRY.iter().map(|entry| ModelListing {
            name: entry.name.to_owned(),
            size_bytes: entry.size_bytes,
            languages: Some(entry.languages),
            path: self.find_entry(entry),
        });
        // The first folder wins, as in a search.
        let mut others = BTreeMap::new();
        for path in self.folders().flat_map(model_files_in) {
            let name = name_of(&path);
            if registry::find(&name).is_none() {
                others.entry(name).or_insert(path);
            }
        }
        let others = others.into_iter().map(|(name, path)| ModelListing {
            name,
            size_bytes: fs::metadata(&path).map_or(0, |metadata| metadata.len()),
            languages: header::read(&path).ok().map(|header| header.languages),
            path: Some(path),
        });
        known.chain(others).collect()
    }

    /// Deletes a model's file, whole or half-downloaded, from the folder that may be written.
    /// Returns the path that it had.
    ///
    /// # Errors
    /// [`ModelError::ReadOnly`] for a model installed with the program,
    /// [`ModelError::NothingToRemove`], and [`ModelError::Write`] when it cannot be deleted.
    pub fn remove(&self, name: &str) -> Result<PathBuf, ModelError> {
        let nothing = || ModelError::NothingToRemove {
            name: name.chars().take(80).collect(),
            folder: self.folder.clone(),
        };
        if !is_plain_name(name) {
            return Err(nothing());
        }
        let file_name = registry::find(name)
            .map_or_else(|| format!("ggml-{name}.bin"), |entry| entry.file_name.to_owned());
        let path = self.folder.join(&file_name);
        let read_only = |path| ModelError::ReadOnly { name: name.to_owned(), path };
        if self.folder_is_read_only() {
            return Err(read_only(path));
        }
        let leftovers = [part_path(&path), etag_path(&path)];
        let all = leftovers.iter().chain([&path]);
        let there: Vec<_> = all.filter(|path| path.is_file()).collect();
        if there.is_empty() {
            return Err(self.find(&file_name).map_or_else(nothing, read_only));
        }
        for path in there {
            fs::remove_file(path)
                .map_err(|source| ModelError::Write { path: path.clone(), source })?;
        }
        Ok(path)
    }

    pub fn path_of(&self, entry: &PublishedModel) -> PathBuf {
        self.folder.join(entry.file_name)
    }

    /// What a download of `entry` will be.
    pub fn file_after_download(&self, entry: &PublishedModel) -> ModelFile {
        entry.file_at(self.path_of(entry))
    }

    /// [`ModelStore::resolve`] for an entry that need not be in the registry.
    pub(super) fn resolve_entry(&self, entry: &PublishedModel) -> Result<ModelFile, ModelError> {
        match self.find_entry(entry) {
            Some(path) => inspect_as(entry, &path),
            None if entry.bundled => Err(ModelError::BundledMissing {
                name: entry.name.to_owned(),
                file_name: entry.file_name.to_owned(),
                folders: self
                    .folders()
                    .map(|folder| folder.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            None => Err(ModelError::NotInstalled {
                name: entry.name.to_owned(),
                url: entry.url(DEFAULT_ENDPOINT),
                path: self.path_of(entry),
            }),
        }
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.folder).chain(&self.read_only)
    }

    fn find(&self, file_name: &str) -> Option<PathBuf> {
        self.folders().map(|folder| folder.join(file_name)).find(|path| path.is_file())
    }

    /// The bundled model comes from its own folder, whatever else has its name.
    fn find_entry(&self, entry: &PublishedModel) -> Option<PathBuf> {
        let mut folders: Vec<&PathBuf> = self.folders().collect();
        if entry.bundled {
            folders.rotate_left(1);
        }
        folders.iter().map(|folder| folder.join(entry.file_name)).find(|path| path.is_file())
    }

    /// Whether the folder to write is a bundled one, whose files are never removed.
    fn folder_is_read_only(&self) -> bool {
        let same = |folder: &PathBuf| match (folder.canonicalize(), self.folder.canonicalize()) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        self.read_only.iter().any(same)
    }
}

/// The user's cache folder for models: `$XDG_CACHE_HOME/auris/models`, usually below `~/.cache`.
pub fn default_folder() -> Result<PathBuf, ModelError> {
    let strategy = etcetera::choose_base_strategy().map_err(|_| ModelError::NoHome)?;
    Ok(strategy.cache_dir().join("auris").join("models"))
}

/// The folders that may hold models installed with the program at `executable`:
/// beside it, below its prefix, the distribution's, and the checkout that it was built in.
pub fn bundled_folders(executable: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = executable.parent() {
        folders.push(folder.join("models"));
        folders.extend(folder.parent().map(|prefix| prefix.join("share/auris/models")));
    }
    folders.push(PathBuf::from("/usr/share/auris/models"));
    // target/release/auris
    if let Some(checkout) =
        executable.ancestors().nth(2).filter(|folder| folder.ends_with("target"))
    {
        folders.extend(checkout.parent().map(|checkout| checkout.join("models")));
    }
    // A build with its target folder elsewhere, as in tests. Not in a release, where a path of
    // the build machine could belong to another user on this one.
    if cfg!(debug_assertions) {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"));
    }
    folders
}

/// What has arrived of a download to `path`.
pub(super) fn part_path(path: &Path) -> PathBuf {
    path.with_extension("bin.part")
}

/// Which version of the file has arrived in part.
pub(super) fn etag_path(path: &Path) -> PathBuf {
    path.with_extension("bin.part.etag")
}

/// Letters, digits, `.`, `_` and `-`: a name that cannot leave its folder.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn name_of(path: &Path) -> String {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(entry) = registry::find_file(&file_name) {
        return entry.name.to_owned();
    }
    let stem = file_name.strip_suffix(".bin").unwrap_or(&file_name);
    stem.strip_prefix("ggml-").unwrap_or(stem).to_owned()
}

fn inspect(path: &Path) -> Result<ModelFile, ModelError> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    match registry::find_file(&file_name) {
        Some(entry) => inspect_as(entry, path),
        None => read_file(path),
    }
}

fn inspect_as(entry: &PublishedModel, path: &Path) -> Result<ModelFile, ModelError> {
    let file = read_file(path)?;
    if file.size_bytes != entry.size_bytes {
        return Err(ModelError::WrongSize {
            path: path.to_owned(),
            name: entry.name.to_owned(),
            size_bytes: file.size_bytes,
            expected_bytes: entry.size_bytes,
        });
    }
    Ok(ModelFile { name: entry.name.to_owned(), languages: entry.languages, ..file })
}

fn read_file(path: &Path) -> Result<ModelFile, ModelError> {
    let header = header::read(path)?;
    let metadata = fs::metadata(path)
        .map_err(|source| ModelError::Unreadable { path: path.to_owned(), source })?;
    Ok(ModelFile {
        name: name_of(path),
        path: path.to_owned(),
        size_bytes: metadata.len(),
        languages: header.languages,
        dimensions: header.dimensions,
    })
}

/// The files in `folder` that are named as models. A folder that cannot be read has none.
fn model_files_in(folder: &PathBuf) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ggml-") && name.ends_with(".bin") && path.is_file()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_model).collect()
}

#[cfg(test)]
mod tests;
