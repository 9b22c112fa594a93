//! Whole networks against figures of the official implementation, every split and every layer. The exact preset,
//! which the official code doesn't have, is held against its contract: nothing is lost. Single layers and the block
//! are tested beside their code.

use super::block::Block;
use super::layer::extents;
use super::*;
use crate::tensors::{Worst, worst};

const CASES: [&str; 3] = [
    "basic_w8_32_random",
    "bottleneck_w4_32_random",
    "basic_w8_32_deadchannel",
];
/// Official runs in f64. Measured: 2.0e-15.
const DOUBLE: f64 = 1e-12;
/// Official runs in f32. Measured: 3.7e-6 on maps, 4.9e-6 on relevances, 7.2e-6 on logits.
const FLOAT: f64 = 2e-5;
/// `|m| / (|m| + |s|)` in f32 where both are close to 0. Measured: 2.0e-4.
const FLOAT_RATIO: f64 = 1e-3;

fn paper(split: Split) -> Rules {
    Rules::new(Preset::Paper, split)
}

/// Weights, official figures, and the figures of the official code with 0/0 = 1/2.
fn load(case: &str) -> (Tensors, Tensors, Tensors) {
    let folder = format!("{}/golden/{case}", env!("CARGO_MANIFEST_DIR"));
    let load = |name| Tensors::load(format!("{folder}/{name}.safetensors"));
    (
        load("weights"),
        Tensors::load_parts(&folder, "golden"),
        load("proposed"),
    )
}

/// The largest error of a group of comparisons; `cargo test -- --nocapture` shows it.
struct Agreement {
    group: &'static str,
    tolerance: f64,
    compared: usize,
    largest: f64,
}

impl Agreement {
    fn new(group: &'static str, tolerance: f64) -> Self {
        Self {
            group,
            tolerance,
            compared: 0,
            largest: 0.0,
        }
    }

    fn add(&mut self, what: &str, found: Worst) {
        assert!(
            found.error < self.tolerance,
            "{}, {what}: {found}",
            self.group
        );
        self.compared += 1;
        self.largest = self.largest.max(found.error);
    }
}

impl Drop for Agreement {
    fn drop(&mut self) {
        println!(
            "{}: {} tensors, largest error {:.1e}",
            self.group, self.compared, self.largest
        );
    }
}

/// The official code has no answer to 0/0: `flows_skip` is NaN wherever the dead channel's relevance spreads.
fn is_nan_on_purpose(case: &str, split: Split) -> bool {
    case == "basic_w8_32_deadchannel" && split == Split::Ratio
}

#[test]
fn official_maps_in_double_precision() {
    let mut agreement = Agreement::new("map64", DOUBLE);
    for case in CASES {
        let (weights, golden, _) = load(case);
        let network = ResNet::new(&weights, Architecture::default());
        for split in Split::ALL {
            let name = format!("lrp.{}.map64", split.official_name());
            if is_nan_on_purpose(case, split) {
                assert!(golden.get(&name).data.iter().any(|v| v.is_nan()));
                continue;
            }
            let trace = network.explain(golden.get("input"), &paper(split), None);
            agreement.add(
                &format!("{case} {name}"),
                worst(&trace.map, &golden.get(&name).data),
            );
        }
    }
}

#[test]
fn official_tensors_of_every_layer() {
    let mut scores = Agreement::new("logits, softmax", FLOAT);
    let mut maps = Agreement::new("map", FLOAT);
    let mut relevances = Agreement::new("relevance of every layer", FLOAT);
    let mut ratios = Agreement::new("ratio of every block", FLOAT_RATIO);
    for case in CASES {
        let (weights, golden, _) = load(case);
        let network = ResNet::new(&weights, Architecture::default());
        for split in Split::ALL {
            let trace = network.explain(golden.get("input"), &paper(split), None);
            scores.add(case, worst(&trace.logits, &golden.get("logits").data));
            scores.add(case, worst(&trace.softmax, &golden.get("softmax").data));
            let prefix = format!("lrp.{}", split.official_name());
            if is_nan_on_purpose(case, split) {
                continue;
            }
            maps.add(
                &format!("{case} {prefix}"),
                worst(&trace.map, &golden.get(&format!("{prefix}.map")).data),
            );
            let mut seen = 0;
            for name in golden.names() {
                let want = golden.get(name);
                if let Some(layer) = name.strip_prefix(&format!("{prefix}.R.")) {
                    assert_eq!(trace.relevance[layer].shape, want.shape, "{name}");
                    relevances.add(
                        &format!("{case} {name}"),
                        worst(&trace.relevance[layer].data, &want.data),
                    );
                    seen += 1;
                } else if let Some(block) = name.strip_prefix(&format!("{prefix}.ratio.")) {
                    assert_eq!(trace.ratio[block].shape, want.shape, "{name}");
                    ratios.add(
                        &format!("{case} {name}"),
                        worst(&trace.ratio[block].data, &want.data),
                    );
                    seen += 1;
                }
            }
            assert_eq!(
                seen,
                trace.relevance.len() + trace.ratio.len(),
                "{case} {prefix}"
            );
        }
    }
}

