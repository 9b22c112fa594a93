//! The mean curves of a run: insertion and deletion over the share of the picture, similarity over the depth to which the
//! network is random, correlation over the number of pixels taken.

use super::chart::{Frame, Series, Tick, ceiling, lines, ticks};
use super::palette::Palette;
use super::source::Run;
use crate::run::measure::Measure;
use crate::run::summary::{Estimate, MethodSummary};

/// What a drawing is of.
struct Panel {
    curve: &'static str,
    title: &'static str,
    x: String,
    y: &'static str,
    /// What the points are, evenly spaced; without, they are shares from 0 to 1.
    names: Option<Vec<String>>,
    /// Which way the curve is good.
    good: &'static str,
}

/// A drawing with its title.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Drawing {
    /// What it shows.
    pub title: String,
    /// SVG.
    pub svg: String,
}

fn panels(run: &Run) -> Vec<Panel> {
    let names = |option: &str| -> Option<Vec<String>> {
        let text = run.config.settings.options.get(option)?;
        Some(text.split(',').map(|name| name.trim().to_owned()).collect())
    };
    let share = |curve, title, x: &str, good| Panel {
        curve,
        title,
        x: x.to_owned(),
        y: "probability of the class",
        names: None,
        good,
    };
    match run.measure() {
        Measure::Insdel => vec![
            share(
                "insertion",
                "Insertion",
                "share of the pixels shown, most relevant first",
                "high is good",
            ),
            share(
                "deletion",
                "Deletion",
                "share of the pixels removed, most relevant first",
                "low is good",
            ),
        ],
        Measure::Sanity => vec![Panel {
            curve: "similarity",
            title: "Similarity to the trained network's map",
            x: "random from the classifier down to".to_owned(),
            y: "rank correlation",
            names: names("depths"),
            good: "low is good",
        }],
        Measure::Sensitivity => vec![Panel {
            curve: "correlation",
            title: "Correlation of relevance and fall of the probability",
            x: "n, pixels removed".to_owned(),
            y: "correlation",
            names: names("pixels"),
            good: "high is good",
        }],
        Measure::Iou | Measure::Pointing | Measure::Conservation | Measure::Accuracy => Vec::new(),
    }
}

/// The drawings of a run; none if it has no curves.
#[must_use]
pub fn drawings(run: &Run, palette: &Palette) -> Vec<Drawing> {
    let panels = panels(run);
    let known = |method: &'_ MethodSummary, panel: &Panel| {
        method
            .curves
            .get(panel.curve)
            .is_some_and(|points| points.len() > 1)
    };
    // One scale for all drawings of a run: they are read against each other.
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for panel in &panels {
        for method in run
            .summary
            .methods
            .iter()
            .filter(|method| known(method, panel))
        {
            for point in &method.curves[panel.curve] {
                low = low.min(point.low);
                high = high.max(point.high);
            }
        }
    }
    if low >= high {
        return Vec::new();
    }
    let top = ceiling(high, 5);
    let bottom = if low < -0.005 { -ceiling(-low, 5) } else { 0.0 };
    let drawn = panels.iter().filter_map(|panel| {
        let methods: Vec<_> = run
            .summary
            .methods
            .iter()
            .filter(|m| known(m, panel))
            .collect();
        (!methods.is_empty()).then(|| draw(panel, &methods, palette, (bottom, top)))
    });
    drawn.collect()
}

fn draw(panel: &Panel, methods: &[&MethodSummary], palette: &Palette, y: (f64, f64)) -> Drawing {
    let count = methods
        .iter()
        .map(|m| m.curves[panel.curve].len())
        .max()
        .unwrap_or(2);
    // Names are only of use if there is one for every point.
    let names = panel.names.as_ref().filter(|names| names.len() == count);
    let last = if names.is_some() {
        (count - 1) as f64
    } else {
        1.0
    };
    let mut frame = Frame {
        size: (420.0, 300.0),
        margin: [52.0, 14.0, 10.0, 42.0],
        x: (0.0, last),
        y,
    };
    let x_ticks: Vec<Tick> = match names {
        // Ten names at most: more can't be read.
        Some(names) => {
            let every = names.len().div_ceil(10);
            let all = names
                .iter()
                .enumerate()
                .map(|(i, name)| (i as f64, shortened(name)));
            all.step_by(every).collect()
        }
        None => ticks(0.0, 1.0, 5),
    };
    if frame.tilts(&x_ticks) {
        frame.size.1 += 25.0;
        frame.margin[3] += 28.0;
    }
    let point = |i: usize, count: usize, e: &Estimate| {
        let x = last * i as f64 / (count - 1) as f64;
        [x, e.mean, e.low, e.high]
    };
    let series: Vec<Series> = methods
        .iter()
        .map(|method| {
            let points = &method.curves[panel.curve];
            let all = points.iter().enumerate();
            Series {
                name: method.name.clone(),
                class: palette.look(&method.name).class,
                points: all.map(|(i, e)| point(i, points.len(), e)).collect(),
            }
        })
        .collect();
    let names: Vec<&str> = methods.iter().map(|m| m.name.as_str()).collect();
    let label = format!(
        "{}: mean curves of {}; {}; the table holds the numbers",
        panel.title,
        super::number::listed(&names),
        panel.good
    );
    let mut svg = frame.open(&label);
    frame.axes(
        &mut svg,
        (&x_ticks, &panel.x),
        (&ticks(y.0, y.1, 5), panel.y),
    );
    if y.0 < 0.0 {
        let (left, zero) = (frame.margin[0], frame.down(0.0));
        svg += &format!(
            r#"<path class="axis" d="M{left} {}H{}"/>"#,
            super::number::at(zero),
            frame.size.0 - frame.margin[1]
        );
    }
    lines(&mut svg, &frame, &series);
    svg += "</svg>";
    Drawing {
        title: format!("{} ({})", panel.title, panel.good),
        svg,
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(12) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
