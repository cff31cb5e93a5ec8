//! The matrix as one page for a browser: the heat map, and beneath it all cells in words. No script, nothing from elsewhere.

use std::fmt::Write;

use super::heat_map::escaped;
use super::{Cell, Percentiles, Table, Timing};
use crate::oracle::Relation;

const HEAD: &str = r#"<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root { --paper: #ffffff; --ink: #1d2430; --faint: #59616e; --line: #d5d9e0; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ee; --faint: #a0a8b4; --line: #343b47; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p { max-width: 60rem; } .faint { color: var(--faint); }
.map { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.7rem; text-align: left; vertical-align: top; }
th:last-child { min-width: 14rem; }
thead th { position: sticky; top: 0; background: var(--paper); white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } td.number, td.count { white-space: nowrap; }
.swatch { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.5em; border-radius: 2px; }
.swatch.direct { background: #2e9e5b; } .swatch.sometimes { background: #f0c34e; } .swatch.relayed { background: #7fa8e0; }
.swatch.not-yet { background: #e8835a; } .swatch.impossible { background: #b9bec7; }
.swatch.not-here { border: 1px solid #b9bec7; }
pre { white-space: pre-wrap; margin: 0.3rem 0; color: var(--faint); }
</style>
"#;

const COLUMNS: &str = "<thead><tr><th>asks<th>is asked<th>direct<th>path, ms<th>first message, ms<th>datagrams<th>expected\
                       <th>possible<th>because</tr></thead>\n";

const ABOUT: &str = "\
The row asks, the column is asked. A number is the milliseconds from asking to a direct path on both sides, the median of the \
meetings; point at a square for the rest. A red frame is a cell that is not what the oracle expects, a plus is one that is better. Below, times and datagrams are the median and, after the slash, the 95th percentile.";

impl Table {
    /// As a page of HTML.
    pub fn html(&self) -> String {
        let title = escaped(&format!("Who reaches whom: {}", self.title));
        let mut out =
            format!("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{HEAD}<title>{title}</title>\n</head>\n<body>\n");
        let summary = escaped(&self.summary());
        let (seed, meetings) = (self.seed, self.meetings);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<h1>{title}</h1>\n<p>{summary}.</p>\n<p class=\"faint\">{ABOUT} Seed {seed}; meetings of each cell: {meetings}.</p>\n\
             <div class=\"map\">\n{}</div>\n",
            self.svg()
        );
        self.wrong(&mut out);
        let mut section = |title: &str, cells: Vec<&Cell>| {
            if !cells.is_empty() {
                let _ = write!(out, "<h2>{title}</h2>\n<table>\n{COLUMNS}<tbody>\n");
                cells.into_iter().for_each(|cell| row(&mut out, cell));
                out.push_str("</tbody></table>\n");
            }
        };
        let in_relation = |relation| self.in_relation(relation).collect();
        section("Each behind routers of its own", in_relation(Relation::Separate));
        section("Two on one LAN", in_relation(Relation::SameLan));
        section("Two behind one router, kept apart", in_relation(Relation::SameOuterNat));
        let changed =
            |cell: &&Cell| self.cell(&cell.row, &cell.column).is_some_and(|first| first.word() != cell.word());
        section("Otherwise when the one who is asked hears late", self.late().filter(changed).collect());
        out.push_str("<h2>The kinds</h2>\n<table><tbody>\n");
        for (kind, stands_for) in self.kinds.iter().zip(&self.stands_for) {
            let _ = writeln!(out, "<tr><td>{}<td>{}", escaped(kind), escaped(stands_for));
        }
        out.push_str("</tbody></table>\n</body>\n</html>\n");
        out
    }

    fn wrong(&self, out: &mut String) {
        let wrong: Vec<&Cell> = self.disagreements().collect();
        if wrong.is_empty() {
            return;
        }
        out.push_str("<h2>Not as the oracle says</h2>\n<ul>\n");
        for cell in wrong {
            let late = if cell.timing == Timing::Late { " (late)" } else { "" };
            let _ = writeln!(out, "<li>{}{late}", escaped(&cell.in_words()));
            if let Some(trouble) = &cell.trouble {
                let _ = writeln!(out, "<pre>{}</pre>", escaped(trouble));
            }
        }
        out.push_str("</ul>\n");
    }
}

fn row(out: &mut String, cell: &Cell) {
    let Cell { row, column, direct, relayed, meetings, possible, .. } = cell;
    let (row, column, because) = (escaped(row), escaped(column), escaped(&possible.because));
    let because =
        cell.not_by_this_driver.as_deref().map_or(because, |reason| escaped(&format!("not by this driver: {reason}")));
    let relayed = if *relayed > 0 { format!(", {relayed} relayed") } else { String::new() };
    let number =
        |value: Option<Percentiles>| value.map_or(String::new(), |value| format!("{} / {}", value.p50, value.p95));
    let _ = writeln!(
        out,
        "<tr><td>{row}<td>{column}<td class=\"count\"><span class=\"swatch {}\"></span>{direct} of {meetings}{relayed}\
         <td class=\"number\">{}<td class=\"number\">{}<td class=\"number\">{}<td>{}<td>{}<td>{because}",
        cell.class(),
        number(cell.direct_ms),
        number(cell.message_ms),
        number(cell.packets),
        cell.expected_in_words(),
        possible.verdict
    );
}
