//! The picture: a column for each host, an arrow for each packet.

use std::fmt::Write;
use std::time::Duration;

use super::pairing::{Arrow, Ladder};

/// Arrows that are drawn: more make a picture that nobody looks at and no browser likes.
const MOST: usize = 1_500;
/// Pixels: between columns, left of the first, above the first arrow, between two arrows at least and at most.
const COLUMN: f64 = 340.0;
const MARGIN: f64 = 150.0;
const TOP: f64 = 60.0;
const CLOSEST: f64 = 17.0;
const FARTHEST: f64 = 60.0;
/// Pixels of a second, between those bounds; and of a second that an arrow is under way.
const SCALE: f64 = 400.0;
const SLOPE: f64 = 300.0;
/// How far arrows reach whose other end is not known.
const STUB: f64 = 0.45;

impl Ladder {
    /// Draws it.
    pub fn svg(&self) -> String {
        let arrows = &self.arrows[..self.arrows.len().min(MOST)];
        let rows = rows(arrows);
        let bottom = rows.last().copied().unwrap_or(TOP) + 80.0;
        let width = MARGIN * 2.0 + COLUMN * (self.hosts.len().max(2) - 1) as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {bottom}\" width=\"{width}\" \
             height=\"{bottom}\" font-family=\"sans-serif\" font-size=\"11\">\n{STYLE}"
        );
        for (number, host) in self.hosts.iter().enumerate() {
            let x = x(number);
            // Writing to a string does not fail.
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"24\" text-anchor=\"middle\" font-size=\"15\" font-weight=\"bold\">{}</text>\n\
                 <line class=\"host\" x1=\"{x}\" y1=\"34\" x2=\"{x}\" y2=\"{}\"/>",
                escaped(host),
                bottom - 30.0
            );
        }
        let first = arrows.first().map(Arrow::begins).unwrap_or_default();
        for (arrow, y) in arrows.iter().zip(&rows) {
            self.arrow(&mut svg, arrow, *y, first);
        }
        let left_out = self.arrows.len() - arrows.len();
        let note = if left_out > 0 { format!("; {left_out} later packets are not drawn") } else { String::new() };
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\">{}{note}. Red: sent and seen nowhere else. Grey: came from elsewhere.</text>\n</svg>",
            bottom - 10.0,
            escaped(&self.summary())
        );
        svg
    }

    fn arrow(&self, svg: &mut String, arrow: &Arrow, y: f64, first: Duration) {
        let after = arrow.begins().saturating_sub(first).as_secs_f64();
        let (class, from, to, travelled) = match (arrow.sent, arrow.arrived) {
            (Some((from, sent)), Some((to, arrived))) => {
                ("arrived", x(from), x(to), arrived.saturating_sub(sent).as_secs_f64())
            }
            (Some((from, _)), None) => {
                let last = self.hosts.len() - 1;
                let aim = arrow
                    .meant_for
                    .map_or(if from == last { from as f64 - 1.0 } else { from as f64 + 1.0 }, |to| to as f64);
                ("lost", x(from), MARGIN + COLUMN * (from as f64 + (aim - from as f64).signum() * STUB), 0.0)
            }
            (None, Some((to, _))) => ("stranger", x(to) - COLUMN * STUB * if to == 0 { 0.35 } else { 1.0 }, x(to), 0.0),
            (None, None) => return,
        };
        let end = y + (travelled * SLOPE).min(FARTHEST);
        let title = escaped(&format!("{} → {}, {} after {after:.6} s", arrow.from, arrow.to, arrow.label));
        let way = if travelled > 0.0 { format!(", {:.3} ms on its way", travelled * 1e3) } else { String::new() };
        let words = if class == "arrived" { arrow.label.clone() } else { format!("{} ({})", arrow.label, arrow.to) };
        let words = if class == "lost" { format!("{words} ✗") } else { words };
        // Beside its beginning, on the side to which it goes.
        let (text, anchor) = if to >= from { (from + 6.0, "start") } else { (from - 6.0, "end") };
        let _ = writeln!(
            svg,
            "<g class=\"{class}\"><title>{title}{way}</title><line x1=\"{from}\" y1=\"{y:.1}\" x2=\"{to}\" y2=\"{end:.1}\" \
             marker-end=\"url(#{class})\"/><text x=\"{text}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\
             <text class=\"time\" x=\"8\" y=\"{:.1}\">{after:.6}</text></g>",
            y - 3.0,
            escaped(&words),
            y + 3.0,
        );
    }
}

const STYLE: &str = r##"<style>
svg{background:#fff}.host{stroke:#888;stroke-width:1}.time{fill:#888;font-size:10px}
.arrived line{stroke:#1a5f9e}.lost line{stroke:#d11;stroke-dasharray:5 3}.stranger line{stroke:#999}
.lost text{fill:#d11}.stranger text{fill:#777}.lost .time,.stranger .time{fill:#888}
</style>
<defs>
<marker id="arrived" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#1a5f9e"/></marker>
<marker id="lost" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 8M8 0L0 8" stroke="#d11" stroke-width="2"/></marker>
<marker id="stranger" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#999"/></marker>
</defs>
"##;

/// How far down each arrow begins: by its time, but never on the one before and never a page below it.
fn rows(arrows: &[Arrow]) -> Vec<f64> {
    let (mut y, mut before) = (TOP, arrows.first().map(Arrow::begins).unwrap_or_default());
    let next = |arrow: &Arrow| {
        let gap = arrow.begins().saturating_sub(before).as_secs_f64() * SCALE;
        before = arrow.begins();
        y += gap.clamp(CLOSEST, FARTHEST);
        y
    };
    arrows.iter().map(next).collect()
}

fn x(column: usize) -> f64 {
    MARGIN + COLUMN * column as f64
}

fn escaped(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let text: String = text.chars().map(safe).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
