//! The layers of a residual network and their z+ rules, one output unit at a time.
//!
//! Every tensor is `[1, c, h, w]` (a vector `[1, c]`). The rule is stated as in Bach et al. 2015: unit j hands to its
//! input i the share `a_i w+_ij / (z_j + eps)`, `z_j = sum_i a_i w+_ij`, of its relevance. No transposed convolution
//! appears here, on purpose: that is how the implementations under test do it.

use super::{Dead, Pool, Rules};
use crate::tensors::Tensor;

/// The cells of one pooling or convolution window that lie inside the image: `(ky, kx, y, x)`, row by row.
fn window(
    image: (usize, usize),
    at: (usize, usize),
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Vec<[usize; 4]> {
    let mut cells = Vec::new();
    for ky in 0..kernel {
        for kx in 0..kernel {
            let (y, x) = (at.0 * stride + ky, at.1 * stride + kx);
            if y >= pad && x >= pad && y - pad < image.0 && x - pad < image.1 {
                cells.push([ky, kx, y - pad, x - pad]);
            }
        }
    }
    cells
}

/// Row-major index into a `[.., c, h, w]` tensor.
fn at(tensor: &Tensor, c: usize, y: usize, x: usize) -> usize {
    let [_, channels, height, width] = extents(tensor);
    assert!(c < channels && y < height && x < width);
    (c * height + y) * width + x
}

/// The four extents of an image tensor; the batch is one image.
pub(super) fn extents(tensor: &Tensor) -> [usize; 4] {
    let shape: [usize; 4] = tensor
        .shape
        .as_slice()
        .try_into()
        .expect("an image tensor has four axes");
    assert_eq!(shape[0], 1, "the reference takes one image at a time");
    shape
}

/// Convolution with a square kernel `w` of shape `[out, in, k, k]`; the padding is `k / 2`.
pub fn conv2d(a: &Tensor, w: &Tensor, bias: Option<&Tensor>, stride: usize) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let &[out_channels, in_channels, kernel, _] = w.shape.as_slice() else {
        panic!("kernel of shape {:?}", w.shape)
    };
    assert_eq!(
        channels, in_channels,
        "grouped convolutions are not covered"
    );
    let pad = kernel / 2;
    let (out_h, out_w) = (
        (height + 2 * pad - kernel) / stride + 1,
        (width + 2 * pad - kernel) / stride + 1,
    );
    let mut out = Tensor::full(&[1, out_channels, out_h, out_w], 0.0);
    for o in 0..out_channels {
        for oy in 0..out_h {
            for ox in 0..out_w {
                let mut sum = bias.map_or(0.0, |bias| bias.data[o]);
                for [ky, kx, y, x] in window((height, width), (oy, ox), kernel, stride, pad) {
                    for i in 0..channels {
                        sum += a.data[at(a, i, y, x)]
                            * w.data[((o * channels + i) * kernel + ky) * kernel + kx];
                    }
                }
                let index = at(&out, o, oy, ox);
                out.data[index] = sum;
            }
        }
    }
    out
}

/// z+ rule of [`conv2d`]: relevance `r` at its output to relevance at its input `a`. Biases take no part.
pub fn conv2d_relevance(
    a: &Tensor,
    w: &Tensor,
    stride: usize,
    r: &Tensor,
    rules: &Rules,
) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let [_, out_channels, out_h, out_w] = extents(r);
    let kernel = w.shape[2];
    let mut r_in = Tensor::full(&a.shape, 0.0);
    for o in 0..out_channels {
        for oy in 0..out_h {
            for ox in 0..out_w {
                let mut cells = Vec::new();
                for [ky, kx, y, x] in window((height, width), (oy, ox), kernel, stride, kernel / 2)
                {
                    for i in 0..channels {
                        let weight = w.data[((o * channels + i) * kernel + ky) * kernel + kx];
                        cells.push(Cell {
                            index: at(a, i, y, x),
                            activation: a.data[at(a, i, y, x)],
                            weight,
                        });
                    }
                }
                hand_down(&cells, r.data[at(r, o, oy, ox)], rules, &mut r_in);
            }
        }
    }
    r_in
}

