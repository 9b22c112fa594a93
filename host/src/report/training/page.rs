//! The page of training runs and comparisons, put into `training.html`.

use anyhow::{Context, Result};
use serde::Serialize;

use super::album::{Albums, Row};
use super::comparison::{self, View};
use super::curves;
use super::facts::{self, Fact};
use super::source::{Comparison, Run};
use crate::report::curves::Drawing;
use crate::report::number::{count, counted, figure, listed, percent, quoted};
use crate::report::page::fill;
use crate::report::palette::Look;
use crate::report::verdict::LEVEL;
use crate::train::ablation::Ablation;
use crate::train::config::Config;

/// Everything the template shows.
#[derive(Serialize)]
struct Page {
    style: &'static str,
    title: String,
    facts: Vec<Fact>,
    /// Runs that are less than a result.
    warnings: Vec<(String, String)>,
    findings: Vec<(String, String, String)>,
    overview: Vec<Overview>,
    comparisons: Vec<(View, Vec<Row>)>,
    runs: Vec<Section>,
    reproductions: Vec<Reproduction>,
    level: f64,
}

/// A run in the table of all.
#[derive(Serialize)]
struct Overview {
    id: String,
    name: String,
    seed: u64,
    aea: &'static str,
    lora: &'static str,
    epochs: String,
    finished: bool,
    /// The best epoch, its validation loss, accuracy and mean IoU.
    best: [String; 4],
}

/// A run.
#[derive(Serialize)]
struct Section {
    id: String,
    name: String,
    facts: Vec<Fact>,
    warnings: Vec<String>,
    drawings: Vec<Drawing>,
    legend: Vec<Look>,
    adapts: bool,
    alternates: bool,
    rows: Vec<Row>,
}

/// How to make a run again.
#[derive(Serialize)]
struct Reproduction {
    name: String,
    command: String,
    file: &'static str,
    config: String,
}

/// The file that commands on the page take.
const FILE: &str = "run.toml";

/// The finished file.
///
/// # Errors
/// None that a reader could mend: a template that doesn't fit.
pub fn render(
    comparisons: &[Comparison],
    runs: &[Run],
    albums: Albums,
    title: Option<&str>,
) -> Result<String> {
    let mut albums = albums.all.into_iter();
    let comparisons_shown: Vec<(View, Vec<Row>)> = (comparisons.iter().enumerate())
        .map(|(i, comparison)| {
            let view = comparison::view(comparison, format!("comparison-{i}"));
            (view, albums.next().unwrap_or_default())
        })
        .collect();
    let mut findings: Vec<(String, String, String)> = Vec::new();
    for (view, _) in &comparisons_shown {
        let apart = match comparisons.len() + runs.len() {
            1 => String::new(),
            _ => format!("{}: ", view.name),
        };
        findings.extend(
            (view.findings.iter()).map(|(variant, text)| {
                (format!("{apart}{variant}"), text.clone(), view.id.clone())
            }),
        );
    }
    if let [run] = runs {
        let text = match run.best() {
            Some(_) => format!("The best is {}.", facts::best(run)),
            None => "None of its epochs is judged yet.".to_owned(),
        };
        findings.push((run.name.clone(), text, id(0)));
    }
    let alone = comparisons.is_empty() && runs.len() == 1;
    let sections = runs.iter().enumerate().map(|(i, run)| {
        let (drawings, legend) = curves::drawings(run);
        Section {
            id: id(i),
            name: run.name.clone(),
            facts: match alone {
                true => Vec::new(),
                false => facts::of(run),
            },
            warnings: warnings(run),
            drawings,
            legend,
            adapts: run.adapts(),
            alternates: run.alternates(),
            rows: albums.next().unwrap_or_default(),
        }
    });
    let page = Page {
        style: include_str!("../style.css"),
        title: title.map_or_else(|| heading(comparisons, runs), str::to_owned),
        facts: common(comparisons, runs),
        warnings: runs
            .iter()
            .flat_map(|run| warnings(run).into_iter().map(|w| (run.name.clone(), w)))
            .collect(),
        findings,
        runs: sections.collect(),
        overview: match runs {
            [] | [_] => Vec::new(),
            runs => runs.iter().enumerate().map(overview).collect(),
        },
        comparisons: comparisons_shown,
        reproductions: comparisons
            .iter()
            .filter_map(|comparison| again(comparison).transpose())
            .chain(runs.iter().map(|run| Ok(once_more(run))))
            .collect::<Result<_>>()?,
        level: LEVEL,
    };
    fill("training.html", page)
}

fn id(number: usize) -> String {
    format!("run-{number}")
}

