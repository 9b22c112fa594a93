//! Which part of a frame the network sees, and where in its input.

use crate::model::{Fit, Preprocess};

/// One side of the network's input: which part of a picture's side lands where on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where the part starts in the picture, in its pixels.
    pub start: f64,
    /// The length of the part in the picture's pixels.
    pub length: f64,
    /// The fraction of the input's side that is padded with black before the part.
    pub before: f64,
    /// The fraction of the input's side that the part fills.
    pub filled: f64,
}

impl Span {
    /// The whole side.
    #[must_use]
    pub fn whole(side: u32) -> Self {
        Self {
            start: 0.0,
            length: f64::from(side),
            before: 0.0,
            filled: 1.0,
        }
    }

    /// The middle `crop` pixels of a side of `side` pixels that was scaled to `scaled`, as torchvision's `CenterCrop`
    /// takes them: halves are rounded to even when it cuts, and rounded down before the picture when it pads.
    fn centre(side: u64, scaled: u64, crop: u32) -> Self {
        let crop = u64::from(crop);
        if scaled < crop {
            let share = |pixels: u64| pixels as f64 / crop as f64;
            return Self {
                start: 0.0,
                length: side as f64,
                before: share((crop - scaled) / 2),
                filled: share(scaled),
            };
        }
        let native = side as f64 / scaled as f64;
        let spare = scaled - crop;
        let start = (spare / 2 + u64::from(spare % 4 == 3)) as f64 * native;
        Self {
            start,
            length: (crop as f64 * native).min(side as f64 - start),
            before: 0.0,
            filled: 1.0,
        }
    }

    /// First pixel and number of pixels of the part on a side of `side` pixels.
    #[must_use]
    pub fn place(self, side: u32) -> (u32, u32) {
        // Positive numbers below 2^32: adding a half and cutting off rounds.
        let at = |fraction: f64| (fraction * f64::from(side) + 0.5) as u32;
        let first = at(self.before).min(side - 1);
        let count = at(self.before + self.filled).saturating_sub(first);
        (first, count.clamp(1, side - first))
    }
}

/// Which part of a picture the network sees, and where in its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Columns.
    pub across: Span,
    /// Rows.
    pub down: Span,
}

impl Geometry {
    /// The part of a picture of this size (width, height, at least 1) that `how` shows to the network.
    #[must_use]
    pub fn of((width, height): (u32, u32), how: &Preprocess) -> Self {
        match how.fit {
            Fit::Squash => Self::whole((width, height)),
            Fit::ShortSide => {
                let (w, h) = (u64::from(width), u64::from(height));
                let scaled = |side: u64| u64::from(how.resize) * side / w.min(h);
                Self {
                    across: Span::centre(w, scaled(w), how.crop[1]),
                    down: Span::centre(h, scaled(h), how.crop[0]),
                }
            }
        }
    }

    /// All of it.
    #[must_use]
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self {
            across: Span::whole(width),
            down: Span::whole(height),
        }
    }

    /// First pixel and number of pixels, across and down, that the part fills of `(width, height)` pixels.
    #[must_use]
    pub fn places(&self, (width, height): (u32, u32)) -> [(u32, u32); 2] {
        [self.across.place(width), self.down.place(height)]
    }
}