/// A fully connected layer: `a` is `[1, in]`, `w` is `[out, in]`.
pub fn linear(a: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (outputs, inputs) = (w.shape[0], w.shape[1]);
    let mut out = Tensor::full(&[1, outputs], 0.0);
    for o in 0..outputs {
        out.data[o] = bias.map_or(0.0, |bias| bias.data[o]);
        for i in 0..inputs {
            out.data[o] += a.data[i] * w.data[o * inputs + i];
        }
    }
    out
}

/// z+ rule of [`linear`]. The bias takes no part.
pub fn linear_relevance(a: &Tensor, w: &Tensor, r: &Tensor, rules: &Rules) -> Tensor {
    let (outputs, inputs) = (w.shape[0], w.shape[1]);
    let mut r_in = Tensor::full(&a.shape, 0.0);
    for o in 0..outputs {
        let cells: Vec<Cell> = (0..inputs)
            .map(|i| Cell {
                index: i,
                activation: a.data[i],
                weight: w.data[o * inputs + i],
            })
            .collect();
        hand_down(&cells, r.data[o], rules, &mut r_in);
    }
    r_in
}

/// One input of a unit.
struct Cell {
    index: usize,
    activation: f64,
    weight: f64,
}

/// Hands the relevance `r` of one unit to its inputs by the z+ rule, or, where the unit is dead (z = 0), as
/// [`Rules::dead`] says.
fn hand_down(cells: &[Cell], r: f64, rules: &Rules, r_in: &mut Tensor) {
    let mut z = 0.0;
    let mut weights = 0.0;
    for cell in cells {
        z += cell.activation * cell.weight.max(0.0);
        weights += cell.weight.max(0.0);
    }
    for cell in cells {
        let plus = cell.weight.max(0.0);
        let share = if z != 0.0 {
            cell.activation * plus / (z + rules.eps)
        } else {
            match rules.dead {
                Dead::Sink => 0.0,
                Dead::Redistribute if weights > 0.0 => plus / weights,
                Dead::Redistribute => 1.0 / cells.len() as f64,
            }
        };
        r_in.data[cell.index] += share * r;
    }
}

/// Max pooling with window 3, stride 2, padding 1.
pub fn max_pool(a: &Tensor) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let mut out = Tensor::full(&[1, channels, height.div_ceil(2), width.div_ceil(2)], 0.0);
    for c in 0..channels {
        for oy in 0..height.div_ceil(2) {
            for ox in 0..width.div_ceil(2) {
                let mut largest = f64::NEG_INFINITY;
                for [_, _, y, x] in window((height, width), (oy, ox), 3, 2, 1) {
                    largest = largest.max(a.data[at(a, c, y, x)]);
                }
                let index = at(&out, c, oy, ox);
                out.data[index] = largest;
            }
        }
    }
    out
}

/// Relevance through [`max_pool`], whichever layer [`Rules::pool`] lets stand in for it.
pub fn max_pool_relevance(a: &Tensor, r: &Tensor, rules: &Rules) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let [_, _, out_h, out_w] = extents(r);
    let mut r_in = Tensor::full(&a.shape, 0.0);
    for c in 0..channels {
        for oy in 0..out_h {
            for ox in 0..out_w {
                let relevance = r.data[at(r, c, oy, ox)];
                let (kernel, pad) = if rules.pool == Pool::HalfAverage {
                    (2, 0)
                } else {
                    (3, 1)
                };
                let cells: Vec<usize> = window((height, width), (oy, ox), kernel, 2, pad)
                    .iter()
                    .map(|&[_, _, y, x]| at(a, c, y, x))
                    .collect();
                match rules.pool {
                    Pool::Winner => {
                        let mut winner = cells[0];
                        for &cell in &cells {
                            if a.data[cell] > a.data[winner] {
                                winner = cell;
                            }
                        }
                        average_relevance(a, &[winner], 1.0, relevance, rules, &mut r_in);
                    }
                    // A window over the rim averages the cells it has.
                    Pool::HalfAverage => {
                        average_relevance(
                            a,
                            &cells,
                            cells.len() as f64,
                            relevance,
                            rules,
                            &mut r_in,
                        );
                    }
                    // The rim counts as zeros: the divisor is 9 everywhere.
                    Pool::WindowAverage => {
                        average_relevance(a, &cells, 9.0, relevance, rules, &mut r_in);
                    }
                }
            }
        }
    }
    r_in
}

