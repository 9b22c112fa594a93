//! `elucid plan --device`: how long the steps would take on a device, from its published peak numbers.
//!
//! A roofline: a step takes as long as its arithmetic or its memory traffic, whichever is more, at a share of the peak,
//! and a launch. Convolutions and linear layers forwards run in f16 on tensor cores where a device has them; all else,
//! relevance above all, in f32 on CUDA cores. Traffic is what the plan says: operands read, the result written (and read
//! where it is added to), working memory written and read, weights at their stored width once for each product.

use anyhow::{Result, anyhow};
use clap::Args;
use elucid_core::Model;
use elucid_core::graph::{NONE, Op, TensorId};
use elucid_core::plan::{Act, Plan, Region, Step};
use elucid_core::rule::Composite;
use elucid_core::view::Weights;

use super::plan::{act, batch, flops, node_name};
use super::say::say;
use crate::device::{DEVICES, Device};

/// Names for `--device`.
const NAMES: [&str; DEVICES.len() + 1] = {
    let mut names = ["list"; DEVICES.len() + 1];
    let mut i = 0;
    while i < DEVICES.len() {
        names[i + 1] = DEVICES[i].name;
        i += 1;
    }
    names
};

/// What a launch of a kernel costs, in seconds: an assumption, the order of magnitude that is usual for CUDA.
const LAUNCH: f64 = 5e-6;

#[derive(Args)]
pub struct OnDevice {
    /// Predict the time of every step on this device from its published peak numbers; `list` shows all devices
    #[arg(long, value_name = "NAME", value_parser = NAMES)]
    device: Option<String>,
    /// Share of the published peaks that is reached, above 0, at most 1
    #[arg(long, default_value_t = 0.5, requires = "device", value_parser = share)]
    share: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("write a number above 0 and at most 1, as 0.5".to_owned()),
    }
}

/// What bounds a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Cores,
    Tensor,
    Memory,
    Launch,
}

impl Bound {
    const fn name(self) -> &'static str {
        match self {
            Bound::Cores => "CUDA cores",
            Bound::Tensor => "tensor cores",
            Bound::Memory => "memory",
            Bound::Launch => "launch",
        }
    }
}

/// The prediction for one step.
struct Predicted {
    seconds: f64,
    bytes: u64,
    bound: Bound,
}

impl OnDevice {
    /// Whether the devices are to be listed and nothing else.
    pub fn lists(&self) -> bool {
        self.device.as_deref() == Some("list")
    }

    /// The device to predict for.
    pub fn find(&self) -> Result<Option<&'static Device>> {
        let Some(name) = &self.device else {
            return Ok(None);
        };
        let device = Device::find(name);
        device
            .map(Some)
            .ok_or_else(|| anyhow!("there is no device {name}; see --device list"))
    }

    /// Prints the prediction for a plan.
    pub fn print(&self, device: &Device, model: &Model<'_>, plan: &Plan<'_>, json: bool) {
        let steps: Vec<Predicted> = plan
            .steps()
            .iter()
            .map(|step| predict(device, self.share, model, plan, step))
            .collect();
        if json {
            say!("{}", self.json(device, model, plan, &steps));
        } else {
            self.table(device, model, plan, &steps);
        }
    }

    fn json(
        &self,
        device: &Device,
        model: &Model<'_>,
        plan: &Plan<'_>,
        predicted: &[Predicted],
    ) -> serde_json::Value {
        let (forward, explain) = totals(plan, predicted);
        let steps = plan.steps().iter().zip(predicted).map(|(s, p)| {
            serde_json::json!({
                "act": act(s), "node": model.node_name(s.node), "flops": flops(model, plan, s),
                "bytes": p.bytes, "ms": p.seconds * 1e3, "bound": p.bound.name(),
            })
        });
        serde_json::json!({
            "device": device.name, "title": device.title, "mode": device.mode, "source": device.source,
            "prediction": true, "share": self.share, "launch_us": LAUNCH * 1e6,
            "forward_ms": forward * 1e3, "explain_ms": explain.map(|s| s * 1e3),
            "images": plan.options().images, "targets": plan.options().targets,
            "explanations_per_second": explain.map(|s| plan.options().maps() as f64 / s),
            "arena_bytes": plan.arena() * 4, "weight_bytes": model.sizes().1,
            "steps": steps.collect::<Vec<_>>(),
        })
    }

    fn table(&self, device: &Device, model: &Model<'_>, plan: &Plan<'_>, predicted: &[Predicted]) {
        let (forward, explain) = totals(plan, predicted);
        say!("{}", model.description());
        say!("{} on {} ({})", batch(plan), device.title, device.mode);
        say!(
            "A PREDICTION from published peak numbers: nothing was measured, on this device or any other."
        );
        say!(
            "{}: {}; source: {}",
            device.name,
            numbers(device),
            device.source
        );
        say!(
            "assumed: {:.0} % of these peaks, {:.0} us a launch, one launch a step, f16 tensor cores for products forwards where there are any, f32 CUDA cores for relevance\n",
            self.share * 100.0,
            LAUNCH * 1e6
        );
        let maps = plan.options().maps() as f64;
        let per_second = explain.map_or(String::new(), |s| {
            format!(", {:.1} explanations a second", maps / s)
        });
        let explain = explain.map_or(String::new(), |s| format!(", explain {:.2} ms", s * 1e3));
        say!("forward {:.2} ms{explain}{per_second}\n", forward * 1e3);
        say!(
            "{:>4}  {:<9} {:<22} {:>8} {:>8} {:>9}  bound by",
            "step",
            "act",
            "node",
            "MFLOP",
            "MB",
            "ms"
        );
        for (i, (step, p)) in plan.steps().iter().zip(predicted).enumerate() {
            say!(
                "{i:>4}  {:<9} {:<22} {:>8.1} {:>8.2} {:>9.4}  {}",
                act(step),
                node_name(model, step),
                flops(model, plan, step) as f64 / 1e6,
                p.bytes as f64 / 1e6,
                p.seconds * 1e3,
                p.bound.name()
            );
        }
    }
}

