//! Kernels of weighted layers against the CPU's: every tile, f32 and f16 weights, odd shapes and ordinary ones.

use elucid_core::Shape;
use elucid_core::graph::{Activation, Conv, NONE, PANEL};
use elucid_core::op::conv::{self, Finish, Pass, ones};
use elucid_core::op::{Context, pack};
use elucid_core::par::Serial;
use elucid_core::rule::Dead;
use elucid_core::simd::Isa;
use elucid_core::view::Weights;
use elucid_emulator::{Emulator, Memory, Order};
use elucid_kernels::conv as kernels;
use elucid_kernels::conv::{Precisions, Tiles};
use elucid_kernels::params as p;
use elucid_kernels::{Kernel, params::Address};
use half::f16;

/// Largest difference, relative to the largest value.
const TOLERANCE: f32 = 2e-6;

/// A layer with weights in both precisions, activations and relevance.
struct Case {
    e: &'static Emulator,
    c: Conv,
    input: Shape,
    output: Shape,
    images: usize,
    wide: Vec<f32>,
    half: Vec<f16>,
    zero: Vec<f32>,
}

/// Numbers between -1 and 1, the same for the same seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// `[ci, co, kernel, stride, pad, h, w]`
const CASES: [[u32; 7]; 14] = [
    [64, 64, 3, 1, 1, 9, 7],
    [3, 24, 7, 2, 3, 19, 23],
    [3, 16, 3, 1, 1, 8, 8],
    [16, 40, 1, 1, 0, 5, 13],
    [8, 12, 3, 2, 1, 9, 10],
    [20, 68, 1, 2, 0, 7, 7],
    [5, 7, 3, 1, 1, 6, 5],
    [4, 4, 2, 2, 0, 6, 6],
    [1, 1, 1, 1, 0, 1, 1],
    [17, 130, 1, 1, 0, 1, 1],
    [12, 16, 5, 3, 2, 11, 14],
    [32, 100, 1, 1, 0, 12, 12],
    [6, 8, 4, 4, 1, 9, 9],
    [128, 8, 3, 1, 1, 3, 3],
];

impl Case {
    fn new(e: &'static Emulator, [ci, co, k, stride, pad, h, w]: [u32; 7], images: usize) -> Self {
        let c = Conv {
            ci,
            co,
            kh: k as u16,
            kw: k as u16,
            stride: stride as u16,
            pad: pad as u16,
            weight: NONE,
            scale: NONE,
            shift: NONE,
            act: Activation::Identity,
        };
        let slide = |n: u32| (n + 2 * pad - k) / stride + 1;
        let plain = numbers(7 + ci, (ci * co * k * k) as usize);
        let mut panels = vec![0.0; c.stored()];
        pack(&c, &plain, &mut panels);
        let half: Vec<f16> = panels.iter().map(|&w| f16::from_f32(w)).collect();
        Self {
            e,
            c,
            input: Shape::new(h, w, ci),
            output: Shape::new(slide(h), slide(w), co),
            images,
            wide: half.iter().map(|w| w.to_f32()).collect(),
            half,
            zero: vec![0.0; conv::zeros(&c).max(co as usize)],
        }
    }

    fn shape(&self) -> p::ConvShape {
        p::ConvShape {
            h: self.input.h,
            w: self.input.w,
            ci: self.c.ci,
            oh: self.output.h,
            ow: self.output.w,
            co: self.c.co,
            kh: self.c.kh.into(),
            kw: self.c.kw.into(),
            stride: self.c.stride.into(),
            pad: self.c.pad.into(),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            isa: Isa::detect(),
            pool: &Serial,
            zero: &self.zero,
            audit: false,
        }
    }

    /// Non-negative activations with many zeros.
    fn activations(&self) -> Vec<f32> {
        let count = self.images * self.input.elements();
        numbers(3, count).iter().map(|v| v.max(0.0)).collect()
    }

    /// The kernels that fit, their pixels a block and their weights.
    fn kernels(&self, tiles: Tiles, channels: u32) -> Vec<(&'static Kernel, u32, bool)> {
        let both = |k: Precisions, pixels| [(k.f32, pixels, false), (k.f16, pixels, true)];
        let mut all = both(tiles.single, 64).to_vec();
        if channels.is_multiple_of(4) {
            all.extend(both(tiles.whole, 64));
            all.extend(both(tiles.half, 32));
        }
        all
    }

    /// Weights on the device.
    fn weights(&self) -> [Memory<'_>; 2] {
        [
            self.e.upload("weights", &self.wide),
            self.e.upload("halves", &self.half),
        ]
    }

