//! The networks of the suite. Widths are no multiples of the sixteen lanes and images have odd sides unless a case is
//! about something else.
//!
//! What a case draws follows from its name. Should a new case differ by a few 1e-5 with the paper preset alone, look for
//! a cell of the stem whose value is about eps: there `a / (z + eps)` turns rounding of the forward pass into relevance,
//! in any f32 implementation. Another name draws another image.

use elucid_core::arch::resnet::{Head, Resnet, Shortcut, StrideOn};
use elucid_host::checkpoint::Checkpoint;

use super::{Case, basic, bottleneck, small};

/// A network and what it is for.
type Network = (&'static str, fn(&'static str) -> Case);

/// Turns every third gamma negative: a BatchNorm that was folded into its convolution would show.
fn negative_gammas(checkpoint: &mut Checkpoint) {
    for (name, tensor) in &mut checkpoint.tensors {
        if tensor.shape.len() == 1 && name.ends_with(".weight") {
            tensor.data.iter_mut().step_by(3).for_each(|v| *v = -*v);
        }
    }
}

/// Means and variances over many orders of magnitude, as trained networks have them.
fn wild_statistics(checkpoint: &mut Checkpoint) {
    for (name, tensor) in &mut checkpoint.tensors {
        let factor = |i: usize| 10f32.powi((i % 9) as i32 - 4);
        if name.ends_with(".running_var") {
            let values = tensor.data.iter_mut().enumerate();
            values.for_each(|(i, v)| *v *= factor(i) * factor(i));
        } else if tensor.shape.len() == 1 && name.ends_with(".weight") {
            let values = tensor.data.iter_mut().enumerate();
            values.for_each(|(i, v)| *v *= factor(i));
        }
    }
}

