//! Who may use the server: the keys of the options and of the file, and the origins.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::cli::AccessArgs;
use crate::http::{AccessControl, Cors, Hosts, Key, KeyDigest, Keys, host_name};

/// The prefix of generated keys, by which tools that search for leaked keys recognise them.
const PREFIX: &str = "auris-";

/// Random bytes of a key: 32 characters.
const KEY_BYTES: usize = 24;

/// Bytes of its digest that name a key without a name.
const NAMING_BYTES: usize = 6;

const NAME_CHARS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<Spanned<KeyEntry>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    sha256: String,
    requests_per_minute: Option<NonZeroU32>,
    queue_share: Option<f64>,
}

/// From `--api-keys`, `--api-keys-file`, `--cors-origins` and `--allowed-hosts`, for a server that
/// listens on `address`. No error shows a key.
pub fn access(args: &AccessArgs, address: SocketAddr) -> anyhow::Result<AccessControl> {
    let mut keys = listed(&args.api_keys)?;
    if let Some(path) = &args.api_keys_file {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("the file of keys {shown} cannot be read"))?;
        let more = in_file(&text).with_context(|| format!("the file of keys {shown}"))?;
        ensure!(
            !more.is_empty(),
            "the file of keys {shown} has no [[key]]: add what `auris keys new NAME` prints"
        );
        keys.extend(more);
    }
    check_different(&keys)?;
    let origins: Vec<String> = items(&args.cors_origins).map(str::to_owned).collect();
    let cors = (!origins.is_empty()).then(|| Cors::new(&origins));
    let cors = cors.transpose().context("--cors-origins")?;
    let names = items(&args.allowed_hosts).map(|text| {
        let wrong = "is not a name: give names without scheme and port, such as auris.example.org";
        host_name(text).with_context(|| format!("--allowed-hosts: `{text}` {wrong}"))
    });
    let names = names.collect::<anyhow::Result<Vec<String>>>()?;
    let keys = Keys::new(keys);
    // Without keys, the server is guarded against pages in browsers that reach it.
    let is_open = keys.is_empty();
    let hosts = match is_open || !names.is_empty() {
        true => Hosts::default().named(names, !address.ip().is_loopback()),
        false => Hosts::default(),
    };
    let hosts = if is_open { hosts.with_pages_of(cors.as_ref()) } else { hosts };
    Ok(AccessControl { keys, cors, hosts })
}

/// Whether anyone who reaches `address` may use the server, although others than this machine's users
/// can.
///
/// # Errors
/// They can, and nobody insisted.
pub fn is_open(
    args: &AccessArgs,
    access: &AccessControl,
    address: SocketAddr,
) -> anyhow::Result<bool> {
    let is_open = access.keys.is_empty() && !address.ip().is_loopback();
    ensure!(
        !is_open || args.insecure_no_keys,
        "anyone who can reach {address} could use this server: set AURIS_API_KEYS (`auris keys new` \
         creates keys), listen on 127.0.0.1 only, or insist with --insecure-no-keys"
    );
    Ok(is_open)
}

/// A new key and its entry for the file of keys.
pub fn new_key(name: &str) -> anyhow::Result<(String, String)> {
    check_name(name)?;
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).context("cannot get random numbers from the system")?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let entry = KeyEntry {
        name: name.to_owned(),
        sha256: hex::encode(Key::digest(&key)),
        requests_per_minute: None,
        queue_share: None,
    };
    Ok((key, format!("[[key]]\n{}", toml::to_string(&entry)?)))
}

/// The keys of the option, each as `NAME:KEY` or `KEY`.
fn listed(texts: &[String]) -> anyhow::Result<Vec<Key>> {
    let key = |(number, text): (usize, &str)| {
        let (name, key) = match text.split_once(':') {
            Some((name, key)) => (Some(name.trim().to_owned()), key.trim()),
            None => (None, text),
        };
        let digest = Key::digest(key);
        // Not its index in the list: the jobs of one key would become those of another.
        let name = name.unwrap_or_else(|| format!("key-{}", hex::encode(&digest[..NAMING_BYTES])));
        let place = || format!("key {number} of --api-keys");
        check_name(&name).with_context(place)?;
        ensure!(
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()),
            "{}: a key consists of ASCII characters without spaces",
            place()
        );
        Ok(Key { name, digest, requests_per_minute: None, queue_share: None })
    };
    (1..).zip(items(texts)).map(key).collect()
}

fn in_file(text: &str) -> anyhow::Result<Vec<Key>> {
    let line =
        |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    // The whole error would show the line, which may hold a key.
    let file: KeysFile = toml::from_str(text).map_err(|error| {
        let line = line(error.span().map_or(0, |span| span.start));
        anyhow!("line {line}: {}", error.message())
    })?;
    let key = |entry: Spanned<KeyEntry>| {
        let line = line(entry.span().start);
        read(entry.into_inner()).with_context(|| format!("the key at line {line}"))
    };
    file.key.into_iter().map(key).collect()
}