/// Lists the devices.
pub fn list(json: bool) {
    if json {
        for d in &DEVICES {
            say!(
                "{}",
                serde_json::json!({
                    "device": d.name, "title": d.title, "mode": d.mode, "source": d.source,
                    "cuda_cores": d.cores, "clock_mhz": d.clock_mhz, "tensor_cores": d.tensor_cores,
                    "f32_flops": d.f32_flops(), "tensor_f16_flops": d.tensor_flops(),
                    "bytes_per_second": d.bytes_per_second(),
                })
            );
        }
        return;
    }
    say!(
        "Published peak numbers, nothing measured. TFLOP/s: f32 on CUDA cores, dense f16 on tensor cores.\n"
    );
    say!(
        "{:<16} {:<29} {:<17} {:>6} {:>5} {:>7} {:>7} {:>6}  source",
        "name",
        "device",
        "mode",
        "cores",
        "MHz",
        "f32",
        "f16",
        "GB/s"
    );
    for d in &DEVICES {
        let tensor = d
            .tensor_flops()
            .map_or("-".to_owned(), |f| format!("{:.1}", f / 1e12));
        say!(
            "{:<16} {:<29} {:<17} {:>6} {:>5.0} {:>7.3} {tensor:>7} {:>6.1}  {}",
            d.name,
            d.title,
            d.mode,
            d.cores,
            d.clock_mhz,
            d.f32_flops() / 1e12,
            d.bandwidth,
            d.source
        );
    }
}

fn numbers(device: &Device) -> String {
    let tensor = device
        .tensor_flops()
        .map_or("no tensor cores".to_owned(), |f| {
            format!("{:.1} TFLOP/s f16 dense on tensor cores", f / 1e12)
        });
    format!(
        "{:.2} TFLOP/s f32 on {} CUDA cores at {:.0} MHz, {tensor}, {} GB/s",
        device.f32_flops() / 1e12,
        device.cores,
        device.clock_mhz,
        device.bandwidth
    )
}

/// Seconds of the forward pass and, if the plan has one, of the explanation.
fn totals(plan: &Plan<'_>, steps: &[Predicted]) -> (f64, Option<f64>) {
    let sum = |steps: &[Predicted]| steps.iter().map(|p| p.seconds).sum();
    let explains = !plan.relevance_steps().is_empty();
    (
        sum(&steps[..plan.forward_steps().len()]),
        explains.then(|| sum(steps)),
    )
}

