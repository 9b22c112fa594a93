//! The page: what its sections are made of, put into the templates beside this file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::gallery::Gallery;
use super::number::{count, counted, interval, listed, mean, percent, quoted};
use super::palette::{Look, Palette};
use super::section::{self, Section};
use super::source::Run;
use super::table::TIES;
use super::verdict;
use crate::run::measure::Measure;

/// Everything the templates show.
#[derive(Serialize)]
struct Page<'a> {
    style: &'static str,
    title: String,
    facts: Vec<(&'static str, String)>,
    /// What is to be known about the pictures before any number.
    remarks: Vec<(String, Vec<String>)>,
    /// Runs that are less than a result.
    warnings: Vec<(String, String)>,
    findings: Vec<(String, String, Option<String>)>,
    glances: Vec<Glance>,
    sections: Vec<Section>,
    gallery: &'a Gallery,
    skipped: Vec<Skipped>,
    runs: Vec<Reproduction>,
    level: f64,
}

/// All first scores of one network and data set.
#[derive(Serialize)]
struct Glance {
    subject: String,
    columns: Vec<(String, &'static str, String)>,
    rows: Vec<GlanceRow>,
}

#[derive(Serialize)]
struct GlanceRow {
    look: Look,
    cells: Vec<Option<GlanceCell>>,
}

#[derive(Serialize)]
struct GlanceCell {
    mean: String,
    interval: String,
    best: bool,
    ties: String,
}

/// Pictures that were left out.
#[derive(Serialize, PartialEq)]
struct Skipped {
    runs: Vec<String>,
    count: usize,
    total: String,
    named: Vec<(String, String)>,
    more: String,
    everywhere: bool,
}

/// How to make a run again.
#[derive(Serialize)]
struct Reproduction {
    name: String,
    title: String,
    command: String,
    settings: Vec<(String, String)>,
}

/// The finished file.
///
/// # Errors
/// None that a reader could mend: a template that doesn't fit.
pub fn render(
    runs: &[Run],
    palette: &Palette,
    gallery: &Gallery,
    title: Option<&str>,
) -> Result<String> {
    let page = Page {
        style: include_str!("style.css"),
        title: title.map_or_else(|| heading(runs), str::to_owned),
        facts: facts(runs),
        remarks: remarks(runs),
        warnings: runs
            .iter()
            .flat_map(|run| {
                section::warnings(run)
                    .into_iter()
                    .map(|text| (label(run, runs), text))
            })
            .collect(),
        findings: sorted(runs)
            .into_iter()
            .filter_map(|run| {
                let id = Some(run.measure().name().to_owned());
                Some((label(run, runs), verdict::short(run)?, id))
            })
            .collect(),
        glances: glances(runs, palette),
        sections: section::sections(runs, palette),
        gallery,
        skipped: skipped(runs),
        runs: sorted(runs)
            .into_iter()
            .map(|run| reproduction(run, runs))
            .collect(),
        level: verdict::LEVEL,
    };
    fill("page.html", page)
}

/// A template with everything that it shows.
///
/// # Errors
/// See [`render`].
pub fn fill(template: &str, page: impl Serialize) -> Result<String> {
    let mut templates = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    templates.set_syntax(syntax.build().context("templates")?);
    for (name, text) in [
        ("page.html", include_str!("page.html")),
        ("head.html", include_str!("head.html")),
        ("foot.html", include_str!("foot.html")),
        ("parts.html", include_str!("parts.html")),
        ("section.html", include_str!("section.html")),
        ("pictures.html", include_str!("pictures.html")),
        ("reproduce.html", include_str!("reproduce.html")),
        ("training.html", include_str!("training/training.html")),
        ("comparison.html", include_str!("training/comparison.html")),
    ] {
        templates
            .add_template(name, text)
            .with_context(|| format!("template {name}"))?;
    }
    let page = Value::from(Serde(page));
    let made = templates
        .get_template(template)
        .and_then(|template| template.render(page));
    made.context("cannot fill the templates of the report; please report this")
}

fn sorted(runs: &[Run]) -> Vec<&Run> {
    let mut all: Vec<&Run> = runs.iter().collect();
    all.sort_by_key(|run| section::place(run.measure()));
    all
}

/// A run by its measure and what sets it apart.
fn label(run: &Run, runs: &[Run]) -> String {
    let alike: Vec<&Run> = runs
        .iter()
        .filter(|other| other.measure() == run.measure())
        .collect();
    let title = run.measure().title();
    match section::heading(run, &alike).as_str() {
        "" => title.to_owned(),
        apart => format!("{title}, {apart}"),
    }
}

fn heading(runs: &[Run]) -> String {
    let models = distinct(runs, |run| run.config.settings.model.name.clone());
    let models: Vec<&str> = models
        .iter()
        .map(|name| name.trim_end_matches(".elucid"))
        .collect();
    let data = distinct(runs, |run| run.config.settings.data.name.clone());
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    format!("Explanations of {} on {}", listed(&models), listed(&data))
}

fn distinct(runs: &[Run], of: impl Fn(&Run) -> String) -> Vec<String> {
    let mut all = Vec::new();
    for value in runs.iter().map(of) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// The first lines of the page.
fn facts(runs: &[Run]) -> Vec<(&'static str, String)> {
    let models = distinct(runs, |run| {
        let model = &run.config.settings.model;
        let [h, w] = model.input;
        format!(
            "{}, {} classes, input {h} × {w}",
            model.name,
            count(model.classes as usize)
        )
    });
    let data = distinct(runs, |run| {
        let data = &run.config.settings.data;
        format!(
            "{}, {}, {}",
            data.name,
            data.split,
            counted(data.selected, "picture")
        )
    });
    let mut methods: Vec<String> = Vec::new();
    let mut controls: Vec<String> = Vec::new();
    for method in runs
        .iter()
        .filter(|run| run.measure() != Measure::Accuracy)
        .flat_map(|run| &run.summary.methods)
    {
        let list = if method.control {
            &mut controls
        } else {
            &mut methods
        };
        if !list.contains(&method.name) {
            list.push(method.name.clone());
        }
    }
    let mut facts = vec![
        ("Network", models.join("; ")),
        ("Pictures", data.join("; ")),
    ];
    let right = runs.iter().filter(|run| run.measure() != Measure::Accuracy);
    if let Some(correct) = right
        .filter_map(|run| run.summary.correct)
        .max_by_key(|e| e.images)
        && models.len() == 1
    {
        facts.push((
            "Predicted right",
            format!(
                "{} of {} ({} to {})",
                percent(correct.mean),
                counted(correct.images, "picture"),
                percent(correct.low),
                percent(correct.high)
            ),
        ));
    }
    for (name, all) in [("Methods", methods), ("Controls", controls)] {
        if !all.is_empty() {
            facts.push((name, all.join(", ")));
        }
    }
    facts
}

/// Remarks of the data sets, each once.
fn remarks(runs: &[Run]) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for data in runs.iter().map(|run| &run.config.settings.data) {
        for remark in &data.remarks {
            match all.iter_mut().find(|(name, _)| *name == data.name) {
                Some((_, lines)) if lines.contains(remark) => {}
                Some((_, lines)) => lines.push(remark.clone()),
                None => all.push((data.name.clone(), vec![remark.clone()])),
            }
        }
    }
    all
}

/// Tables of all first scores, one for each network and data set that has more than one run.
fn glances(runs: &[Run], palette: &Palette) -> Vec<Glance> {
    let mut sets: Vec<Vec<&Run>> = Vec::new();
    for run in sorted(runs)
        .into_iter()
        .filter(|run| run.measure() != Measure::Accuracy)
    {
        match sets.iter_mut().find(|set| set[0].shares_maps_with(run)) {
            Some(set) => set.push(run),
            None => sets.push(vec![run]),
        }
    }
    let glance = |set: &Vec<&Run>| {
        let mut looks: Vec<Look> = Vec::new();
        for method in set.iter().flat_map(|run| &run.summary.methods) {
            if !looks.iter().any(|look| look.name == method.name) {
                looks.push(palette.look(&method.name));
            }
        }
        looks.sort_by_key(|look| look.control);
        let best: Vec<Vec<&str>> = set
            .iter()
            .map(|run| verdict::best(run, run.headline()))
            .collect();
        let rows = looks.into_iter().map(|look| GlanceRow {
            cells: set
                .iter()
                .zip(&best)
                .map(|(run, best)| {
                    let method = run.method(&look.name)?;
                    let e = method.scores.get(run.headline().name)?;
                    Some(GlanceCell {
                        mean: mean(e),
                        interval: interval(e),
                        best: best.contains(&look.name.as_str()),
                        ties: method
                            .scores
                            .get(TIES)
                            .map_or_else(String::new, |t| percent(t.mean)),
                    })
                })
                .collect(),
            look,
        });
        Glance {
            subject: section::subject(set[0]),
            columns: set.iter().map(|run| column(run, set)).collect(),
            rows: rows.collect(),
        }
    };
    sets.iter()
        .filter(|set| set.len() > 1)
        .map(glance)
        .collect()
}

/// A column's title, arrow and what sets its run apart.
fn column(run: &Run, set: &[&Run]) -> (String, &'static str, String) {
    let score = run.headline();
    let alike: Vec<&Run> = set
        .iter()
        .copied()
        .filter(|other| other.measure() == run.measure())
        .collect();
    let arrow = match run.better(score, 1.0, 0.0) {
        true => "↑",
        false => "↓",
    };
    (score.title.to_owned(), arrow, section::heading(run, &alike))
}

fn skipped(runs: &[Run]) -> Vec<Skipped> {
    let mut all: Vec<Skipped> = Vec::new();
    for run in sorted(runs)
        .into_iter()
        .filter(|run| run.summary.skipped > 0)
    {
        let more = run.summary.skipped.saturating_sub(run.skipped.len());
        let next = Skipped {
            runs: vec![label(run, runs)],
            count: run.summary.skipped,
            total: counted(run.summary.skipped, "picture"),
            named: run.skipped.clone(),
            more: if more > 0 { count(more) } else { String::new() },
            everywhere: false,
        };
        match all
            .iter_mut()
            .find(|s| s.count == next.count && s.named == next.named)
        {
            Some(same) => same.runs.extend(next.runs),
            None => all.push(next),
        }
    }
    for some in &mut all {
        some.everywhere = some.runs.len() == runs.len();
    }
    all
}

fn reproduction(run: &Run, runs: &[Run]) -> Reproduction {
    let s = &run.config.settings;
    let [h, w] = s.model.input;
    let mut settings: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &s.options {
        settings.insert(name, value.clone());
    }
    let own = [
        ("elucid", run.config.elucid.clone()),
        (
            "model",
            format!(
                "{} (crc32 {}, {} classes, input {h} × {w})",
                s.model.name, s.model.crc32, s.model.classes
            ),
        ),
        (
            "data",
            format!(
                "{} (crc32 of ids and labels {}, {}, {})",
                s.data.name, s.data.crc32, s.data.format, s.data.split
            ),
        ),
        (
            "pictures",
            format!(
                "{}, order {}, shard {}",
                counted(s.data.selected, "picture"),
                s.data.order,
                s.shard
            ),
        ),
        ("methods", s.methods.join(", ")),
        ("explained class", s.target.clone()),
        ("seed", s.seed.to_string()),
        (
            "broken pictures",
            if s.strict_data {
                "stop the run"
            } else {
                "are left out and named"
            }
            .to_owned(),
        ),
    ];
    let own = own
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let options = settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Reproduction {
        name: run.name.clone(),
        title: label(run, runs),
        command: run
            .config
            .command
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" "),
        settings: own.chain(options).collect(),
    }
}
