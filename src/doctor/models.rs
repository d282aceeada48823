//! Checks of the models: that they are installed and match the published files.

use indicatif::BinaryBytes;
use tokio::task::spawn_blocking;

use super::report::{Area, Check, Severity};
use crate::config::ModelSource;
use auris_models::{ModelError, ModelFile};

/// Looks for the models called `names`, and for the bundled one if it stands in for one of them.
/// Returns the usable ones, and a check for each.
pub(super) async fn checks(names: &[String], source: &ModelSource) -> (Vec<ModelFile>, Vec<Check>) {
    let (mut usable, mut checks) = (Vec::new(), Vec::new());
    let bundled = source.store.resolve(auris_models::BUNDLED);
    let mut stands_in = false;
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let found = source.store.resolve(name);
        checks.push(match found {
            Ok(file) => {
                let (file, check) = verified(file).await;
                usable.extend(file);
                check
            }
            Err(error) => {
                stands_in |= matches!(error, ModelError::NotInstalled { .. });
                missing(name, &error, source.download.offline, bundled.is_ok())
            }
        });
    }
    if let (true, Ok(bundled)) = (stands_in, bundled)
        && usable.iter().all(|model: &ModelFile| model.name != bundled.name)
    {
        let (file, check) = verified(bundled).await;
        usable.extend(file);
        checks.push(check);
    }
    (usable, checks)
}

/// The file, unless it is damaged.
async fn verified(file: ModelFile) -> (Option<ModelFile>, Check) {
    let size = BinaryBytes(file.size_bytes);
    let check = |more: &str| {
        let observed = format!("{}: {}, {size}{more}", file.name, file.path.display());
        Check::pass(Area::Service, "model", observed)
    };
    // A file of the user's own has nothing to be compared with.
    let Some(entry) = auris_models::find(&file.name) else {
        let check = check(", no published checksum");
        return (Some(file), check);
    };
    let path = file.path.clone();
    let sum = spawn_blocking(move || auris_models::sha256(&path)).await;
    match sum.map_err(Into::into).and_then(|sum| sum) {
        Ok(sum) if sum == entry.sha256 => {
            let check = check(", SHA-256 matches");
            (Some(file), check)
        }
        Ok(sum) => {
            let cause = format!("its SHA-256 is {sum} instead of {}", entry.sha256);
            let fix = if entry.bundled {
                "reinstall auris, which includes this file".to_owned()
            } else {
                format!("`auris models rm {0}` and `auris models pull {0}`", file.name)
            };
            (None, check("").with_problem(Severity::Fail, cause, fix))
        }
        Err(error) => {
            let check = check("").with_problem(
                Severity::Fail,
                format!("it cannot be read: {error}"),
                "make the file readable for the user that runs auris",
            );
            (None, check)
        }
    }
}

fn missing(name: &str, error: &ModelError, offline: bool, stands_in: bool) -> Check {
    let check = Check::pass(Area::Service, "model", format!("{name} is not installed"));
    let bundled = auris_models::BUNDLED;
    match error {
        ModelError::NotInstalled { url, path, .. } if offline && stands_in => check.with_problem(
            Severity::Warn,
            format!("downloads are switched off, and {bundled} stands in"),
            format!("put the file {url} at {}", path.display()),
        ),
        ModelError::NotInstalled { .. } if stands_in => check.with_problem(
            Severity::Warn,
            format!("the server downloads it in the background; {bundled} stands in until then"),
            format!("to download it now, `auris models pull {name}`"),
        ),
        ModelError::NotInstalled { .. } if !offline => check.with_problem(
            Severity::Warn,
            "the server downloads it before it starts",
            format!("to download it now, `auris models pull {name}`"),
        ),
        error => check.with_problem(Severity::Fail, error.to_string(), "see `auris models list`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_is_a_failure_only_where_it_cannot_come() {
        let error = ModelError::NotInstalled {
            name: "tiny".to_owned(),
            url: "https://models.example/tiny".to_owned(),
            path: "/models/ggml-tiny.bin".into(),
        };
        for stands_in in [false, true] {
            assert_eq!(missing("tiny", &error, false, stands_in).level, Severity::Warn);
            let offline = missing("tiny", &error, true, stands_in);
            assert_eq!(offline.level == Severity::Fail, !stands_in, "{offline:?}");
            let unknown = ModelError::Unknown("x".to_owned());
            assert_eq!(missing("x", &unknown, false, stands_in).level, Severity::Fail);
        }
    }
}
