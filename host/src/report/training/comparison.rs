//! What a comparison came to: variants by methods with intervals, how far the first method is ahead of each other one, and how
//! far the seeds lie apart.

use serde::Serialize;

use super::curves;
use super::source::Comparison;
use crate::method::is_control;
use crate::report::curves::Drawing;
use crate::report::number::{counted, figure, interval, listed, mean};
use crate::report::palette::{Look, Palette};
use crate::report::table::{Differences, differences};
use crate::report::verdict::{LEVEL, Outcome, Pair, holm};
use crate::run::summary::Estimate;
use crate::train::ablation::{Score, Table, Variant};

/// A comparison on the page.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// Its folder's name.
    pub name: String,
    /// Identifies it on the page.
    pub id: String,
    /// What it was made of.
    pub subject: String,
    /// What it says: a variant and a sentence.
    pub findings: Vec<(String, String)>,
    /// The methods, in the order of the columns.
    pub methods: Vec<Look>,
    /// Accuracy and IoU at the map's mean, variant by variant.
    pub rows: Vec<Row>,
    /// IoU at each map's best threshold.
    pub at_best: Vec<Row>,
    /// The first method against each other one, variant by variant.
    pub ahead: Vec<(String, Differences)>,
    /// The first method.
    pub first: String,
    /// Seeds, and what each of them has of everything.
    pub seeds: Vec<u64>,
    /// Variant, method or `accuracy`, and a mean for each seed.
    pub by_seed: Vec<(String, String, Vec<String>)>,
    /// Small drawings of the runs: of mean IoU, then of accuracy.
    pub drawings: Vec<Vec<Drawing>>,
    /// What the seeds look like in them.
    pub legend: Vec<Look>,
}

/// A variant.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Share of pictures that are classified rightly.
    pub accuracy: Cell,
    /// Mean IoU, method by method; `None` where the table has none.
    pub cells: Vec<Option<Cell>>,
}

/// A mean with its interval.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The mean.
    pub mean: String,
    /// Its interval.
    pub interval: String,
    /// Whether no other is higher.
    pub best: bool,
    /// Whether it is a control's.
    pub control: bool,
}

impl Cell {
    fn of(score: &Score, highest: f64, control: bool) -> Cell {
        let e = estimate(score);
        Cell {
            mean: mean(&e),
            interval: interval(&e),
            best: score.mean >= highest,
            control,
        }
    }
}

fn estimate(score: &Score) -> Estimate {
    Estimate {
        mean: score.mean,
        low: score.low,
        high: score.high,
        images: 0,
    }
}

/// A comparison as the page shows it.
#[must_use]
pub fn view(comparison: &Comparison, id: String) -> View {
    let table = &comparison.table;
    let methods = table
        .methods
        .iter()
        .map(|name| (name.as_str(), is_control(name)));
    let palette = Palette::named(methods);
    let pairs = pairs(table);
    let ahead = (table.variants.iter().zip(&pairs)).filter_map(|(variant, pairs)| {
        let of = ("mean IoU", "higher is better");
        Some((variant.name.clone(), differences(of, pairs, &palette)?))
    });
    let (drawings, legend) = curves::multiples(comparison);
    View {
        name: comparison.name.clone(),
        id,
        subject: format!(
            "{} that nobody learnt from, {} of them with masks; {}: {}",
            counted(table.pictures, "picture"),
            table.masks,
            if table.seeds.len() == 1 {
                "seed"
            } else {
                "seeds"
            },
            seeds(table).join(", ")
        ),
        findings: (table.variants.iter().zip(&pairs))
            .map(|(variant, pairs)| (variant.name.clone(), finding(table, variant, pairs)))
            .collect(),
        methods: table
            .methods
            .iter()
            .map(|name| palette.look(name))
            .collect(),
        rows: rows(table, |variant, method| variant.iou.get(method)),
        at_best: rows(table, |variant, method| variant.iou_best.get(method)),
        ahead: ahead.collect(),
        first: table.methods.first().cloned().unwrap_or_default(),
        seeds: table.seeds.clone(),
        by_seed: by_seed(table),
        drawings,
        legend,
    }
}

fn seeds(table: &Table) -> Vec<String> {
    table.seeds.iter().map(u64::to_string).collect()
}