    fn launch<P: bytemuck::Pod>(&self, kernel: &Kernel, grid: [u32; 3], params: &P) {
        let bytes = bytemuck::bytes_of(params);
        for order in [Order::Ascending, Order::Shuffled(5)] {
            // Only what can be run twice is.
            if order == Order::Ascending || !ADDS.with(std::cell::Cell::get) {
                let result = self.e.launch(kernel.entry, grid, bytes, order);
                result.unwrap_or_else(|fault| panic!("{}: {fault}", kernel.entry));
            }
        }
    }
}

thread_local! {
    /// Whether the launches at hand add to their output.
    static ADDS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let most = want.iter().fold(1e-30f32, |a, b| a.max(b.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= TOLERANCE * most, "{what}: {i}: {g} {w}");
    }
}

/// Those of the cases that the checker, a hundred times slower, has time for: the image, a stride, channels that aren't
/// multiples of four, a single one, a fully connected layer.
const CHECKED: [[u32; 7]; 6] = [CASES[2], CASES[4], CASES[6], CASES[7], CASES[8], CASES[9]];

/// All cases, and a few under the checker.
fn cases(images: usize) -> impl Iterator<Item = Case> {
    let fast = CASES.into_iter().map(|case| (Emulator::fast(), case));
    let checked = CHECKED.into_iter().map(|case| (Emulator::checked(), case));
    fast.chain(checked)
        .map(move |(e, case)| Case::new(e, case, images))
}

#[test]
fn forward_passes_are_the_cpus() {
    let acts = [
        (Activation::Identity, p::Activation::Identity),
        (Activation::Relu, p::Activation::Relu),
        (Activation::Gelu, p::Activation::Gelu),
        (Activation::QuickGelu, p::Activation::QuickGelu),
    ];
    for (number, case) in cases(2).enumerate() {
        let c = &case.c;
        let x = case.activations();
        let count = case.images * case.output.elements();
        let (scale, shift) = (numbers(1, c.co as usize), numbers(2, c.co as usize));
        let skip = numbers(4, count);
        for (with, (act, code)) in [false, true]
            .into_iter()
            .flat_map(|with| acts.map(|act| (with, act)))
        {
            let few = [(false, Activation::Identity), (true, Activation::Gelu)];
            if case.e.is_checked() && !few.contains(&(with, act)) {
                continue;
            }
            let finish = Finish {
                scale: with.then_some(&scale[..]),
                shift: with.then_some(&shift[..]),
                skip: with.then_some(&skip[..]),
                act,
            };
            let mut want = vec![0.0; count];
            let mut scratch = vec![0.0; conv::forward_scratch(c, case.input)];
            conv::forward(
                &case.context(),
                c,
                (case.input, case.output),
                &x,
                Weights::F32(&case.wide),
                finish,
                (&mut want, &mut scratch),
            );
            let x = case.e.upload("x", &x);
            let [wide, half] = case.weights();
            let vectors = [("scale", &scale), ("shift", &shift), ("skip", &skip)]
                .map(|(name, v)| case.e.upload(name, v));
            let at = |i: usize| if with { vectors[i].address() } else { 0 };
            let mut all = case.kernels(kernels::FORWARD, c.ci);
            // Its fragments are exchanged lane by lane: for the checker one case is enough.
            if c.ci.is_multiple_of(4) && (!case.e.is_checked() || c.stride == 2 && with) {
                all.push((kernels::TENSOR, 64, true));
            }
            if *c == *linear(c) && case.output.pixels() == 1 && act == Activation::Identity && !with
            {
                all.push((kernels::LINEAR_FORWARD.f32, 0, false));
                all.push((kernels::LINEAR_FORWARD.f16, 0, true));
            }
            for (kernel, pixels, halves) in all {
                let y = case.e.allocate("y", 4 * count);
                let params = p::ConvParams {
                    x: x.address(),
                    weight: if halves {
                        half.address()
                    } else {
                        wide.address()
                    },
                    scale: at(0),
                    shift: at(1),
                    skip: at(2),
                    y: y.address(),
                    shape: case.shape(),
                    images: case.images as u32,
                    activation: code as u32,
                };
                let rows = (case.images * case.output.pixels()) as u32;
                let grid = match pixels {
                    0 => [c.co.div_ceil(16), case.images as u32, 1],
                    _ => [rows.div_ceil(pixels), c.co.div_ceil(64), 1],
                };
                case.launch(kernel, grid, &params);
                let got: Vec<f32> = y.download();
                close(
                    &got,
                    &want,
                    &format!("{} of case {number}, {act:?} {with}", kernel.entry),
                );
            }
        }
    }
}

