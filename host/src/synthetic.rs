//! Networks with random weights, for measuring and testing without any file, and the numbers they are drawn from.

use anyhow::{Result, anyhow};
use elucid_core::arch::resnet::Resnet;

use crate::architecture::Network;
use crate::checkpoint::{Checkpoint, Tensor};
use crate::import::{Blueprint, Options, import};
use crate::preprocess;
use elucid_core::builder::Role;

/// A stream of random numbers that is the same everywhere: PCG XSH-RR 64/32 (O'Neill 2014). Whatever is drawn in metrics
/// and tests comes from here.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .wrapping_add(0x1234_5678_9ABC_DEF1),
        )
    }

    /// The next number of -1..1.
    pub fn draw(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// The next number of 0..1, 1 excluded.
    pub fn share(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 24) as f32
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (((self.0 >> 18) ^ self.0) >> 27) as u32;
        mixed.rotate_right((self.0 >> 59) as u32)
    }

    /// The next number of `0..bound`, each as likely as any other (Lemire 2019); 0 if there is none.
    pub fn below(&mut self, bound: u32) -> u32 {
        loop {
            let product = u64::from(self.bits()) * u64::from(bound);
            // The few lowest products would favour some numbers.
            if product as u32 >= bound.wrapping_neg().checked_rem(bound).unwrap_or(0) {
                return (product >> 32) as u32;
            }
        }
    }

    /// Brings the first `count` of `items` to random ones of all, each order as likely as any other (Fisher and Yates).
    ///
    /// # Panics
    /// For 2^32 items and more.
    pub fn shuffle<T>(&mut self, items: &mut [T], count: usize) {
        let length = u32::try_from(items.len()).expect("fewer than 2^32 items");
        for i in 0..count.min(items.len()) {
            let other = i + self.below(length - i as u32) as usize;
            items.swap(i, other);
        }
    }
}

/// A checkpoint for `net` with He-scaled weights and lively BatchNorms, the same for the same seed.
///
/// # Errors
/// For impossible numbers.
pub fn checkpoint(net: &dyn Network, seed: u64) -> Result<Checkpoint> {
    let mut random = Random::new(seed);
    let mut checkpoint = Checkpoint::default();
    for spec in Blueprint::new(net)?.tensors {
        let name = spec.name.as_str();
        let dims: Vec<usize> = spec.dims.iter().map(|&d| d as usize).collect();
        let mut add = |name: String, shape: &[usize], f: &mut dyn FnMut(f32) -> f32| {
            let data = (0..shape.iter().product())
                .map(|_| f(random.draw()))
                .collect();
            checkpoint.tensors.insert(
                name,
                Tensor {
                    shape: shape.to_vec(),
                    data,
                },
            );
        };
        match spec.role {
            Role::TurnedWeight => {
                let bound = (6.0 / dims[1] as f32).sqrt();
                let turned = [dims[1], dims[0]];
                add(name.to_owned(), &turned, &mut |v| v * bound);
            }
            Role::Table { from } => {
                // A table that was begun with its first rows gets all of them.
                let rows = from as usize + dims[0];
                add(name.to_owned(), &[rows, dims[1]], &mut |v| 0.02 * v);
            }
            Role::Factors => add(name.to_owned(), &dims[..1], &mut |v| 1.0 + 0.2 * v),
            Role::Summands => add(name.to_owned(), &dims[..1], &mut |v| 0.1 * v),
            Role::ConvWeight | Role::LinearWeight => {
                let rank = if spec.role == Role::ConvWeight { 4 } else { 2 };
                let bound = (6.0 / dims[1..].iter().product::<usize>() as f32).sqrt();
                add(name.to_owned(), &dims[..rank], &mut |v| v * bound);
            }
            Role::NormScale => {
                // The last BatchNorm of a block is small, as in trained networks, so that sums don't explode.
                let last = net.ends_block(name);
                let gamma = if last { 0.3 } else { 1.0 };
                let channels = &dims[..1];
                add(format!("{name}.weight"), channels, &mut |v| {
                    gamma * (1.0 + 0.2 * v)
                });
                add(format!("{name}.bias"), channels, &mut |v| 0.1 * v);
                add(format!("{name}.running_mean"), channels, &mut |v| 0.1 * v);
                add(format!("{name}.running_var"), channels, &mut |v| {
                    1.0 + 0.5 * v
                });
            }
            Role::NormShift => {}
            Role::Bias => add(name.to_owned(), &dims[..1], &mut |v| 0.1 * v),
        }
    }
    Ok(checkpoint)
}

/// The model file of a published ImageNet ResNet with random weights.
///
/// # Errors
/// For a depth that wasn't published.
pub fn imagenet(depth: u32, half: bool) -> Result<Vec<u8>> {
    let net =
        Resnet::imagenet(depth, 64, 1000).ok_or_else(|| anyhow!("there is no ResNet-{depth}"))?;
    let preprocess = preprocess::find(None, &net)?;
    let options = Options {
        bn_eps: 1e-5,
        half,
        preprocess,
        classes: Vec::new(),
    };
    import(&checkpoint(&net, u64::from(depth))?, &net, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_numbers_are_even_and_end() {
        let mut random = Random::new(1);
        let mut counts = [0; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&n: &i32| (n - 10_000).abs() < 400),
            "{counts:?}"
        );
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }

    #[test]
    fn shuffles_are_permutations_that_the_seed_decides() {
        let order = |seed, count| {
            let mut items: Vec<u32> = (0..100).collect();
            Random::new(seed).shuffle(&mut items, count);
            items
        };
        assert_eq!(order(3, 100), order(3, 100));
        assert_ne!(order(3, 100), order(4, 100));
        assert_eq!(order(3, 10)[..10], order(3, 100)[..10]);
        let mut sorted = order(3, 100);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
    }
}