/// Global average pooling: `[1, c, h, w]` to `[1, c, 1, 1]`.
pub fn global_average_pool(a: &Tensor) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let mut out = Tensor::full(&[1, channels, 1, 1], 0.0);
    for c in 0..channels {
        for y in 0..height {
            for x in 0..width {
                out.data[c] += a.data[at(a, c, y, x)] / (height * width) as f64;
            }
        }
    }
    out
}

/// Relevance through [`global_average_pool`]; `r` has one value per channel.
pub fn global_average_pool_relevance(a: &Tensor, r: &Tensor, rules: &Rules) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let mut r_in = Tensor::full(&a.shape, 0.0);
    for c in 0..channels {
        let mut cells = Vec::new();
        for y in 0..height {
            for x in 0..width {
                cells.push(at(a, c, y, x));
            }
        }
        average_relevance(a, &cells, cells.len() as f64, r.data[c], rules, &mut r_in);
    }
    r_in
}

/// Hands the relevance `r` of one average (`divisor` values, those not in `cells` are zeros) to its cells.
fn average_relevance(
    a: &Tensor,
    cells: &[usize],
    divisor: f64,
    r: f64,
    rules: &Rules,
    r_in: &mut Tensor,
) {
    let mut mean = 0.0;
    for &cell in cells {
        mean += a.data[cell] / divisor;
    }
    for &cell in cells {
        let share = if mean != 0.0 {
            a.data[cell] / divisor / (mean + rules.eps)
        } else {
            match rules.dead {
                Dead::Sink => 0.0,
                Dead::Redistribute => 1.0 / cells.len() as f64,
            }
        };
        r_in.data[cell] += share * r;
    }
}

/// Batch normalisation with running statistics. Relevance passes it unchanged.
pub fn batch_norm(
    a: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
) -> Tensor {
    let [_, channels, height, width] = extents(a);
    let mut out = a.clone();
    for c in 0..channels {
        for y in 0..height {
            for x in 0..width {
                let normal = (a.data[at(a, c, y, x)] - mean.data[c]) / (var.data[c] + eps).sqrt();
                out.data[at(a, c, y, x)] = gamma.data[c] * normal + beta.data[c];
            }
        }
    }
    out
}

/// Rectification. Relevance passes it unchanged.
pub fn relu(a: &Tensor) -> Tensor {
    Tensor {
        shape: a.shape.clone(),
        data: a.data.iter().map(|&v| v.max(0.0)).collect(),
    }
}

