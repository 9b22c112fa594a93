//! The tape against the core and against itself: the same values from the same networks, and gradients that are the slopes of
//! these values.

use candle_core::{Device, Tensor};
use elucid_core::arch::ala::{Ala, Dropout};
use elucid_core::arch::resnet::{Resnet, Shortcut};
use elucid_core::arch::vit::{CLIP, TIMM, Vit};
use elucid_core::builder::{Builder, Name, Role};
use elucid_core::graph::{
    Activation, Affine, Attention, Conv, Linear, NONE, NodeId, Norm, Op, Part, Pool, Positions,
    Skip, Subsample, Tokens,
};
use elucid_core::model::Preprocess;
use elucid_core::{Error, Shape};
use elucid_host::architecture::Network;
use elucid_host::classifier::Classifier;
use elucid_host::engine::Threads;
use elucid_host::import::{Options, import};
use elucid_host::model_file::ModelBytes;
use elucid_host::preprocess;
use elucid_host::synthetic::{self, Random};
use elucid_host::train::parameters::Parameters;
use elucid_host::train::tape::{Mode, Pass, Tape};

use super::{EPS, compare, doubles, floats};

fn name(text: &str) -> Name {
    Name::new(format_args!("{text}"))
}

fn conv(
    b: &mut Builder<'_>,
    text: &str,
    x: NodeId,
    (ci, co): (u32, u32),
    (kernel, stride, pad): (u16, u16, u16),
    norm: Option<&str>,
) -> Result<NodeId, Error> {
    let k = u32::from(kernel);
    let dims = [co, ci, k, k];
    let weight = b.tensor(name(&format!("{text}.weight")), Role::ConvWeight, dims)?;
    let (scale, shift, act) = match norm {
        Some(norm) => (
            b.tensor(name(norm), Role::NormScale, [co, 1, 1, 1])?,
            b.tensor(name(norm), Role::NormShift, [co, 1, 1, 1])?,
            Activation::Relu,
        ),
        None => {
            let bias = name(&format!("{text}.bias"));
            let bias = b.tensor(bias, Role::Bias, [co, 1, 1, 1])?;
            (NONE, bias, Activation::Gelu)
        }
    };
    let conv = Conv {
        ci,
        co,
        kh: kernel,
        kw: kernel,
        stride,
        pad,
        weight,
        scale,
        shift,
        act,
    };
    b.push(name(text), Op::Conv(conv), [x, NONE])
}

fn linear(b: &mut Builder<'_>, text: &str, x: NodeId, ci: u32, co: u32) -> Result<NodeId, Error> {
    let dims = [co, ci, 1, 1];
    let weight = b.tensor(name(&format!("{text}.weight")), Role::LinearWeight, dims)?;
    let bias = b.tensor(name(&format!("{text}.bias")), Role::Bias, [co, 1, 1, 1])?;
    let linear = Linear {
        ci,
        co,
        weight,
        bias,
    };
    b.push(name(text), Op::Linear(linear), [x, NONE])
}

/// A norm of five channels and a fully connected layer of three inputs and four outputs.
pub struct Small;

/// Every operation there is, on grids of which no two have the same sides.
struct Odd;

impl Network for Small {
    fn capacity(&self) -> (usize, usize) {
        (8, 8)
    }

    fn build(&self, b: &mut Builder<'_>) -> Result<(), Error> {
        let image = b.push(name("image"), Op::Input, [NONE; 2])?;
        conv(b, "conv1", image, (3, 5), (1, 1, 0), Some("bn1"))?;
        let x = b.push(name("pooled"), Op::AvgPool, [image, NONE])?;
        linear(b, "fc", x, 3, 4)?;
        Ok(())
    }

    fn describe(&self) -> String {
        "small network".to_owned()
    }

    fn classes(&self) -> u32 {
        4
    }

    fn preprocess(&self) -> Preprocess {
        preprocess::CIFAR
    }
}

impl Network for Odd {
    fn capacity(&self) -> (usize, usize) {
        (64, 64)
    }

