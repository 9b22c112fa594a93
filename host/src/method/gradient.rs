//! Methods that follow a derivative back to the image: gradients, guided backpropagation, deconvolution, Input x Gradient,
//! integrated gradients, SmoothGrad, and LRP-epsilon without splitting.

use anyhow::Result;
use elucid_core::op::head::Seed;
use elucid_core::plan::{End, Memory};
use elucid_core::rule::{CAPTUM_EPS, Composite, Init, Target};

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::engine::{Method, explain_error};
use crate::synthetic::Random;

/// What flows back and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flow {
    /// The derivative of the class's logit.
    Gradient,
    /// Times the image.
    InputTimesGradient,
    /// Springenberg et al., Striving for Simplicity, 2015.
    Guided,
    /// Zeiler and Fergus, 2014.
    Deconvolution,
    /// LRP-epsilon as captum has it: both branches of an addition get all of the relevance, so that it is duplicated at every
    /// block.
    Duplicated,
    /// Integrated gradients (Sundararajan et al., 2017) from an image of zeros, by Gauss-Legendre quadrature.
    Integrated {
        /// Points on the way.
        steps: usize,
    },
    /// SmoothGrad (Smilkov et al., 2017): the mean of gradients of noisy images; the noise's deviation is 15 % of the
    /// image's range.
    Smooth {
        /// Noisy images.
        samples: usize,
    },
}

/// How the three channels become one number for each pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Their sum.
    #[default]
    Sum,
    /// The sum of their absolute values.
    Absolute,
    /// The first of them: what the ECCV 2024 paper's scorer does to maps of three channels.
    First,
}

impl Channels {
    /// Every way by its name.
    pub const NAMES: [(Channels, &'static str); 3] = [
        (Channels::Sum, "sum"),
        (Channels::Absolute, "abs"),
        (Channels::First, "first"),
    ];

    /// One number for the values of a pixel.
    #[must_use]
    pub fn pixel(self, values: &[f32]) -> f32 {
        match self {
            Channels::Sum => values.iter().sum(),
            Channels::Absolute => values.iter().map(|v| v.abs()).sum(),
            Channels::First => values.first().copied().unwrap_or(0.0),
        }
    }

    /// `[h, w, 3]` as `[h, w]`.
    #[must_use]
    pub fn reduce(self, attribution: &[f32]) -> Vec<f32> {
        let pixels = attribution.as_chunks::<3>().0.iter();
        pixels.map(|pixel| self.pixel(pixel)).collect()
    }
}

/// A derivative at the image, with its channels put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derivative {
    /// What flows.
    pub flow: Flow,
    /// How channels are put together.
    pub channels: Channels,
    /// Images of a batch, where a method needs several.
    pub batch: usize,
}

impl Derivative {
    /// The attribution of every value of the image, `[h, w, 3]`.
    ///
    /// # Errors
    /// Those of the network.
    pub fn attribution(
        &self,
        network: &mut Classifier<'_>,
        subject: &Subject<'_>,
    ) -> Result<Vec<f32>> {
        let image = subject.image;
        let of = |network: &mut Classifier<'_>, composite, init| {
            back(network, (composite, init), image, subject.class)
        };
        Ok(match self.flow {
            Flow::Gradient => of(network, Composite::gradient(), Init::One)?,
            Flow::Guided => of(network, Composite::guided(), Init::One)?,
            Flow::Deconvolution => of(network, Composite::deconvolution(), Init::One)?,
            Flow::Duplicated => of(network, Composite::duplicated(CAPTUM_EPS), Init::Logit)?,
            Flow::InputTimesGradient => {
                let gradient = of(network, Composite::gradient(), Init::One)?;
                gradient.iter().zip(image).map(|(g, x)| g * x).collect()
            }
            Flow::Integrated { steps } => {
                let quadrature = gauss_legendre(steps);
                let sum = self.mean(network, subject, steps, |step, to| {
                    let (at, weight) = quadrature[step];
                    to.extend(image.iter().map(|&x| (f64::from(x) * at) as f32));
                    weight
                })?;
                let pairs = sum.iter().zip(image);
                pairs.map(|(g, &x)| (g * f64::from(x)) as f32).collect()
            }
            Flow::Smooth { samples } => {
                let low = image.iter().copied().fold(f32::INFINITY, f32::min);
                let high = image.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let deviation = 0.15 * (high - low);
                let mut random = Random::new(subject.seed);
                let sum = self.mean(network, subject, samples, |_, to| {
                    to.extend(image.iter().map(|x| x + deviation * normal(&mut random)));
                    1.0 / samples as f64
                })?;
                sum.iter().map(|&g| g as f32).collect()
            }
        })
    }

    /// The weighted sum of gradients of `count` images. `draw` adds image number `i` to the batch and says its weight.
    fn mean(
        &self,
        network: &mut Classifier<'_>,
        subject: &Subject<'_>,
        count: usize,
        mut draw: impl FnMut(usize, &mut Vec<f32>) -> f64,
    ) -> Result<Vec<f64>> {
        let values = subject.image.len();
        let mut sum = vec![0.0; values];
        let (mut images, mut weights) = (Vec::new(), Vec::new());
        let batch = self.batch.max(1);
        for first in (0..count).step_by(batch) {
            images.clear();
            weights.clear();
            weights.extend((first..count.min(first + batch)).map(|i| draw(i, &mut images)));
            let how = (Composite::gradient(), Init::One);
            let gradients = back(network, how, &images, subject.class)?;
            for (gradient, weight) in gradients.chunks_exact(values).zip(&weights) {
                for (sum, &g) in sum.iter_mut().zip(gradient) {
                    *sum += weight * f64::from(g);
                }
            }
        }
        Ok(sum)
    }
}

