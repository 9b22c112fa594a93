//! Emulated memory and numbers.

use bytemuck::Pod;
use elucid::lower::Launch;
use elucid_core::op::Context;
use elucid_core::par::Serial;
use elucid_core::simd::Isa;
use elucid_emulator::{Emulator, Memory, Order};

/// What lies before a tensor that doesn't start at a multiple of sixteen bytes.
const BEFORE: f32 = -77.25;

/// An emulator, the order of its threads, and where tensors start.
#[derive(Clone, Copy)]
pub struct Device {
    pub emulator: &'static Emulator,
    pub order: Order,
    /// Floats before each tensor: with 0 they start at multiples of 256 bytes.
    pub shift: usize,
    /// The largest tensor that it has time for.
    pub most: usize,
}

/// Every order of threads, with tensors at addresses for accesses of sixteen bytes and at others; small ones under the
/// checker as well.
pub fn devices() -> impl Iterator<Item = Device> + Clone {
    let orders = [
        (false, Order::Ascending, 0),
        (false, Order::Descending, 1),
        (false, Order::Shuffled(1), 0),
        (false, Order::Shuffled(2), 3),
        (true, Order::Shuffled(3), 0),
        (true, Order::Descending, 1),
    ];
    orders.into_iter().map(|(checked, order, shift)| Device {
        emulator: match checked {
            true => Emulator::checked(),
            false => Emulator::fast(),
        },
        order,
        shift,
        most: if checked { CHECKED } else { usize::MAX },
    })
}

/// The checker is a hundred times slower.
const CHECKED: usize = 1100;

/// A tensor in emulated memory.
pub struct Tensor {
    memory: Memory<'static>,
    shift: usize,
}

impl Tensor {
    pub fn address(&self) -> u64 {
        self.memory.element::<f32>(self.shift)
    }

    /// What it holds; nothing around it was written.
    pub fn values(&self) -> Vec<f32> {
        let all: Vec<f32> = self.memory.download();
        assert!(all[..self.shift].iter().all(|&v| v == BEFORE));
        all[self.shift..].to_vec()
    }
}

impl Device {
    /// Whether there is time for tensors of so many elements.
    pub fn takes(&self, count: usize) -> bool {
        count <= self.most
    }

    pub fn tensor(&self, name: &str, values: &[f32]) -> Tensor {
        let mut all = vec![BEFORE; self.shift];
        all.extend_from_slice(values);
        Tensor {
            memory: self.emulator.upload(name, &all),
            shift: self.shift,
        }
    }

    /// Memory for `count` values that nobody has written.
    pub fn room<T: Pod>(&self, name: &str, count: usize) -> Memory<'static> {
        self.emulator.allocate(name, count * size_of::<T>())
    }

    pub fn run(&self, launches: &[Launch]) {
        for launch in launches {
            let (entry, bytes) = (launch.kernel.entry, launch.argument.bytes());
            if let Err(fault) = self.emulator.launch(entry, launch.grid, bytes, self.order) {
                panic!("{fault}");
            }
        }
    }

    /// What `lower` launches.
    pub fn do_as(&self, lower: impl FnOnce(&mut Vec<Launch>)) {
        let mut launches = Vec::new();
        lower(&mut launches);
        self.run(&launches);
    }
}

pub fn context() -> Context<'static> {
    Context {
        isa: Isa::detect(),
        pool: &Serial,
        zero: &[],
        audit: true,
    }
}

/// Random numbers, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: usize) -> Self {
        Self(seed as u64 ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// From -1 to 1.
    pub fn draw(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Numbers of every size with zeros of both signs among them.
    pub fn numbers(&mut self, count: usize) -> Vec<f32> {
        let one = |random: &mut Self| match random.below(8) {
            0 => 0.0,
            1 => -0.0,
            2 => random.draw() * 1e-30,
            3 => random.draw() * f32::MIN_POSITIVE,
            4 => random.draw() * 1e20,
            _ => random.draw(),
        };
        (0..count).map(|_| one(self)).collect()
    }

    /// What a ReLU leaves: many zeros, and few different values, so that there are ties.
    pub fn activations(&mut self, count: usize) -> Vec<f32> {
        let one = |random: &mut Self| match random.below(6) {
            0..3 => 0.0,
            3 => 0.5,
            4 => random.below(3) as f32 * 0.25,
            _ => random.draw().abs(),
        };
        (0..count).map(|_| one(self)).collect()
    }

    /// Plain numbers from -1 to 1.
    pub fn draws(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.draw()).collect()
    }
}

pub fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g.to_bits() == w.to_bits() || g.is_nan() && w.is_nan();
        assert!(same, "{what}: element {i}: {g:e} {w:e}");
    }
}

/// Equal to `tolerance` of each value, or of `least` where that is more.
pub fn assert_near(got: &[f32], want: &[f32], (tolerance, least): (f32, f32), what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let limit = tolerance * w.abs().max(least);
        assert!((g - w).abs() <= limit, "{what}: element {i}: {g:e} {w:e}");
    }
}
