//! Whom we know and what we call them. A petname is ours: no two contacts share one, whatever its capitals, and none
//! looks like an id. They are kept in the database ([`crate::store`]); earlier versions kept them in `contacts.json`.

use std::path::Path;

use common::identity::PeerId;
use common::link::MAX_NAME;
use jiff::Timestamp;
use serde::Deserialize;

use super::DataError;
use super::file;

/// The format of `contacts.json`.
const FORMAT: u64 = 1;
/// Contacts of one person: far above anybody's address book, and what every list of peers in this program is bounded by.
pub const MAX_CONTACTS: usize = 1000;

/// One person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Who it is.
    pub id: PeerId,
    /// What we call them.
    pub name: String,
    /// Since when; `None` until it is kept.
    pub since: Option<Timestamp>,
}

/// Everybody we know, in the order in which we met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contacts {
    contacts: Vec<Contact>,
}

impl FromIterator<Contact> for Contacts {
    fn from_iter<I: IntoIterator<Item = Contact>>(contacts: I) -> Self {
        Contacts { contacts: contacts.into_iter().collect() }
    }
}

/// `contacts.json`, as far as it is understood.
#[derive(Debug, Deserialize)]
struct Earlier {
    contacts: Vec<EarlierContact>,
}

#[derive(Debug, Deserialize)]
struct EarlierContact {
    id: PeerId,
    name: String,
}

/// What adding did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// Somebody new.
    New,
    /// Known under this name already.
    Known,
    /// Known under another name, which was replaced.
    Renamed {
        /// The name until now.
        from: String,
    },
}

/// Why the contacts stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    /// The name belongs to somebody else.
    #[error("you call {} {name} already; choose another name with --name", .holder.short())]
    NameTaken {
        /// As it is written now.
        name: String,
        /// Whose it is.
        holder: PeerId,
    },
    /// The name is unfit.
    #[error("{0}")]
    Name(&'static str),
    /// Too many.
    #[error("you have {MAX_CONTACTS} contacts already, and that is the limit; remove one first")]
    Full,
    /// Nobody is called that.
    #[error("{}", unknown(.asked, *.known, .similar.as_deref()))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// How many contacts there are.
        known: usize,
        /// A name that is close to it.
        similar: Option<String>,
    },
}

fn unknown(asked: &str, known: usize, similar: Option<&str>) -> String {
    let hint = match (similar, known) {
        (Some(similar), _) => format!("did you mean {similar}? `punchline contacts` lists everybody you know"),
        (None, 0) => "you have no contacts yet; add one with `punchline add LINK --name NAME`".to_owned(),
        (None, _) => "`punchline contacts` lists everybody you know, `punchline add LINK` adds somebody".to_owned(),
    };
    format!("you have no contact called {asked}: {hint}")
}

/// Is this fit to be a name? Names stand on terminals, in links and on command lines.
pub fn check_name(name: &str) -> Result<(), ContactError> {
    let problem = if name.trim().is_empty() {
        "a name needs at least one letter"
    } else if name.trim() != name {
        "a name does not begin or end with a space"
    } else if name.len() > MAX_NAME {
        "a name has at most 64 bytes"
    } else if crate::output::sanitize::line(name) != name {
        "a name has no control characters"
    } else if name.starts_with('-') {
        "a name does not begin with a dash: it would look like an option"
    } else if name.parse::<PeerId>().is_ok() {
        "an id is no name"
    } else {
        return Ok(());
    };
    Err(ContactError::Name(problem))
}

