//! The matrix as a picture: a square for each cell, greener the faster.

use std::fmt::Write;

use super::{Cell, Table, Word};

/// Pixels of a square.
const SIDE: usize = 46;
/// Room for the names, at the left and above.
const MARGIN: usize = 170;
/// A path that takes as long as this is as pale as they get: a slow introduction across the world.
const SLOW_MS: u64 = 400;

impl Table {
    /// As SVG. Each square says more when pointed at.
    pub fn svg(&self) -> String {
        // The last name leans out to the right.
        let size = MARGIN + SIDE * self.kinds.len() + 70;
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
            size - 20
        );
        for (n, kind) in self.kinds.iter().enumerate() {
            let middle = MARGIN + SIDE * n + SIDE / 2 + 4;
            let _ = writeln!(out, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{kind}</text>", MARGIN - 6);
            let (x, y) = (middle, MARGIN - 6);
            let _ = writeln!(out, "<text transform=\"translate({x} {y}) rotate(-60)\">{kind}</text>");
        }
        for (y, row) in self.kinds.iter().enumerate() {
            for (x, column) in self.kinds.iter().enumerate() {
                if let Some(cell) = self.cell(row, column) {
                    square(&mut out, cell, MARGIN + SIDE * x, MARGIN + SIDE * y);
                }
            }
        }
        let y = size - 45;
        let legend =
            [("#2e9e5b", "direct"), ("#f0c34e", "sometimes"), ("#e8835a", "not yet"), ("#b9bec7", "impossible")];
        for (n, (colour, word)) in legend.into_iter().enumerate() {
            let x = MARGIN + n * 110;
            let _ = writeln!(out, "<rect x=\"{x}\" y=\"{y}\" width=\"14\" height=\"14\" fill=\"{colour}\"/>");
            let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{word}</text>", x + 20, y + 12);
        }
        out.push_str("</svg>\n");
        out
    }
}

fn square(out: &mut String, cell: &Cell, x: usize, y: usize) {
    let (colour, label) = match (cell.word(), cell.direct_ms) {
        (Word::Direct, ms) => {
            let ms = ms.map_or(0, |ms| ms.p50);
            // From full green to pale.
            let pale = u8::try_from(ms.min(SLOW_MS) * 140 / SLOW_MS).unwrap_or(140);
            (format!("#{:02x}{:02x}{:02x}", 46 + pale, 158 + pale / 3, 91 + pale), ms.to_string())
        }
        (Word::Sometimes, _) => ("#f0c34e".to_owned(), format!("{}/{}", cell.direct, cell.meetings)),
        (Word::NotYet, _) => ("#e8835a".to_owned(), String::new()),
        (Word::Relayed, _) => ("#b9bec7".to_owned(), String::new()),
    };
    let Cell { row, column, direct, meetings, .. } = cell;
    let verdict = cell.possible.verdict;
    // What is here is made of our own words, which have no character that XML would read.
    let _ = writeln!(
        out,
        "<g><title>{row} asks {column}: {direct} of {meetings} direct; possible: {verdict}, {because}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{colour}\" stroke=\"#ffffff\"/>\
         <text x=\"{tx}\" y=\"{ty}\" text-anchor=\"middle\">{label}</text></g>",
        because = cell.possible.because,
        side = SIDE,
        tx = x + SIDE / 2,
        ty = y + SIDE / 2 + 4
    );
}
