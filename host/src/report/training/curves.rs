//! Loss, accuracy and mean IoU over the epochs: of one run with training and validation apart, of a comparison with a small
//! drawing for every variant and a curve for every seed.

use std::fmt::Write;

use super::source::{Comparison, Run};
use crate::report::chart::{Frame, Series, Tick, ceiling, lines, ticks};
use crate::report::curves::Drawing;
use crate::report::number::{at, listed};
use crate::report::palette::Look;
use crate::train::state::{Epoch, Judged};

/// Above this many epochs the points of a curve aren't marked one by one.
const MARKED: u32 = 60;
/// Colours of seeds.
const COLOURS: usize = 7;

/// What is drawn of the held-out pictures.
const JUDGED: (&str, &str) = ("validation", "c0");
const ON: (&str, &str) = ("attention on", "c1");
/// The same colour with dashes: the same network, which can do less.
const OFF: (&str, &str) = ("attention off", "c1 again1");
const ALL: (&str, &str) = ("training", "c1");
const BRANCH: (&str, &str) = ("attention branch", "c2");

/// A number of the held-out pictures.
type Of = fn(&Judged) -> Option<f64>;

/// A drawing to be.
struct Panel<'a> {
    title: String,
    y: &'a str,
    series: Vec<Series>,
    /// The last epoch of the axis, and the number at its upper edge.
    edge: (u32, f64),
    size: (f64, f64),
    /// The best epoch and what it has here.
    best: Option<(u32, f64)>,
}

/// The drawings of a run, and what their curves are.
#[must_use]
pub fn drawings(run: &Run) -> (Vec<Drawing>, Vec<Look>) {
    let on = if run.alternates() { ON } else { ALL };
    let learnt = |of: fn(&Epoch) -> Option<f64>| {
        [(on, true), (OFF, false)].map(|(look, attends)| {
            curve(look, run, move |e| of(e).filter(|_| e.attends == attends))
        })
    };
    let judged = |of: Of| curve(JUDGED, run, move |e| e.validation.as_ref().and_then(of));
    let [loss_on, loss_off] = learnt(|e| Some(e.perception_loss));
    let [right_on, right_off] = learnt(|e| Some(e.accuracy));
    let branch = curve(BRANCH, run, |e| e.attention_loss);
    let panels = [
        (
            "Loss (low is good)",
            "cross entropy",
            vec![judged(|v| Some(v.loss)), loss_on, loss_off, branch],
        ),
        (
            "Accuracy (high is good)",
            "share classified rightly",
            vec![judged(|v| Some(v.accuracy)), right_on, right_off],
        ),
        (
            "Mean IoU of the map (high is good)",
            "IoU with the masks",
            vec![judged(|v| v.iou)],
        ),
    ];
    let best = run.progress.best_epoch;
    let mut looks: Vec<Look> = Vec::new();
    let mut drawn = Vec::new();
    for (title, y, mut series) in panels {
        series.retain(|one| !one.points.is_empty());
        let reached = best.and_then(|best| {
            let judged = series.iter().find(|one| one.name == JUDGED.0)?;
            let point = judged.points.iter().find(|p| p[0] == f64::from(best))?;
            Some((best, point[1]))
        });
        if let Some(top) = highest(&series) {
            drawn.push(draw(&Panel {
                title: title.to_owned(),
                y,
                edge: (last(run), ceiling(top, 5)),
                size: (420.0, 300.0),
                best: reached,
                series: noted(&mut looks, series),
            }));
        }
    }
    (drawn, looks)
}

/// Takes down what the curves of a drawing look like.
fn noted(looks: &mut Vec<Look>, series: Vec<Series>) -> Vec<Series> {
    for one in &series {
        if !looks.iter().any(|look| look.name == one.name) {
            looks.push(Look {
                name: one.name.clone(),
                class: one.class.clone(),
                control: false,
            });
        }
    }
    series
}

