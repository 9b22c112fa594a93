//! Tables: what every method is worth, with intervals as numbers and as a picture, and how pairs of methods differ.

use std::fmt::Write;

use serde::Serialize;

use super::number::{at, count, difference, interval, mean, percent, probability};
use super::palette::{Look, Palette};
use super::source::Run;
use super::verdict::{Outcome, Pair, best, leader, pairs};
use crate::run::measure::{Better, Score};
use crate::run::summary::Estimate;

/// The score that stands beside those that rank pixels.
pub const TIES: &str = "tie_fraction";
/// Above this share of ties the order of pixels is hardly the map's.
const MANY_TIES: f64 = 0.1;

/// A column of the table of scores.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// The score's name.
    pub title: &'static str,
    /// An arrow up or down, or nothing.
    pub arrow: &'static str,
    /// What the score is, and which way it is good.
    pub meaning: String,
}

impl Column {
    fn of(score: &Score) -> Column {
        let (arrow, good) = match score.better {
            Better::Higher => ("↑", " Higher is better."),
            Better::Lower => ("↓", " Lower is better."),
            Better::Neither => ("", ""),
        };
        Column {
            title: score.title,
            arrow,
            meaning: format!("{}{good}", score.meaning),
        }
    }
}

/// A number of a table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// The mean; empty if there is none.
    pub mean: String,
    /// Its interval.
    pub interval: String,
    /// Whether it is the best, or not distinguishable from the best.
    pub best: bool,
    /// Whether it should make a reader careful.
    pub warning: bool,
}

/// A row of the table of scores.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The method.
    pub look: Look,
    /// A picture of the first score's interval.
    pub plot: String,
    /// A number for each column.
    pub cells: Vec<Cell>,
    /// Pictures that the first score is the mean of.
    pub images: String,
}

/// What every method is worth.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// The scores.
    pub columns: Vec<Column>,
    /// The methods, best first, controls after them.
    pub rows: Vec<Row>,
    /// The axis above the pictures of the intervals.
    pub axis: String,
    /// Whether there are bold numbers to be explained.
    pub bold: bool,
    /// Whether a number warns of ties.
    pub warning: bool,
}