/// All cases, small enough for the naive reference.
pub const NETWORKS: &[Network] = &[
    ("basic, 8 wide", |name| {
        Case::new(name, basic(8, &[(1, 8), (1, 16)], 10), (33, 47))
    }),
    ("basic, 12 wide, three stages", |name| {
        Case::new(name, basic(12, &[(1, 12), (1, 20), (1, 28)], 7), (65, 64))
    }),
    ("basic, 4 wide, a strip of one column", |name| {
        Case::new(name, basic(4, &[(2, 4), (1, 8)], 5), (37, 1))
    }),
    ("basic, odd widths, a projection without stride", |name| {
        Case::new(name, basic(5, &[(1, 7), (2, 13)], 3), (29, 23))
    }),
    ("basic, several panels", |name| {
        Case::new(name, basic(16, &[(1, 40), (1, 72)], 33), (26, 19))
    }),
    ("basic, 32 wide, one stage", |name| {
        Case::new(name, basic(32, &[(1, 32)], 10), (24, 40))
    }),
    ("basic, one pixel", |name| {
        Case::new(name, basic(6, &[(1, 6), (1, 12)], 4), (1, 1))
    }),
    ("basic, one class, one channel", |name| {
        Case::new(name, basic(1, &[(1, 1), (1, 2)], 1), (15, 18))
    }),
    ("bottleneck, 4 wide", |name| {
        Case::new(name, bottleneck(4, &[(1, 4, 16), (1, 8, 32)], 10), (33, 47))
    }),
    ("bottleneck, three stages, another eps", |name| {
        let net = bottleneck(7, &[(2, 3, 19), (1, 5, 23), (1, 6, 30)], 11);
        Case {
            bn_eps: 1e-3,
            ..Case::new(name, net, (39, 30))
        }
    }),
    ("bottleneck, wider inside than outside", |name| {
        Case::new(
            name,
            bottleneck(9, &[(1, 20, 10), (1, 34, 12)], 6),
            (27, 35),
        )
    }),
    ("bottleneck, stride on the first 1x1", |name| {
        let net = Resnet {
            stride_on: StrideOn::First,
            ..bottleneck(6, &[(2, 6, 24), (2, 10, 20)], 9)
        };
        Case {
            bn_eps: 1.001e-5,
            ..Case::new(name, net, (45, 38))
        }
    }),
    ("bottleneck, identity skip onto the pool", |name| {
        Case::new(name, bottleneck(16, &[(2, 4, 16)], 8), (31, 22))
    }),
    ("cifar, option A", |name| {
        Case::new(name, Resnet::cifar(1, 8, 10), (16, 16))
    }),
    ("cifar, option A, odd image", |name| {
        Case::new(name, Resnet::cifar(2, 4, 5), (17, 11))
    }),
    ("cifar, option A without more channels", |name| {
        let net = Resnet {
            shortcut: Shortcut::Pad,
            ..small(basic(6, &[(1, 6), (1, 6), (1, 10)], 4))
        };
        Case::new(name, net, (13, 14))
    }),
    ("bottleneck, option A", |name| {
        let net = Resnet {
            shortcut: Shortcut::Pad,
            head: Head::Linear,
            ..small(bottleneck(4, &[(1, 4, 16), (1, 6, 20)], 5))
        };
        Case::new(name, net, (12, 15))
    }),
    ("3x3 stem with projections", |name| {
        Case::new(name, small(basic(10, &[(1, 10), (1, 18)], 6)), (15, 20))
    }),
    ("3x3 stem and max pool", |name| {
        let net = Resnet {
            pool: true,
            ..small(basic(8, &[(1, 8), (1, 14)], 6))
        };
        Case::new(name, net, (21, 27))
    }),
    ("7x7 stem without max pool", |name| {
        let net = Resnet {
            pool: false,
            ..basic(8, &[(1, 8), (1, 14)], 6)
        };
        Case::new(name, net, (31, 26))
    }),
    ("basic, 224 pixels, four stages", |name| {
        let net = basic(4, &[(1, 4), (1, 8), (1, 16), (1, 32)], 10);
        Case::new(name, net, (224, 224))
    }),
    ("bottleneck, four stages", |name| {
        let net = bottleneck(4, &[(1, 4, 16), (2, 8, 32), (1, 16, 64), (1, 32, 128)], 10);
        Case::new(name, net, (96, 96))
    }),
    ("negative gammas, basic blocks", |name| Case {
        edit: negative_gammas,
        ..Case::new(name, basic(8, &[(2, 8), (1, 16)], 10), (33, 35))
    }),
    ("negative gammas, bottleneck", |name| Case {
        edit: negative_gammas,
        ..Case::new(name, bottleneck(6, &[(2, 6, 24), (1, 8, 32)], 10), (33, 35))
    }),
    ("wild statistics, basic", |name| Case {
        edit: wild_statistics,
        ..Case::new(name, basic(9, &[(2, 9), (1, 18)], 10), (34, 33))
    }),
    ("wild statistics, option A", |name| Case {
        edit: wild_statistics,
        ..Case::new(name, Resnet::cifar(1, 8, 10), (16, 17))
    }),
    ("f16, basic", |name| Case {
        half: true,
        ..Case::new(name, basic(18, &[(1, 18), (1, 24)], 10), (33, 40))
    }),
    ("f16, bottleneck", |name| Case {
        half: true,
        ..Case::new(name, bottleneck(4, &[(1, 5, 17), (1, 8, 32)], 10), (41, 30))
    }),
    ("f16, option A", |name| Case {
        half: true,
        ..Case::new(name, Resnet::cifar(1, 6, 10), (15, 13))
    }),
    ("the first class", |name| Case {
        target: Some(0),
        ..Case::new(name, basic(8, &[(1, 8), (1, 12)], 18), (25, 31))
    }),
    ("the last class", |name| Case {
        target: Some(17),
        ..Case::new(name, bottleneck(8, &[(1, 4, 16)], 18), (25, 31))
    }),
];

/// The case called `name`. Panics where there is none.
pub fn network(name: &str) -> Case {
    let found = NETWORKS.iter().find(|(n, _)| *n == name);
    let (name, case) = found.unwrap_or_else(|| panic!("the suite has no case {name}"));
    case(name)
}
