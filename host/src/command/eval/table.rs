//! The summary of a run for a terminal.

use crate::run::measure::Better;
use crate::run::summary::{Estimate, Summary};

/// The table, line by line.
pub fn lines(summary: &Summary) -> Vec<String> {
    let scores = summary.measure.scores();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(scores.iter().map(|score| {
        let mark = match score.better {
            Better::Higher => " (high)",
            Better::Lower => " (low)",
            Better::Neither => "",
        };
        format!("{}{mark}", score.title)
    }));
    for method in &summary.methods {
        let mark = if method.control { " (control)" } else { "" };
        let mut row = vec![format!("{}{mark}", method.name)];
        row.extend(scores.iter().map(|score| {
            let found = method.scores.get(score.name);
            found.map_or("-".to_owned(), shown)
        }));
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
    let mut lines = vec![format!(
        "{}: {} pictures, {} left out; means with 95 % intervals",
        summary.measure.title(),
        summary.images,
        summary.skipped
    )];
    lines.extend(rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    }));
    lines
}

fn shown(e: &Estimate) -> String {
    // Errors of conservation are small.
    if e.mean != 0.0 && e.mean.abs() < 1e-3 {
        return format!("{:.1e} [{:.1e}, {:.1e}]", e.mean, e.low, e.high);
    }
    format!("{:.4} [{:.4}, {:.4}]", e.mean, e.low, e.high)
}
