//! Launches of weighted layers.

use elucid_core::graph::{Activation, Conv, Linear, Op, PANEL};
use elucid_core::op::conv::Pass;
use elucid_core::op::conv::folded::{self, Cells, Of, Part, Term};
use elucid_core::plan::Step;
use elucid_core::rule::{Dead, Folded};
use elucid_core::{Error, Shape};
use elucid_kernels::conv as kernels;
use elucid_kernels::conv::{Precisions, Tiles};
use elucid_kernels::params as p;
use elucid_kernels::params::{Address, ConvShape, TILE};

use super::launch::number;
use super::{Launch, Lowering, Map};

type Launches = Vec<Launch>;

/// Blocks below which a product is cut into smaller tiles: fewer leave multiprocessors idle.
const FEW: u32 = 64;

/// An eps beside which it doesn't matter what two halves lack of an activation.
const LEAST_EPS: f32 = 1e-6;

/// Where the weights of a product lie, and how they are stored.
#[derive(Clone, Copy)]
struct Stored {
    at: Address,
    half: bool,
}

impl Stored {
    fn of(self, kernels: Precisions) -> &'static elucid_kernels::Kernel {
        if self.half { kernels.f16 } else { kernels.f32 }
    }
}

fn stored(l: &Lowering<'_>, c: &Conv) -> Stored {
    Stored {
        at: l.tensor(c.weight),
        half: l.layout.half(c.weight),
    }
}

fn shape(c: &Conv, [input, output]: [Shape; 2]) -> ConvShape {
    ConvShape {
        h: input.h,
        w: input.w,
        ci: c.ci,
        oh: output.h,
        ow: output.w,
        co: c.co,
        kh: c.kh.into(),
        kw: c.kw.into(),
        stride: c.stride.into(),
        pad: c.pad.into(),
    }
}

/// A tile's kernel and grid for so many pixels and channels; `wide` if its pixels are read four channels at a time.
fn tiled(
    tiles: Tiles,
    weights: Stored,
    (pixels, channels): (usize, u32),
    layers: u32,
    wide: bool,
) -> (&'static elucid_kernels::Kernel, [u32; 3]) {
    let (pixels, columns) = (number(pixels), channels.div_ceil(TILE));
    let blocks = pixels
        .div_ceil(TILE)
        .saturating_mul(columns)
        .saturating_mul(layers);
    if !wide {
        let grid = [pixels.div_ceil(TILE), columns, layers];
        (weights.of(tiles.single), grid)
    } else if blocks < FEW {
        let grid = [pixels.div_ceil(TILE / 2), columns, layers];
        (weights.of(tiles.half), grid)
    } else {
        let grid = [pixels.div_ceil(TILE), columns, layers];
        (weights.of(tiles.whole), grid)
    }
}

/// The grid of a product on tensor cores.
fn tensor(
    kernel: &'static elucid_kernels::Kernel,
    (pixels, channels): (usize, u32),
) -> (&'static elucid_kernels::Kernel, [u32; 3]) {
    let grid = [number(pixels).div_ceil(TILE), channels.div_ceil(TILE), 1];
    (kernel, grid)
}

/// Sums over weights of all layers whose rules need them.
pub fn prepare(l: &Lowering<'_>) -> Launches {
    let mut to = Vec::new();
    for id in 0..l.model.node_count() {
        let (Some(c), Some(sums)) = (l.model.node(id).op.layer(), l.layout.sums(id)) else {
            continue;
        };
        let weights = stored(l, &c);
        let panels = number(c.panels());
        let params = p::SumsParams {
            weight: weights.at,
            sums: l.base + sums,
            ci: c.ci,
            panels,
            taps: number(c.taps()),
            reserved: 0,
        };
        let kernel = weights.of(kernels::WEIGHT_SUMS);
        to.push(Launch::over(kernel, c.panels() * PANEL, &params));
    }
    to
}

fn activation(act: Activation) -> p::Activation {
    match act {
        Activation::Identity => p::Activation::Identity,
        Activation::Relu => p::Activation::Relu,
        Activation::Gelu => p::Activation::Gelu,
        Activation::QuickGelu => p::Activation::QuickGelu,
    }
}