/// The table of scores of a run.
#[must_use]
pub fn scores(run: &Run, palette: &Palette) -> Scores {
    let known = |score: &&Score| {
        run.summary
            .methods
            .iter()
            .any(|m| m.scores.contains_key(score.name))
    };
    let scores: Vec<&Score> = run.measure().scores().iter().filter(known).collect();
    let best: Vec<Vec<&str>> = scores.iter().map(|score| best(run, **score)).collect();
    let headline = run.headline();
    let mut methods: Vec<_> = run.summary.methods.iter().collect();
    let first = |name: &str| run.method(name)?.scores.get(headline.name).map(|e| e.mean);
    methods.sort_by(|a, b| {
        let value = |name| {
            first(name).map_or(f64::INFINITY, |m| {
                if run.better(headline, 1.0, 0.0) {
                    -m
                } else {
                    m
                }
            })
        };
        (a.control, value(&a.name))
            .partial_cmp(&(b.control, value(&b.name)))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let estimates = methods.iter().filter_map(|m| m.scores.get(headline.name));
    let strip = Strip::of(estimates.copied(), 40);
    let alone = methods.len() == 1;
    let rows: Vec<Row> = methods
        .iter()
        .map(|method| {
            let cell = |(score, best): (&&Score, &Vec<&str>)| match method.scores.get(score.name) {
                Some(e) if score.name == TIES => Cell {
                    mean: percent(e.mean),
                    interval: format!("{} to {}", percent(e.low), percent(e.high)),
                    best: false,
                    warning: e.mean > MANY_TIES,
                },
                Some(e) => Cell {
                    mean: mean(e),
                    interval: interval(e),
                    best: !alone && best.contains(&method.name.as_str()),
                    warning: false,
                },
                None => Cell::default(),
            };
            let first = method.scores.get(headline.name);
            let look = palette.look(&method.name);
            Row {
                plot: first.map_or_else(String::new, |e| strip.mark(e, &look.class)),
                look,
                cells: scores.iter().zip(&best).map(cell).collect(),
                images: first.map_or_else(|| "0".to_owned(), |e| count(e.images)),
            }
        })
        .collect();
    Scores {
        columns: scores.iter().map(|score| Column::of(score)).collect(),
        axis: strip.axis(),
        bold: rows
            .iter()
            .any(|row| row.cells.iter().any(|cell| cell.best)),
        warning: rows
            .iter()
            .any(|row| row.cells.iter().any(|cell| cell.warning)),
        rows,
    }
}

/// A pair of methods.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// One method.
    pub first: Look,
    /// The other.
    pub second: Look,
    /// A picture of the difference and its interval.
    pub plot: String,
    /// First minus second.
    pub difference: String,
    /// Its interval.
    pub interval: String,
    /// The run's p value.
    pub p: String,
    /// Adjusted over all pairs.
    pub adjusted: String,
    /// What it comes to.
    pub verdict: String,
    /// Whether the two are distinguishable.
    pub clear: bool,
}

/// The pairs of one score.
#[derive(Clone, Debug, Serialize)]
pub struct Differences {
    /// The score.
    pub title: &'static str,
    /// Which way it is good, as part of a sentence.
    pub good: &'static str,
    /// The axis above the pictures.
    pub axis: String,
    /// The pairs.
    pub rows: Vec<Difference>,
}

/// The best method of a score against every other; nothing if there is nothing to compare.
#[must_use]
pub fn against_best(run: &Run, score: Score, palette: &Palette) -> Option<(String, Differences)> {
    let (leader, _) = leader(run, score)?;
    let all = pairs(run, score);
    let seen: Vec<Pair<'_>> = all
        .iter()
        .filter_map(|pair| pair.seen_from(&leader.name))
        .collect();
    let table = by_score(score, &seen, palette)?;
    Some((leader.name.clone(), table))
}

/// Every pair, for every score that was compared.
#[must_use]
pub fn all_pairs(run: &Run, palette: &Palette) -> Vec<Differences> {
    let scores = run.measure().scores().iter();
    scores
        .filter_map(|&score| by_score(score, &pairs(run, score), palette))
        .collect()
}

fn by_score(score: Score, pairs: &[Pair<'_>], palette: &Palette) -> Option<Differences> {
    let good = match score.better {
        Better::Lower => "lower is better",
        Better::Higher | Better::Neither => "higher is better",
    };
    differences((score.title, good), pairs, palette)
}

/// The table of pairs of a score with this title, which is good this way.
#[must_use]
pub fn differences(
    (title, good): (&'static str, &'static str),
    pairs: &[Pair<'_>],
    palette: &Palette,
) -> Option<Differences> {
    if pairs.is_empty() {
        return None;
    }
    let zero = Estimate {
        mean: 0.0,
        low: 0.0,
        high: 0.0,
        images: 0,
    };
    let strip = Strip::of(pairs.iter().map(|pair| pair.difference).chain([zero]), 32);
    let row = |pair: &Pair<'_>| {
        let (first, second) = (palette.look(pair.first), palette.look(pair.second));
        Difference {
            plot: strip.mark(&pair.difference, &first.class),
            difference: difference(&pair.difference),
            interval: interval(&pair.difference),
            p: probability(pair.p),
            adjusted: probability(pair.adjusted),
            verdict: match pair.outcome {
                Outcome::First => format!("{} is better", pair.first),
                Outcome::Second => format!("{} is better", pair.second),
                Outcome::Alike => "not distinguishable".to_owned(),
            },
            clear: pair.outcome != Outcome::Alike,
            first,
            second,
        }
    };
    Some(Differences {
        title,
        good,
        axis: strip.axis(),
        rows: pairs.iter().map(row).collect(),
    })
}

/// A narrow drawing of intervals that share a scale, one in each row of a table.
#[derive(Clone, Copy, Debug)]
struct Strip {
    low: f64,
    high: f64,
    /// Height of a row, so that the line at 0 goes through.
    height: u32,
}

const WIDTH: f64 = 150.0;
const EDGE: f64 = 8.0;

impl Strip {
    fn of(estimates: impl Iterator<Item = Estimate>, height: u32) -> Strip {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for e in estimates {
            low = low.min(e.low.min(e.mean));
            high = high.max(e.high.max(e.mean));
        }
        // 0 belongs to the scale unless everything is far from it.
        if low > 0.0 && low < 2.0 * (high - low) {
            low = 0.0;
        }
        if !(high - low).is_finite() || high <= low {
            (low, high) = match low {
                0.0..=1.0 => (0.0, 1.0),
                low if low.is_finite() => (low - 0.5, low + 0.5),
                _ => (0.0, 1.0),
            };
        }
        Strip { low, high, height }
    }

    fn across(&self, value: f64) -> f64 {
        EDGE + (WIDTH - 2.0 * EDGE) * (value - self.low) / (self.high - self.low)
    }

    fn mark(&self, e: &Estimate, class: &str) -> String {
        let (height, middle) = (self.height, self.height / 2);
        let mut out = format!(
            r#"<svg class="strip" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" aria-hidden="true">"#
        );
        if self.low <= 0.0 && self.high >= 0.0 {
            let zero = at(self.across(0.0));
            let _ = write!(out, r#"<path class="zero" d="M{zero} 0V{height}"/>"#);
        }
        let [low, mean, high] = [e.low, e.mean, e.high].map(|value| at(self.across(value)));
        let _ = write!(
            out,
            r#"<path class="whisker {class}" d="M{low} {middle}H{high}"/><circle class="dot {class}" cx="{mean}" cy="{middle}" r="4"/></svg>"#
        );
        out
    }

    fn axis(&self) -> String {
        let mut out = format!(r#"<svg class="strip" viewBox="0 0 {WIDTH} 22" aria-hidden="true">"#);
        let ticks = super::chart::ticks(self.low, self.high, 2);
        for (value, text) in &ticks {
            let x = self.across(*value);
            let side = match x {
                x if x < 22.0 => "start",
                x if x > WIDTH - 22.0 => "end",
                _ => "middle",
            };
            let text_x = match side {
                "start" => (x - EDGE + 1.0).max(1.0),
                "end" => (x + EDGE - 1.0).min(WIDTH - 1.0),
                _ => x,
            };
            let _ = write!(
                out,
                r#"<path class="zero" d="M{} 18v4"/><text class="{side}" x="{}" y="13">{text}</text>"#,
                at(x),
                at(text_x)
            );
        }
        out + "</svg>"
    }
}