#[test]
fn other_stand_ins_for_the_max_pool() {
    let mut winner = Agreement::new("stem_max", FLOAT);
    let mut average = Agreement::new("stem_avg3", FLOAT);
    for case in CASES {
        let (weights, golden, _) = load(case);
        let network = ResNet::new(&weights, Architecture::default());
        for split in Split::ALL
            .into_iter()
            .filter(|&split| !is_nan_on_purpose(case, split))
        {
            let variants = [
                (Pool::Winner, "stem_max", &mut winner),
                (Pool::WindowAverage, "stem_avg3", &mut average),
            ];
            for (pool, variant, agreement) in variants {
                let rules = Rules {
                    pool,
                    ..paper(split)
                };
                let trace = network.explain(golden.get("input"), &rules, None);
                let name = format!("lrp.{}.{variant}.map", split.official_name());
                agreement.add(
                    &format!("{case} {name}"),
                    worst(&trace.map, &golden.get(&name).data),
                );
            }
        }
    }
}

#[test]
fn zero_over_zero_is_one_half() {
    let mut agreement = Agreement::new("safe.*", FLOAT);
    for case in CASES {
        let (weights, golden, proposed) = load(case);
        let network = ResNet::new(&weights, Architecture::default());
        for split in [Split::Ratio, Split::ProjectionRatio] {
            for (pool, variant) in [
                (Pool::HalfAverage, "avg2"),
                (Pool::WindowAverage, "avg3"),
                (Pool::Winner, "max"),
            ] {
                let trace = network.explain(
                    golden.get("input"),
                    &Rules {
                        pool,
                        ..paper(split)
                    },
                    None,
                );
                let name = format!("safe.{}.stem_{variant}.map", split.official_name());
                agreement.add(
                    &format!("{case} {name}"),
                    worst(&trace.map, &proposed.get(&name).data),
                );
            }
        }
    }
}

#[test]
fn official_ratio_is_nan_exactly_where_both_branches_are_zero() {
    let (weights, golden, _) = load("basic_w8_32_deadchannel");
    let network = ResNet::new(&weights, Architecture::default());
    let trace = network.explain(golden.get("input"), &paper(Split::Ratio), None);
    let mut undefined = 0;
    for (block, ratio) in &trace.ratio {
        let want = &golden.get(&format!("lrp.flows_skip.ratio.{block}")).data;
        for (i, (&got, &want)) in ratio.data.iter().zip(want).enumerate() {
            if want.is_nan() {
                assert_eq!(got, 0.5, "{block}[{i}]");
                undefined += 1;
            } else {
                assert!(
                    (got - want).abs() < FLOAT_RATIO,
                    "{block}[{i}]: {got} for {want}"
                );
            }
        }
    }
    assert!(undefined > 0);
}

#[test]
fn exact_preset_conserves_at_every_layer() {
    for case in CASES {
        let (weights, golden, _) = load(case);
        let network = ResNet::new(&weights, Architecture::default());
        for split in Split::ALL {
            for pool in [Pool::Winner, Pool::HalfAverage, Pool::WindowAverage] {
                let rules = Rules {
                    pool,
                    ..Rules::new(Preset::Exact, split)
                };
                for target in [None, Some(0)] {
                    let trace = network.explain(golden.get("input"), &rules, target);
                    let p = trace.softmax[trace.target];
                    for (layer, r) in &trace.relevance {
                        assert!(
                            (r.sum() / p - 1.0).abs() < 1e-12,
                            "{case} {rules:?} {layer}: {} of {p}",
                            r.sum()
                        );
                        assert!(
                            r.data.iter().all(|&v| v >= 0.0),
                            "{case} {rules:?} {layer}: negative relevance"
                        );
                    }
                    assert!((trace.map.iter().sum::<f64>() / p - 1.0).abs() < 1e-12);
                }
            }
        }
    }
}

/// Weights of a convolution and its batch normalisation from a fixed pseudo-random sequence.
fn insert_layer(weights: &mut Tensors, seed: &mut u64, conv: &str, norm: &str, shape: [usize; 4]) {
    let mut next = || {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*seed >> 11) as f64 / (1u64 << 53) as f64
    };
    let kernel = (0..shape.iter().product()).map(|_| next() - 0.5).collect();
    weights.insert(&format!("{conv}.weight"), Tensor::new(&shape, kernel));
    for (part, low) in [
        ("weight", 0.5),
        ("bias", -0.5),
        ("running_mean", -0.5),
        ("running_var", 0.5),
    ] {
        let values = (0..shape[0]).map(|_| next() + low).collect();
        weights.insert(&format!("{norm}.{part}"), Tensor::new(&[shape[0]], values));
    }
}

/// A random image and a random head for `features` channels.
fn insert_head(weights: &mut Tensors, head: &str, features: usize) -> Tensor {
    let row = |i: usize| (i as f64 * 0.7).sin();
    weights.insert(
        &format!("{head}.weight"),
        Tensor::new(&[3, features], (0..3 * features).map(row).collect()),
    );
    weights.insert(
        &format!("{head}.bias"),
        Tensor::new(&[3], vec![0.1, -0.2, 0.3]),
    );
    Tensor::new(&[1, 3, 9, 9], (0..243).map(row).collect())
}