/// The same layer if it is a fully connected one, else another.
fn linear(c: &Conv) -> Box<Conv> {
    Box::new(Conv {
        kh: 1,
        kw: 1,
        stride: 1,
        pad: 0,
        ..*c
    })
}

#[test]
fn activations_beyond_halves_are_multiplied_as_well() {
    let mut case = Case::new(Emulator::fast(), CASES[0], 1);
    case.images = 1;
    for most in [6e4, 7e4, 1e9, 1e-3, 1e-7] {
        let mut x = case.activations();
        x.iter_mut().for_each(|v| *v *= most);
        let count = case.output.elements();
        let mut want = vec![0.0; count];
        conv::forward(
            &case.context(),
            &case.c,
            (case.input, case.output),
            &x,
            Weights::F32(&case.wide),
            Finish::default(),
            (&mut want, &mut []),
        );
        let x = case.e.upload("x", &x);
        let [_, half] = case.weights();
        let y = case.e.allocate("y", 4 * count);
        let params = p::ConvParams {
            x: x.address(),
            weight: half.address(),
            scale: 0,
            shift: 0,
            skip: 0,
            y: y.address(),
            shape: case.shape(),
            images: 1,
            activation: 0,
        };
        case.launch(kernels::TENSOR, [1, 1, 1], &params);
        let got: Vec<f32> = y.download();
        close(&got, &want, &format!("activations up to {most}"));
    }
}

/// Both halves of z+ for one map, by both treatments of dead cells.
#[test]
fn relevance_is_the_cpus() {
    for (number, case) in cases(1).enumerate() {
        let c = &case.c;
        let (a, r) = (case.activations(), numbers(9, case.output.elements()));
        // Every second pixel far below what a half can hold, or below what two can.
        let ci = c.ci as usize;
        let faint = |size: f32| -> Vec<f32> {
            let at = |i: usize| {
                if (i / ci).is_multiple_of(2) {
                    size
                } else {
                    1.0
                }
            };
            a.iter().enumerate().map(|(i, v)| v * at(i)).collect()
        };
        for (a, what) in [
            (a.clone(), "active"),
            (vec![0.0; a.len()], "dead"),
            (faint(1e-7), "faint"),
            (faint(1e-13), "all but dead"),
        ] {
            for (eps, dead) in [
                (0.0, Dead::Redistribute),
                (1e-5, Dead::Sink),
                (0.0, Dead::Sink),
            ] {
                for accumulate in [false, true] {
                    // The checker sees both, but not each with each.
                    if case.e.is_checked() && accumulate != (dead == Dead::Redistribute) {
                        continue;
                    }
                    let what = format!("case {number}, {what}, {eps} {dead:?} {accumulate}");
                    relevance_case(&case, (&a, &r), (eps, dead), accumulate, &what);
                }
            }
        }
        let _ = c;
    }
}