    fn build(&self, b: &mut Builder<'_>) -> Result<(), Error> {
        let (c, image) = (8, b.push(name("image"), Op::Input, [NONE; 2])?);
        let x = conv(b, "patches", image, (3, c), (12, 12, 0), None)?;
        let (role, tokens) = (Role::Table { from: 0 }, 3);
        let weight = b.tensor(name("tokens"), role, [tokens, c, 1, 1])?;
        let op = Op::Tokens(Tokens {
            count: tokens,
            c,
            weight,
        });
        let x = b.push(name("with_tokens"), op, [x, NONE])?;
        let op = Op::Positions(Positions {
            c,
            count: tokens,
            rows: 3,
            cols: 2,
            tokens: b.tensor(name("positions"), role, [tokens, c, 1, 1])?,
            grid: b.tensor(
                name("positions"),
                Role::Table { from: tokens },
                [6, c, 1, 1],
            )?,
            larger: false,
        });
        let x = b.push(name("placed"), op, [x, NONE])?;
        let op = Op::Norm(Norm {
            c,
            eps: 1e-5,
            weight: b.tensor(name("norm.weight"), Role::Factors, [c, 1, 1, 1])?,
            bias: b.tensor(name("norm.bias"), Role::Summands, [c, 1, 1, 1])?,
        });
        let x = b.push(name("norm"), op, [x, NONE])?;
        let qkv = conv(b, "qkv", x, (c, 3 * c), (1, 1, 0), None)?;
        let op = Op::Attention(Attention { c, heads: 2 });
        let attended = b.push(name("attention"), op, [qkv, NONE])?;
        let add = |relu| Op::Add {
            skip: Skip::Identity,
            relu,
        };
        let x = b.push(name("sum"), add(false), [attended, x])?;
        let map = conv(b, "conv", image, (3, c), (3, 2, 1), Some("bn"))?;
        let pool = Op::MaxPool(Pool {
            kernel: 3,
            stride: 2,
            pad: 1,
        });
        let map = b.push(name("pool"), pool, [map, NONE])?;
        let x = b.push(name("fused"), Op::Fuse, [map, x])?;
        let queries = b.push(name("queries"), Op::Slice(Part::Tokens), [x, NONE])?;
        let grid = b.push(name("grid"), Op::Slice(Part::Grid), [x, NONE])?;
        let masks = b.push(name("masks"), Op::MatMul, [queries, grid])?;
        let reduced = conv(b, "reduced", masks, (tokens, 1), (1, 1, 0), None)?;
        let map = b.push(name("map"), Op::MinMax, [reduced, NONE])?;
        let masked = b.push(name("masked"), Op::MulMap, [grid, map])?;
        let affine = Op::Affine(Affine {
            c,
            scale: b.tensor(name("affine"), Role::NormScale, [c, 1, 1, 1])?,
            shift: b.tensor(name("affine"), Role::NormShift, [c, 1, 1, 1])?,
        });
        let x = b.push(name("affine"), affine, [masked, NONE])?;
        let wide = conv(b, "wide", x, (c, 11), (3, 2, 1), None)?;
        let op = Op::Subsample(Subsample {
            stride: 2,
            before: 1,
            after: 2,
        });
        let skip = b.push(name("skip"), op, [x, NONE])?;
        let x = b.push(name("rectified"), add(true), [wide, skip])?;
        let x = conv(b, "narrow", x, (11, 6), (3, 1, 1), None)?;
        let x = conv(b, "spaced", x, (6, 6), (1, 2, 0), None)?;
        let x = b.push(name("pooled"), Op::AvgPool, [x, NONE])?;
        linear(b, "fc", x, 6, 5)?;
        Ok(())
    }

    fn describe(&self) -> String {
        "odd network".to_owned()
    }

    fn classes(&self) -> u32 {
        5
    }

    fn preprocess(&self) -> Preprocess {
        preprocess::CIFAR
    }
}

/// Networks of all kinds with image sizes that their positions weren't made for.
fn networks() -> Vec<(Box<dyn Network>, [u32; 2])> {
    let clip = Vit {
        names: CLIP,
        prefix: "clip.",
        patch: 8,
        width: 24,
        depth: 4,
        heads: 3,
        mlp: 40,
        grid: [3, 3],
        act: Activation::QuickGelu,
        eps: 1e-5,
        patch_bias: false,
        input_bias: true,
        larger: false,
        outputs: 5,
    };
    let timm = Vit {
        names: TIMM,
        prefix: "",
        act: Activation::Gelu,
        patch_bias: true,
        larger: true,
        ..clip
    };
    let mut ala = Ala::published(clip, 16, 7);
    ala.depth = 5;
    ala.patch = 8;
    ala.queries = 6;
    ala.grid = [5, 5];
    ala.decoder = [20, 12];
    ala.perception = [16, 12, 20, 18];
    ala.head = [22, 30, 22];
    let mut padded = Resnet::cifar(1, 8, 10);
    padded.shortcut = Shortcut::Pad;
    vec![
        (Box::new(Vit { prefix: "", ..clip }), [32, 40]),
        (Box::new(timm), [32, 24]),
        (Box::new(ala), [40, 48]),
        (Box::new(Resnet::imagenet(18, 8, 10).unwrap()), [64, 48]),
        (Box::new(Resnet::imagenet(50, 8, 10).unwrap()), [48, 64]),
        (Box::new(padded), [32, 28]),
        (Box::new(Odd), [60, 84]),
    ]
}

