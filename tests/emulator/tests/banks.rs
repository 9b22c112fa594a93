//! What accesses of memory cost, by counting: on an ordinary layer, no access of the main kernels takes more than twice the
//! sectors of global memory, or twice the wavefronts of shared memory, that its bytes need.
//!
//! `cargo test -p elucid-emulator --test banks -- --nocapture` prints the table. One test, as the counters are the process's.

use bytemuck::Pod;
use elucid::lower::token as lower;
use elucid::lower::{Launch, flow};
use elucid_core::Shape;
use elucid_core::graph::{Attention, Pool};
use elucid_core::rule::{PoolRule, Share};
use elucid_emulator::{Emulator, Memory, Order, Site};
use elucid_kernels::conv::{self, Precisions};
use elucid_kernels::params as p;
use elucid_kernels::{HEADERS, Kernel, sources};
use half::f16;

/// The most sectors or wavefronts, for each that there must be.
const MOST: f64 = 2.0;

/// Accesses that may cost more: the file, a part of the line, how much, and why.
const EXCEPTIONS: &[(&str, &str, f64, &str)] = &[
    (
        "forward.cuh",
        "? p.scale[n + c]",
        4.0,
        "once a tile, from the cache, and only four bytes are known to be aligned",
    ),
    ("forward.cuh", "? p.shift[n + c]", 4.0, "the same"),
    (
        "collect.cu",
        "r[",
        3.0,
        "an image has three channels: the three loads share their lines of the cache",
    ),
    (
        "product.cuh",
        "image[j][(unsigned int)",
        3.0,
        "rows of an image with three channels: the loads of a tap share their lines of the cache",
    ),
];

/// Numbers from 0 to 1, the same for the same seed.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    let one = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    };
    (0..count).map(one).collect()
}

