//! Images of which a part is removed, made one at a time into the caller's memory: whatever the number of points, an image
//! costs twice its own size.

use anyhow::{Result, bail};

use super::blur::gaussian;
use super::ranking::{Ranking, Scorer};

/// How the image was normalised: channels are `(value - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// What was subtracted of each channel.
    pub mean: [f32; 3],
    /// What it was divided by.
    pub std: [f32; 3],
}

/// What stands where a pixel was removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Baseline {
    /// Black before normalisation, the papers' choice.
    Black,
    /// The mean colour of the image.
    Mean,
    /// The image blurred with a Gaussian of this deviation in pixels.
    Blur(f64),
}

/// Which pixels a point of the curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that are revealed, on the baseline.
    Insertion,
    /// All others.
    Deletion,
}

/// An image with what stands for its removed pixels.
#[derive(Clone, Debug)]
pub struct Perturbation {
    visible: Vec<f32>,
    hidden: Vec<f32>,
}

impl Perturbation {
    /// Of a normalised image `[h, w, 3]`; `size` is `[h, w]`. For [`Scorer::Paper`], visible pixels go through the rounding
    /// of the original: back to colours in f32, to normalised values in f64.
    ///
    /// # Errors
    /// If the image isn't `[h, w, 3]`, or a deviation is 0.
    pub fn new(
        image: &[f32],
        size: [usize; 2],
        normalisation: Normalisation,
        baseline: Baseline,
        scorer: Scorer,
    ) -> Result<Self> {
        let Normalisation { mean, std } = normalisation;
        if image.is_empty() || image.len() != size[0] * size[1] * 3 {
            bail!(
                "{} values are no image of {} x {} pixels and 3 channels",
                image.len(),
                size[0],
                size[1]
            );
        }
        if std.iter().any(|s| !s.is_normal()) {
            bail!("a normalisation cannot divide by {std:?}");
        }
        let normalise = |colour: f32, c: usize| {
            ((f64::from(colour) - f64::from(mean[c])) / f64::from(std[c])) as f32
        };
        let visible = match scorer {
            Scorer::Paper => {
                let pixels =
                    image.as_chunks::<3>().0.iter().flat_map(|pixel| {
                        [0, 1, 2].map(|c| normalise(pixel[c] * std[c] + mean[c], c))
                    });
                pixels.collect()
            }
            Scorer::Strict => image.to_vec(),
        };
        let hidden = match baseline {
            Baseline::Black => [0, 1, 2]
                .map(|c| normalise(0.0, c))
                .repeat(size[0] * size[1]),
            Baseline::Mean => mean_colour(image).repeat(size[0] * size[1]),
            Baseline::Blur(sigma) => gaussian(image, size, 3, sigma),
        };
        Ok(Self { visible, hidden })
    }

    /// Values of an image, `h * w * 3`.
    #[must_use]
    pub fn values(&self) -> usize {
        self.visible.len()
    }

    /// Writes the image `[h, w, 3]` of one point of a ranking.
    ///
    /// # Panics
    /// If the ranking or `to` is of another size.
    pub fn point(&self, ranking: &Ranking, direction: Direction, point: u32, to: &mut [f32]) {
        let first = ranking.first();
        assert_eq!(first.len() * 3, self.values(), "pixels of the ranking");
        match direction {
            Direction::Insertion => self.mix(to, |pixel| first[pixel] <= point),
            Direction::Deletion => self.mix(to, |pixel| first[pixel] > point),
        }
    }

    /// Writes the image `[h, w, 3]` that shows the pixels `shown` says yes to.
    ///
    /// # Panics
    /// If `to` is of another size.
    pub fn mix(&self, to: &mut [f32], shown: impl Fn(usize) -> bool) {
        assert_eq!(to.len(), self.values(), "values of an image");
        let pixels = to.as_chunks_mut::<3>().0.iter_mut();
        let visible = self.visible.as_chunks::<3>().0;
        let hidden = self.hidden.as_chunks::<3>().0;
        for (pixel, (to, (visible, hidden))) in pixels.zip(visible.iter().zip(hidden)).enumerate() {
            *to = if shown(pixel) { *visible } else { *hidden };
        }
    }
}

/// The mean of each channel of `[h, w, 3]`.
fn mean_colour(image: &[f32]) -> [f32; 3] {
    let pixels = image.as_chunks::<3>().0;
    [0, 1, 2].map(|c| {
        let sum: f64 = pixels.iter().map(|pixel| f64::from(pixel[c])).sum();
        (sum / pixels.len() as f64) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::super::ranking::Walk;
    use super::*;

    const IMAGENET: Normalisation = Normalisation {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    fn image(colours: &[f32]) -> Vec<f32> {
        let normalise = |(i, &v): (usize, &f32)| (v - IMAGENET.mean[i % 3]) / IMAGENET.std[i % 3];
        colours.iter().enumerate().map(normalise).collect()
    }

    #[test]
    fn points_show_what_the_ranking_says_on_black() {
        let image = image(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.0, 0.5]);
        let walk = Walk {
            step: 1,
            ..Walk::new(Scorer::Paper)
        };
        let ranking = Ranking::new(&[4.0, 1.0, 3.0, 2.0], [2; 2], [2; 2], walk).unwrap();
        let black = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225];
        let mut made = [0.0; 12];
        for scorer in [Scorer::Paper, Scorer::Strict] {
            let perturbation =
                Perturbation::new(&image, [2; 2], IMAGENET, Baseline::Black, scorer).unwrap();
            for (direction, kept) in [
                (Direction::Insertion, [true, false, true, false]),
                (Direction::Deletion, [false, true, false, true]),
            ] {
                perturbation.point(&ranking, direction, 0, &mut made);
                for (i, &value) in made.iter().enumerate() {
                    let want = if kept[i / 3] { image[i] } else { black[i % 3] };
                    assert!((value - want).abs() < 1e-6, "{direction:?} {i}");
                }
            }
        }
        let strict = Perturbation::new(&image, [2; 2], IMAGENET, Baseline::Black, Scorer::Strict);
        strict.unwrap().mix(&mut made, |_| true);
        assert_eq!(made, image[..]);
    }

    #[test]
    fn other_baselines_are_the_mean_and_the_blur() {
        let image = [0.0, 1.0, 2.0, 4.0, 1.0, 0.0];
        let hidden = |baseline| {
            let mut made = [0.0; 6];
            Perturbation::new(&image, [1, 2], IMAGENET, baseline, Scorer::Strict)
                .unwrap()
                .mix(&mut made, |_| false);
            made
        };
        assert_eq!(hidden(Baseline::Mean), [2.0, 1.0, 1.0, 2.0, 1.0, 1.0]);
        let blurred = hidden(Baseline::Blur(100.0));
        for (got, want) in blurred.iter().zip([2.0, 1.0, 1.0, 2.0, 1.0, 1.0]) {
            assert!((got - want).abs() < 0.01, "{blurred:?}");
        }
    }

    #[test]
    fn sizes_and_deviations_are_checked() {
        let of = |image: &[f32], std| {
            let normalisation = Normalisation { std, ..IMAGENET };
            Perturbation::new(
                image,
                [1, 1],
                normalisation,
                Baseline::Black,
                Scorer::Strict,
            )
        };
        assert!(of(&[0.0; 3], [1.0; 3]).is_ok());
        assert!(of(&[0.0; 4], [1.0; 3]).is_err());
        assert!(of(&[0.0; 3], [1.0, 0.0, 1.0]).is_err());
    }
}
