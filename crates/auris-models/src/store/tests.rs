use std::fs;

use tempfile::TempDir;

use super::super::download::sha256;
use super::*;
use crate::testing::model_bytes;

fn checkout_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// An empty folder to write, and the checkout's as the one installed with the program.
fn store() -> (TempDir, ModelStore) {
    let folder = TempDir::new().unwrap();
    let store = ModelStore::new(folder.path().join("models"), vec![checkout_models()]);
    fs::create_dir(store.folder()).unwrap();
    (folder, store)
}

/// The error's text with the temporary folder's name taken out.
fn refusal<T: std::fmt::Debug>(folder: &TempDir, result: Result<T, ModelError>) -> String {
    let text = result.expect_err("refused").to_string();
    text.replace(&folder.path().display().to_string(), "/tmp")
}

#[test]
fn the_bundled_model_matches_the_registry() {
    let (_folder, store) = store();
    let bundled = store.resolve(registry::BUNDLED).unwrap();
    let entry = registry::find(registry::BUNDLED).unwrap();
    assert_eq!(bundled.path, checkout_models().join(entry.file_name));
    assert_eq!((bundled.size_bytes, bundled.dimensions), (entry.size_bytes, entry.dimensions));
    assert_eq!(bundled.languages, entry.languages);
    assert_eq!(sha256(&bundled.path).unwrap(), entry.sha256);
}

#[test]
fn a_published_file_of_the_bundled_models_name_is_not_taken_for_it() {
    let (_folder, store) = store();
    let published = store.path_of(registry::find(registry::BUNDLED).unwrap());
    fs::write(&published, model_bytes(51_865, 5_000)).unwrap();
    assert_ne!(store.resolve(registry::BUNDLED).unwrap().path, published);
}

#[test]
fn a_path_or_a_file_name_leads_to_the_same_model_as_its_name() {
    let (_folder, store) = store();
    let bundled = store.resolve("base-q8_0").unwrap();
    assert_eq!(store.resolve(bundled.path.to_str().unwrap()).unwrap(), bundled);
    assert_eq!(store.resolve("ggml-base-q8_0.bin").unwrap(), bundled);
}

#[test]
fn a_file_of_ones_own_is_named_after_its_stem() {
    let (_folder, store) = store();
    let path = store.folder().join("ggml-my-own.bin");
    fs::write(&path, model_bytes(51_864, 5_000)).unwrap();
    for text in ["my-own", "ggml-my-own.bin", path.to_str().unwrap()] {
        let file = store.resolve(text).unwrap();
        assert_eq!((file.name.as_str(), file.languages), ("my-own", Languages::English), "{text}");
    }
}

#[test]
fn the_error_for_a_missing_model_names_file_and_folder() {
    let (folder, store) = store();
    insta::assert_snapshot!(refusal(&folder, store.resolve("tiny")), @"model `tiny` is not installed: run `auris models pull tiny`, or put the file https://huggingface.co/ggerganov/whisper.cpp/resolve/5359861c739e955e79d9a303bcbc70fb988958b1/ggml-tiny.bin at /tmp/models/ggml-tiny.bin, or start with `--models base-q8_0`");
    insta::assert_snapshot!(refusal(&folder, store.resolve("tinny")), @"unknown model `tinny`: see `auris models list`, or give the path of a whisper.cpp .bin file");
    insta::assert_snapshot!(refusal(&folder, store.resolve("/nowhere/x.bin")), @"there is no model file at /nowhere/x.bin");
    insta::assert_snapshot!(refusal(&folder, store.resolve("../escape")), @"there is no model file at ../escape");
    insta::assert_snapshot!(refusal(&folder, store.resolve("")), @"unknown model ``: see `auris models list`, or give the path of a whisper.cpp .bin file");
}

#[test]
fn a_bundled_model_that_is_gone_is_not_offered_for_download() {
    let folder = TempDir::new().unwrap();
    let store = ModelStore::new(folder.path().join("a"), vec![folder.path().join("b")]);
    insta::assert_snapshot!(refusal(&folder, store.resolve("base-q8_0")), @"the bundled model `base-q8_0` was not found in /tmp/a, /tmp/b: install it again, or put ggml-base-q8_0.bin into one of them");
}

