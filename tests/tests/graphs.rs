//! Graphs that the format allows and no architecture makes: they run and conserve relevance whatever is kept of them, or
//! say why not.

use std::ops::Range;

use elucid_core::graph::{NONE, Op, Pool, Skip, Subsample};
use elucid_core::op::head::Seed;
use elucid_core::plan::{Memory, Options};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Model, Shape};
use elucid_core::{cpu::Cpu, explain::Explainer, par::Serial};
use elucid_host::aligned::Aligned;
use elucid_host::engine::PlanMemory;
use elucid_tests::forge::Graph;
use elucid_tests::robustness::{cases, caught, exercise};
use elucid_tests::schedule::check;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// Graphs that the format allows and no architecture makes.
fn oddities() -> Vec<(&'static str, Graph)> {
    let pool = |kernel, stride, pad| {
        Op::MaxPool(Pool {
            kernel,
            stride,
            pad,
        })
    };
    let add = |relu| Op::Add {
        skip: Skip::Identity,
        relu,
    };
    let mut all = Vec::new();
    let mut graph = |name, make: &dyn Fn(&mut Graph)| {
        let mut g = Graph::new(3);
        make(&mut g);
        all.push((name, g));
    };
    graph("linear on the image", &|g| {
        g.linear(0, 3, 2);
    });
    graph("average of the image", &|g| {
        let x = g.push(Op::AvgPool, [0, NONE]);
        g.linear(x, 3, 2);
    });
    graph("max pool of the image", &|g| {
        let x = g.push(pool(3, 2, 1), [0, NONE]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 3, 2);
    });
    graph("subsampled image", &|g| {
        let subsample = Subsample {
            stride: 2,
            before: 1,
            after: 3,
        };
        let x = g.push(Op::Subsample(subsample), [0, NONE]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 7, 2);
    });
    graph("image plus a convolution of it", &|g| {
        let x = g.conv(0, (3, 3), (3, 1));
        let x = g.push(add(true), [x, 0]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 3, 2);
    });
    graph("image as the residual branch", &|g| {
        let x = g.conv(0, (3, 3), (3, 1));
        let x = g.push(add(false), [0, x]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 3, 2);
    });
    graph("a sum of one node with itself", &|g| {
        let x = g.conv(0, (3, 4), (3, 1));
        let x = g.push(add(true), [x, x]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 4, 2);
    });
    graph("a sum of sums", &|g| {
        let a = g.conv(0, (3, 4), (3, 1));
        let b = g.conv(a, (4, 4), (3, 1));
        let c = g.push(add(true), [a, b]);
        let d = g.push(add(true), [c, b]);
        let e = g.push(add(true), [d, a]);
        let x = g.push(Op::AvgPool, [e, NONE]);
        g.linear(x, 4, 2);
    });
    graph("a dead end", &|g| {
        let x = g.conv(0, (3, 4), (3, 1));
        g.conv(0, (3, 2), (3, 1));
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 4, 2);
    });
    graph("linear layers in a row", &|g| {
        let x = g.push(Op::AvgPool, [0, NONE]);
        let x = g.linear(x, 3, 5);
        let x = g.linear(x, 5, 4);
        g.linear(x, 4, 2);
    });
    graph("convolutions behind a linear layer", &|g| {
        let x = g.push(Op::AvgPool, [0, NONE]);
        let x = g.linear(x, 3, 5);
        let x = g.conv(x, (5, 20), (3, 2));
        g.linear(x, 20, 2);
    });
    graph("wide kernels and strides", &|g| {
        let x = g.conv(0, (3, 18), (11, 16));
        let x = g.conv(x, (18, 5), (9, 3));
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 5, 2);
    });
    graph("windows that lie in the padding", &|g| {
        let x = g.conv(0, (3, 4), (3, 1));
        let x = g.push(pool(9, 1, 8), [x, NONE]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 4, 2);
    });
    graph("a pool whose stride exceeds its window", &|g| {
        let x = g.conv(0, (3, 4), (3, 1));
        let x = g.push(pool(1, 4, 0), [x, NONE]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 4, 2);
    });
    graph("wide channels made of zeros", &|g| {
        let subsample = Subsample {
            stride: 1,
            before: 500,
            after: 0,
        };
        let x = g.push(Op::Subsample(subsample), [0, NONE]);
        let x = g.push(Op::AvgPool, [x, NONE]);
        g.linear(x, 503, 2);
    });
    all
}