/// The checked emulator, with memory of numbers.
struct Device(&'static Emulator);

impl Device {
    fn numbers(&self, name: &str, count: usize) -> Memory<'static> {
        self.0.upload(name, &numbers(count as u32, count))
    }

    fn halves(&self, name: &str, count: usize) -> Memory<'static> {
        let all: Vec<f16> = numbers(7, count).into_iter().map(f16::from_f32).collect();
        self.0.upload(name, &all)
    }

    fn launch<P: Pod>(&self, kernel: &Kernel, grid: [u32; 3], params: &P) {
        let bytes = bytemuck::bytes_of(params);
        let result = self.0.launch(kernel.entry, grid, bytes, Order::Ascending);
        result.unwrap_or_else(|fault| panic!("{fault}"));
    }

    /// As many threads.
    fn over<P: Pod>(&self, kernel: &Kernel, threads: usize, params: &P) {
        let blocks = (threads as u32).div_ceil(kernel.block);
        self.launch(kernel, [blocks, 1, 1], params);
    }

    /// What `lower` launches.
    fn do_as(&self, lower: impl FnOnce(&mut Vec<Launch>)) {
        let mut all = Vec::new();
        lower(&mut all);
        for launch in all {
            let (entry, bytes) = (launch.kernel.entry, launch.argument.bytes());
            let result = self.0.launch(entry, launch.grid, bytes, Order::Ascending);
            result.unwrap_or_else(|fault| panic!("{fault}"));
        }
    }

    /// A convolution in all its parts, by the kernels of whole tiles and of half ones.
    fn convolution(&self, shape: p::ConvShape) {
        let s = &shape;
        let (cells, inputs) = ((s.oh * s.ow * s.co) as usize, (s.h * s.w * s.ci) as usize);
        let taps = s.kh * s.kw;
        let stored = (s.co.div_ceil(16) * 16 * taps * s.ci) as usize;
        let (a, r) = (self.numbers("a", inputs), self.numbers("r", cells));
        let (wide, half) = (
            self.numbers("weights", stored),
            self.halves("weights", stored),
        );
        let sums = self.numbers("sums", ((taps + 1) * s.co.div_ceil(16) * 16) as usize);
        let scale = self.numbers("scale", s.co as usize);
        let (y, z) = (self.numbers("y", cells), self.numbers("s", cells));
        let out = self.numbers("out", inputs);
        let rows = s.h.div_ceil(s.stride) * s.w.div_ceil(s.stride);
        let forward = |kernel: &Kernel, weight: &Memory<'_>, pixels| {
            let params = p::ConvParams {
                x: a.address(),
                weight: weight.address(),
                scale: scale.address(),
                shift: scale.address(),
                skip: r.address(),
                y: y.address(),
                shape,
                images: 1,
                activation: p::Activation::Relu as u32,
            };
            let grid = [(s.oh * s.ow).div_ceil(pixels), s.co.div_ceil(64), 1];
            self.launch(kernel, grid, &params);
        };
        let quotient = |kernel: &Kernel, weight: &Memory<'_>, pixels| {
            let params = p::QuotientParams {
                a: a.address(),
                weight: weight.address(),
                r: r.address(),
                sums: sums.address(),
                s: z.address(),
                shape,
                eps: 0.0,
                spread: 1,
            };
            let grid = [(s.oh * s.ow).div_ceil(pixels), s.co.div_ceil(64), 1];
            self.launch(kernel, grid, &params);
        };
        let back = |kernel: &Kernel, weight: &Memory<'_>, pixels| {
            let params = p::BackParams {
                s: z.address(),
                weight: weight.address(),
                a: a.address(),
                r: r.address(),
                sums: sums.address(),
                out: out.address(),
                shape,
                plus: 1,
                accumulate: 1,
            };
            let classes = s.stride * s.stride;
            let grid = [rows.div_ceil(pixels), s.ci.div_ceil(64), classes];
            self.launch(kernel, grid, &params);
        };
        let both = |of: Precisions, run: &dyn Fn(&Kernel, &Memory<'_>, u32), pixels| {
            run(of.f32, &wide, pixels);
            run(of.f16, &half, pixels);
        };
        both(conv::FORWARD.whole, &forward, 64);
        both(conv::FORWARD.half, &forward, 32);
        both(conv::Z.whole, &quotient, 64);
        both(conv::Z.half, &quotient, 32);
        both(conv::BACK.whole, &back, 64);
        both(conv::BACK.half, &back, 32);
        forward(conv::TENSOR, &half, 64);
        let params = p::SumsParams {
            weight: half.address(),
            sums: sums.address(),
            ci: s.ci,
            panels: s.co.div_ceil(16),
            taps,
            reserved: 0,
        };
        self.over(conv::WEIGHT_SUMS.f16, s.co as usize, &params);
        quotient(conv::TENSOR_Z, &half, 64);
        let params = p::DivideParams {
            r: r.address(),
            z: y.address(),
            s: z.address(),
            count: cells as u32,
            spread: 1,
        };
        self.over(conv::DIVIDE, cells, &params);
    }

    /// The layer that sees the image: the forward pass and the way back to it, and as the layer that sees ones.
    fn stem(&self, shape: p::ConvShape) {
        let s = &shape;
        let (cells, pixels) = ((s.oh * s.ow * s.co) as usize, (s.h * s.w) as usize);
        let taps = s.kh * s.kw;
        let weights = self.halves("weights", (s.co * taps * s.ci) as usize);
        let (x, r) = (
            self.numbers("x", pixels * s.ci as usize),
            self.numbers("r", cells),
        );
        let sums = self.numbers("sums", ((taps + 1) * s.co) as usize);
        let (y, heat) = (self.numbers("y", cells), self.numbers("heat", pixels));
        let out = self.numbers("out", pixels * s.ci as usize);
        let params = p::ConvParams {
            x: x.address(),
            weight: weights.address(),
            scale: 0,
            shift: 0,
            skip: 0,
            y: y.address(),
            shape,
            images: 1,
            activation: 0,
        };
        let grid = [(s.oh * s.ow).div_ceil(64), s.co.div_ceil(64), 1];
        self.launch(conv::FORWARD.single.f16, grid, &params);
        let params = p::OnesParams {
            r: r.address(),
            sums: sums.address(),
            s: y.address(),
            heat: heat.address(),
            shape,
            eps: 0.0,
            spread: 1,
            accumulate: 0,
            reserved: 0,
        };
        self.over(conv::ONES_DIVIDE, cells, &params);
        self.over(conv::ONES_COLLECT, 32 * pixels, &params);
        let params = p::BackParams {
            s: y.address(),
            weight: weights.address(),
            a: 0,
            r: 0,
            sums: 0,
            out: out.address(),
            shape,
            plus: 0,
            accumulate: 0,
        };
        self.over(conv::STEM_BACK.f16, 32 * pixels, &params);
        self.do_as(|to| flow::collect(to, out.address(), (pixels, 3), false, heat.address()));
    }

    /// A fully connected layer.
    fn linear(&self, ci: u32, co: u32) {
        let stored = (ci * co.div_ceil(16) * 16) as usize;
        let (a, r) = (
            self.numbers("a", ci as usize),
            self.numbers("r", co as usize),
        );
        let (s, out) = (
            self.numbers("s", co as usize),
            self.numbers("out", ci as usize),
        );
        let sums = self.numbers("sums", (2 * co.div_ceil(16) * 16) as usize);
        let shape = p::ConvShape {
            h: 1,
            w: 1,
            ci,
            oh: 1,
            ow: 1,
            co,
            kh: 1,
            kw: 1,
            stride: 1,
            pad: 0,
        };
        let each = [
            (self.numbers("weights", stored), false),
            (self.halves("weights", stored), true),
        ];
        for (weight, half) in each {
            let of = |both: Precisions| if half { both.f16 } else { both.f32 };
            let params = p::ConvParams {
                x: a.address(),
                weight: weight.address(),
                scale: 0,
                shift: r.address(),
                skip: 0,
                y: s.address(),
                shape,
                images: 1,
                activation: 0,
            };
            self.launch(of(conv::LINEAR_FORWARD), [co.div_ceil(16), 1, 1], &params);
            let params = p::QuotientParams {
                a: a.address(),
                weight: weight.address(),
                r: r.address(),
                sums: 0,
                s: s.address(),
                shape,
                eps: 0.0,
                spread: 1,
            };
            self.launch(of(conv::LINEAR_Z), [co.div_ceil(16), 1, 1], &params);
            let params = p::BackParams {
                s: s.address(),
                weight: weight.address(),
                a: a.address(),
                r: r.address(),
                sums: sums.address(),
                out: out.address(),
                shape,
                plus: 1,
                accumulate: 0,
            };
            self.launch(of(conv::LINEAR_BACK), [ci.div_ceil(32), 1, 1], &params);
        }
    }

    /// What lies between weighted layers.
    fn flow(&self, shape: Shape) {
        let count = shape.elements();
        let pool = Pool {
            kernel: 3,
            stride: 2,
            pad: 1,
        };
        let half = Shape::new(shape.h / 2, shape.w / 2, shape.c);
        let [m, s, r, skip] = ["m", "s", "r", "skip"].map(|name| self.numbers(name, count));
        let (y, pooled) = (
            self.numbers("y", half.elements()),
            self.numbers("r", half.elements()),
        );
        let packed = self.numbers("packed", count / 2);
        let (from, to_both) = ((m.address(), s.address()), (r.address(), skip.address()));
        let channels = shape.c as usize;
        for share in [Share::Half, Share::Ratio] {
            let elements = (count, channels, 0..channels);
            self.do_as(|to| flow::split(to, share, from, elements, false, to_both));
        }
        self.do_as(|to| flow::add(to, from, true, count, r.address()));
        let shapes = [shape, half];
        self.do_as(|to| flow::max_forward(to, &pool, shapes, 1, m.address(), y.address()));
        for rule in [PoolRule::Winner, PoolRule::WindowAverage] {
            let (operands, rule) = ((m.address(), pooled.address()), (rule, 1e-9));
            self.do_as(|to| {
                flow::max_relevance(to, &pool, shapes, operands, rule, false, r.address());
            });
        }
        self.do_as(|to| flow::average_forward(to, shape, 1, m.address(), y.address()));
        self.do_as(|to| flow::pack(to, count, m.address(), packed.address()));
        self.do_as(|to| flow::unpack(to, count, packed.address(), r.address()));
    }

    /// Layers of transformers.
    fn tokens(&self) {
        let (n, c, queries) = (100, 128, 100);
        let (x, y) = (self.numbers("x", 3 * n * c), self.numbers("y", n * c));
        let weight = self.numbers("weight", c);
        let vectors = (weight.address(), weight.address());
        self.do_as(|to| lower::norm(to, (c, 1e-6), n * c, vectors, x.address(), y.address()));
        let attention = Attention {
            c: c as u32,
            heads: 2,
        };
        self.do_as(|to| lower::attention(to, &attention, n, 1, x.address(), y.address()));
        let (pixels, product) = (Shape::new(16, 16, 64), Shape::new(16, 16, queries));
        let features = self.numbers("features", pixels.elements());
        let products = self.numbers("products", product.elements());
        let operands = (x.address(), features.address());
        let shapes = [Shape::new(1, queries, 64), product];
        self.do_as(|to| lower::matmul(to, shapes, 1, operands, products.address()));
    }
}