fn relevance_case(
    case: &Case,
    (a, r): (&[f32], &[f32]),
    (eps, dead): (f32, Dead),
    accumulate: bool,
    what: &str,
) {
    let c = &case.c;
    let before = numbers(11, a.len());
    let mut want = before.clone();
    let size = conv::relevance_scratch(c, case.input, case.output, 1, 1);
    let mut scratch = vec![0.0; size];
    conv::relevance(
        &case.context(),
        c,
        (case.input, case.output),
        (a, r),
        (Weights::F32(&case.wide), (eps, dead)),
        (Pass::Only, accumulate),
        (&mut want, &mut scratch),
    );
    let e = case.e;
    let (a, r) = (e.upload("a", a), e.upload("r", r));
    let [wide, half] = case.weights();
    let weight = |halves| {
        if halves {
            half.address()
        } else {
            wide.address()
        }
    };
    let spread = u32::from(dead == Dead::Redistribute);
    let cells = case.output.elements();
    let fully = *c == *linear(c) && case.output.pixels() == 1;

    // The sums over weights, and s by every kernel.
    let sums = e.allocate("sums", 4 * (c.taps() + 1) * c.panels() * PANEL);
    let params = p::SumsParams {
        weight: half.address(),
        sums: sums.address(),
        ci: c.ci,
        panels: c.panels() as u32,
        taps: c.taps() as u32,
        reserved: 0,
    };
    let blocks = (c.panels() * PANEL).div_ceil(256) as u32;
    case.launch(kernels::WEIGHT_SUMS.f16, [blocks, 1, 1], &params);
    let mut firsts = case.kernels(kernels::Z, c.ci);
    if c.ci.is_multiple_of(4) {
        firsts.push((kernels::TENSOR_Z, 64, true));
    }
    if fully {
        firsts.extend([
            (kernels::LINEAR_Z.f32, 0, false),
            (kernels::LINEAR_Z.f16, 0, true),
        ]);
    }
    let mut all = Vec::new();
    for (kernel, pixels, halves) in firsts {
        let (s, z) = (e.allocate("s", 4 * cells), e.allocate("z", 4 * cells));
        let params = p::QuotientParams {
            a: a.address(),
            weight: weight(halves),
            r: r.address(),
            sums: sums.address(),
            s: s.address(),
            shape: case.shape(),
            eps,
            spread,
        };
        let rows = case.output.pixels() as u32;
        let grid = match pixels {
            0 => [c.co.div_ceil(16), 1, 1],
            _ => [rows.div_ceil(pixels), c.co.div_ceil(64), 1],
        };
        case.launch(kernel, grid, &params);
        // The same by way of z.
        let params = p::QuotientParams {
            r: 0,
            s: z.address(),
            ..params
        };
        case.launch(kernel, grid, &params);
        let twice = e.allocate("s", 4 * cells);
        let divide = p::DivideParams {
            r: r.address(),
            z: z.address(),
            s: twice.address(),
            count: cells as u32,
            spread,
        };
        case.launch(
            kernels::DIVIDE,
            [(cells as u32).div_ceil(256), 1, 1],
            &divide,
        );
        let (once, twice) = (s.download::<u32>(), twice.download::<u32>());
        assert_eq!(once, twice, "{} {what}", kernel.entry);
        all.push((kernel, s));
    }

    let adds = ADDS.with(|adds| adds.replace(accumulate || spread == 1));
    let classes = u32::from(c.stride) * u32::from(c.stride);
    let (h, w) = (
        case.input.h.div_ceil(c.stride.into()),
        case.input.w.div_ceil(c.stride.into()),
    );
    let mut seconds: Vec<(&Kernel, [u32; 3], bool)> = case
        .kernels(kernels::BACK, c.co)
        .into_iter()
        .map(|(k, pixels, half)| {
            (
                k,
                [(h * w).div_ceil(pixels), c.ci.div_ceil(64), classes],
                half,
            )
        })
        .collect();
    if c.ci <= 4 && spread == 0 {
        let grid = [(32 * case.input.pixels() as u32).div_ceil(256), 1, 1];
        seconds.extend([
            (kernels::STEM_BACK.f32, grid, false),
            (kernels::STEM_BACK.f16, grid, true),
        ]);
    }
    if fully {
        let grid = [c.ci.div_ceil(32), 1, 1];
        seconds.extend([
            (kernels::LINEAR_BACK.f32, grid, false),
            (kernels::LINEAR_BACK.f16, grid, true),
        ]);
    }
    let s = &all[0].1;
    for (other, t) in &all {
        let (s, t) = (s.download::<f32>(), t.download::<f32>());
        // Dead cells are marked by a NaN.
        let plain = |v: Vec<f32>| {
            v.into_iter()
                .map(|v| if v.is_nan() { -1.0 } else { v })
                .collect::<Vec<_>>()
        };
        let (s, t) = (plain(s), plain(t));
        close(&t, &s, &format!("{} {what}", other.entry));
    }
    for (kernel, grid, halves) in seconds {
        let out = e.upload("out", &before);
        let params = p::BackParams {
            s: s.address(),
            weight: weight(halves),
            a: a.address(),
            r: if spread == 1 { r.address() } else { 0 },
            sums: if spread == 1 { sums.address() } else { 0 },
            out: out.address(),
            shape: case.shape(),
            plus: 1,
            accumulate: accumulate.into(),
        };
        case.launch(kernel, grid, &params);
        close(
            &out.download::<f32>(),
            &want,
            &format!("{} {what}", kernel.entry),
        );
    }
    ADDS.with(|cell| cell.set(adds));
}

