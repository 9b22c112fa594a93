//! Which samples are scored, and in which order: a pure function of the labels, a seed and the shard.

use std::fmt;
use std::str::FromStr;

use super::{DataError, Trouble};

/// In which order samples come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As the data set lists them.
    #[default]
    Listed,
    /// Shuffled as PyTorch's loader shuffles with this seed.
    Shuffled {
        /// The generator's seed, 42 in the papers' scripts.
        seed: u32,
    },
    /// Shuffled, then at most `max(1, 1000 / classes)` samples of every true class, in this order: the choice of the
    /// papers' scripts.
    Paper {
        /// The generator's seed, 42 in the papers' scripts.
        seed: u32,
    },
}

/// One of several runs that share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Everything in one run.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Shard `index` of `count`, counted from 0; `None` if there is no such shard.
    #[must_use]
    pub fn new(index: usize, count: usize) -> Option<Shard> {
        (index < count).then_some(Shard { index, count })
    }

    /// Its index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index
    }

    /// How many shards there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.count
    }

    /// Every `count`-th of `positions`, beginning at this shard's index: shards are disjoint, complete together and
    /// differ by one in length at most.
    pub fn of<T>(self, positions: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        positions.into_iter().skip(self.index).step_by(self.count)
    }
}

impl Default for Shard {
    fn default() -> Shard {
        Shard::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers = text.split_once('/');
        let numbers =
            numbers.and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        match numbers {
            Some((index, count)) => Shard::new(index, count).ok_or(match count {
                0 => "there must be at least one shard, as in 0/1".to_owned(),
                n => format!("shards are counted from 0: 0/{n} to {}/{n}", n - 1),
            }),
            None => Err("a shard is written INDEX/COUNT, as in 0/4".to_owned()),
        }
    }
}

/// Which samples a run takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Their order.
    pub order: Order,
    /// At most so many of them, counted before they are shared out.
    pub limit: Option<usize>,
    /// The part that this run takes.
    pub shard: Shard,
}