/// A product over all images.
fn product(
    c: &Conv,
    params: &p::ConvParams,
    weights: Stored,
    tensor_cores: bool,
    to: &mut Launches,
) {
    let pixels = params.images as usize * params.shape.oh as usize * params.shape.ow as usize;
    let wide = c.ci.is_multiple_of(4);
    if tensor_cores && weights.half && wide {
        let (kernel, grid) = tensor(kernels::TENSOR, (pixels, c.co));
        to.push(Launch::new(kernel, grid, params));
        return;
    }
    let (kernel, grid) = tiled(kernels::FORWARD, weights, (pixels, c.co), 1, wide);
    to.push(Launch::new(kernel, grid, params));
}

/// The forward pass of a convolution for every image, with the addition that is fused into it.
pub fn forward(l: &Lowering<'_>, c: &Conv, step: &Step, to: &mut Launches) {
    let (skip, act) = step.end(l.model, c.act);
    let weights = stored(l, c);
    let params = p::ConvParams {
        x: l.at(step.ins[0]),
        weight: weights.at,
        scale: l.tensor(c.scale),
        shift: l.tensor(c.shift),
        skip: if skip { l.at(step.ins[1]) } else { 0 },
        y: l.at(step.out),
        shape: shape(c, step.shapes),
        images: number(l.options.images),
        activation: activation(act) as u32,
    };
    product(c, &params, weights, l.tensor_cores, to);
}

/// The forward pass of a fully connected layer for every image.
pub fn linear(l: &Lowering<'_>, linear: &Linear, step: &Step, to: &mut Launches) {
    let c = linear.as_conv();
    let weights = stored(l, &c);
    let params = p::ConvParams {
        x: l.at(step.ins[0]),
        weight: weights.at,
        scale: 0,
        shift: l.tensor(c.shift),
        skip: 0,
        y: l.at(step.out),
        shape: shape(&c, step.shapes),
        images: number(l.options.images),
        activation: p::Activation::Identity as u32,
    };
    let kernel = weights.of(kernels::LINEAR_FORWARD);
    let grid = [number(c.panels()), params.images, 1];
    to.push(Launch::new(kernel, grid, &params));
}

/// Whether a step's layer is a fully connected one.
fn is_linear(l: &Lowering<'_>, step: &Step) -> bool {
    matches!(l.model.node(step.node).op, Op::Linear(_))
}

/// Relevance of one map through a layer by z+. The scratch begins with `s` of every cell.
pub fn relevance(
    l: &Lowering<'_>,
    c: &Conv,
    step: &Step,
    map: &Map,
    (eps, dead): (f32, Dead),
    pass: Pass,
    to: &mut Launches,
) {
    let weights = stored(l, c);
    let (linear, spread) = (is_linear(l, step), dead == Dead::Redistribute);
    let cells = step.shapes[1].elements();
    let s = l.at(step.scratch);
    let z = s + 4 * cells.next_multiple_of(PANEL) as u64;
    let fused = pass == Pass::Only;
    let sums = l.layout.sums(step.node).map_or(0, |offset| l.base + offset);
    let wide = c.ci.is_multiple_of(4);
    // Halves lack so little that only a denominator without eps shows it, and then there are sums to see it by.
    let tensor_cores = l.tensor_cores && weights.half && wide && (sums != 0 || eps >= LEAST_EPS);
    let params = p::QuotientParams {
        a: map.a,
        weight: weights.at,
        r: if fused { map.r } else { 0 },
        sums,
        s: if fused { s } else { z },
        shape: shape(c, step.shapes),
        eps,
        spread: spread.into(),
    };
    if pass != Pass::Again {
        let (kernel, grid) = if linear {
            (weights.of(kernels::LINEAR_Z), [number(c.panels()), 1, 1])
        } else {
            let size = (step.shapes[1].pixels(), c.co);
            match tensor_cores {
                true => tensor(kernels::TENSOR_Z, size),
                false => tiled(kernels::Z, weights, size, 1, wide),
            }
        };
        to.push(Launch::new(kernel, grid, &params));
    }
    if !fused {
        let params = p::DivideParams {
            r: map.r,
            z,
            s,
            count: number(cells),
            spread: spread.into(),
        };
        to.push(Launch::over(kernels::DIVIDE, cells, &params));
    }
    let back = p::BackParams {
        s,
        weight: weights.at,
        a: map.a,
        r: if spread { map.r } else { 0 },
        sums: if spread { sums } else { 0 },
        out: map.out,
        shape: params.shape,
        plus: 1,
        accumulate: map.accumulate.into(),
    };
    transposed(c, &back, weights, linear, to);
}