#[test]
fn a_truncated_file_and_a_pointer_are_refused() {
    let (folder, store) = store();
    let path = store.folder().join("ggml-tiny.bin");
    fs::write(&path, model_bytes(51_865, 5_000)).unwrap();
    insta::assert_snapshot!(refusal(&folder, store.resolve("tiny")), @"/tmp/models/ggml-tiny.bin has 5000 bytes where model `tiny` has 77691713: delete it and run `auris models pull tiny`, or rename it if it is another model");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:be07\n").unwrap();
    insta::assert_snapshot!(refusal(&folder, store.resolve("tiny")), @"/tmp/models/ggml-tiny.bin is not a whisper.cpp model: it is a Git LFS pointer instead of the file: run `git lfs pull` where it came from");
}

#[test]
fn the_list_has_every_known_model_and_the_users_own() {
    let (_folder, store) = store();
    fs::write(store.folder().join("ggml-my-own.bin"), model_bytes(51_866, 5_000)).unwrap();
    fs::write(store.folder().join("ggml-half.bin.part"), "x").unwrap();
    fs::write(store.folder().join("notes.txt"), "x").unwrap();
    let rows = store.list();
    assert_eq!(rows.len(), registry::REGISTRY.len() + 1);
    let installed: Vec<_> =
        rows.iter().filter(|row| row.path.is_some()).map(|row| row.name.as_str()).collect();
    assert_eq!(installed, ["base-q8_0", "my-own"]);
    let own = rows.last().unwrap();
    assert_eq!(
        (own.size_bytes, own.languages),
        (5_000, Some(Languages::Multilingual { count: 100 }))
    );
}

#[test]
fn only_the_writable_folder_is_emptied() {
    let (folder, store) = store();
    let path = store.path_of(registry::find("tiny").unwrap());
    fs::write(&path, "x").unwrap();
    fs::write(part_path(&path), "x").unwrap();
    assert_eq!(store.remove("tiny").unwrap(), path);
    assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 0);
    insta::assert_snapshot!(refusal(&folder, store.remove("tiny")), @"cannot remove model `tiny`: it is not in /tmp/models");

    let outside = folder.path().join("ggml-x.bin");
    fs::write(&outside, "x").unwrap();
    insta::assert_snapshot!(refusal(&folder, store.remove("../ggml-x")), @"cannot remove model `../ggml-x`: it is not in /tmp/models");
    assert!(outside.exists());
}

#[test]
fn a_bundled_model_is_never_removed() {
    let folder = TempDir::new().unwrap();
    let bundled = folder.path().join("bundled");
    fs::create_dir(&bundled).unwrap();
    fs::write(bundled.join("ggml-base-q8_0.bin"), "x").unwrap();
    let apart = ModelStore::new(folder.path().join("models"), vec![bundled.clone()]);
    insta::assert_snapshot!(refusal(&folder, apart.remove("base-q8_0")), @"cannot remove model `base-q8_0`: /tmp/bundled/ggml-base-q8_0.bin is not in the models folder, but installed with the program");
    let same = ModelStore::new(bundled.join("../bundled"), vec![bundled.clone()]);
    assert!(matches!(same.remove("base-q8_0"), Err(ModelError::ReadOnly { .. })));
    assert!(bundled.join("ggml-base-q8_0.bin").exists());
}

#[test]
fn bundled_folders_are_beside_the_program_and_below_its_prefix() {
    let folders = |path| bundled_folders(Path::new(path));
    assert!(folders("/opt/auris/bin/auris").contains(&"/opt/auris/bin/models".into()));
    assert!(folders("/opt/auris/bin/auris").contains(&"/opt/auris/share/auris/models".into()));
    assert!(folders("/src/target/release/auris").contains(&"/src/models".into()));
    assert!(!folders("/src/elsewhere/release/auris").contains(&"/src/models".into()));
}
