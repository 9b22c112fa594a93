//! Every operation's gradient against differences of its values, and its values against formulas in f64.

use candle_core::{Device, Result, Tensor, Var};
use elucid_core::graph::{Activation, Attention};

use super::hand::{self, values};
use super::*;
use crate::synthetic::Random;

/// Step of the differences.
const STEP: f32 = 4e-3;

fn random(shape: &[usize], random: &mut Random) -> Tensor {
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|_| random.draw()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// The sum of products with fixed random numbers, in f64.
fn project(y: &Tensor, with: &[f32]) -> f64 {
    let y = y.contiguous().unwrap();
    let products = values(&y).unwrap();
    let pairs = products.iter().zip(with);
    pairs.map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
}

/// Checks the gradients of all inputs along random directions: the largest error relative to a gradient's norm.
fn check_from(what: &str, inputs: &[Tensor], f: &dyn Fn(&[&Tensor]) -> Result<Tensor>) {
    let mut stream = Random::new(99);
    let vars: Vec<Var> = inputs
        .iter()
        .map(|t| Var::from_tensor(t).unwrap())
        .collect();
    let tensors: Vec<&Tensor> = vars.iter().map(Var::as_tensor).collect();
    let y = f(&tensors).unwrap();
    let with = random(y.dims(), &mut stream);
    let loss = (&y * &with).unwrap().sum_all().unwrap();
    let store = loss.backward().unwrap();
    let with = with.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // Nothing carries a gradient that no input has.
    let plain: Vec<&Tensor> = inputs.iter().collect();
    let same = f(&plain).unwrap();
    assert!(!same.track_op(), "{what}");
    assert_eq!(project(&same, &with), project(&y, &with), "{what}");
    for (i, input) in inputs.iter().enumerate() {
        let gradient = store.get(vars[i].as_tensor());
        let gradient = gradient.unwrap_or_else(|| panic!("{what}: no gradient of input {i}"));
        assert_eq!(gradient.dims(), input.dims(), "{what}: input {i}");
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let norm: f64 = gradient
            .iter()
            .map(|&g| f64::from(g).powi(2))
            .sum::<f64>()
            .sqrt();
        for _ in 0..6 {
            let signs: Vec<f32> = gradient.iter().map(|_| stream.draw().signum()).collect();
            let along: f64 = (gradient.iter().zip(&signs))
                .map(|(&g, &s)| f64::from(g) * f64::from(s))
                .sum();
            let at = |step: f32| {
                let data = input.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let moved = data.iter().zip(&signs).map(|(x, s)| x + step * s).collect();
                let moved = Tensor::from_vec(moved, input.dims(), &Device::Cpu).unwrap();
                let mut all = plain.clone();
                all[i] = &moved;
                project(&f(&all).unwrap(), &with)
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
            let error = (difference - along).abs();
            assert!(
                error <= 2e-3 * norm + 2e-4,
                "{what}: input {i}: {difference} {along}, norm {norm}"
            );
        }
    }
}

fn check(what: &str, shapes: &[&[usize]], f: &dyn Fn(&[&Tensor]) -> Result<Tensor>) {
    let mut stream = Random::new(7);
    let inputs: Vec<Tensor> = shapes.iter().map(|s| random(s, &mut stream)).collect();
    check_from(what, &inputs, f);
}

#[test]
fn gradients_of_layers_are_slopes() {
    let smooth = [
        Activation::Identity,
        Activation::Gelu,
        Activation::QuickGelu,
    ];
    for act in smooth {
        let what = format!("{act:?}");
        let shapes: [&[usize]; 3] = [&[2, 5, 19], &[7, 19, 1, 1], &[7]];
        check(&what, &shapes, &|x| dense(x[0], x[1], Some(x[2]), act));
        check(&what, &shapes[..2], &|x| dense(x[0], x[1], None, act));
        let shapes: [&[usize]; 2] = [&[3, 4, 37], &[37]];
        check(&what, &shapes, &|x| epilogue(&(x[0] * 2.0)?, x[1], act));
    }
    // Away from where the slope jumps.
    let mut stream = Random::new(5);
    let away = (random(&[3, 4, 37], &mut stream).sign().unwrap() * 1.5).unwrap();
    let near = (away + random(&[3, 4, 37], &mut stream)).unwrap();
    let bias = (random(&[37], &mut stream) * 0.3).unwrap();
    let relu = Activation::Relu;
    check_from("relu", &[near, bias], &|x| epilogue(x[0], x[1], relu));
    let shapes: [&[usize]; 3] = [&[2, 9, 21], &[21], &[21]];
    check("layer norm", &shapes, &|x| {
        layer_norm(x[0], x[1], x[2], 1e-3)
    });
    for (n, c, heads) in [(19, 24, 4), (5, 16, 1), (35, 40, 1), (16, 32, 2)] {
        let what = format!("attention of {n} rows, {c} channels, {heads} heads");
        let shape: &[usize] = &[2, n, 3 * c];
        check(&what, &[shape], &|x| {
            attention(&(x[0] * 2.0)?, Attention { c: c as u32, heads })
        });
    }
}

#[test]
fn gradients_of_convolutions_are_slopes() {
    for (grid, kernel, stride, pad, ci, co) in [
        // Products shifted, and windows cut out.
        ([5, 6], 3, 1, 1, 6, 4),
        ([5, 6], 3, 1, 0, 6, 6),
        ([5, 6], 3, 1, 1, 4, 6),
        ([5, 6], 5, 1, 2, 4, 3),
        ([7, 6], 3, 2, 1, 6, 4),
        ([8, 8], 4, 4, 0, 3, 5),
        ([9, 8], 7, 2, 3, 3, 5),
    ] {
        let windows = Windows {
            grid,
            kernel: [kernel; 2],
            stride,
            pad,
        };
        let what = format!("{windows:?}");
        let x: &[usize] = &[2, grid[0] * grid[1], ci];
        let w: &[usize] = &[co, ci, kernel, kernel];
        check(&what, &[x, w], &|x| convolution(x[0], x[1], windows));
        let mut stream = Random::new(3);
        let (x, w) = (random(x, &mut stream), random(w, &mut stream));
        let got = convolution(&x, &w, windows).unwrap();
        // candle's own, channels first.
        let nchw = x
            .transpose(1, 2)
            .unwrap()
            .reshape((2, ci, grid[0], grid[1]))
            .unwrap();
        let want = nchw.conv2d(&w, pad, stride, 1, 1).unwrap();
        let want = want.flatten_from(2).unwrap().transpose(1, 2).unwrap();
        let error = (got - want).unwrap().abs().unwrap().max_all().unwrap();
        let error = error.to_scalar::<f32>().unwrap();
        assert!(error < 1e-5, "{what}: {error}");
    }
    let pools = [(2, 2, 0), (3, 2, 1), (3, 1, 1)];
    for (kernel, stride, pad) in pools {
        let windows = Windows {
            grid: [6, 7],
            kernel: [kernel; 2],
            stride,
            pad,
        };
        // Values far enough apart that the largest stays it.
        let mut order: Vec<f32> = (0..2 * 42 * 3).map(|i| i as f32 * 0.05).collect();
        let count = order.len();
        Random::new(1).shuffle(&mut order, count);
        let x = Tensor::from_vec(order, (2, 42, 3), &Device::Cpu).unwrap();
        check_from("max pool", &[x], &|x| max_pool(x[0], windows));
    }
    let cells = Windows {
        grid: [5, 7],
        kernel: [1; 2],
        stride: 2,
        pad: 0,
    };
    check("subsample", &[&[2, 35, 3]], &|x| subsample(x[0], cells));
    check("average", &[&[2, 35, 3]], &|x| average(x[0]));
}

#[test]
fn gradients_of_batch_norms_and_maps_are_slopes() {
    let shapes: [&[usize]; 3] = [&[3, 11, 5], &[5], &[5]];
    for batch in [false, true] {
        let norm = |x: &[&Tensor], act| {
            let statistics = if batch {
                Statistics::new(5, x[0])?
            } else {
                Statistics {
                    mean: vec![0.1, 0.2, -0.3, 0.0, 0.4],
                    variance: vec![0.5, 1.0, 0.3, 2.0, 0.1],
                }
            };
            batch_norm(x[0], [x[1], x[2]], (statistics, batch), 1e-3, act)
        };
        let what = format!("batch norm, {batch}");
        check(&what, &shapes, &|x| norm(x, Activation::Identity));
        // Channels that are far on one side of 0.
        let mut stream = Random::new(8);
        let mut inputs: Vec<Tensor> = shapes.iter().map(|s| random(s, &mut stream)).collect();
        let bias = vec![9.0f32, -9.0, 9.0, 9.0, -9.0];
        inputs[2] = Tensor::from_vec(bias, 5, &Device::Cpu).unwrap();
        check_from(&what, &inputs, &|x| norm(x, Activation::Relu));
    }
    check("min-max", &[&[2, 12, 1]], &|x| min_max(x[0]));
    let shapes: [&[usize]; 2] = [&[2, 12, 19], &[2, 12, 1]];
    check("mask", &shapes, &|x| multiply(x[0], x[1]));
    check("cross entropy", &[&[3, 1, 7]], &|x| {
        cross_entropy(x[0], &[2, 0, 6])
    });
}

#[test]
fn cells_that_share_an_extreme_share_its_gradient() {
    let x = Tensor::new(&[[0.0f32, 0.0, 1.0, 3.0]], &Device::Cpu).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let y = min_max(x.as_tensor()).unwrap();
    let store = y
        .narrow(1, 2, 1)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let gradient = store.get(x.as_tensor()).unwrap().flatten_all().unwrap();
    let got = gradient.to_vec1::<f32>().unwrap();
    // y = (x - a) / (b - a): dy/dx = 1/3, dy/da = (1/3 - 1) / 3, dy/db = -1/9.
    let want = [-1.0 / 9.0, -1.0 / 9.0, 1.0 / 3.0, -1.0 / 9.0];
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn entropies_are_those_of_the_formula_and_labels_are_checked() {
    let logits = Tensor::new(&[[1.0f32, 2.0, 3.0], [100.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &[0, 0])
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    let first = (1f64.exp() + 2f64.exp() + 3f64.exp()).ln() - 1.0;
    assert!((f64::from(loss) - first / 2.0).abs() < 1e-6);
    assert!(cross_entropy(&logits, &[0]).is_err());
    assert!(cross_entropy(&logits, &[0, 3]).is_err());
}

#[test]
fn resizing_is_what_the_core_does() {
    let mut stream = Random::new(4);
    let ([rows, cols], [h, w], c) = ([3, 4], [5, 7], 2);
    let map = random(&[rows * cols, c], &mut stream);
    let matrix = bilinear([rows, cols], [h, w]).unwrap().unwrap();
    let got = matrix
        .matmul(&map)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let mut want = vec![0.0; h * w * c];
    let shape = |h: usize, w: usize| elucid_core::Shape::new(h as u32, w as u32, c as u32);
    let context = hand::context(elucid_core::simd::Isa::detect());
    elucid_core::op::token::fuse(
        &context,
        (shape(rows, cols), shape(h, w)),
        (&values(&map).unwrap(), &vec![0.0; h * w * c]),
        &mut want,
    );
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
    assert!(bilinear([5, 7], [5, 7]).unwrap().is_none());
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut stream = Random::new(6);
            let mut var = |shape: &[usize]| Var::from_tensor(&random(shape, &mut stream)).unwrap();
            let (c, n) = (32, 45);
            let (x, w, bias) = (var(&[3, n, c]), var(&[3 * c, c]), var(&[3 * c]));
            let (scale, shift, kernel) = (var(&[c]), var(&[c]), var(&[c, c, 3, 3]));
            let windows = Windows {
                grid: [5, 9],
                kernel: [3; 2],
                stride: 1,
                pad: 1,
            };
            let heads = Attention { c: 32, heads: 2 };
            let y = layer_norm(&x, &scale, &shift, 1e-6)?;
            let y = dense(&y, &w, Some(&bias), Activation::Gelu)?;
            let y = convolution(&attention(&y, heads)?, &kernel, windows)?;
            let how = (Statistics::new(c, &y)?, true);
            let y = batch_norm(&y, [&scale, &shift], how, 1e-5, Activation::Relu)?;
            let y = max_pool(&y, windows)?;
            let store = y.sqr()?.sum_all()?.backward()?;
            let all = [x, w, bias, scale, shift, kernel];
            let gradients = all.map(|var| store.get(var.as_tensor()).unwrap().clone());
            (gradients.iter().chain([&y]))
                .map(|t| t.flatten_all()?.to_vec1::<f32>())
                .collect::<Result<Vec<_>>>()
        })
    };
    let one = run(1).unwrap();
    for threads in [2, 3] {
        assert_eq!(one, run(threads).unwrap());
    }
}
