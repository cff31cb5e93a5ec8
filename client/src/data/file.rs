//! Reading files whole and replacing them whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{DataError, MAX_FILE};
use crate::system;

/// The text of a file; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, DataError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataError::io("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(DataError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| damaged(path, "it is not text"))
}

/// A JSON file with a `format` of at most `known`; `None` if there is no such file.
pub(super) fn load_json<T: DeserializeOwned>(path: &Path, known: u64) -> Result<Option<T>, DataError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let value: Value = serde_json::from_str(&text).map_err(|error| damaged(path, &error.to_string()))?;
    match value.get("format").and_then(Value::as_u64) {
        None | Some(0) => return Err(damaged(path, "it does not say its format")),
        Some(found) if found > known => return Err(DataError::Newer { path: path.to_owned(), found, known }),
        Some(_) => {}
    }
    serde_json::from_value(value).map(Some).map_err(|error| damaged(path, &error.to_string()))
}

/// Whether a power cut may cost the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It must not: on disk before this returns.
    Synced,
    /// It may, the file means nothing after a restart.
    Volatile,
}

/// Replaces a JSON file.
pub(super) fn save_json(path: &Path, value: &impl Serialize, durability: Durability) -> Result<(), DataError> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|error| DataError::io("write", path)(io::Error::other(error)))?;
    text.push('\n');
    replace(path, &text, durability).map_err(DataError::io("write", path))
}

/// Replaces a file: there is the old one or the new one, never half of one.
pub(super) fn replace(path: &Path, text: &str, durability: Durability) -> io::Result<()> {
    let beside = beside(path);
    let written = write_new(&beside, text, durability).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    match path.parent() {
        Some(folder) if durability == Durability::Synced => system::sync_dir(folder),
        _ => Ok(()),
    }
}

fn write_new(path: &Path, text: &str, durability: Durability) -> io::Result<()> {
    // What a process with our number left behind when it was killed.
    let _ = fs::remove_file(path);
    let mut file = system::private(OpenOptions::new().write(true).create_new(true)).open(path)?;
    file.write_all(text.as_bytes())?;
    if durability == Durability::Synced { file.sync_all() } else { Ok(()) }
}

pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

pub(super) fn damaged(path: &Path, what: &str) -> DataError {
    DataError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        save_json(&path, &serde_json::json!({"format": 1, "n": 1}), Durability::Synced).expect("written");
        save_json(&path, &serde_json::json!({"format": 1, "n": 2}), Durability::Volatile).expect("replaced");
        let value: Value = load_json(&path, 1).expect("readable").expect("there");
        assert_eq!(value["n"], 2);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        replace(&path, "secret", Durability::Synced).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_newer_format_is_refused_and_one_without_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        fs::write(&path, r#"{"format":2}"#).expect("written");
        assert!(matches!(load_json::<Value>(&path, 1), Err(DataError::Newer { found: 2, known: 1, .. })));
        for text in ["{}", "", "[]", r#"{"format":"1"}"#, "{\"format\":1"] {
            fs::write(&path, text).expect("written");
            assert!(matches!(load_json::<Value>(&path, 1), Err(DataError::Damaged { .. })), "{text}");
        }
    }
}