#[test]
fn odd_graphs_run_or_say_why_not() {
    let mut wrong = Vec::new();
    for (name, graph) in oddities() {
        if let Err(error) = caught(|| exercise(&graph.bytes())) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is added to a random graph, reading nodes that exist (modulo their number).
#[derive(Clone, Copy, Debug)]
enum Piece {
    Conv(usize, u16),
    /// A convolution without ReLU, added to another node at once, as blocks end.
    Residual(usize, usize),
    Add(usize, usize),
    Pool(usize),
    Subsample(usize),
    Segment,
    Stage,
}

fn piece() -> impl Strategy<Value = Piece> {
    let node = 0..64usize;
    prop_oneof![
        3 => (node.clone(), prop::sample::select(&[1u16, 3][..])).prop_map(|(x, k)| Piece::Conv(x, k)),
        3 => (node.clone(), node.clone()).prop_map(|(x, y)| Piece::Residual(x, y)),
        2 => (node.clone(), node.clone()).prop_map(|(x, y)| Piece::Add(x, y)),
        1 => node.clone().prop_map(Piece::Pool),
        1 => node.prop_map(Piece::Subsample),
        2 => Just(Piece::Segment),
        1 => Just(Piece::Stage),
    ]
}

/// A graph in which every node but the head has the same shape, so that any two can be added.
fn assemble(pieces: &[Piece]) -> Vec<u8> {
    let mut g = Graph::new(9);
    // Nodes that may be read: never the image, and nothing negative.
    let mut open = vec![g.conv(0, (3, 5), (3, 1))];
    let add = Op::Add {
        skip: Skip::Identity,
        relu: true,
    };
    for &piece in pieces {
        let at = |i: usize| open[i % open.len()];
        let new = match piece {
            Piece::Conv(x, k) => g.conv(at(x), (5, 5), (k, 1)),
            // A sum of one node with itself can't be split.
            Piece::Add(x, y) if at(x) == at(y) => g.conv(at(x), (5, 5), (1, 1)),
            Piece::Residual(x, y) => {
                let branch = g.bare_conv(at(x), (5, 5), (3, 1));
                g.push(add, [branch, at(y)])
            }
            Piece::Add(x, y) => g.push(add, [at(x), at(y)]),
            Piece::Pool(x) => {
                let pool = Pool {
                    kernel: 3,
                    stride: 1,
                    pad: 1,
                };
                g.push(Op::MaxPool(pool), [at(x), NONE])
            }
            Piece::Subsample(x) => {
                let subsample = Subsample {
                    stride: 1,
                    before: 0,
                    after: 0,
                };
                g.push(Op::Subsample(subsample), [at(x), NONE])
            }
            Piece::Segment => {
                g.next_segment();
                continue;
            }
            // Stages may begin within blocks, too.
            Piece::Stage => {
                g.next_stage();
                continue;
            }
        };
        open.push(new);
    }
    g.next_segment();
    let last = open[open.len() - 1];
    let x = g.push(Op::AvgPool, [last, NONE]);
    g.linear(x, 5, 3);
    g.bytes()
}

/// The maps of one class of some images, as bits, and how much of the relevance arrived; `None` where relevance cannot flow.
fn maps(
    bytes: &[u8],
    split: Split,
    (memory_mode, half): (Memory, bool),
    images: Range<usize>,
) -> Option<Vec<(Vec<u32>, f64)>> {
    let bytes = Aligned::copy_of(bytes);
    let model = Model::parse(bytes.bytes()).unwrap();
    let mut memory = PlanMemory::new(&model);
    let options = Options {
        images: images.len(),
        memory: memory_mode,
        half,
        ..Options::new(Shape::new(6, 5, 3), Some(Composite::exact(split)))
    };
    let plan = memory.plan(&model, &options).ok()?;
    check(&plan, "a plan");
    let mut arena = vec![f32::NAN; plan.arena()];
    let mut explainer = Explainer::new(plan, Cpu::new(&model, &plan, &mut arena, &Serial).unwrap());
    let size = options.image.elements();
    let batch: Vec<f32> = images
        .clone()
        .flat_map(|image| (0..size).map(move |i| ((image * size + i) as f32).sin()))
        .collect();
    explainer.forward(&batch).unwrap();
    let mut seeds = vec![Seed::default(); images.len()];
    let targets = vec![Target::Predicted; images.len()];
    explainer
        .maps(&targets, Init::One, &mut seeds, None)
        .unwrap();
    let mut maps = vec![0.0; options.image.pixels() * images.len()];
    explainer.heat(&mut maps).unwrap();
    let each = maps.chunks(options.image.pixels()).map(|map: &[f32]| {
        (
            map.iter().map(|v| v.to_bits()).collect(),
            map.iter().map(|&v| f64::from(v)).sum(),
        )
    });
    Some(each.collect())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(1000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_graph_conserves_whatever_is_kept(pieces in vec(piece(), 0..16)) {
        let bytes = assemble(&pieces);
        for (split, _) in Split::ALL {
            let run = |mode, half, images: Range<usize>| {
                caught(|| maps(&bytes, split, (mode, half), images)).map_err(TestCaseError::fail)
            };
            let keep = run(Memory::Keep, false, 0..2)?;
            for (_, sum) in keep.iter().flatten() {
                prop_assert!((sum - 1.0).abs() < 1e-4, "{split:?}: {sum}");
            }
            for (mode, _) in Memory::ALL {
                let other = run(mode, false, 0..2)?;
                prop_assert_eq!(&keep, &other, "{:?}, {:?}", split, mode);
                // Rounded alike in a batch and alone.
                let half = run(mode, true, 0..2)?;
                let alone = [run(mode, true, 0..1)?, run(mode, true, 1..2)?];
                let alone: Option<Vec<_>> = alone.into_iter().collect();
                prop_assert_eq!(half, alone.map(|a| a.concat()), "{:?}, {:?}", split, mode);
            }
        }
    }
}

#[test]
fn a_block_of_one_convolution() {
    // relu(conv(x) + x): the convolution reads what it is added to.
    let mut g = Graph::new(9);
    let x = g.conv(0, (3, 5), (3, 1));
    g.next_segment();
    let branch = g.bare_conv(x, (5, 5), (3, 1));
    let add = Op::Add {
        skip: Skip::Identity,
        relu: true,
    };
    let x = g.push(add, [branch, x]);
    for _ in 0..2 {
        g.next_segment();
    }
    let x = g.push(Op::AvgPool, [x, NONE]);
    g.linear(x, 5, 3);
    for (split, _) in Split::ALL {
        for (mode, _) in Memory::ALL {
            let found = maps(&g.bytes(), split, (mode, false), 0..1).unwrap();
            let (_, sum) = found[0];
            assert!((sum - 1.0).abs() < 1e-4, "{split:?}, {mode:?}: {sum}");
        }
    }
}
