//! `identity.key`: the one secret. Text, so that it can be kept on paper:
//!
//! ```text
//! punchline identity 1
//! seed 3emr2ytjd6elhlfxs5qzzn2ctmfmvgvmbktbhlc6fexkdcz5lzzq
//! id   rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oewbya
//! ```
//!
//! The id follows from the seed and stands there to tell a damaged seed from a whole one.

use std::fs;
use std::path::Path;

use common::identity::{Identity, PeerId};
use data_encoding::BASE32_NOPAD;

use super::DataError;
use super::file::{self, Durability, damaged};

const FORMAT: u64 = 1;
const TITLE: &str = "punchline identity ";

pub(super) fn load(path: &Path) -> Result<Option<Identity>, DataError> {
    let Some(text) = file::read(path)? else { return Ok(None) };
    if fs::metadata(path).is_ok_and(|metadata| crate::system::readable_by_others(&metadata)) {
        tracing::warn!(path = %path.display(), "others on this machine may read your secret key; use chmod 600");
    }
    parse(path, &text).map(Some)
}

fn parse(path: &Path, text: &str) -> Result<Identity, DataError> {
    let mut lines = text.lines();
    let format = lines.next().and_then(|line| line.strip_prefix(TITLE)).and_then(|n| n.trim().parse::<u64>().ok());
    match format {
        None | Some(0) => return Err(damaged(path, "its first line is not `punchline identity 1`")),
        Some(found) if found > FORMAT => {
            return Err(DataError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        Some(_) => {}
    }
    let mut seed = None;
    let mut id = None;
    for line in lines {
        match line.split_once(' ').map(|(key, value)| (key, value.trim())) {
            Some(("seed", value)) => {
                let bytes = BASE32_NOPAD.decode(value.to_ascii_uppercase().as_bytes()).ok();
                seed = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            }
            Some(("id", value)) => id = value.parse::<PeerId>().ok(),
            _ => {}
        }
    }
    let identity =
        seed.map(|seed| Identity::from_seed(&seed)).ok_or_else(|| damaged(path, "its seed is incomplete"))?;
    if id != Some(identity.peer_id()) {
        return Err(damaged(path, "its seed and its id do not belong together"));
    }
    Ok(identity)
}

/// Writes the file; one that exists is never touched. The caller holds the lock for changes.
pub(super) fn create(path: &Path, identity: &Identity) -> Result<(), DataError> {
    if path.symlink_metadata().is_ok() {
        return Err(DataError::IdentityExists(path.to_owned()));
    }
    let seed = BASE32_NOPAD.encode(identity.seed()).to_ascii_lowercase();
    let text = format!("{TITLE}{FORMAT}\nseed {seed}\nid   {}\n", identity.peer_id());
    file::replace(path, &text, Durability::Synced).map_err(DataError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_file_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.key");
        assert!(load(&path).expect("readable").is_none());
        let identity = Identity::from_seed(&[3; 32]);
        create(&path, &identity).expect("created");
        assert_eq!(load(&path).expect("readable").expect("there").peer_id(), identity.peer_id());
        let other = create(&path, &Identity::from_seed(&[4; 32]));
        assert!(matches!(other, Err(DataError::IdentityExists(_))));
        assert_eq!(load(&path).expect("readable").expect("there").peer_id(), identity.peer_id());
    }

    #[test]
    fn the_format_of_the_file_is_stable() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.key");
        create(&path, &Identity::from_seed(&[1; 32])).expect("created");
        insta::assert_snapshot!(fs::read_to_string(&path).expect("readable"), @"
        punchline identity 1
        seed aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq
        id   rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oewbya
        ");
    }

    #[test]
    fn one_changed_letter_of_the_seed_is_noticed_and_a_newer_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.key");
        create(&path, &Identity::from_seed(&[1; 32])).expect("created");
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(&path, text.replace("seed ae", "seed be")).expect("written");
        assert!(matches!(load(&path), Err(DataError::Damaged { .. })));
        fs::write(&path, text.replace("identity 1", "identity 2")).expect("written");
        assert!(matches!(load(&path), Err(DataError::Newer { found: 2, .. })));
        fs::write(&path, "").expect("written");
        assert!(matches!(load(&path), Err(DataError::Damaged { .. })));
    }
}
