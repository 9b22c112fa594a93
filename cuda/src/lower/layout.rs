//! Where everything lies in the one allocation of an explainer.

use elucid_core::Model;
use elucid_core::graph::{Conv, NodeId, PANEL, TensorId};
use elucid_core::plan::Plan;
use elucid_core::rule::{Composite, Dead, Rule};
use elucid_core::view::Weights;
use elucid_kernels::params::{SeedRequest, SeedResult};

/// Every piece starts at a multiple of this many bytes.
const ALIGN: u64 = 256;

/// Doubles that an audited step writes for each map.
pub const TALLY: usize = 8;

/// Partial sums of a reduction: as many blocks work on one at most.
pub const PARTIALS: usize = 256;

/// Offsets in bytes: weights, sums over weights, the arena, and what host and device tell each other.
#[derive(Clone, Debug)]
pub struct Layout {
    tensors: Vec<u64>,
    halves: Vec<bool>,
    sums: Vec<Option<u64>>,
    weight_bytes: u64,
    arena: u64,
    arena_bytes: u64,
    requests: u64,
    results: u64,
    ledger: u64,
    partials: u64,
    total: u64,
}

impl Layout {
    /// The layout for a plan of a model.
    #[must_use]
    pub fn new(model: &Model<'_>, plan: &Plan<'_>) -> Self {
        let mut end = 0u64;
        let mut take = |bytes: usize| {
            let start = end.next_multiple_of(ALIGN);
            end = start + bytes as u64;
            start
        };
        let (mut tensors, mut halves) = (Vec::new(), Vec::new());
        for id in 0..model.tensor_count() {
            let bytes = tensor_bytes(model, id);
            tensors.push(take(bytes.len()));
            halves.push(matches!(model.weights(id), Some(Weights::F16(_))));
        }
        let weight_bytes = tensors.last().map_or(0, |&last| {
            last + tensor_bytes(model, model.tensor_count() - 1).len() as u64
        });
        let options = plan.options();
        let summed = |id: NodeId| {
            let Some(Composite::Rules(rules)) = options.composite else {
                return None;
            };
            let node = model.node(id);
            let image = node.inputs[0] == 0;
            let conv = node.op.layer()?;
            let rule = rules.of(&node.op, image);
            let ones = image && rules.first.is_none();
            let dead = matches!(
                rule,
                Rule::ZPlus {
                    dead: Dead::Redistribute,
                    ..
                }
            );
            (ones || dead).then_some(conv)
        };
        let sums = (0..model.node_count())
            .map(|id| summed(id).map(|c| take(4 * sum_count(&c))))
            .collect();
        let arena_bytes = 4 * plan.arena();
        let arena = take(arena_bytes);
        let maps = options.maps();
        let requests = take(maps * size_of::<SeedRequest>());
        let results = take(maps * size_of::<SeedResult>());
        let ledger = take(maps * TALLY * size_of::<f64>());
        let partials = take(PARTIALS * TALLY * size_of::<f64>());
        Self {
            tensors,
            halves,
            sums,
            weight_bytes,
            arena,
            arena_bytes: arena_bytes as u64,
            requests,
            results,
            ledger,
            partials,
            total: end,
        }
    }

    /// Offset of a tensor.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> Option<u64> {
        self.tensors.get(usize::from(id)).copied()
    }

    /// Whether a tensor is stored in halves.
    #[must_use]
    pub fn half(&self, id: TensorId) -> bool {
        self.halves.get(usize::from(id)).copied().unwrap_or(false)
    }

    /// Offset of the sums of a layer's positive weights over its input channels, where a rule needs them: for each tap and
    /// output channel, panels whole, and in one more row for all taps together.
    #[must_use]
    pub fn sums(&self, node: NodeId) -> Option<u64> {
        self.sums.get(usize::from(node)).copied().flatten()
    }

    /// Offset of the arena.
    #[must_use]
    pub fn arena(&self) -> u64 {
        self.arena
    }

    /// Offset of a request for each map.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Offset of a seed for each map.
    #[must_use]
    pub fn results(&self) -> u64 {
        self.results
    }

    /// Offset of [`TALLY`] doubles for each map.
    #[must_use]
    pub fn ledger(&self) -> u64 {
        self.ledger
    }

    /// Offset of [`PARTIALS`] times [`TALLY`] doubles.
    #[must_use]
    pub fn partials(&self) -> u64 {
        self.partials
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.total
    }

    /// Bytes of the model's tensors.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Bytes of the arena.
    #[must_use]
    pub fn arena_bytes(&self) -> u64 {
        self.arena_bytes
    }
}

/// Sums of [`Layout::sums`].
fn sum_count(c: &Conv) -> usize {
    (c.taps() + 1) * c.panels() * PANEL
}

/// The bytes of a tensor as they go to the device.
#[must_use]
pub fn tensor_bytes<'a>(model: &Model<'a>, id: TensorId) -> &'a [u8] {
    match (model.weights(id), model.vector(id)) {
        (Some(Weights::F32(w)), _) => bytemuck::cast_slice(w),
        (Some(Weights::F16(w)), _) => bytemuck::cast_slice(w),
        (None, Some(v)) => bytemuck::cast_slice(v),
        (None, None) => &[],
    }
}