impl Attribution for Derivative {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let attribution = self.attribution(network, subject)?;
        Ok(self.channels.reduce(&attribution))
    }
}

/// What flows back to each of the images, `[n, h, w, 3]`.
fn back(
    network: &mut Classifier<'_>,
    (composite, init): (Composite, Init),
    images: &[f32],
    class: u32,
) -> Result<Vec<f32>> {
    let model = network.model();
    let named = |e| explain_error(model, e);
    let count = images.len() / network.shape().elements();
    let method = Method {
        images: count,
        end: End::Node(0),
        memory: Memory::Keep,
        ..Method::new(Some(composite))
    };
    let mut explainer = network.explainer(method)?;
    let mut attribution = vec![0.0; images.len()];
    let mut seeds = vec![Seed::default(); count];
    explainer.forward(images).map_err(named)?;
    let targets = vec![Target::Class(class); count];
    explainer
        .maps(&targets, init, &mut seeds, None)
        .map_err(named)?;
    explainer.end_relevance(&mut attribution).map_err(named)?;
    Ok(attribution)
}

/// A normally distributed number (Box and Muller).
fn normal(random: &mut Random) -> f32 {
    let (u, v) = (1.0 - f64::from(random.share()), f64::from(random.share()));
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// Points and weights of the Gauss-Legendre quadrature on 0..1, from the largest point down to the smallest: Newton's method
/// on the Legendre polynomial.
fn gauss_legendre(count: usize) -> Vec<(f64, f64)> {
    let n = count as f64;
    let point = |i: usize| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut before, mut p) = (0.0, 1.0);
            for k in 0..count {
                let k = k as f64;
                (before, p) = (p, ((2.0 * k + 1.0) * x * p - k * before) / (k + 1.0));
            }
            slope = n * (x * p - before) / (x * x - 1.0);
            let step = p / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        let weight = 2.0 / ((1.0 - x * x) * slope * slope);
        (f64::midpoint(1.0, x), weight / 2.0)
    };
    (0..count).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadrature_is_exact_for_polynomials() {
        for count in [1, 2, 5, 50] {
            let points = gauss_legendre(count);
            for power in 0..2 * count {
                let sum: f64 = points.iter().map(|(x, w)| w * x.powi(power as i32)).sum();
                let exact = 1.0 / (power as f64 + 1.0);
                assert!((sum - exact).abs() < 1e-13, "{count}, {power}: {sum}");
            }
        }
    }

    #[test]
    fn noise_is_normal() {
        let mut random = Random::new(3);
        let draws: Vec<f32> = (0..20_000).map(|_| normal(&mut random)).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04,
            "{mean}, {variance}"
        );
    }

    #[test]
    fn channels_are_put_together_as_asked() {
        let values = [1.0, -2.0, 3.0, -4.0, 0.0, 1.0];
        assert_eq!(Channels::Sum.reduce(&values), [2.0, -3.0]);
        assert_eq!(Channels::Absolute.reduce(&values), [6.0, 5.0]);
        assert_eq!(Channels::First.reduce(&values), [1.0, -4.0]);
    }
}
