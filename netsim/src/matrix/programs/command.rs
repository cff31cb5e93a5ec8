//! A command line of the caller's: words with names in braces, which no shell ever sees.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::Error;
use crate::scenario::Template;

/// A command with names to fill in.
#[derive(Debug, Clone)]
pub struct CommandLine(Vec<Template>);

impl CommandLine {
    /// Takes a line apart at its spaces, as a shell would: quotes keep words together, and nothing else is special.
    pub fn parse(line: &str) -> Result<CommandLine, Error> {
        let words = words(line).map_err(|reason| Error::Command { line: line.to_owned(), reason })?;
        CommandLine::of_words(&words)
    }

    /// Of words that are taken apart already.
    pub fn of_words<S: AsRef<str>>(words: &[S]) -> Result<CommandLine, Error> {
        let line = || words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        let refused = |reason| Error::Command { line: line(), reason };
        if words.is_empty() {
            return Err(refused("there is no word in it".to_owned()));
        }
        let templates = words.iter().map(|word| Template::parse(word.as_ref())).collect::<Result<Vec<_>, _>>();
        Ok(CommandLine(templates.map_err(refused)?))
    }

    /// With all names filled in, to be run in that folder.
    pub(super) fn filled(&self, values: &BTreeMap<String, String>, folder: &Path) -> Result<Command, Error> {
        let fill = |word: &Template| word.fill(|name| values.get(name).cloned());
        let words = self.0.iter().map(fill).collect::<Result<Vec<_>, _>>();
        let known = || values.keys().cloned().collect::<Vec<_>>().join(", ");
        let words = words.map_err(|name| Error::NoValue { name, known: known() })?;
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(folder);
        Ok(command)
    }
}

fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (vec![], None, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the {open} that opens a quote has no partner"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_at_spaces_and_quotes_keep_words_together() {
        assert_eq!(words("a  b\tc"), Ok(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        assert_eq!(words(r#"sh -c 'echo "$1"' "" x'y z'"#).unwrap(), ["sh", "-c", r#"echo "$1""#, "", "xy z"]);
        assert!(words("echo 'a b").is_err_and(|error| error.contains('\'')));
        assert!(CommandLine::parse("  ").is_err());
    }

    #[test]
    fn a_name_without_a_value_is_refused_with_those_there_are() {
        let values = BTreeMap::from([("me".to_owned(), "alice".to_owned())]);
        let filled = |line: &str| CommandLine::parse(line).unwrap().filled(&values, Path::new("/"));
        assert_eq!(filled("run --name {me}").unwrap().get_args().collect::<Vec<_>>(), ["--name", "alice"]);
        let error = filled("run {you}").unwrap_err().to_string();
        assert!(error.contains("{you}") && error.contains("me"), "{error}");
    }
}
