//! Drawings as inline SVG: axes, curves with interval bands and labels of their own. Colours, dashes and type come from
//! `style.css` by class, so that a drawing follows the page into dark mode and onto paper.

use std::fmt::Write;

use super::number::{at, escaped, place};

/// Width of a letter and height of a line of the labels, in units of the drawing: wide enough for any sans-serif.
const LETTER: f64 = 7.2;
const LINE: f64 = 13.0;

/// Where a tick stands, and what it says.
pub type Tick = (f64, String);

/// The room of a drawing and the numbers at its edges.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Whole width and height.
    pub size: (f64, f64),
    /// Room at the left, right, top and bottom.
    pub margin: [f64; 4],
    /// Numbers at the left and right edge.
    pub x: (f64, f64),
    /// Numbers at the lower and upper edge.
    pub y: (f64, f64),
}

impl Frame {
    /// Where a number of the horizontal axis is.
    #[must_use]
    pub fn across(&self, value: f64) -> f64 {
        let [left, right, ..] = self.margin;
        let room = self.size.0 - left - right;
        left + room * (value - self.x.0) / (self.x.1 - self.x.0)
    }

    /// Where a number of the vertical axis is.
    #[must_use]
    pub fn down(&self, value: f64) -> f64 {
        let [.., top, bottom] = self.margin;
        let room = self.size.1 - top - bottom;
        top + room * (1.0 - (value - self.y.0) / (self.y.1 - self.y.0))
    }

    fn right(&self) -> f64 {
        self.size.0 - self.margin[1]
    }

    fn floor(&self) -> f64 {
        self.size.1 - self.margin[3]
    }

    /// Whether the words under the horizontal axis are too long to stand side by side.
    #[must_use]
    pub fn tilts(&self, ticks: &[Tick]) -> bool {
        let widest = ticks.iter().map(|(_, text)| text.chars().count()).max();
        let room = (self.right() - self.margin[0]) / ticks.len().max(1) as f64;
        widest.unwrap_or(0) as f64 * LETTER > room.max(34.0)
    }