#[test]
fn cifar_network_with_option_a_shortcuts() {
    let mut weights = Tensors::default();
    let mut seed = 5;
    insert_layer(&mut weights, &mut seed, "conv1", "bn1", [4, 3, 3, 3]);
    for (block, from, to) in [("layer1.0", 4, 4), ("layer2.0", 4, 8), ("layer2.1", 8, 8)] {
        insert_layer(
            &mut weights,
            &mut seed,
            &format!("{block}.conv1"),
            &format!("{block}.bn1"),
            [to, from, 3, 3],
        );
        insert_layer(
            &mut weights,
            &mut seed,
            &format!("{block}.conv2"),
            &format!("{block}.bn2"),
            [to, to, 3, 3],
        );
    }
    let input = insert_head(&mut weights, "linear", 8);
    let network = ResNet::new(
        &weights,
        Architecture {
            stem: Stem::ThreeByThree,
            pool: false,
            ..Architecture::default()
        },
    );

    let trace = network.explain(&input, &Rules::new(Preset::Exact, Split::Half), None);
    assert_eq!(trace.relevance["conv1"].shape, [1, 3, 9, 9]);
    assert_eq!(trace.relevance["layer2.1"].shape, [1, 8, 5, 5]);
    assert!(!trace.relevance.contains_key("maxpool"));
    // Channels 0, 1, 6, 7 of the 8 are padding: only the residual branch leads anywhere.
    for (i, &rho) in trace.ratio["layer2.0"].data.iter().enumerate() {
        assert_eq!(rho, if (2..6).contains(&(i / 25)) { 0.5 } else { 1.0 });
    }
    for split in Split::ALL {
        let trace = network.explain(&input, &Rules::new(Preset::Exact, split), None);
        let sum: f64 = trace.map.iter().sum();
        assert!(
            (sum / trace.softmax[trace.target] - 1.0).abs() < 1e-12,
            "{split:?}: {sum}"
        );
    }

    // The shortcut itself: pixel (2y, 2x) of channel c arrives at (y, x) of channel c + 2.
    let stride_on = StrideOn::ThreeByThree;
    let block = Block {
        weights: &weights,
        prefix: "layer2.0.".to_owned(),
        stride: 2,
        stride_on,
        bn_eps: 1e-5,
    };
    let a = &trace.output["layer1.0"];
    let pass = block.forward(a);
    assert_eq!(pass.skip.shape, [1, 8, 5, 5]);
    for (i, &s) in pass.skip.data.iter().enumerate() {
        let (c, y, x) = (i / 25, i / 5 % 5, i % 5);
        let want = if (2..6).contains(&c) {
            a.data[((c - 2) * 9 + 2 * y) * 9 + 2 * x]
        } else {
            0.0
        };
        assert_eq!(s, want);
    }
}

#[test]
fn stride_on_the_first_pointwise_convolution() {
    let mut weights = Tensors::default();
    let mut seed = 7;
    insert_layer(&mut weights, &mut seed, "conv1", "bn1", [4, 3, 7, 7]);
    for (stage, from, width) in [(1, 4, 2), (2, 8, 4)] {
        let name = |layer: &str| format!("layer{stage}.0.{layer}");
        let mut insert = |conv, norm, shape| {
            insert_layer(&mut weights, &mut seed, &name(conv), &name(norm), shape);
        };
        insert("conv1", "bn1", [width, from, 1, 1]);
        insert("conv2", "bn2", [width, width, 3, 3]);
        insert("conv3", "bn3", [4 * width, width, 1, 1]);
        insert("downsample.0", "downsample.1", [4 * width, from, 1, 1]);
    }
    let input = insert_head(&mut weights, "fc", 16);
    let explain = |stride_on| {
        let network = ResNet::new(
            &weights,
            Architecture {
                stride_on,
                bn_eps: 1.001e-5,
                ..Architecture::default()
            },
        );
        network.explain(&input, &Rules::new(Preset::Exact, Split::Ratio), Some(2))
    };
    let (late, early) = (
        explain(StrideOn::ThreeByThree),
        explain(StrideOn::FirstOneByOne),
    );
    assert_eq!(
        late.output["layer2.0"].shape,
        early.output["layer2.0"].shape
    );
    assert!(
        worst(&early.logits, &late.logits).error > 1e-3,
        "the position of the stride makes no difference"
    );

    // With the stride on both 1x1 convolutions, three quarters of the stage's input get nothing.
    let untouched = |trace: &Trace| {
        trace.relevance["layer2.0"]
            .data
            .iter()
            .filter(|&&r| r == 0.0)
            .count()
    };
    let [_, channels, height, width] = extents(&early.relevance["layer2.0"]);
    assert!(
        untouched(&early) >= channels * (height * width - height.div_ceil(2) * width.div_ceil(2))
    );
    for trace in [late, early] {
        let sum: f64 = trace.map.iter().sum();
        assert!((sum / trace.softmax[2] - 1.0).abs() < 1e-12, "{sum}");
    }
}