impl Selection {
    /// Positions of the samples to take, in the order to take them, out of samples with these labels.
    ///
    /// # Errors
    /// If the order needs a label of every sample and one has none.
    pub fn positions(
        &self,
        labels: &[Option<u32>],
        classes: usize,
    ) -> Result<Vec<usize>, DataError> {
        let all = match self.order {
            Order::Listed => (0..labels.len()).collect(),
            Order::Shuffled { seed } => shuffled(labels.len(), seed),
            Order::Paper { seed } => {
                let known: Option<Vec<u32>> = labels.iter().copied().collect();
                let known = known.ok_or_else(|| {
                    DataError::new(
                        Trouble::Class,
                        "the papers' choice of samples takes so many of every class, but some samples have no label; \
                         choose another order or add labels",
                    )
                })?;
                paper(&known, classes, seed)
            }
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        Ok(self.shard.of(all.into_iter().take(limit)).collect())
    }
}

/// The order in which PyTorch's shuffling loader visits `count` samples when its generator was seeded with `seed`.
#[must_use]
pub fn shuffled(count: usize, seed: u32) -> Vec<usize> {
    let mut generator = MersenneTwister::new(seed);
    // The loader draws a seed of 64 bits for its workers first.
    generator.next_u32();
    generator.next_u32();
    let mut order: Vec<usize> = (0..count).collect();
    for i in 0..count.saturating_sub(1) {
        let ahead = generator.next_u32() as usize % (count - i);
        order.swap(i, i + ahead);
    }
    order
}

/// The samples that the papers' scripts score: shuffled, at most `max(1, 1000 / classes)` of every true class.
#[must_use]
pub fn paper(labels: &[u32], classes: usize, seed: u32) -> Vec<usize> {
    let quota = (1000 / classes.max(1)).max(1);
    let most = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut kept = vec![0; most];
    let mut order = shuffled(labels.len(), seed);
    order.retain(|&at| {
        let of_class: &mut usize = &mut kept[labels[at] as usize];
        *of_class += 1;
        *of_class <= quota
    });
    order
}

/// MT19937 of Matsumoto and Nishimura, PyTorch's generator on the CPU.
struct MersenneTwister {
    state: [u32; 624],
    next: usize,
}

impl MersenneTwister {
    /// The authors' `init_genrand`.
    fn new(seed: u32) -> MersenneTwister {
        let mut state = [seed; 624];
        for i in 1..state.len() {
            let before = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = before.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let next = state.len();
        MersenneTwister { state, next }
    }

    fn next_u32(&mut self) -> u32 {
        let n = self.state.len();
        if self.next == n {
            for i in 0..n {
                let joined =
                    (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % n] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % n] ^ (joined >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_authors() {
        // The first output for the authors' default seed, and the ten-thousandth that C++ prescribes for it.
        let mut generator = MersenneTwister::new(5489);
        assert_eq!(generator.next_u32(), 3_499_211_612);
        assert_eq!(
            (0..9999).map(|_| generator.next_u32()).last(),
            Some(4_123_659_995)
        );
    }

    #[test]
    fn the_order_is_the_references() {
        assert_eq!(
            shuffled(50_000, 42)[..6],
            [36_876, 12_172, 15_788, 48_272, 24_336, 8_299]
        );
        assert_eq!(
            shuffled(5_794, 42)[..6],
            [140, 4_208, 4_012, 3_141, 1_214, 1_683]
        );
        assert!(shuffled(0, 42).is_empty());
        assert_eq!(shuffled(1, 42), [0]);
    }

    #[test]
    fn every_class_gets_its_quota_in_that_order() {
        let labels: Vec<u32> = (0..5_794).map(|i| i * 200 / 5_794).collect();
        let chosen = paper(&labels, 200, 42);
        assert_eq!(chosen.len(), 1000);
        assert_eq!(chosen[..3], [140, 4_208, 4_012]);
        for class in 0..200 {
            assert_eq!(chosen.iter().filter(|&&i| labels[i] == class).count(), 5);
        }
        // More than a thousand classes still give one sample each.
        assert_eq!(paper(&[0, 1, 1, 0], 2000, 42).len(), 2);
    }

    #[test]
    fn shards_are_disjoint_and_complete_within_the_limit() {
        let labels = vec![None; 103];
        let take = |shard| {
            let order = Order::Shuffled { seed: 7 };
            let limit = Some(50);
            let selection = Selection {
                order,
                limit,
                shard,
            };
            selection.positions(&labels, 1).unwrap()
        };
        let whole = take(Shard::WHOLE);
        assert_eq!(whole.len(), 50);
        for count in [1, 2, 7, 60] {
            let parts: Vec<Vec<usize>> = (0..count)
                .map(|index| take(Shard::new(index, count).unwrap()))
                .collect();
            let merged: Vec<usize> = (0..50).map(|i| parts[i % count][i / count]).collect();
            assert_eq!(merged, whole);
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 50);
        }
    }

    #[test]
    fn shards_are_read_and_wrong_ones_explained() {
        let shard: Shard = "3/4".parse().unwrap();
        assert_eq!(
            (shard, shard.to_string()),
            (Shard { index: 3, count: 4 }, "3/4".into())
        );
        let wrong = |text: &str| text.parse::<Shard>().unwrap_err();
        assert!(wrong("4/4").contains("0/4 to 3/4"));
        assert!(wrong("0/0").contains("at least one"));
        assert!(wrong("1").contains("INDEX/COUNT"));
    }

    #[test]
    fn the_papers_choice_needs_labels() {
        let selection = Selection {
            order: Order::Paper { seed: 42 },
            ..Selection::default()
        };
        let error = selection.positions(&[Some(0), None], 2).unwrap_err();
        assert_eq!(error.trouble(), Trouble::Class);
    }
}