/// Runs of the page, those that comparisons stand for included, by one each.
fn examples<'a>(comparisons: &'a [Comparison], runs: &'a [Run]) -> impl Iterator<Item = &'a Run> {
    let compared = comparisons.iter().filter_map(Comparison::example);
    compared.chain(runs)
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn heading(comparisons: &[Comparison], runs: &[Run]) -> String {
    let names = distinct(examples(comparisons, runs).map(|run| {
        let network = facts::network(&run.config);
        let name = network.strip_suffix(".safetensors").unwrap_or(&network);
        name.to_owned()
    }));
    let sets = distinct(examples(comparisons, runs).flat_map(|run| facts::sets(&run.config)));
    let [names, sets] = [&names, &sets].map(|all| {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        listed(&all)
    });
    match names.is_empty() {
        true => "Training of adapters".to_owned(),
        false if examples(comparisons, runs).all(|run| !run.adapts()) => {
            format!("Training {names} on {sets}")
        }
        false => format!("Training an adapter for {names} on {sets}"),
    }
}

/// What all of the page has in common.
fn common(comparisons: &[Comparison], runs: &[Run]) -> Vec<Fact> {
    // All of a run that is alone stands at the head of the page.
    if let ([], [run]) = (comparisons, runs) {
        return facts::of(run);
    }
    let mut all = Vec::new();
    let networks = distinct(examples(comparisons, runs).map(|r| facts::network(&r.config)));
    let data = distinct(examples(comparisons, runs).map(|r| facts::data(&r.config)));
    for (name, values) in [("Network", networks), ("Data", data)] {
        if !values.is_empty() {
            all.push((name, values.join("; ")));
        }
    }
    if !comparisons.is_empty() {
        let names: Vec<&str> = comparisons.iter().map(|c| c.name.as_str()).collect();
        all.push(("Comparisons", names.join(", ")));
    }
    if !runs.is_empty() {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        all.push(("Runs", names.join(", ")));
    }
    all
}

/// What makes a run less than a result.
fn warnings(run: &Run) -> Vec<String> {
    let mut all = Vec::new();
    if !run.finished() {
        all.push(format!(
            "Not finished: {} of {} are done. What is shown is how far the run is, not what it came to.",
            run.progress.epochs.len(),
            counted(run.config.epochs as usize, "epoch")
        ));
    }
    if run.best().is_none() {
        all.push(
            "No epoch is judged yet: held-out pictures are looked at after epochs with attention."
                .to_owned(),
        );
    }
    all
}

fn overview((number, run): (usize, &Run)) -> Overview {
    let on = |on| match run.adapts() {
        true if on => "on",
        true => "off",
        false => "–",
    };
    let none = || "–".to_owned();
    let judged = run.best().and_then(|e| e.validation.as_ref());
    Overview {
        id: id(number),
        name: run.name.clone(),
        seed: run.config.seed,
        aea: on(run.config.aea),
        lora: on(run.config.lora.chosen().is_some()),
        epochs: format!("{} of {}", run.progress.epochs.len(), run.config.epochs),
        finished: run.finished(),
        best: [
            run.progress.best_epoch.map(|best| count(best as usize)),
            judged.map(|v| figure(v.loss)),
            judged.map(|v| percent(v.accuracy)),
            judged.and_then(|v| v.iou).map(figure),
        ]
        .map(|value| value.unwrap_or_else(none)),
    }
}

fn once_more(run: &Run) -> Reproduction {
    let name = quoted(&run.name);
    Reproduction {
        name: run.name.clone(),
        command: format!(
            "elucid train {} --config {FILE} -o {name}",
            if run.adapts() { "ala" } else { "resnet" }
        ),
        file: FILE,
        config: run.text.clone(),
    }
}

/// A comparison's own file isn't in its folder, but follows from any of its runs; `None` if all of them are gone.
fn again(comparison: &Comparison) -> Result<Option<Reproduction>> {
    let Some(run) = comparison.example() else {
        return Ok(None);
    };
    let table = &comparison.table;
    let (mut aea, mut lora) = (Vec::new(), Vec::new());
    for variant in &table.variants {
        for (list, value) in [(&mut aea, variant.aea), (&mut lora, variant.lora)] {
            if !list.contains(&value) {
                list.push(value);
            }
        }
    }
    // One that was adapted says how.
    let runs = || comparison.runs.iter().flatten().flatten();
    let adapted = runs().find(|run| run.config.lora.chosen().is_some());
    let config = Config {
        lora: adapted.unwrap_or(run).config.lora.clone(),
        aea: aea.contains(&true),
        ablation: Some(Ablation {
            seeds: table.seeds.clone(),
            aea,
            lora,
            methods: table.methods.clone(),
        }),
        ..run.config.clone()
    };
    let name = quoted(&comparison.name);
    Ok(Some(Reproduction {
        name: comparison.name.clone(),
        command: format!("elucid train ablation --config {FILE} -o {name}"),
        file: FILE,
        config: toml::to_string(&config).context("cannot write the configuration")?,
    }))
}