fn read(entry: KeyEntry) -> anyhow::Result<Key> {
    let KeyEntry { name, sha256, requests_per_minute, queue_share } = entry;
    check_name(&name)?;
    let mut digest = KeyDigest::default();
    hex::decode_to_slice(&sha256, &mut digest).context(
        "`sha256` is not a SHA-256 of 64 hexadecimal digits; the file must not hold the key \
         itself, and `auris keys new NAME` prints what belongs there",
    )?;
    if let Some(share) = queue_share {
        ensure!(share > 0.0 && share <= 1.0, "`queue_share` must be above 0 and at most 1");
    }
    Ok(Key { name, digest, requests_per_minute, queue_share })
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| !c.is_control();
    let length = name.chars().count();
    ensure!(
        (1..=NAME_CHARS).contains(&length) && name.trim() == name && name.chars().all(is_plain),
        "a key's name has 1 to {NAME_CHARS} characters and no spaces around them"
    );
    Ok(())
}

fn check_different(keys: &[Key]) -> anyhow::Result<()> {
    for (at, key) in keys.iter().enumerate() {
        for other in &keys[..at] {
            // Before the names: two equal keys without names have the same name.
            if key.digest == other.digest {
                bail!("`{}` and `{}` are the same API key: remove one", other.name, key.name);
            }
            if key.name == other.name {
                bail!("two API keys have the name `{}`: rename one of them", key.name);
            }
        }
    }
    Ok(())
}

/// What stands between commas, without what is blank.
fn items(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refusal<T>(result: anyhow::Result<T>, expected: &str) {
        let message = result.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        assert!(!message.contains("hush"), "{message}");
    }

    #[test]
    fn keys_of_the_option_have_names() {
        let keys = listed(&["ann:k1".to_owned(), " ".to_owned(), "k2".to_owned()]).unwrap();
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["ann", "key-015f7e6bc5ae"]);
        assert_eq!(keys[1].digest, Key::digest("k2"));
        let check = |text: &str, expected: &str| {
            check_refusal(listed(&["first".to_owned(), text.to_owned()]), expected);
        };
        check("ann:", "key 2 of --api-keys: a key consists of ASCII characters");
        check("ann:hush hush", "key 2 of --api-keys: a key consists of ASCII characters");
        check(":hush", "key 2 of --api-keys: a key's name has 1 to 64 characters");
    }

    #[test]
    fn a_key_without_a_name_gets_the_same_name_at_every_position() {
        let name_of_k2 = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let keys = listed(&texts).unwrap();
            keys.into_iter().find(|key| key.digest == Key::digest("k2")).expect("k2").name
        };
        let name = name_of_k2(&["k1", "k2", "k3"]);
        assert_eq!(name_of_k2(&["k3", "k2"]), name);
        assert_eq!(name_of_k2(&["k2"]), name);
        let others = listed(&["k1".to_owned(), "k3".to_owned()]).unwrap();
        assert!(others.iter().all(|other| other.name != name), "{others:?}");
    }

    #[test]
    fn a_new_key_is_that_of_its_entry() {
        let (key, entry) = new_key("Ann \"A\"").unwrap();
        assert!(key.starts_with(PREFIX) && key.len() == PREFIX.len() + 32, "{key}");
        assert!(!entry.contains(&key));
        let keys = in_file(&entry).unwrap();
        assert_eq!((keys[0].name.as_str(), keys[0].digest), ("Ann \"A\"", Key::digest(&key)));
        assert_ne!(new_key("a").unwrap().0, key);
    }

    #[test]
    fn limits_are_read() {
        let (_, entry) = new_key("a").unwrap();
        let keys =
            in_file(&format!("{entry}requests_per_minute = 60\nqueue_share = 0.25")).unwrap();
        assert_eq!(keys[0].requests_per_minute, NonZeroU32::new(60));
        assert_eq!(keys[0].queue_share, Some(0.25));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_reported_without_its_keys() {
        let (_, entry) = new_key("a").unwrap();
        let check = |text: &str, expected: &str| check_refusal(in_file(text), expected);
        check(&format!("{entry}key = \"hush\""), "line 4: unknown field `key`");
        check("[[key]]\nname = \"a\"\nsha256 = \"hush\"", "line 1: `sha256` is not a SHA-256");
        check(&format!("\n{entry}queue_share = 2.0"), "line 2: `queue_share` must be above 0");
        check(&format!("{entry}requests_per_minute = 0"), "line 4: ");
        check("[[key]]\nname = \"a\"", "line 1: missing field `sha256`");
        check("# keys\nname = hush", "line 2: ");
    }

    #[test]
    fn two_keys_differ() {
        let keys = |texts: &[&str]| {
            listed(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
        };
        let check =
            |texts: &[&str], expected| check_refusal(check_different(&keys(texts)), expected);
        check(&["a:1", "a:2"], "two API keys have the name `a`");
        check(&["a:hush", "b:hush"], "`a` and `b` are the same API key");
        check(&["hush", "hush"], "are the same API key");
    }
}