fn predict(
    device: &Device,
    share: f64,
    model: &Model<'_>,
    plan: &Plan<'_>,
    step: &Step,
) -> Predicted {
    let product = matches!(model.node(step.node).op, Op::Conv(_) | Op::Linear(_))
        && matches!(step.act, Act::Forward | Act::Recompute);
    let (peak, unit) = match device.tensor_flops() {
        Some(tensor) if product => (tensor, Bound::Tensor),
        _ => (device.f32_flops(), Bound::Cores),
    };
    let bytes = bytes(model, plan, step);
    let arithmetic = flops(model, plan, step) as f64 / (share * peak);
    let memory = bytes as f64 / (share * device.bytes_per_second());
    let work = arithmetic.max(memory);
    let bound = if LAUNCH > work {
        Bound::Launch
    } else if arithmetic > memory {
        unit
    } else {
        Bound::Memory
    };
    Predicted {
        seconds: work + LAUNCH,
        bytes,
        bound,
    }
}

/// Bytes that a step moves.
fn bytes(model: &Model<'_>, plan: &Plan<'_>, step: &Step) -> u64 {
    let read: u64 = step.ins.iter().map(|r| u64::from(r.len)).sum();
    let out = u64::from(step.out.len) * if step.accumulate { 2 } else { 1 };
    let scratch = 2 * u64::from(step.scratch.len);
    4 * (read + out + scratch) + weight_bytes(model, plan, step)
}

fn weight_bytes(model: &Model<'_>, plan: &Plan<'_>, step: &Step) -> u64 {
    let stored = |id: TensorId| match model.weights(id) {
        Some(Weights::F32(w)) if id != NONE => 4 * w.len() as u64,
        Some(Weights::F16(w)) if id != NONE => 2 * w.len() as u64,
        _ => 0,
    };
    let op = model.node(step.node).op;
    let weights = op.layer().map_or(0, |c| stored(c.weight));
    let vectors: u64 = op.vectors().map(stored).iter().sum();
    let options = plan.options();
    let (images, maps) = (options.images as u64, options.maps() as u64);
    let shared = match options.composite {
        Some(Composite::Chain(_) | Composite::Attention) => 0,
        Some(Composite::Rules(_)) | None => images,
    };
    match step.act {
        Act::Forward | Act::Recompute => weights + vectors,
        // The convolution of the image works on sums of its weights.
        Act::Relevance if step.ins[0] == Region::EMPTY => weights * maps,
        Act::Relevance => weights * (shared + maps),
        Act::Gate => vectors * maps,
        Act::Seed
        | Act::Weigh
        | Act::Split
        | Act::Collect
        | Act::Enlarge
        | Act::Pack
        | Act::Unpack => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PlanMemory;
    use crate::synthetic;
    use elucid_core::plan::Options;
    use elucid_core::rule::Split;

    fn explain_seconds(device: &str, share: f64) -> (f64, f64) {
        let bytes = synthetic::imagenet(18, true).unwrap();
        let bytes = crate::model_file::ModelBytes::from_bytes(&bytes, "random");
        let model = bytes.parse().unwrap();
        let options = Options::new(model.input_shape(), Some(Composite::exact(Split::Ratio)));
        let mut memory = PlanMemory::new(&model);
        let plan = memory.plan(&model, &options).unwrap();
        let device = Device::find(device).unwrap();
        let steps: Vec<_> = plan
            .steps()
            .iter()
            .map(|s| predict(device, share, &model, &plan, s))
            .collect();
        assert!(steps.iter().all(|s| s.seconds >= LAUNCH));
        let least: u64 = model.sizes().1;
        let moved: u64 = steps[..plan.forward_steps().len()]
            .iter()
            .map(|s| s.bytes)
            .sum();
        assert!(moved > least, "every weight is read once");
        let (forward, explain) = totals(&plan, &steps);
        (forward, explain.unwrap())
    }

    #[test]
    fn predictions_are_ordered_as_the_devices_are() {
        let nano = explain_seconds("nano", 0.5);
        let orin = explain_seconds("orin-nano", 0.5);
        let fast = explain_seconds("orin-nano-super", 0.5);
        let thor = explain_seconds("thor", 0.5);
        assert!(nano.1 > orin.1 && orin.1 > fast.1 && fast.1 > thor.1);
        for (forward, explain) in [nano, orin, fast, thor] {
            assert!(0.0 < forward && forward < explain);
        }
        assert!(explain_seconds("nano", 1.0).1 < nano.1);
        // 3.6 GFLOP forwards on 236 GFLOP/s at half the peak is 31 ms at least.
        assert!((0.030..0.060).contains(&nano.0), "{}", nano.0);
    }

    #[test]
    fn shares_are_fractions() {
        assert_eq!(share("0.5"), Ok(0.5));
        for wrong in ["0", "1.5", "-1", "nan", "half"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
