//! The matrix as a picture: a square for each cell, greener the faster.

use std::fmt::Write;

use super::{Cell, Table, Word};

/// Pixels of a square.
const SIDE: usize = 46;
/// Room for the names, at the left and above.
const MARGIN: usize = 170;
/// Room at the right: the last name leans out.
const RIGHT: usize = 90;
/// Room for the legend.
const BELOW: usize = 60;
const LEGEND_WIDTH: usize = 680;
/// A path that takes as long as this is as pale as they get: a slow introduction across the world.
const SLOW_MS: u64 = 400;

/// What each colour stands for.
const LEGEND: [(&str, &str); 6] = [
    ("direct", "direct, median ms"),
    ("sometimes", "sometimes"),
    ("relayed", "relayed"),
    ("not-yet", "not yet"),
    ("impossible", "impossible"),
    ("not-here", "not by this driver"),
];

/// The same squares on white and on black; only what is written beside them changes.
const STYLE: &str = "\
svg { --paper: #ffffff; --ink: #1d2430; --faint: #59616e; }
@media (prefers-color-scheme: dark) { svg { --paper: #14181f; --ink: #e6e9ee; --faint: #a0a8b4; } }
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.faint { fill: var(--faint); }
.square { stroke: var(--paper); stroke-width: 2; }
.cell text { fill: #10151c; text-anchor: middle; }
.direct { fill: #2e9e5b; } .sometimes { fill: #f0c34e; } .relayed { fill: #7fa8e0; }
.not-yet { fill: #e8835a; } .impossible { fill: #b9bec7; } .not-here { fill: none; stroke: #b9bec7; stroke-width: 1; }
.wrong { fill: none; stroke: #c4161c; stroke-width: 3; }
.cell:hover .square { stroke: var(--ink); }
";

impl Table {
    /// As SVG. Each square says more when pointed at.
    pub fn svg(&self) -> String {
        let side = SIDE * self.kinds.len();
        let (width, height) = ((MARGIN + side + RIGHT).max(MARGIN + LEGEND_WIDTH), MARGIN + side + BELOW);
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
             <style>\n{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"var(--paper)\"/>"
        );
        let corner = MARGIN - 12;
        let _ = writeln!(
            out,
            "<text class=\"faint\" x=\"{corner}\" y=\"{corner}\" text-anchor=\"end\">asks ↓ asked →</text>"
        );
        for (n, kind) in self.kinds.iter().enumerate() {
            let (middle, kind) = (MARGIN + SIDE * n + SIDE / 2 + 4, escaped(kind));
            let _ = writeln!(out, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{kind}</text>", MARGIN - 8);
            let (x, y) = (middle, MARGIN - 8);
            let _ = writeln!(out, "<text transform=\"translate({x} {y}) rotate(-60)\">{kind}</text>");
        }
        for (y, row) in self.kinds.iter().enumerate() {
            for (x, column) in self.kinds.iter().enumerate() {
                if let Some(cell) = self.cell(row, column) {
                    square(&mut out, cell, MARGIN + SIDE * x, MARGIN + SIDE * y);
                }
            }
        }
        let (mut x, y) = (MARGIN, MARGIN + side + 22);
        for (class, word) in LEGEND {
            let _ = writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"14\" height=\"14\"/>");
            let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{word}</text>", x + 20, y + 12);
            x += 42 + word.len() * 6;
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Cell {
    /// All that there is to say, for whoever points at it.
    pub(super) fn in_words(&self) -> String {
        let Cell { row, column, direct, relayed, meetings, possible, .. } = self;
        if let Some(reason) = &self.not_by_this_driver {
            return format!("{row} asks {column}: not by this driver: {reason}");
        }
        let mut text = format!("{row} asks {column}: {direct} of {meetings} direct");
        if *relayed > 0 {
            let _ = write!(text, ", {relayed} relayed");
        }
        for (what, value, unit) in [
            ("direct after", self.direct_ms, " ms"),
            ("first message after", self.message_ms, " ms"),
            ("datagrams", self.packets, ""),
        ] {
            if let Some(value) = value {
                let _ = write!(text, "; {what} {}{unit} (95 %: {}{unit})", value.p50, value.p95);
            }
        }
        let _ = write!(text, "; possible: {}, {}", possible.verdict, possible.because);
        if !self.agrees() {
            let what = if self.surpasses() { "more than" } else { "not" };
            let _ = write!(text, "; {what} what the oracle expects: {}", self.expected_in_words());
        }
        text
    }

    /// The class of its colour.
    pub(super) fn class(&self) -> &'static str {
        match self.word() {
            Word::Direct => "direct",
            Word::Sometimes => "sometimes",
            Word::Relayed => "relayed",
            Word::NotYet => "not-yet",
            Word::Impossible => "impossible",
            Word::NotByThisDriver => "not-here",
        }
    }
}

fn square(out: &mut String, cell: &Cell, x: usize, y: usize) {
    let title = escaped(&cell.in_words());
    let class = cell.class();
    let colour = match (cell.word(), cell.direct_ms) {
        (Word::Direct, Some(ms)) => {
            // From full green to pale green.
            let share = ms.p50.min(SLOW_MS);
            let between = |full: u64, pale: u64| full + (pale - full) * share / SLOW_MS;
            let (red, green, blue) = (between(46, 208), between(158, 236), between(91, 200));
            format!(" style=\"fill: #{red:02x}{green:02x}{blue:02x}\"")
        }
        _ => String::new(),
    };
    let label = match cell.word() {
        Word::NotYet | Word::Impossible | Word::NotByThisDriver if cell.agrees() => String::new(),
        _ => cell.short(),
    };
    let _ = writeln!(
        out,
        "<g class=\"cell\"><title>{title}</title><rect class=\"square {class}\"{colour} x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" \
         height=\"{SIDE}\"/><text x=\"{tx}\" y=\"{ty}\">{label}</text></g>",
        tx = x + SIDE / 2,
        ty = y + SIDE / 2 + 4
    );
    if !cell.agrees() && !cell.surpasses() {
        let inner = SIDE - 6;
        let _ = writeln!(
            out,
            "<rect class=\"wrong\" x=\"{}\" y=\"{}\" width=\"{inner}\" height=\"{inner}\"/>",
            x + 3,
            y + 3
        );
    }
}

/// As XML and HTML hold it: what programs said may stand in it.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\n' | '\t' => safe.push(c),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