/// Small drawings of a comparison: mean IoU, then accuracy, of every variant that has runs; and what the seeds look like.
#[must_use]
pub fn multiples(comparison: &Comparison) -> (Vec<Vec<Drawing>>, Vec<Look>) {
    let (mut drawn, mut looks) = (Vec::new(), Vec::new());
    let runs = || comparison.runs.iter().flatten().flatten();
    let last = runs().map(last).max().unwrap_or(1);
    let kinds: [(&str, &str, Of); 2] = [
        ("mean IoU", "IoU with the masks", |v| v.iou),
        ("accuracy", "share classified rightly", |v| Some(v.accuracy)),
    ];
    for (what, y, of) in kinds {
        let of_run = |look: (&str, &str), run: &Run| {
            curve(look, run, |e| e.validation.as_ref().and_then(of))
        };
        let of_seed = |i: usize, run: &Run| {
            let class = match i / COLOURS {
                0 => format!("c{i}"),
                again => format!("c{} again{}", i % COLOURS, again.min(2)),
            };
            of_run(
                (&format!("seed {}", comparison.table.seeds[i]), &class),
                run,
            )
        };
        let variants: Vec<(&str, Vec<Series>)> = (comparison.table.variants.iter())
            .zip(&comparison.runs)
            .map(|(variant, runs)| {
                let seeds = runs.iter().enumerate();
                let series = seeds.filter_map(|(i, run)| Some(of_seed(i, run.as_ref()?)));
                let series = series.filter(|one| !one.points.is_empty());
                (variant.name.as_str(), series.collect())
            })
            .collect();
        // One scale for all: they are read against each other.
        let tops = variants.iter().filter_map(|(_, series)| highest(series));
        let top = ceiling(tops.fold(0.0, f64::max), 4);
        let mut row = Vec::new();
        for (name, series) in variants {
            if highest(&series).is_some() {
                row.push(draw(&Panel {
                    title: format!("{name}: {what}"),
                    y,
                    edge: (last, top),
                    size: (280.0, 220.0),
                    best: None,
                    series: noted(&mut looks, series),
                }));
            }
        }
        if !row.is_empty() {
            drawn.push(row);
        }
    }
    (drawn, looks)
}

fn last(run: &Run) -> u32 {
    let last = run.progress.epochs.last();
    last.map_or(1, |last| last.epoch.max(1))
}

/// What a run has of something, epoch by epoch. What isn't finite can't be drawn.
fn curve((name, class): (&str, &str), run: &Run, of: impl Fn(&Epoch) -> Option<f64>) -> Series {
    let known = (run.progress.epochs.iter())
        .filter_map(|e| Some((f64::from(e.epoch), of(e).filter(|v| v.is_finite())?)));
    Series {
        name: name.to_owned(),
        class: class.to_owned(),
        points: known.map(|(x, y)| [x, y, y, y]).collect(),
    }
}

/// The largest number of curves; `None` if there is nothing to draw.
fn highest(series: &[Series]) -> Option<f64> {
    let all = series.iter().flat_map(|one| &one.points).map(|p| p[1]);
    let most = all.reduce(f64::max)?;
    Some(if most > 0.0 { most } else { 1.0 })
}

fn draw(panel: &Panel<'_>) -> Drawing {
    let (last, top) = panel.edge;
    let frame = Frame {
        size: panel.size,
        margin: [52.0, 14.0, 14.0, 42.0],
        x: (0.0, f64::from(last)),
        y: (0.0, top),
    };
    let names: Vec<&str> = panel.series.iter().map(|one| one.name.as_str()).collect();
    let mut label = format!("{} over the epochs: {}", panel.title, listed(&names));
    if let Some((epoch, _)) = panel.best {
        let _ = write!(label, "; the best epoch is {epoch}");
    }
    let mut svg = frame.open(&label);
    let y_ticks = ticks(0.0, top, 5);
    frame.axes(&mut svg, (&whole(last), "epoch"), (&y_ticks, panel.y));
    if let Some((epoch, _)) = panel.best {
        let (x, up, down) = (
            at(frame.across(f64::from(epoch))),
            at(frame.down(top)),
            at(frame.down(0.0)),
        );
        let _ = write!(svg, r#"<path class="diagonal" d="M{x} {down}V{up}"/>"#);
    }
    if last <= MARKED {
        for one in &panel.series {
            for p in &one.points {
                let (x, y) = (at(frame.across(p[0])), at(frame.down(p[1])));
                let class = &one.class;
                let _ = write!(
                    svg,
                    r#"<circle class="dot {class}" cx="{x}" cy="{y}" r="2.5"/>"#
                );
            }
        }
    }
    if let Some((epoch, value)) = panel.best {
        let (x, y) = (at(frame.across(f64::from(epoch))), at(frame.down(value)));
        let _ = write!(
            svg,
            r#"<circle class="dot {}" cx="{x}" cy="{y}" r="5"/>"#,
            JUDGED.1
        );
    }
    lines(&mut svg, &frame, &panel.series);
    svg += "</svg>";
    Drawing {
        title: panel.title.clone(),
        svg,
    }
}

/// Ticks at whole epochs.
fn whole(last: u32) -> Vec<Tick> {
    let steps = (0..9).flat_map(|power| [1, 2, 5].map(|step| step * 10u32.pow(power)));
    let step = steps.into_iter().find(|step| last / step <= 7);
    let step = step.unwrap_or(last.max(1));
    (0..=last / step)
        .map(|i| (f64::from(i * step), (i * step).to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_whole() {
        let texts = |last| -> Vec<String> { whole(last).into_iter().map(|tick| tick.1).collect() };
        assert_eq!(texts(1), ["0", "1"]);
        assert_eq!(texts(9), ["0", "2", "4", "6", "8"]);
        assert_eq!(texts(119), ["0", "20", "40", "60", "80", "100"]);
    }
}