/// Softmax over all values.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits
        .iter()
        .fold(f64::NEG_INFINITY, |largest, &v| largest.max(v));
    let total: f64 = logits.iter().map(|&v| (v - largest).exp()).sum();
    logits
        .iter()
        .map(|&v| (v - largest).exp() / total)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Preset, Split};
    use super::*;
    use crate::tensors::worst;

    /// Figures printed with seven digits.
    const PRINTED: f64 = 1e-6;

    fn paper() -> Rules {
        Rules::new(Preset::Paper, Split::Ratio)
    }

    fn exact() -> Rules {
        Rules::new(Preset::Exact, Split::Ratio)
    }

    fn image(channels: usize, height: usize, width: usize, data: &[f64]) -> Tensor {
        Tensor::new(&[1, channels, height, width], data.to_vec())
    }

    fn assert_close(what: &str, got: &Tensor, want: &[f64], tolerance: f64) {
        let found = worst(&got.data, want);
        assert!(found.error < tolerance, "{what}: {found}");
    }

    #[test]
    fn pointwise_convolution() {
        let w = Tensor::new(&[2, 2, 1, 1], vec![1.0, -2.0, 0.5, 3.0]);
        let a = image(2, 1, 2, &[1.0, 0.0, 2.0, 4.0]);
        let r = image(2, 1, 2, &[1.0, 2.0, 3.0, 4.0]);
        let r_in = conv2d_relevance(&a, &w, 1, &r, &paper());
        assert_close(
            "1x1",
            &r_in,
            &[1.2307589, 0.0, 2.7692266, 3.9999969],
            PRINTED,
        );
        assert!((r_in.sum() / 7.9999824 - 1.0).abs() < PRINTED);

        // The 2.0 that the only positive-weight input (0) can't take is lost above and stays with it here.
        let r_in = conv2d_relevance(&a, &w, 1, &r, &exact());
        assert_close(
            "1x1 exact",
            &r_in,
            &[1.0 + 3.0 / 13.0, 2.0, 36.0 / 13.0, 4.0],
            1e-14,
        );
    }

    #[test]
    fn linear_layer_without_its_bias() {
        let w = Tensor::new(&[2, 3], vec![1.0, -1.0, 2.0, 0.5, 0.5, -3.0]);
        let bias = Tensor::new(&[2], vec![5.0, -7.0]);
        let a = Tensor::new(&[1, 3], vec![1.0, 2.0, 3.0]);
        assert_eq!(linear(&a, &w, Some(&bias)).data, [10.0, -14.5]);
        for (r, want) in [
            ([0.7, 0.0], [0.0999999, 0.0, 0.5999991]),
            ([0.5, 0.2], [0.1380947, 0.1333325, 0.4285708]),
        ] {
            let r_in = linear_relevance(&a, &w, &Tensor::new(&[1, 2], r.to_vec()), &paper());
            assert_close("linear", &r_in, &want, PRINTED);
        }
    }

    #[test]
    fn dead_units_redistribute() {
        let a = Tensor::new(&[1, 3], vec![0.0, 5.0, 0.0]);
        let w = Tensor::new(&[2, 3], vec![1.0, -1.0, 3.0, -1.0, -2.0, -3.0]);
        let r = Tensor::new(&[1, 2], vec![4.0, 3.0]);
        // Unit 0 by its positive weights 1 : 3, unit 1, which has none, evenly.
        assert_close(
            "linear",
            &linear_relevance(&a, &w, &r, &exact()),
            &[2.0, 1.0, 4.0],
            1e-15,
        );
        assert_close(
            "sink",
            &linear_relevance(&a, &w, &r, &paper()),
            &[0.0; 3],
            1e-15,
        );

        // A 3x3 kernel in the corner has four cells inside the image; the taps outside take nothing.
        let a = image(1, 3, 3, &[0.0; 9]);
        let w = Tensor::new(
            &[1, 1, 3, 3],
            vec![9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 9.0, 3.0, 4.0],
        );
        let corner = image(1, 3, 3, &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let r_in = conv2d_relevance(&a, &w, 1, &corner, &exact());
        assert_close(
            "by w+",
            &r_in,
            &[0.1, 0.2, 0.0, 0.3, 0.4, 0.0, 0.0, 0.0, 0.0],
            1e-15,
        );
        let w = Tensor::full(&[1, 1, 3, 3], -1.0);
        let r_in = conv2d_relevance(&a, &w, 1, &corner, &exact());
        assert_close(
            "evenly",
            &r_in,
            &[0.25, 0.25, 0.0, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0],
            1e-15,
        );

        let r_in = global_average_pool_relevance(
            &image(1, 2, 2, &[0.0; 4]),
            &image(1, 1, 1, &[2.0]),
            &exact(),
        );
        assert_close("global average", &r_in, &[0.5; 4], 1e-15);
        let r_in = max_pool_relevance(
            &image(1, 2, 2, &[0.0; 4]),
            &image(1, 1, 1, &[2.0]),
            &exact(),
        );
        assert_close("first maximum", &r_in, &[2.0, 0.0, 0.0, 0.0], 1e-15);
    }

    #[test]
    fn max_pool_as_half_average() {
        let a = image(
            1,
            4,
            4,
            &[
                0., 0., 1., 2., 0., 0., 3., 4., 1., 0., 0., 5., 0., 2., 6., 0.,
            ],
        );
        let r = image(1, 2, 2, &[1.0; 4]);
        let r_in = max_pool_relevance(&a, &r, &paper());
        let top = [
            0.0, 0.0, 0.0999996, 0.1999992, 0.0, 0.0, 0.2999988, 0.3999984,
        ];
        let bottom = [
            0.3333289, 0.0, 0.0, 0.4545438, 0.0, 0.6666577, 0.5454525, 0.0,
        ];
        assert_close("2x2", &r_in, &[top, bottom].concat(), PRINTED);
        assert!((r_in.sum() / 2.999979 - 1.0).abs() < PRINTED);

        // Odd sizes: the windows over the rim average the one or two cells they have.
        let a = image(1, 3, 3, &[1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 3.0, 1.0, 7.0]);
        assert_eq!(max_pool(&a).data, [1.0, 2.0, 3.0, 7.0]);
        let r_in = max_pool_relevance(
            &a,
            &r,
            &Rules {
                eps: 0.0,
                ..paper()
            },
        );
        assert_close(
            "odd",
            &r_in,
            &[0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 0.75, 0.25, 1.0],
            1e-15,
        );
    }

    #[test]
    fn max_pool_winner_is_the_first_maximum_of_its_own_window() {
        let a = image(
            1,
            4,
            4,
            &[
                1., 7., 7., 0., 0., 0., 0., 0., 0., 0., 0., 9., 0., 0., 0., 0.,
            ],
        );
        assert_eq!(max_pool(&a).data, [7.0, 7.0, 0.0, 9.0]);
        let r = image(1, 2, 2, &[1.0, 2.0, 4.0, 8.0]);
        let r_in = max_pool_relevance(&a, &r, &exact());
        // The third window (rows 1 to 3, columns 0 and 1) is dead: its first cell takes the 4.
        assert_close(
            "winner",
            &r_in,
            &[
                0., 3., 0., 0., 4., 0., 0., 0., 0., 0., 0., 8., 0., 0., 0., 0.,
            ],
            1e-15,
        );
    }

    #[test]
    fn global_average() {
        let a = image(1, 2, 2, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(global_average_pool(&a).data, [2.5]);
        let r_in = global_average_pool_relevance(&a, &image(1, 1, 1, &[1.0]), &paper());
        assert_close(
            "average",
            &r_in,
            &[0.0999996, 0.1999992, 0.2999988, 0.3999984],
            PRINTED,
        );
    }

    #[test]
    fn first_convolution_on_ones() {
        let w = Tensor::new(
            &[1, 1, 3, 3],
            vec![1.0, -1.0, 2.0, 0.0, 1.0, -3.0, 4.0, 0.0, 1.0],
        );
        let r = image(1, 3, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let r_in = conv2d_relevance(&Tensor::full(&[1, 1, 3, 3], 1.0), &w, 1, &r, &paper());
        let want = [
            1.0555525, 3.3333261, 1.7111087, 4.3333235, 12.6221762, 5.3333216, 4.5555458,
            6.9999862, 5.0555325,
        ];
        assert_close("ones", &r_in, &want, PRINTED);
        assert!((r_in.sum() / 44.99987 - 1.0).abs() < PRINTED);
    }

    #[test]
    fn pointwise_convolution_of_stride_two() {
        let a = image(1, 4, 4, &(1..=16).map(f64::from).collect::<Vec<_>>());
        let w = Tensor::new(&[1, 1, 1, 1], vec![2.0]);
        let r_in = conv2d_relevance(&a, &w, 2, &image(1, 2, 2, &[1.0; 4]), &paper());
        for (i, &v) in r_in.data.iter().enumerate() {
            let touched = i / 4 % 2 == 0 && i % 2 == 0;
            assert!(
                if touched {
                    v < 1.0 && v > 1.0 - 6e-6
                } else {
                    v == 0.0
                },
                "position {i}: {v}"
            );
        }
    }
}
