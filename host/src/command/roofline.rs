//! The roofline of a plan on a device: no launch is faster than its arithmetic at the published peak, or than its bytes at the
//! published bandwidth.
//!
//! What is counted are the launches that the CUDA backend makes of the plan, by `elucid::cost`: operations with the padding of
//! tiles, and bytes that must come from memory at least once. Launches follow one another, so their bounds add up.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use elucid::cost::{self, Cost};
use elucid::lower::{Launch, Layout, Lowering};
use elucid_core::Model;
use elucid_core::graph::Op;
use elucid_core::plan::Plan;
use elucid_core::rule::Init;
use elucid_core::view::Weights;

use crate::device::Device;
use crate::engine::explain_error;

/// Where the addresses of a layout begin: any multiple of its alignment will do, for nothing is run.
const BASE: u64 = 1 << 12;

/// What bounds a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    Cores,
    Tensor,
    Memory,
}

impl Bound {
    pub const fn name(self) -> &'static str {
        match self {
            Bound::Cores => "CUDA cores",
            Bound::Tensor => "tensor cores",
            Bound::Memory => "memory",
        }
    }
}

/// A plan's launches with their prices, step by step.
pub struct Priced {
    pub steps: Vec<Vec<(Launch, Cost)>>,
    /// Steps that are the forward pass.
    pub forward: usize,
    pub layout: Layout,
}

impl Priced {
    /// The launches of a plan, forward products on tensor cores or not.
    ///
    /// # Errors
    /// One line that names the layer for which there is no kernel.
    pub fn new(model: &Model<'_>, plan: &Plan<'_>, tensor_cores: bool) -> Result<Self> {
        let layout = Layout::new(model, plan);
        let lowering =
            Lowering::new(model, &layout, plan.options(), BASE).with_tensor_cores(tensor_cores);
        let priced = |step| {
            let launches = lowering.launches(step, Init::Probability);
            let launches = launches.map_err(|e| explain_error(model, e))?;
            let price = |launch: Launch| {
                let cost = cost::cost(&launch);
                let none = || anyhow!("{} has no price", launch.kernel.entry);
                cost.map(|cost| (launch, cost)).ok_or_else(none)
            };
            launches.into_iter().map(price).collect::<Result<Vec<_>>>()
        };
        let steps = plan.steps().iter().map(priced).collect::<Result<_>>()?;
        Ok(Self {
            steps,
            forward: plan.forward_steps().len(),
            layout,
        })
    }

    /// All launches, or those of the forward pass.
    pub fn launches(&self, forward: bool) -> impl Iterator<Item = &(Launch, Cost)> {
        let steps = if forward {
            self.forward
        } else {
            self.steps.len()
        };
        self.steps.iter().take(steps).flatten()
    }

    /// What they cost together.
    pub fn total(&self, forward: bool) -> Cost {
        self.launches(forward).map(|&(_, cost)| cost).sum()
    }

    /// Seconds at the peaks.
    pub fn seconds(&self, device: &Device, forward: bool) -> f64 {
        self.launches(forward)
            .map(|(_, cost)| bound(device, cost).0)
            .sum()
    }

    /// The same where a multiprocessor does whole blocks.
    pub fn whole_seconds(&self, device: &Device, forward: bool) -> f64 {
        self.launches(forward)
            .map(|(launch, cost)| whole(device, launch, cost))
            .sum()
    }

    /// The families of kernels, the longest first.
    pub fn families(&self, device: &Device) -> Vec<Family> {
        let mut all: BTreeMap<&'static str, Family> = BTreeMap::new();
        for (launch, cost) in self.launches(false) {
            let name = cost::family(launch.kernel);
            let family = all.entry(name).or_insert_with(|| Family::new(name));
            let (seconds, by) = bound(device, cost);
            family.launches += 1;
            family.cost += *cost;
            *family.seconds.entry(by).or_default() += seconds;
        }
        let mut all: Vec<Family> = all.into_values().collect();
        all.sort_by(|a, b| b.total().total_cmp(&a.total()));
        all
    }
}

/// Launches of kernels of one file.
pub struct Family {
    pub name: &'static str,
    pub launches: usize,
    pub cost: Cost,
    /// Seconds at the peaks, by what bounds them.
    pub seconds: BTreeMap<Bound, f64>,
}

impl Family {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            launches: 0,
            cost: Cost::default(),
            seconds: BTreeMap::new(),
        }
    }

    /// Seconds at the peaks.
    pub fn total(&self) -> f64 {
        self.seconds.values().sum()
    }

    /// What bounds it, with shares of its time if there are several.
    pub fn bounds(&self) -> String {
        let all = self.total();
        let mut by: Vec<(Bound, f64)> = self.seconds.iter().map(|(b, s)| (*b, *s)).collect();
        by.sort_by(|a, b| b.1.total_cmp(&a.1));
        let one = |&(bound, seconds): &(Bound, f64)| match by.len() {
            1 => bound.name().to_owned(),
            _ => format!("{} {:.0} %", bound.name(), 100.0 * seconds / all),
        };
        by.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Whether forward products run on tensor cores, or why they don't.
pub fn tensor_cores(device: &Device, model: &Model<'_>, wanted: bool) -> Result<(), String> {
    let half = |id| {
        let op: Op = model.node(id).op;
        let weight = op.layer().map(|c| c.weight);
        weight.is_some_and(|w| matches!(model.weights(w), Some(Weights::F16(_))))
    };
    if !wanted {
        Err("switched off".to_owned())
    } else if device.tensor_cores == 0 {
        Err("the device has none".to_owned())
    } else if !device.multiplies_halves() {
        Err(format!(
            "those of sm_{} lack the product m16n8k16, which came with sm_80",
            device.arch
        ))
    } else if !(0..model.node_count()).any(half) {
        Err("weights are f32".to_owned())
    } else {
        Ok(())
    }
}

/// Seconds of arithmetic on cores, on tensor cores, and of traffic, at the peaks.
fn parts(device: &Device, cost: &Cost) -> [(f64, Bound); 3] {
    let tensor = match (cost.tensor_issued, device.tensor_flops()) {
        (0, _) | (_, None) => 0.0,
        (issued, Some(peak)) => issued as f64 / peak,
    };
    [
        (cost.f32_issued as f64 / device.f32_flops(), Bound::Cores),
        (tensor, Bound::Tensor),
        (
            cost.bytes() as f64 / device.bytes_per_second(),
            Bound::Memory,
        ),
    ]
}

/// Least seconds of a launch, and what bounds it.
pub fn bound(device: &Device, cost: &Cost) -> (f64, Bound) {
    let longest = |a: (f64, Bound), b: (f64, Bound)| if b.0 > a.0 { b } else { a };
    let [cores, tensor, memory] = parts(device, cost);
    longest(longest(memory, cores), tensor)
}

/// Least seconds of a launch whose blocks are as long as each other, and stay on the multiprocessor that began them.
fn whole(device: &Device, launch: &Launch, cost: &Cost) -> f64 {
    let [cores, tensor, memory] = parts(device, cost);
    let (blocks, each) = (cost::blocks(launch).max(1), device.multiprocessors.into());
    let uneven = (blocks.div_ceil(each) * each) as f64 / blocks as f64;
    (cores.0.max(tensor.0) * uneven).max(memory.0)
}