    /// Begins a drawing that says `label` to those who can't see it.
    #[must_use]
    pub fn open(&self, label: &str) -> String {
        let (w, h) = (at(self.size.0), at(self.size.1));
        let label = escaped(label);
        format!(r#"<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">"#)
    }

    /// Grid, ticks and the names of both axes.
    pub fn axes(&self, out: &mut String, x: (&[Tick], &str), y: (&[Tick], &str)) {
        let (left, top) = (self.margin[0], self.margin[2]);
        let mut grid = String::new();
        for (value, _) in y.0 {
            let _ = write!(
                grid,
                "M{} {}H{}",
                at(left),
                at(self.down(*value)),
                at(self.right())
            );
        }
        let _ = write!(out, r#"<path class="grid" d="{grid}"/>"#);
        let _ = write!(
            out,
            r#"<path class="axis" d="M{} {}H{}"/>"#,
            at(left),
            at(self.floor()),
            at(self.right())
        );
        for (value, text) in y.0 {
            let (x, y) = (at(left - 7.0), at(self.down(*value) + 4.0));
            let _ = write!(out, r#"<text class="end" x="{x}" y="{y}">{text}</text>"#);
        }
        let tilted = self.tilts(x.0);
        for (value, text) in x.0 {
            let (x, y) = (at(self.across(*value)), at(self.floor() + 16.0));
            let text = escaped(text);
            let _ = match tilted {
                true => write!(
                    out,
                    r#"<text class="end" transform="translate({x} {y}) rotate(-32)">{text}</text>"#
                ),
                false => write!(out, r#"<text class="middle" x="{x}" y="{y}">{text}</text>"#),
            };
        }
        let (middle, low) = (at((left + self.right()) / 2.0), at(self.size.1 - 5.0));
        let _ = write!(
            out,
            r#"<text class="middle name" x="{middle}" y="{low}">{}</text>"#,
            escaped(x.1)
        );
        if !y.1.is_empty() {
            let centre = at((top + self.floor()) / 2.0);
            let _ = write!(
                out,
                r#"<text class="middle name" transform="translate(12 {centre}) rotate(-90)">{}</text>"#,
                escaped(y.1)
            );
        }
    }
}

/// A curve with its band.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name, written beside it.
    pub name: String,
    /// Class of the style sheet.
    pub class: String,
    /// Place, mean, lower and upper end of the interval.
    pub points: Vec<[f64; 4]>,
}

/// Draws curves: bands first, then lines, then their names where there is room.
pub fn lines(out: &mut String, frame: &Frame, series: &[Series]) {
    for one in series {
        let mut band = String::from("M");
        let upper = one.points.iter().map(|p| (p[0], p[3]));
        let lower = one.points.iter().rev().map(|p| (p[0], p[2]));
        for (i, (x, y)) in upper.chain(lower).enumerate() {
            step(&mut band, frame, i, x, y);
        }
        let _ = write!(out, r#"<path class="band {}" d="{band}Z"/>"#, one.class);
    }
    for one in series {
        let mut line = String::from("M");
        for (i, p) in one.points.iter().enumerate() {
            step(&mut line, frame, i, p[0], p[1]);
        }
        let _ = write!(out, r#"<path class="line {}" d="{line}"/>"#, one.class);
    }
    for (one, (x, y)) in series
        .iter()
        .zip(places(frame, series))
        .filter_map(|(s, p)| Some((s, p?)))
    {
        let (x, y, name) = (at(x), at(y), escaped(&one.name));
        let _ = write!(
            out,
            r#"<text class="direct {}" x="{x}" y="{y}">{name}</text>"#,
            one.class
        );
    }
}

fn step(path: &mut String, frame: &Frame, i: usize, x: f64, y: f64) {
    if i > 0 {
        path.push(if i == 1 { 'L' } else { ' ' });
    }
    place(path, frame.across(x));
    path.push(' ');
    place(path, frame.down(y.clamp(frame.y.0, frame.y.1)));
}

/// Where each curve's name can stand: close to its own curve, on no other, nearer to none, on no other name. `None` where
/// the curves leave no room; the legend names it then.
fn places(frame: &Frame, series: &[Series]) -> Vec<Option<(f64, f64)>> {
    // Heights of all curves at every unit of the width.
    let (from, to) = (frame.margin[0], frame.right());
    let heights: Vec<Vec<f64>> = series.iter().map(|one| heights(frame, one)).collect();
    let mut taken: Vec<[f64; 4]> = Vec::new();
    let mut found = Vec::with_capacity(series.len());
    for (i, one) in series.iter().enumerate() {
        let width = one.name.chars().count() as f64 * LETTER + 2.0;
        let mut best: Option<(f64, f64, f64)> = None;
        let steps = ((to - from - width - 12.0) / 4.0).max(0.0) as usize;
        for left in (0..steps).map(|n| from + 8.0 + 4.0 * n as f64) {
            let columns = (left - from) as usize..=(left + width - from) as usize;
            let own = |pick: fn(f64, f64) -> f64, start| {
                let some = heights[i].get(columns.clone());
                some.into_iter().flatten().copied().fold(start, pick)
            };
            for above in [true, false] {
                let top = match above {
                    true => own(f64::min, f64::INFINITY) - 3.0 - LINE,
                    false => own(f64::max, f64::NEG_INFINITY) + 3.0,
                };
                let box_ = [left, top, left + width, top + LINE];
                if top < frame.margin[2] || box_[3] > frame.floor() - 1.0 {
                    continue;
                }
                if taken
                    .iter()
                    .any(|t| t[0] < box_[2] && box_[0] < t[2] && t[1] < box_[3] && box_[1] < t[3])
                {
                    continue;
                }
                // A name beside a steep curve is near it with one corner only.
                let slope = own(f64::max, f64::NEG_INFINITY) - own(f64::min, f64::INFINITY);
                let others = heights.iter().enumerate().filter(|(j, _)| *j != i);
                let clear = others
                    .filter_map(|(_, heights)| heights.get(columns.clone()))
                    .flatten()
                    .map(|y| (box_[1] - y).max(y - box_[3]))
                    .fold(60.0, f64::min);
                let worth = clear.min(24.0) - 0.3 * slope;
                if clear > 6.0 && best.is_none_or(|(most, ..)| worth > most) {
                    best = Some((worth, left, top));
                }
            }
        }
        found.push(best.map(|(_, left, top)| {
            taken.push([left - 4.0, top - 1.0, left + width + 4.0, top + LINE + 1.0]);
            (left, top + LINE - 3.0)
        }));
    }
    found
}

/// A curve's height in the drawing at every unit of its width.
fn heights(frame: &Frame, one: &Series) -> Vec<f64> {
    let (from, to) = (frame.margin[0], frame.right());
    let mut points = one
        .points
        .iter()
        .map(|p| (frame.across(p[0]), frame.down(p[1])));
    let Some(mut last) = points.next() else {
        return Vec::new();
    };
    let mut next = points.next();
    let mut heights = Vec::with_capacity((to - from) as usize + 1);
    for column in 0..=(to - from) as usize {
        let x = from + column as f64;
        while let Some(ahead) = next
            && ahead.0 < x
        {
            last = ahead;
            next = points.next();
        }
        heights.push(match next {
            Some(ahead) if ahead.0 > last.0 => {
                last.1 + (ahead.1 - last.1) * ((x - last.0) / (ahead.0 - last.0)).clamp(0.0, 1.0)
            }
            _ => last.1,
        });
    }
    heights
}

/// Round numbers from `low` to `high`, about `many` of them, and what they say.
#[must_use]
pub fn ticks(low: f64, high: f64, many: usize) -> Vec<Tick> {
    let rough = (high - low) / many.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![(low, short(low, 2))];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|s| s * power)
        .into_iter()
        .find(|s| *s >= rough * (1.0 - 1e-9));
    let step = step.unwrap_or(rough);
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|i| (i as f64 * step, short(i as f64 * step, digits)))
        .collect()
}

fn short(value: f64, digits: usize) -> String {
    if digits > 4 || value.abs() >= 1e5 {
        return super::number::figure(value);
    }
    let text = format!("{:.digits$}", value.abs());
    if value < 0.0 && text.parse() != Ok(0.0) {
        format!("−{text}")
    } else {
        text
    }
}

/// The tick at or above a number: where an axis may end.
#[must_use]
pub fn ceiling(value: f64, many: usize) -> f64 {
    let ticks = ticks(0.0, 2.0 * value, 2 * many);
    let above = ticks.iter().find(|(tick, _)| *tick >= value - 1e-12);
    above.map_or(value, |(tick, _)| *tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let texts = |low, high, many| -> Vec<String> {
            ticks(low, high, many).into_iter().map(|t| t.1).collect()
        };
        assert_eq!(
            texts(0.0, 1.0, 5),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(texts(-0.05, 0.1, 3), ["−0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(ticks(1.0, 1.0, 4).len(), 1);
        assert!((ceiling(0.87, 5) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn names_stand_on_no_other_curve() {
        let frame = Frame {
            size: (420.0, 300.0),
            margin: [44.0, 12.0, 10.0, 42.0],
            x: (0.0, 1.0),
            y: (0.0, 1.0),
        };
        let flat = |name: &str, y: f64| Series {
            name: name.to_owned(),
            class: "c0".to_owned(),
            points: vec![[0.0, y, y, y], [1.0, y, y, y]],
        };
        let apart = places(&frame, &[flat("lrp", 0.8), flat("random", 0.3)]);
        assert!(apart.iter().all(Option::is_some));
        let crowded = places(
            &frame,
            &[flat("lrp", 0.5), flat("b", 0.51), flat("c", 0.52)],
        );
        assert!(crowded[1].is_none());
    }
}
