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
            .map(|_| random.share())
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

/// Where the image changes: the length of its brightness's gradient by the operators of Sobel, borders repeated. Brightness is
/// the mean of the normalised channels.
#[derive(Clone, Copy, Debug)]
pub struct Edge;

impl Attribution for Edge {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let [h, w] = network.size();
        let pixels = subject.image.as_chunks::<3>().0;
        let light = |y: usize, x: usize| pixels[y * w + x].iter().sum::<f32>() / 3.0;
        let around = |at: usize, side: usize| [at.saturating_sub(1), at, (at + 1).min(side - 1)];
        let length = |y: usize, x: usize| {
            let (rows, columns) = (around(y, h), around(x, w));
            let smooth = |values: [f32; 3]| values[0] + 2.0 * values[1] + values[2];
            let row = |y| smooth(columns.map(|x| light(y, x)));
            let column = |x| smooth(rows.map(|y| light(y, x)));
            (row(rows[2]) - row(rows[0])).hypot(column(columns[2]) - column(columns[0]))
        };
        Ok((0..h)
            .flat_map(|y| (0..w).map(move |x| length(y, x)))
            .collect())
    }
}

/// Ones in a box of half the area in the middle of the image: where photographers put things.
#[derive(Clone, Copy, Debug)]
pub struct Centre;

impl Attribution for Centre {
    fn map(&mut self, network: &mut Classifier<'_>, _: &Subject<'_>) -> Result<Vec<f32>> {
        let size = network.size();
        let side = std::f64::consts::FRAC_1_SQRT_2;
        let inside = |at: usize, size: usize| {
            let from_middle = (at as f64 + 0.5) / size as f64 - 0.5;
            from_middle.abs() < side / 2.0
        };
        let [h, w] = size;
        let cell = |y, x| f32::from(u8::from(inside(y, h) && inside(x, w)));
        Ok((0..h)
            .flat_map(|y| (0..w).map(move |x| cell(y, x)))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use elucid_core::Shape;

    use super::*;
    use crate::engine::Threads;
    use crate::model_file::ModelBytes;

    #[test]
    fn the_box_has_half_the_area() {
        let bytes = ModelBytes::open(None).unwrap();
        let model = bytes.parse().unwrap();
        let threads = Threads::new(1).unwrap();
        let mut network = Classifier::new(&model, Shape::new(100, 60, 3), &threads);
        let subject = Subject {
            image: &[],
            id: "a.png",
            class: 0,
            seed: 0,
        };
        let map = Centre.map(&mut network, &subject).unwrap();
        let share = map.iter().sum::<f32>() / 6000.0;
        assert!((share - 0.5).abs() < 0.02, "{share}");
        assert_eq!((map[0], map[50 * 60 + 30]), (0.0, 1.0));
    }

    #[test]
    fn edges_are_where_brightness_changes() {
        let bytes = ModelBytes::open(None).unwrap();
        let model = bytes.parse().unwrap();
        let threads = Threads::new(1).unwrap();
        let mut network = Classifier::new(&model, Shape::new(4, 6, 3), &threads);
        // Dark columns on the left, bright ones from the fourth on.
        let image: Vec<f32> = (0..24)
            .flat_map(|i| [f32::from(u8::from(i % 6 > 2)); 3])
            .collect();
        let subject = Subject {
            image: &image,
            id: "a.png",
            class: 0,
            seed: 0,
        };
        let map = Edge.map(&mut network, &subject).unwrap();
        assert_eq!(map, [0.0, 0.0, 4.0, 4.0, 0.0, 0.0].repeat(4));
    }
}