/// The transposed product of one map.
fn transposed(c: &Conv, params: &p::BackParams, weights: Stored, linear: bool, to: &mut Launches) {
    let s = params.shape;
    let pixels = s.h as usize * s.w as usize;
    if linear {
        let kernel = weights.of(kernels::LINEAR_BACK);
        to.push(Launch::new(kernel, [c.ci.div_ceil(32), 1, 1], params));
    } else if c.ci <= 4 && params.r == 0 {
        let kernel = weights.of(kernels::STEM_BACK);
        to.push(Launch::over(kernel, 32 * pixels, params));
    } else {
        // The largest residue class of the stride.
        let class = s.h.div_ceil(s.stride) as usize * s.w.div_ceil(s.stride) as usize;
        let (kernel, grid) = tiled(
            kernels::BACK,
            weights,
            (class, c.ci),
            s.stride * s.stride,
            c.co.is_multiple_of(4),
        );
        to.push(Launch::new(kernel, grid, params));
    }
}

/// The first layer, which sees ones and gives the map. The scratch begins with `s` of every cell.
///
/// # Errors
/// [`Error::Unsupported`] if the layout has no sums for it.
pub fn ones(
    l: &Lowering<'_>,
    c: &Conv,
    step: &Step,
    map: &Map,
    (eps, dead): (f32, Dead),
    to: &mut Launches,
) -> Result<(), Error> {
    let sums = l.layout.sums(step.node);
    let params = p::OnesParams {
        r: map.r,
        sums: l.base + sums.ok_or(l.unsupported(step))?,
        s: l.at(step.scratch),
        heat: map.out,
        shape: shape(c, step.shapes),
        eps,
        spread: u32::from(dead == Dead::Redistribute),
        accumulate: map.accumulate.into(),
        reserved: 0,
    };
    let [input, output] = step.shapes;
    to.push(Launch::over(
        kernels::ONES_DIVIDE,
        output.elements(),
        &params,
    ));
    to.push(Launch::over(
        kernels::ONES_COLLECT,
        32 * input.pixels(),
        &params,
    ));
    Ok(())
}

/// The derivative of one map through a layer.
pub fn gradient(l: &Lowering<'_>, c: &Conv, step: &Step, map: &Map, to: &mut Launches) {
    let weights = stored(l, c);
    let params = p::BackParams {
        s: map.r,
        weight: weights.at,
        a: 0,
        r: 0,
        sums: 0,
        out: map.out,
        shape: shape(c, step.shapes),
        plus: 0,
        accumulate: map.accumulate.into(),
    };
    transposed(c, &params, weights, is_linear(l, step), to);
}

/// Relevance of one map through a layer by a rule of zennit's. The scratch is that of the CPU: a term's weights, bias and
/// input, z, s, and the product of all weights.
pub fn folded(l: &Lowering<'_>, c: &Conv, step: &Step, map: &Map, rule: Folded, to: &mut Launches) {
    let [input, output] = step.shapes;
    let [weights, bias, x, cells] = folded::sizes(c, input, output).map(|n| 4 * n as u64);
    let start = l.at(step.scratch);
    let layer = Layer {
        l,
        c,
        step,
        map,
        weights: start,
        bias: start + weights,
        x: start + weights + bias,
    };
    let z = layer.x + x;
    let (s, whole) = (z + cells, z + 2 * cells);
    let count = output.elements();
    let mut accumulate = map.accumulate;
    for group in folded::groups(rule).into_iter().flatten() {
        let terms = || group.terms.into_iter().flatten();
        if group.cells != Cells::Every {
            layer.take(Term::WHOLE, to);
            layer.product(0, whole, to);
        }
        let mut before = 0;
        for term in terms() {
            layer.take(term, to);
            layer.product(before, z, to);
            before = z;
        }
        let params = p::FoldedDivideParams {
            r: map.r,
            z,
            whole: if group.cells == Cells::Every {
                0
            } else {
                whole
            },
            s,
            count: number(count),
            eps: rule.eps,
            factor: group.factor,
            sign: if group.cells == Cells::Negative {
                -1.0
            } else {
                1.0
            },
        };
        to.push(Launch::over(kernels::FOLDED_DIVIDE, count, &params));
        for term in terms() {
            layer.take(term, to);
            layer.back(s, accumulate, to);
            accumulate = true;
        }
    }
}

