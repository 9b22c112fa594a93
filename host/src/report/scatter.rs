//! Conservation, picture by picture, as in figure 5 of the ECCV 2024 paper: across, the relevance that is summed at a depth;
//! up, the relevance that the class started with. A rule that loses nothing puts every picture on the diagonal.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::{Frame, ceiling, ticks};
use super::curves::Drawing;
use super::number::{at, counted};
use super::palette::Palette;
use super::source::Run;
use crate::run::record::Record;

/// Points that a panel shows at most.
const MOST: usize = 2000;

/// The depths, from the network's output to the image: score and title.
const DEPTHS: [(&str, &str); 3] = [
    ("sum_image", "At the image"),
    ("sum_first_block", "At the first block"),
    ("sum_last_block", "At the last block"),
];

/// Starting relevance and the sums at the three depths, as far as they are known.
type Point = (f64, [Option<f64>; 3]);

/// Points of all methods, thinned while they come: when there are too many, every other picture goes, and from then on only
/// every other is taken. So the same run always shows the same pictures, spread evenly over it.
#[derive(Debug)]
pub struct Points {
    by_method: BTreeMap<String, Vec<Point>>,
    seen: usize,
    every: usize,
}

impl Default for Points {
    fn default() -> Points {
        Points {
            by_method: BTreeMap::new(),
            seen: 0,
            every: 1,
        }
    }
}

impl Points {
    /// Takes a picture.
    pub fn add(&mut self, record: &Record) {
        if record.skipped.is_some() {
            return;
        }
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.every) {
            return;
        }
        for (name, outcome) in &record.methods {
            let scores = &outcome.scores;
            if let Some(&start) = scores.get("start") {
                let sums = DEPTHS.map(|(sum, _)| scores.get(sum).copied());
                self.by_method
                    .entry(name.clone())
                    .or_default()
                    .push((start, sums));
            }
        }
        while self.by_method.values().map(Vec::len).sum::<usize>() > MOST {
            self.every *= 2;
            for points in self.by_method.values_mut() {
                let mut i = 0;
                points.retain(|_| {
                    i += 1;
                    i % 2 == 1
                });
            }
        }
    }
}

/// A panel for every depth, and what a reader should know about the points.
#[must_use]
pub fn drawings(run: &Run, palette: &Palette) -> (Vec<Drawing>, Vec<String>) {
    let Some(points) = &run.points else {
        return (Vec::new(), Vec::new());
    };
    let starts = points.by_method.values().flatten().map(|point| point.0);
    let most = ceiling(starts.fold(0.0, f64::max), 5);
    let most = if most > 0.0 { most } else { 1.0 };
    let mut notes = Vec::new();
    if points.every > 1 {
        notes.push(format!(
            "To stay legible the panels show one picture in {}, evenly spread over the run.",
            points.every
        ));
    }
    let mut outside = 0;
    let mut drawings = Vec::new();
    for (depth, (_, title)) in DEPTHS.iter().enumerate() {
        let frame = Frame {
            size: (330.0, 330.0),
            margin: [50.0, 14.0, 14.0, 44.0],
            x: (0.0, most),
            y: (0.0, most),
        };
        let mut dots = String::new();
        let mut known = Vec::new();
        for (name, points) in &points.by_method {
            let mut path = String::new();
            for (start, sums) in points {
                let Some(sum) = sums[depth] else { continue };
                outside += usize::from(!(0.0..=most).contains(&sum));
                let (x, y) = (
                    frame.across(sum.clamp(0.0, most)),
                    frame.down(start.clamp(0.0, most)),
                );
                let _ = write!(path, "M{} {}h0", at(x), at(y));
            }
            if !path.is_empty() {
                known.push(name.as_str());
                let class = palette.look(name).class;
                let _ = write!(dots, r#"<path class="dots {class}" d="{path}"/>"#);
            }
        }
        if known.is_empty() {
            continue;
        }
        let label = format!(
            "{title}: summed relevance against starting relevance for {}; on the diagonal nothing is lost",
            super::number::listed(&known)
        );
        let mut svg = frame.open(&label);
        let ticks = ticks(0.0, most, 5);
        frame.axes(
            &mut svg,
            (&ticks, "summed relevance"),
            (&ticks, "starting relevance"),
        );
        let (x0, y0, x1, y1) = (
            at(frame.across(0.0)),
            at(frame.down(0.0)),
            at(frame.across(most)),
            at(frame.down(most)),
        );
        let _ = write!(svg, r#"<path class="diagonal" d="M{x0} {y0}L{x1} {y1}"/>"#);
        let (x, y) = (at(frame.across(0.03 * most)), at(frame.down(0.93 * most)));
        let (x2, y2) = (at(frame.across(0.97 * most)), at(frame.down(0.04 * most)));
        let _ = write!(
            svg,
            r#"<text class="hint" x="{x}" y="{y}">lost</text><text class="hint end" x="{x2}" y="{y2}">gained</text>"#
        );
        svg += &dots;
        svg += "</svg>";
        drawings.push(Drawing {
            title: (*title).to_owned(),
            svg,
        });
    }
    if outside > 0 {
        let are = if outside == 1 { "lies" } else { "lie" };
        notes.push(format!(
            "{} {are} beyond the frame and {} drawn at its edge.",
            counted(outside, "point"),
            if outside == 1 { "is" } else { "are" }
        ));
    }
    (drawings, notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::record::Outcome;

    #[test]
    fn many_points_are_thinned_evenly_and_always_alike() {
        let mut points = Points::default();
        for i in 0..50_000 {
            let mut record = Record {
                position: i,
                ..Record::default()
            };
            for name in ["lrp", "lrp:paper"] {
                let mut outcome = Outcome::default();
                outcome.set("start", i as f64);
                record.methods.insert(name.to_owned(), outcome);
            }
            points.add(&record);
        }
        assert_eq!(points.every, 64);
        let lrp = &points.by_method["lrp"];
        assert_eq!(lrp.len(), 50_000usize.div_ceil(64));
        assert!(lrp.windows(2).all(|pair| pair[1].0 - pair[0].0 == 64.0));
    }
}