fn picture(random: &mut Random, [h, w]: [u32; 2], images: usize) -> Tensor {
    let shape = (images, (h * w) as usize, 3);
    let data: Vec<f32> = (0..images * (h * w) as usize * 3)
        .map(|_| random.draw())
        .collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

#[test]
fn values_are_the_cores() {
    for (net, size) in networks() {
        let what = net.describe();
        let checkpoint = synthetic::checkpoint(&*net, 5).unwrap();
        let options = Options {
            bn_eps: EPS,
            half: false,
            preprocess: net.preprocess(),
            classes: Vec::new(),
        };
        let bytes = import(&checkpoint, &*net, &options).unwrap();
        let bytes = ModelBytes::from_bytes(&bytes, "a network");
        let model = bytes.parse().unwrap();
        let threads = Threads::new(1).unwrap();
        let shape = Shape::new(size[0], size[1], 3);
        let images = picture(&mut Random::new(3), size, 2);
        let mut classifier = Classifier::new(&model, shape, &threads);
        let want = classifier.logits(&floats(&images)).unwrap();
        let want: Vec<f64> = want.iter().map(|&v| f64::from(v)).collect();
        let tape = Tape::new(&*net, EPS).unwrap();
        let parameters = Parameters::new(&checkpoint, &*net).unwrap();
        let (image, last) = (tape.node("image").unwrap(), tape.last());
        let got = tape.run(&parameters, &[(image, images)], &[last], Pass::eval(size));
        compare(&got.unwrap()[0], &want, 2e-5, &what);
    }
}

/// The loss of a network with its parameters moved along random signs.
#[test]
fn gradients_of_whole_networks_are_slopes() {
    for (net, size) in networks() {
        for train in [false, true] {
            let what = format!("{}, training {train}", net.describe());
            let checkpoint = synthetic::checkpoint(&*net, 5).unwrap();
            let tape = Tape::new(&*net, EPS).unwrap();
            let image = tape.node("image").unwrap();
            let images = picture(&mut Random::new(3), size, 3);
            // Of the dropped cells of a map, one is its minimum: let it be the same in all runs.
            let dropouts = [Dropout {
                node: "perception_branch.pooled",
                share: 0.25,
            }];
            let loss = |parameters: &Parameters| {
                let mut random = Random::new(9);
                let mode = match train {
                    true => Mode::Train {
                        random: &mut random,
                        dropouts: &dropouts,
                    },
                    false => Mode::Eval,
                };
                let pass = Pass {
                    mode,
                    ..Pass::eval(size)
                };
                let given = [(image, images.clone())];
                let outputs = tape.run(parameters, &given, &[tape.last()], pass).unwrap();
                let weights = [0.7f32, -1.3, 0.9];
                let classes = outputs[0].dim(2).unwrap();
                let weights: Vec<f32> = (0..3 * classes).map(|i| weights[i % 3]).collect();
                let weights = Tensor::from_vec(weights, (3, 1, classes), &Device::Cpu).unwrap();
                (&outputs[0] * weights).unwrap()
            };
            let mut parameters = Parameters::new(&checkpoint, &*net).unwrap();
            parameters.train(|_, _| true);
            let outputs = loss(&parameters);
            let magnitude: f64 = doubles(&outputs).iter().map(|v| v.abs()).sum();
            let sum = outputs.sum_all().unwrap();
            let gradients = parameters.gradients(&sum.backward().unwrap());
            let mut trained = parameters.iter().filter(|(_, p)| p.trained);
            assert!(
                trained.all(|(name, _)| gradients.contains_key(name)),
                "{what}: not all parameters are reached"
            );
            // Of many parameters a third will do: each costs several passes.
            let every = if gradients.len() > 60 { 3 } else { 1 };
            for (name, gradient) in gradients.iter().step_by(every) {
                let values = floats(gradient);
                let norm: f64 = values
                    .iter()
                    .map(|&g| f64::from(g).powi(2))
                    .sum::<f64>()
                    .sqrt();
                let at = |factor: f64| {
                    let mut moved = checkpoint.clone();
                    let tensor = moved.tensors.get_mut(name).unwrap();
                    for (x, g) in tensor.data.iter_mut().zip(&values) {
                        *x += (factor * f64::from(*g)) as f32;
                    }
                    let parameters = Parameters::new(&moved, &*net).unwrap();
                    doubles(&loss(&parameters)).iter().sum::<f64>()
                };
                // Along the gradient, where the slope is steepest, and so far that the loss moves by some of its digits. Of
                // several lengths the best counts: ReLUs and maxima bend the long ones, f32 roughens the short ones.
                let error = |share: f64| {
                    let step = share * magnitude / (norm * norm).max(1e-6);
                    let difference = (at(step) - at(-step)) / (2.0 * step);
                    (difference - norm * norm).abs()
                };
                let most = 0.03 * norm * norm + 1e-4 * magnitude;
                let errors = [1e-3, 1e-4, 3e-5, 1e-5].into_iter().map(error);
                let (mut found, mut tried) = (false, Vec::new());
                for error in errors {
                    tried.push(error);
                    found = error <= most;
                    if found {
                        break;
                    }
                }
                assert!(
                    found,
                    "{what}: {name}: {tried:?} of {}, loss {magnitude}",
                    norm * norm
                );
            }
        }
    }
}