fn shape(ci: u32, co: u32, side: u32, kernel: u32, stride: u32) -> p::ConvShape {
    let pad = kernel / 2;
    let out = (side + 2 * pad - kernel) / stride + 1;
    p::ConvShape {
        h: side,
        w: side,
        ci,
        oh: out,
        ow: out,
        co,
        kh: kernel,
        kw: kernel,
        stride,
        pad,
    }
}

/// The line of a source that a site is of.
fn line(site: &Site) -> &'static str {
    let all = sources().into_iter().chain(HEADERS.iter().copied());
    let file = all.into_iter().find(|s| s.name == site.place.file);
    let line = file.and_then(|f| f.text.lines().nth(site.place.line as usize - 1));
    line.unwrap_or_default().trim()
}

#[test]
fn accesses_take_what_their_bytes_need() {
    let device = Device(Emulator::checked());
    device.0.clear_report();
    device.convolution(shape(64, 64, 16, 3, 1));
    device.convolution(shape(64, 128, 8, 3, 2));
    device.convolution(shape(128, 64, 8, 1, 1));
    device.stem(shape(3, 64, 24, 7, 2));
    device.linear(512, 100);
    device.flow(Shape::new(16, 16, 64));
    device.tokens();
    let mut all = device.0.report();
    assert!(!all.is_empty(), "the checker counts");
    all.sort_by(|a, b| b.excess().total_cmp(&a.excess()));
    let mut wrong = String::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    for site in &all {
        let text = line(site);
        println!("{:.2}: {site}: {text}", site.excess());
        let exception = EXCEPTIONS
            .iter()
            .position(|(file, part, ..)| *file == site.place.file && text.contains(part));
        let most = exception.map_or(MOST, |index| EXCEPTIONS[index].2);
        if let Some(index) = exception.filter(|_| site.excess() > MOST) {
            used[index] = true;
            println!("      allowed: {}", EXCEPTIONS[index].3);
        }
        if site.excess() > most {
            wrong += &format!(
                "\n{:.2} times what is needed: {site}: {text}",
                site.excess()
            );
        }
    }
    for (exception, _) in EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used) {
        wrong += &format!("\nan exception that nothing needs: {exception:?}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}
