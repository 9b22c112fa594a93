//! Maps that know nothing of the network. A method that isn't better than these explains nothing.

use anyhow::Result;

use super::{Attribution, Subject};
use crate::classifier::Classifier;
use crate::synthetic::Random;

/// Independent random numbers for every pixel.
#[derive(Clone, Copy, Debug)]
pub struct Noise;

impl Attribution for Noise {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let mut random = Random::new(subject.seed);
        Ok((0..network.shape().pixels())
            .map(|_| random.draw())
            .collect())
    }
}

/// The same for every pixel.
#[derive(Clone, Copy, Debug)]
pub struct Constant;

impl Attribution for Constant {
    fn map(&mut self, network: &mut Classifier<'_>, _: &Subject<'_>) -> Result<Vec<f32>> {
        Ok(vec![1.0; network.shape().pixels()])
    }
}

/// Where the picture changes: the length of its brightness's gradient by the operators of Sobel, borders repeated.
#[derive(Clone, Copy, Debug)]
pub struct Edge;

impl Attribution for Edge {
    fn map(&mut self, _: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let (w, h) = subject.picture.dimensions();
        let light = |x: i64, y: i64| {
            let x = x.clamp(0, i64::from(w) - 1) as u32;
            let y = y.clamp(0, i64::from(h) - 1) as u32;
            let [r, g, b] = subject.picture.get_pixel(x, y).0.map(f32::from);
            0.299 * r + 0.587 * g + 0.114 * b
        };
        let pixels = (0..i64::from(h)).flat_map(|y| (0..i64::from(w)).map(move |x| (x, y)));
        let length = |(x, y)| {
            let smooth = |across: bool, at: i64| {
                [(-1, 1.0), (0, 2.0), (1, 1.0)]
                    .map(|(along, weight)| {
                        let (dx, dy) = if across { (at, along) } else { (along, at) };
                        weight * light(x + dx, y + dy)
                    })
                    .iter()
                    .sum::<f32>()
            };
            let gradient = |across| smooth(across, 1) - smooth(across, -1);
            gradient(true).hypot(gradient(false))
        };
        Ok(pixels.map(length).collect())
    }
}
