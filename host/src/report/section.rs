//! The sections of the page: one for every measure, with its runs side by side.

use serde::Serialize;

use super::curves::{self, Drawing};
use super::number::{count, counted};
use super::palette::{Look, Palette};
use super::scatter;
use super::source::Run;
use super::table::{self, Differences, Scores};
use super::verdict;
use crate::run::measure::Measure;

/// Runs that measured the same.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Identifies it on the page.
    pub id: &'static str,
    /// What was measured.
    pub title: &'static str,
    /// What a reader should know before the numbers.
    pub about: &'static str,
    /// The runs.
    pub runs: Vec<View>,
}

/// A run on the page.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// What sets it apart from the section's other runs; empty if it is alone.
    pub heading: String,
    /// Identifies it on the page.
    pub id: String,
    /// Network and pictures.
    pub subject: String,
    /// Number of pictures, in words.
    pub pictures: String,
    /// What the measure depends on, by name.
    pub options: Vec<(String, String)>,
    /// What makes its numbers less than a result: not finished, part of a whole.
    pub warnings: Vec<String>,
    /// What it says, in sentences.
    pub finding: Option<String>,
    /// What every method is worth.
    pub scores: Scores,
    /// The best method against all others.
    pub against: Option<Against>,
    /// All pairs by all scores.
    pub pairs: Vec<Differences>,
    /// Number of these pairs.
    pub pair_count: usize,
    /// Curves or clouds of points.
    pub drawings: Vec<Drawing>,
    /// Whether the drawings are squares, three in a row.
    pub square: bool,
    /// The methods in them.
    pub legend: Vec<Look>,
    /// What a reader should know about the drawings.
    pub notes: Vec<String>,
}

/// The best method against all others.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// Its name.
    pub name: String,
    /// The others.
    pub differences: Differences,
}

/// Where a measure stands on the page.
#[must_use]
pub fn place(measure: Measure) -> usize {
    match measure {
        Measure::Insdel => 0,
        Measure::Iou => 1,
        Measure::Pointing => 2,
        Measure::Sensitivity => 3,
        Measure::Sanity => 4,
        Measure::Conservation => 5,
        Measure::Accuracy => 6,
    }
}

fn about(measure: Measure) -> &'static str {
    match measure {
        Measure::Insdel => {
            "Do the pixels that a map ranks first decide what the network says? They are shown, or removed, bit by bit."
        }
        Measure::Iou => {
            "Does the map cover the object? A network may rightly look elsewhere: this measures agreement with people, not faithfulness."
        }
        Measure::Pointing => {
            "Does the map point at the object? A network may rightly look elsewhere: this measures agreement with people, not faithfulness."
        }
        Measure::Sensitivity => {
            "Does the relevance of a handful of random pixels tell how much the probability falls without them?"
        }
        Measure::Sanity => {
            "Does the map depend on what the network learnt? A map that stays the same when weights become random is an edge detector."
        }
        Measure::Conservation => {
            "Is all of the relevance that the class starts with still there at the image? Points above the diagonal have lost some."
        }
        Measure::Accuracy => {
            "How often the network is right: an explanation of a network that guesses explains little."
        }
    }
}

/// Network and pictures of a run.
#[must_use]
pub fn subject(run: &Run) -> String {
    let settings = &run.config.settings;
    let class = match settings.target.as_str() {
        "predicted" => "the predicted class",
        "label" => "the picture's own class",
        "paper" => "the predicted class and scoring the picture's own",
        other => other,
    };
    format!(
        "{} on {}, {}, explaining {class}",
        settings.model.name, settings.data.name, settings.data.split
    )
}

/// What a measure depends on besides network and pictures; the scorer first.
fn options(run: &Run) -> Vec<(String, String)> {
    let mut options: Vec<_> = run.config.settings.options.clone().into_iter().collect();
    options.sort_by_key(|(name, _)| name != "scorer");
    options
}