#[test]
fn derivatives_are_the_cpus() {
    for (number, case) in cases(1).enumerate() {
        let c = &case.c;
        let s = numbers(9, case.output.elements());
        let mut want = vec![0.0; case.input.elements()];
        let mut scratch = vec![0.0; conv::gradient_scratch(c, 1)];
        conv::gradient(
            &case.context(),
            c,
            (case.input, case.output),
            &s,
            Weights::F32(&case.wide),
            false,
            (&mut want, &mut scratch),
        );
        let s = case.e.upload("s", &s);
        let [wide, _] = case.weights();
        let out = case.e.allocate("out", 4 * case.input.elements());
        let params = p::BackParams {
            s: s.address(),
            weight: wide.address(),
            a: 0,
            r: 0,
            sums: 0,
            out: out.address(),
            shape: case.shape(),
            plus: 0,
            accumulate: 0,
        };
        let stride = u32::from(c.stride);
        let pixels = case.input.h.div_ceil(stride) * case.input.w.div_ceil(stride);
        let grid = [pixels.div_ceil(64), c.ci.div_ceil(64), stride * stride];
        case.launch(kernels::BACK.single.f32, grid, &params);
        close(&out.download::<f32>(), &want, &format!("case {number}"));
        if c.ci <= 4 {
            let grid = [(32 * case.input.pixels() as u32).div_ceil(256), 1, 1];
            case.launch(kernels::STEM_BACK.f32, grid, &params);
            close(
                &out.download::<f32>(),
                &want,
                &format!("stem of case {number}"),
            );
        }
    }
}

#[test]
fn the_layer_that_sees_ones_is_the_cpus() {
    for (number, mut case) in cases(1).enumerate().filter(|(_, case)| case.c.ci == 3) {
        for (weights, eps, dead, accumulate) in [
            ("any", 0.0, Dead::Redistribute, false),
            ("negative", 0.0, Dead::Redistribute, true),
            ("any", 1e-5, Dead::Sink, true),
            ("negative", 0.0, Dead::Sink, false),
        ] {
            if weights == "negative" {
                // Every second channel has nothing positive.
                for (i, (w, h)) in case.wide.iter_mut().zip(&mut case.half).enumerate() {
                    if i % 2 == 0 {
                        (*w, *h) = (-w.abs(), f16::from_f32(-w.abs()));
                    }
                }
            }
            ones_case(
                &case,
                (eps, dead),
                accumulate,
                &format!("case {number}, {weights} {eps} {dead:?}"),
            );
        }
    }
}

fn ones_case(case: &Case, (eps, dead): (f32, Dead), accumulate: bool, what: &str) {
    let c = &case.c;
    let (r, before) = (
        numbers(9, case.output.elements()),
        numbers(5, case.input.pixels()),
    );
    let mut want = before.clone();
    let mut scratch = vec![0.0; ones::scratch(c, case.output, 1)];
    ones::relevance(
        &case.context(),
        c,
        (case.input, case.output),
        &r,
        (Weights::F32(&case.wide), (eps, dead)),
        accumulate,
        (&mut want, &mut scratch),
    );
    let e = case.e;
    let cells = case.output.elements();
    let [wide, half] = case.weights();
    let sums = e.allocate("sums", 4 * (c.taps() + 1) * c.panels() * PANEL);
    let sum = |kernel: &Kernel, weight: Address| {
        let params = p::SumsParams {
            weight,
            sums: sums.address(),
            ci: c.ci,
            panels: c.panels() as u32,
            taps: c.taps() as u32,
            reserved: 0,
        };
        let blocks = (c.panels() * PANEL).div_ceil(256) as u32;
        case.launch(kernel, [blocks, 1, 1], &params);
        sums.download::<f32>()
    };
    let first = sum(kernels::WEIGHT_SUMS.f32, wide.address());
    assert_eq!(
        first,
        sum(kernels::WEIGHT_SUMS.f16, half.address()),
        "{what}"
    );
    let (r, s) = (e.upload("r", &r), e.allocate("s", 4 * cells));
    let heat = e.upload("heat", &before);
    let params = p::OnesParams {
        r: r.address(),
        sums: sums.address(),
        s: s.address(),
        heat: heat.address(),
        shape: case.shape(),
        eps,
        spread: u32::from(dead == Dead::Redistribute),
        accumulate: accumulate.into(),
        reserved: 0,
    };
    let blocks = |threads: usize| [(threads as u32).div_ceil(256), 1, 1];
    case.launch(kernels::ONES_DIVIDE, blocks(cells), &params);
    let adds = ADDS.with(|adds| adds.replace(accumulate));
    case.launch(
        kernels::ONES_COLLECT,
        blocks(32 * case.input.pixels()),
        &params,
    );
    ADDS.with(|cell| cell.set(adds));
    close(&heat.download::<f32>(), &want, what);
}