fn rows<'t>(table: &'t Table, of: impl Fn(&'t Variant, &str) -> Option<&'t Score>) -> Vec<Row> {
    let accuracy = table.variants.iter().map(|variant| variant.accuracy.mean);
    let accuracy = accuracy.fold(f64::NEG_INFINITY, f64::max);
    let row = |variant: &'t Variant| {
        let scores: Vec<Option<&Score>> = table
            .methods
            .iter()
            .map(|method| of(variant, method))
            .collect();
        let means = scores.iter().flatten().map(|score| score.mean);
        let highest = means.fold(f64::NEG_INFINITY, f64::max);
        let cells = scores.iter().zip(&table.methods);
        Row {
            name: variant.name.clone(),
            accuracy: Cell {
                // A single variant is the best of nothing.
                best: variant.accuracy.mean >= accuracy && table.variants.len() > 1,
                ..Cell::of(&variant.accuracy, accuracy, false)
            },
            cells: cells
                .map(|(score, method)| Some(Cell::of((*score)?, highest, is_control(method))))
                .collect(),
        }
    };
    table.variants.iter().map(row).collect()
}

/// The first method against each other one, variant by variant; p values adjusted over all of the table.
fn pairs(table: &Table) -> Vec<Vec<Pair<'_>>> {
    let Some(first) = table.methods.first() else {
        return Vec::new();
    };
    let known = |variant: &Variant| -> Vec<(&str, [f64; 4])> {
        let others = table.methods.iter().skip(1);
        let found = others.filter_map(|m| Some((m.as_str(), *variant.ahead.get(m)?)));
        found.collect()
    };
    let all: Vec<Vec<(&str, [f64; 4])>> = table.variants.iter().map(known).collect();
    let p: Vec<f64> = all.iter().flatten().map(|(_, [.., p])| *p).collect();
    let mut adjusted = holm(&p).into_iter();
    let mut pair = |(second, [mean, low, high, p]): (_, [f64; 4])| {
        let adjusted = adjusted.next().unwrap_or(1.0);
        Pair {
            first,
            second,
            difference: Estimate {
                mean,
                low,
                high,
                images: table.masks,
            },
            p,
            adjusted,
            outcome: match adjusted < LEVEL {
                true if mean > 0.0 => Outcome::First,
                true => Outcome::Second,
                false => Outcome::Alike,
            },
        }
    };
    let of_variant = |pairs: Vec<_>| pairs.into_iter().map(&mut pair).collect();
    all.into_iter().map(of_variant).collect()
}

/// What a variant says of the first method.
fn finding(table: &Table, variant: &Variant, pairs: &[Pair<'_>]) -> String {
    let first = table
        .methods
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let Some(score) = variant.iou.get(first) else {
        return "No map was judged.".to_owned();
    };
    let e = estimate(score);
    let mut text = format!("{first} has mean IoU {} ({})", mean(&e), interval(&e));
    let said = [
        ("ahead of", Outcome::First),
        ("behind", Outcome::Second),
        ("not distinguishable from", Outcome::Alike),
    ];
    for (words, outcome) in said {
        let others = pairs.iter().filter(|pair| pair.outcome == outcome);
        let others: Vec<String> = others
            .map(|pair| match is_control(pair.second) {
                true => format!("{} (control)", pair.second),
                false => pair.second.to_owned(),
            })
            .collect();
        if !others.is_empty() {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            text += &format!("; {words} {}", listed(&others));
        }
    }
    let e = estimate(&variant.accuracy);
    text + &format!(". Accuracy {} ({}).", mean(&e), interval(&e))
}

/// Means of every seed, of accuracy and of each method.
fn by_seed(table: &Table) -> Vec<(String, String, Vec<String>)> {
    let mut all = Vec::new();
    let shown = |score: &Score| score.seeds.iter().map(|mean| figure(*mean)).collect();
    for variant in &table.variants {
        let name = &variant.name;
        all.push((
            name.clone(),
            "accuracy".to_owned(),
            shown(&variant.accuracy),
        ));
        for method in &table.methods {
            if let Some(score) = variant.iou.get(method) {
                all.push((name.clone(), format!("IoU of {method}"), shown(score)));
            }
        }
    }
    all
}
