//! Text with names in braces, `{server.address}`, filled in by us: no shell ever sees it.

use std::collections::BTreeSet;
use std::fmt;

/// Text and names, alternating as they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads it; `{{` and `}}` stand for the braces themselves.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let (mut parts, mut plain, mut rest) = (vec![], String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain += &rest[..at];
            let brace = &rest[at..at + 1];
            let after = &rest[at + 1..];
            if let Some(doubled) = after.strip_prefix(brace) {
                plain += brace;
                rest = doubled;
            } else if let (true, Some((name, behind))) = (brace == "{", after.split_once('}')) {
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Name(name.trim().to_owned()));
                rest = behind;
            } else {
                return Err(format!(
                    "a `{brace}` that stands alone in `{text}`: write `{brace}{brace}` for the brace itself"
                ));
            }
        }
        plain += rest;
        parts.push(Part::Text(plain));
        Ok(Template(parts))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let names = self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        });
        names.collect()
    }

    /// Fills in the names.
    ///
    /// # Errors
    /// With the first name that nobody knows.
    pub(crate) fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => Ok(text.clone()),
                Part::Name(name) => value(name).ok_or_else(|| name.clone()),
            })
            .collect()
    }
}

impl fmt::Display for Template {
    /// As it was written, without doubled braces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Name(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        Template::parse(text)?.fill(|name| (name == "server.address").then(|| "11.1.1.1".to_owned()))
    }

    #[test]
    fn names_are_filled_in_and_doubled_braces_stand_for_themselves() {
        assert_eq!(fill("{server.address}:3478"), Ok("11.1.1.1:3478".to_owned()));
        assert_eq!(fill(r#"{{"to":"{ server.address }"}}"#), Ok(r#"{"to":"11.1.1.1"}"#.to_owned()));
        assert_eq!(fill(""), Ok(String::new()));
    }

    #[test]
    fn what_is_no_template_is_refused_and_what_is_unknown_is_named() {
        assert_eq!(fill("{nobody.address}"), Err("nobody.address".to_owned()));
        assert!(fill("{server.address").is_err_and(|error| error.contains("`{{`")));
        assert!(fill("server}").is_err_and(|error| error.contains("`}}`")));
    }
}