/// What sets a run apart from others of the same measure; its folder's name if nothing does.
#[must_use]
pub fn heading(run: &Run, all: &[&Run]) -> String {
    if all.len() < 2 {
        return String::new();
    }
    let facts = |run: &Run| -> Vec<(String, String)> {
        let s = &run.config.settings;
        let own = [
            ("model", &s.model.name),
            ("data", &s.data.name),
            ("split", &s.data.split),
            ("explained", &s.target),
            ("shard", &s.shard),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.clone()));
        own.into_iter().chain(options(run)).collect()
    };
    let others: Vec<_> = all.iter().map(|run| facts(run)).collect();
    let apart = facts(run)
        .into_iter()
        .filter(|fact| others.iter().any(|other| !other.contains(fact)));
    let parts: Vec<String> = apart
        // Name and value stay on one line.
        .map(|(name, value)| format!("{name} {value}").replace(' ', "\u{a0}"))
        .collect();
    let twin = all
        .iter()
        .filter(|other| facts(other) == facts(run))
        .count()
        > 1;
    match parts.as_slice() {
        [] => run.name.clone(),
        parts if twin => format!("{}, {}", parts.join(", "), run.name),
        parts => parts.join(", "),
    }
}

/// What makes a run's numbers less than a result.
#[must_use]
pub fn warnings(run: &Run) -> Vec<String> {
    let settings = &run.config.settings;
    let summary = &run.summary;
    let done = summary.images + summary.skipped;
    let mut warnings = Vec::new();
    let part = settings
        .shard
        .split_once('/')
        .filter(|(_, count)| count.trim() != "1");
    if !run.finished {
        let of = match part {
            None => format!(" of {}", count(settings.data.selected)),
            Some(_) => String::new(),
        };
        warnings.push(format!(
            "Not finished: these are the first {}{of} pictures. Intervals are approximate (mean ± 1.96 standard errors), and methods are compared when the run ends.",
            count(done)
        ));
    }
    if part.is_some() {
        warnings.push(format!(
            "Only shard {} of the {} was evaluated in this run; `elucid eval merge` puts shards together.",
            settings.shard,
            counted(settings.data.selected, "picture")
        ));
    }
    warnings
}

/// All sections.
#[must_use]
pub fn sections(runs: &[Run], palette: &Palette) -> Vec<Section> {
    let mut measures: Vec<Measure> = Measure::ALL.iter().map(|(measure, _)| *measure).collect();
    measures.sort_by_key(|measure| place(*measure));
    let sections = measures.into_iter().filter_map(|measure| {
        let all: Vec<&Run> = runs.iter().filter(|run| run.measure() == measure).collect();
        let views = all
            .iter()
            .enumerate()
            .map(|(i, run)| view(i, run, &all, palette))
            .collect();
        (!all.is_empty()).then(|| Section {
            id: measure.name(),
            title: measure.title(),
            about: about(measure),
            runs: views,
        })
    });
    sections.collect()
}

fn view(i: usize, run: &Run, all: &[&Run], palette: &Palette) -> View {
    let square = run.measure() == Measure::Conservation;
    let (drawings, notes) = match square {
        true => scatter::drawings(run, palette),
        false => (curves::drawings(run, palette), Vec::new()),
    };
    let mut legend: Vec<Look> = run
        .summary
        .methods
        .iter()
        .map(|m| palette.look(&m.name))
        .collect();
    legend.sort_by_key(|look| look.control);
    let against = table::against_best(run, run.headline(), palette);
    let pairs = table::all_pairs(run, palette);
    let summary = &run.summary;
    let mut pictures = counted(summary.images, "picture");
    if summary.skipped > 0 {
        pictures += &format!(", {} left out", count(summary.skipped));
    }
    View {
        heading: heading(run, all),
        id: format!("{}-{}", run.measure().name(), i + 1),
        subject: subject(run),
        pictures,
        options: options(run),
        warnings: warnings(run),
        finding: verdict::finding(run),
        scores: table::scores(run, palette),
        against: against.map(|(name, differences)| Against { name, differences }),
        pair_count: pairs.iter().map(|table| table.rows.len()).sum(),
        pairs,
        drawings,
        square,
        legend,
        notes,
    }
}
