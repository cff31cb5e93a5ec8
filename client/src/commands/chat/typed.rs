//! Lines that are typed in a chat: words, or a command that begins with a slash.

use crate::online::{About, Remark};

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed<'a> {
    /// To be said as it is.
    Text(&'a str),
    /// Something about a message.
    About(About),
}

const COMMANDS: &str =
    "/reply ID TEXT, /edit ID TEXT, /delete ID, /react ID EMOJI; to say something that begins with /, begin with //";

/// What this line means, or what is wrong with it.
pub(super) fn understand(line: &str) -> Result<Typed<'_>, String> {
    let Some(command) = line.strip_prefix('/') else { return Ok(Typed::Text(line)) };
    if command.starts_with('/') {
        return Ok(Typed::Text(command));
    }
    let (word, rest) = split(command);
    let (digits, words) = split(rest);
    let remark = match word {
        "reply" | "edit" if words.is_empty() => {
            return Err(format!("/{word} needs an ID and a TEXT. There are {COMMANDS}"));
        }
        "reply" => Remark::Reply(words.to_owned()),
        "edit" => Remark::Edit(words.to_owned()),
        "delete" if words.is_empty() => Remark::Delete,
        "delete" => return Err(format!("/delete takes an ID alone. There are {COMMANDS}")),
        "react" => Remark::React(words.to_owned()),
        _ => return Err(format!("there is no command /{word}. There are {COMMANDS}")),
    };
    Ok(Typed::About(About::new(digits, remark)))
}

/// The first word, and what follows.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_words_or_a_command() {
        let about = |digits, remark| Ok(Typed::About(About::new(digits, remark)));
        for (line, meant) in [
            ("hello", Ok(Typed::Text("hello"))),
            (" /home is no command", Ok(Typed::Text(" /home is no command"))),
            ("//home", Ok(Typed::Text("/home"))),
            ("///", Ok(Typed::Text("//"))),
            ("/reply 6f1d at  noon ", about("6f1d", Remark::Reply("at  noon".into()))),
            ("/edit\t6f1d /x", about("6f1d", Remark::Edit("/x".into()))),
            ("/delete 6f1d ", about("6f1d", Remark::Delete)),
            ("/delete", about("", Remark::Delete)),
            ("/react 6f1d +1", about("6f1d", Remark::React("+1".into()))),
            ("/react 6f1d", about("6f1d", Remark::React(String::new()))),
        ] {
            assert_eq!(understand(line), meant, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_which_there_are() {
        for line in ["/", "/ me", "/help", "/Reply 6f1d x", "/reply 6f1d", "/edit 6f1d  ", "/reply", "/delete 6f1d x"] {
            let why = understand(line).expect_err(line);
            for word in ["/reply", "/edit", "/delete", "/react", "//"] {
                assert!(why.contains(word), "{line}: {why}");
            }
        }
    }
}
