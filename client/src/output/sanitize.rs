//! Text from outside, made fit for a terminal.
//!
//! A terminal obeys what it is shown: an escape sequence in a message could clear the screen, set the window's title,
//! write to the clipboard or draw a false line above the prompt. So a message or a name is cut down to text before it
//! is printed: escape sequences vanish whole, other controls vanish, a line break becomes a visible mark, and the
//! characters that reorder text (which make `gpj.exe` look like `exe.jpg`) become a visible replacement.
//! JSON output has the original text; JSON's own escaping keeps it harmless there.

use std::iter::Peekable;
use std::str::Chars;

/// Stands for a line break inside a message.
const BREAK: char = '⏎';
/// Stands for a character that must not have its effect.
const REPLACEMENT: char = '\u{fffd}';

/// One line without a control character in it.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars),
            '\u{9b}' => control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => control_string(&mut chars),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                out.push(BREAK);
                out.push(' ');
            }
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c if reorders(c) => out.push(REPLACEMENT),
            c => out.push(c),
        }
    }
    out
}

/// Bidirectional embeddings, overrides and isolates (Unicode Annex 9, sections 2.1-2.4). The plain marks (LRM, RLM,
/// ALM) move nothing but themselves and stay.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What follows ESC (ECMA-48, section 5.3).
fn escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            control_sequence(chars);
        }
        // OSC, DCS, SOS, PM, APC
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            control_string(chars);
        }
        _ => {
            while chars.next_if(|c| ('\u{20}'..='\u{2f}').contains(c)).is_some() {}
            chars.next_if(|c| ('\u{30}'..='\u{7e}').contains(c));
        }
    }
}

/// Parameters, intermediates and the final byte of a CSI sequence (ECMA-48, section 5.4). Something else in between
/// ends it, as in a terminal, and is looked at by itself.
fn control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
    chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

/// Everything up to BEL or the string terminator; without one, to the end, as a terminal would.
fn control_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\u{07}' | '\u{9c}' => return,
            '\u{1b}' if chars.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_vanish_whole() {
        for (evil, harmless) in [
            ("\u{1b}[2J\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{9b}2Jgone", "gone"),
            ("\u{1b}]0;title\u{07}text", "text"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{9d}52;c;ZXZpbA==\u{9c}clip", "clip"),
            ("\u{1b}P1$q\u{1b}\\dcs", "dcs"),
            ("\u{1b}]never ends", ""),
            ("\u{1b}(Bset", "set"),
            ("\u{1b}cfull reset", "full reset"),
            ("\u{1b}[12\nx", "⏎ x"),
            ("a\u{08}\u{7f}b\u{00}", "ab"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(line(evil), harmless, "{evil:?}");
        }
    }

    #[test]
    fn line_breaks_and_tabs_are_shown_and_do_nothing() {
        assert_eq!(line("one\ntwo\r\nthree\rfour\tfive"), "one⏎ two⏎ three⏎ four five");
    }

    #[test]
    fn text_cannot_be_turned_around() {
        assert_eq!(line("safe\u{202e}gpj.exe"), "safe\u{fffd}gpj.exe");
        assert_eq!(line("\u{2066}isolated\u{2069}"), "\u{fffd}isolated\u{fffd}");
    }

    #[test]
    fn every_script_stays_as_it_is() {
        for text in ["Grüße", "привет", "你好", "שלום", "👩\u{200d}💻", "e\u{301}"] {
            assert_eq!(line(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_output_contains_a_control_character(text in any::<String>(), seeds in "[\u{1b}\u{9b}\u{9d}\u{07}\\[\\]\\\\;a-z0-9\n\u{202e}]{0,40}") {
            for text in [&text, &seeds] {
                let out = line(text);
                prop_assert!(!out.chars().any(|c| c.is_control() || reorders(c)), "{out:?}");
                prop_assert_eq!(line(&out), out);
            }
        }
    }
}