/// A layer whose terms are written out one at a time.
struct Layer<'a> {
    l: &'a Lowering<'a>,
    c: &'a Conv,
    step: &'a Step,
    map: &'a Map,
    weights: Address,
    bias: Address,
    x: Address,
}

impl Layer<'_> {
    /// Writes a term's weights, bias and input out.
    fn take(&self, term: Term, to: &mut Launches) {
        let weights = stored(self.l, self.c);
        let (part, gamma) = part(term.part);
        let params = p::TermWeightsParams {
            weight: weights.at,
            scale: self.l.tensor(self.c.scale),
            to: self.weights,
            count: number(self.c.stored()),
            rows: number(self.c.taps() * self.c.ci as usize),
            co: self.c.co,
            part,
            gamma,
            sign: term.sign,
        };
        let kernel = weights.of(kernels::TERM_WEIGHTS);
        to.push(Launch::over(kernel, self.c.stored(), &params));
        let count = self.step.shapes[0].elements();
        let (of, constant) = of(term.of);
        let params = p::TermInputsParams {
            a: self.map.a,
            shift: if term.bias {
                self.l.tensor(self.c.shift)
            } else {
                0
            },
            x: self.x,
            bias: self.bias,
            count: number(count),
            channels: self.c.ci,
            co: self.c.co,
            of,
            part,
            gamma,
            sign: term.sign,
            constant,
        };
        let threads = count.max(self.c.co as usize);
        to.push(Launch::over(kernels::TERM_INPUTS, threads, &params));
    }

    /// `z = conv(x, w) + bias + before`
    fn product(&self, before: Address, z: Address, to: &mut Launches) {
        let params = p::ConvParams {
            x: self.x,
            weight: self.weights,
            scale: 0,
            shift: self.bias,
            skip: before,
            y: z,
            shape: shape(self.c, self.step.shapes),
            images: 1,
            activation: p::Activation::Identity as u32,
        };
        product(self.c, &params, self.written(), false, to);
    }

    /// `out (+)= x conv_transposed(s, w)`
    fn back(&self, s: Address, accumulate: bool, to: &mut Launches) {
        let params = p::BackParams {
            s,
            weight: self.weights,
            a: self.x,
            r: 0,
            sums: 0,
            out: self.map.out,
            shape: shape(self.c, self.step.shapes),
            plus: 0,
            accumulate: accumulate.into(),
        };
        transposed(self.c, &params, self.written(), false, to);
    }

    fn written(&self) -> Stored {
        Stored {
            at: self.weights,
            half: false,
        }
    }
}

/// A part and its gamma, as kernels take them.
fn part(part: Part) -> (u32, f32) {
    let (part, gamma) = match part {
        Part::All => (p::Part::All, 0.0),
        Part::Positive => (p::Part::Positive, 0.0),
        Part::Negative => (p::Part::Negative, 0.0),
        Part::MorePositive(gamma) => (p::Part::MorePositive, gamma),
        Part::MoreNegative(gamma) => (p::Part::MoreNegative, gamma),
        Part::One => (p::Part::One, 0.0),
        Part::Square => (p::Part::Square, 0.0),
    };
    (part as u32, gamma)
}

/// What a term takes of the input, as kernels take it.
fn of(of: Of) -> (u32, [f32; 3]) {
    let (of, constant) = match of {
        Of::All => (p::Of::All, [0.0; 3]),
        Of::Positive => (p::Of::Positive, [0.0; 3]),
        Of::Negative => (p::Of::Negative, [0.0; 3]),
        Of::Ones => (p::Of::Ones, [0.0; 3]),
        Of::Constant(values) => (p::Of::Constant, values),
    };
    (of as u32, constant)
}