impl Contacts {
    /// Everybody.
    pub fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.contacts.iter()
    }

    /// Everybody's id.
    pub fn ids(&self) -> Vec<PeerId> {
        self.contacts.iter().map(|contact| contact.id).collect()
    }

    /// What we call this peer.
    pub fn name_of(&self, id: PeerId) -> Option<&str> {
        self.contacts.iter().find(|contact| contact.id == id).map(|contact| contact.name.as_str())
    }

    /// The contact of this name or id.
    pub fn find(&self, asked: &str) -> Result<&Contact, ContactError> {
        let asked = asked.trim();
        let found = match asked.parse::<PeerId>() {
            Ok(id) => self.contacts.iter().find(|contact| contact.id == id),
            Err(_) => self.contacts.iter().find(|contact| same(&contact.name, asked)),
        };
        found.ok_or_else(|| ContactError::Unknown {
            asked: crate::output::sanitize::line(asked).chars().take(MAX_NAME).collect(),
            known: self.contacts.len(),
            similar: self.similar(asked),
        })
    }

    /// The name closest to what was asked for, if it is close at all: two slips of the finger.
    fn similar(&self, asked: &str) -> Option<String> {
        let asked: Vec<char> = asked.to_lowercase().chars().take(MAX_NAME + 1).collect();
        let distances = self.contacts.iter().map(|contact| {
            let name: Vec<char> = contact.name.to_lowercase().chars().collect();
            (distance(&asked, &name), name.len(), contact)
        });
        let (distance, length, contact) = distances.min_by_key(|(distance, ..)| *distance)?;
        (distance <= 2 && distance < length).then(|| contact.name.clone())
    }

    /// Adds somebody, or renames them. Without a name, somebody known keeps theirs.
    pub fn add(&mut self, id: PeerId, name: &str) -> Result<Added, ContactError> {
        check_name(name)?;
        if let Some(holder) = self.contacts.iter().find(|contact| contact.id != id && same(&contact.name, name)) {
            return Err(ContactError::NameTaken { name: holder.name.clone(), holder: holder.id });
        }
        if let Some(contact) = self.contacts.iter_mut().find(|contact| contact.id == id) {
            if contact.name == name {
                return Ok(Added::Known);
            }
            return Ok(Added::Renamed { from: std::mem::replace(&mut contact.name, name.to_owned()) });
        }
        if self.contacts.len() >= MAX_CONTACTS {
            return Err(ContactError::Full);
        }
        self.contacts.push(Contact { id, name: name.to_owned(), since: None });
        Ok(Added::New)
    }

    /// Takes in those of `contacts.json`, if there is one. Whoever is known stays as they are, so that it does no harm to
    /// do it again.
    pub(super) fn take_in(&mut self, path: &Path) -> Result<(), DataError> {
        let Some(earlier) = file::load_json::<Earlier>(path, FORMAT)? else { return Ok(()) };
        for EarlierContact { id, name } in earlier.contacts {
            if self.name_of(id).is_some() {
                continue;
            }
            // Somebody else may have the name by now, if an earlier version was used again meanwhile.
            let mut added = self.add(id, &name);
            for n in 2..=self.contacts.len() + 1 {
                if !matches!(added, Err(ContactError::NameTaken { .. })) {
                    break;
                }
                added = self.add(id, &format!("{name} {n}"));
            }
            added.map_err(|error| file::damaged(path, &error.to_string()))?;
        }
        Ok(())
    }

    /// Removes whom [`Contacts::find`] finds.
    pub fn remove(&mut self, asked: &str) -> Result<Contact, ContactError> {
        let id = self.find(asked)?.id;
        let position = self.contacts.iter().position(|contact| contact.id == id).unwrap_or_default();
        Ok(self.contacts.remove(position))
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// Levenshtein's: how many letters to add, drop or change.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::identity::Identity;

    fn id(seed: u8) -> PeerId {
        Identity::from_seed(&[seed; 32]).peer_id()
    }

    #[test]
    fn a_contact_is_found_by_name_in_any_case_and_by_id() {
        let mut contacts = Contacts::default();
        contacts.add(id(1), "Bob").expect("added");
        assert_eq!(contacts.find("bob").expect("found").id, id(1));
        assert_eq!(contacts.find(&id(1).to_string()).expect("found").name, "Bob");
    }

    #[test]
    fn an_unknown_name_is_answered_with_a_similar_one_or_with_what_to_do() {
        let mut contacts = Contacts::default();
        let hint = |contacts: &Contacts, asked| contacts.find(asked).expect_err("unknown").to_string();
        assert!(hint(&contacts, "bob").contains("no contacts yet"));
        contacts.add(id(1), "Robert").expect("added");
        assert!(hint(&contacts, "Rbert").contains("did you mean Robert?"));
        assert!(hint(&contacts, "zoe").contains("punchline contacts"));
    }

    #[test]
    fn one_name_is_one_person() {
        let mut contacts = Contacts::default();
        assert_eq!(contacts.add(id(1), "bob"), Ok(Added::New));
        assert_eq!(contacts.add(id(1), "bob"), Ok(Added::Known));
        assert_eq!(contacts.add(id(1), "Bobby"), Ok(Added::Renamed { from: "bob".into() }));
        assert!(matches!(contacts.add(id(2), "bobby"), Err(ContactError::NameTaken { holder, .. }) if holder == id(1)));
        assert_eq!(contacts.iter().count(), 1);
    }

    #[test]
    fn names_that_would_confuse_are_refused() {
        let looks_like_an_id = id(1).to_string();
        for name in ["", "  ", " bob", "b\nob", "\u{1b}[31mbob", "--json", &"x".repeat(65), &looks_like_an_id] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["bob", "Ана", "鈴木 一郎", "x"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_list_is_bounded() {
        let mut contacts = Contacts::default();
        for n in 0..MAX_CONTACTS {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            contacts.add(Identity::from_seed(&seed).peer_id(), &format!("n{n}")).expect("room");
        }
        assert_eq!(contacts.add(id(1), "one too many"), Err(ContactError::Full));
    }

    #[test]
    fn those_of_an_earlier_version_are_taken_in_once_and_lose_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contacts.json");
        let list = format!(r#"[{{"id":"{}","name":"bob"}},{{"id":"{}","name":"Eve","muted":true}}]"#, id(1), id(2));
        std::fs::write(&path, format!(r#"{{"format":1,"contacts":{list}}}"#)).expect("written");
        let mut contacts = Contacts::default();
        contacts.add(id(2), "Eva").expect("added");
        contacts.add(id(3), "Bob").expect("added");
        for _ in 0..2 {
            contacts.take_in(&path).expect("taken in");
            let names: Vec<_> = contacts.iter().map(|contact| (contact.id, contact.name.as_str())).collect();
            assert_eq!(names, [(id(2), "Eva"), (id(3), "Bob"), (id(1), "bob 2")]);
        }
    }
}
