//! `elucid plan --device`: how long the launches of a plan would take on a device, from its published peak numbers.
//!
//! The roofline of [`super::roofline`] at 100 % and at 50 % of the peaks. Forward products run in f16 on tensor cores where a
//! device has those that they are made for and weights are stored in halves; all else, relevance above all, in f32.

use anyhow::{Result, anyhow};
use clap::Args;
use elucid::cost::Cost;
use elucid_core::Model;
use elucid_core::plan::Plan;

use super::devices::numbers;
use super::plan::{act, batch, node_name};
use super::roofline::{self, Bound, Priced};
use super::say::say;
use crate::device::{DEVICES, Device};

/// Names for `--device` that aren't devices: a list of them, and a line for each.
const OTHERS: [&str; 2] = ["list", "all"];

/// Names for `--device`.
const NAMES: [&str; DEVICES.len() + 2] = {
    let mut names = [OTHERS[0]; DEVICES.len() + 2];
    names[1] = OTHERS[1];
    let mut i = 0;
    while i < DEVICES.len() {
        names[i + 2] = DEVICES[i].name;
        i += 1;
    }
    names
};

/// What the gap before a launch costs, in seconds: an assumption, the order of magnitude that is usual for CUDA.
const LAUNCH: f64 = 5e-6;

#[derive(Args)]
pub struct OnDevice {
    /// Predict the time of every step on this device from its published peak numbers; `list` shows all devices, `all` a line of
    /// prediction for each
    #[arg(long, value_name = "NAME", value_parser = NAMES)]
    device: Option<String>,
    /// Share of the published peaks that is reached, above 0, at most 1
    #[arg(long, default_value_t = 0.5, requires = "device", value_parser = share)]
    share: f64,
    /// Predict without tensor cores
    #[arg(long, requires = "device")]
    no_tensor_cores: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("write a number above 0 and at most 1, as 0.5".to_owned()),
    }
}

/// A plan's launches on a device.
struct OnOne<'a> {
    device: &'a Device,
    priced: Priced,
    /// Whether tensor cores work, or why not.
    tensor: Result<(), String>,
    share: f64,
    /// Maps of one call, if the plan explains.
    maps: Option<usize>,
}

impl<'a> OnOne<'a> {
    fn new(of: &OnDevice, device: &'a Device, model: &Model<'_>, plan: &Plan<'_>) -> Result<Self> {
        let tensor = roofline::tensor_cores(device, model, !of.no_tensor_cores);
        let explains = !plan.relevance_steps().is_empty();
        Ok(Self {
            device,
            priced: Priced::new(model, plan, tensor.is_ok())?,
            tensor,
            share: of.share,
            maps: explains.then(|| plan.options().maps()),
        })
    }

    /// Milliseconds of a forward pass, of an explanation and explanations a second, for some count of seconds.
    fn times(&self, seconds: impl Fn(bool) -> f64) -> (f64, Option<(f64, f64)>) {
        let explain = self.maps.map(|maps| {
            let seconds = seconds(false);
            (1e3 * seconds, maps as f64 / seconds)
        });
        (1e3 * seconds(true), explain)
    }

    /// At a share of the peaks.
    fn at(&self, share: f64) -> (f64, Option<(f64, f64)>) {
        self.times(|forward| self.priced.seconds(self.device, forward) / share)
    }

    /// At the peaks, whole blocks on multiprocessors.
    fn whole(&self) -> (f64, Option<(f64, f64)>) {
        self.times(|forward| self.priced.whole_seconds(self.device, forward))
    }

    /// At the share that was asked for, with gaps between launches.
    fn with_gaps(&self) -> (f64, Option<(f64, f64)>) {
        let gaps = |forward| self.priced.launches(forward).count() as f64 * LAUNCH;
        self.times(|forward| self.priced.seconds(self.device, forward) / self.share + gaps(forward))
    }

    /// Seconds of a step with its gaps, what it costs, and what bounds it.
    fn step(&self, index: usize) -> (f64, Cost, &'static str) {
        let launches = &self.priced.steps[index];
        let mut longest = (0.0, Bound::Memory);
        let (mut work, mut cost) = (0.0, Cost::default());
        for (_, price) in launches {
            let (seconds, by) = roofline::bound(self.device, price);
            work += seconds / self.share;
            cost += *price;
            if seconds > longest.0 {
                longest = (seconds, by);
            }
        }
        let gaps = launches.len() as f64 * LAUNCH;
        let by = if gaps > work {
            "launch"
        } else {
            longest.1.name()
        };
        (work + gaps, cost, by)
    }

    fn tensor(&self) -> String {
        match &self.tensor {
            Ok(()) => "forward products on tensor cores, relevance on CUDA cores".to_owned(),
            Err(why) => format!("no tensor cores: {why}"),
        }
    }
}

impl OnDevice {
    /// Whether the devices are to be listed and nothing else.
    pub fn lists(&self) -> bool {
        self.device.as_deref() == Some(OTHERS[0])
    }

    /// Whether something is to be predicted.
    pub fn predicts(&self) -> bool {
        self.device.is_some()
    }

    /// Prints the prediction for a plan.
    pub fn print(&self, model: &Model<'_>, plan: &Plan<'_>, json: bool) -> Result<()> {
        let name = self.device.as_deref().unwrap_or_default();
        if name == OTHERS[1] {
            return self.all(model, plan, json);
        }
        let device = Device::find(name)
            .ok_or_else(|| anyhow!("there is no device {name}; see --device list"))?;
        let one = OnOne::new(self, device, model, plan)?;
        if json {
            say!("{}", object(&one, model, plan, true));
        } else {
            table(&one, model, plan);
        }
        Ok(())
    }

    /// A line for every device.
    fn all(&self, model: &Model<'_>, plan: &Plan<'_>, json: bool) -> Result<()> {
        let all: Vec<OnOne<'_>> = DEVICES
            .iter()
            .map(|device| OnOne::new(self, device, model, plan))
            .collect::<Result<_>>()?;
        if json {
            for one in &all {
                say!("{}", object(one, model, plan, false));
            }
            return Ok(());
        }
        say!("{}", model.description());
        say!("{}, {}", batch(plan), memory(plan));
        say!(
            "A PREDICTION from published peak numbers: nothing was measured, on these devices or any other."
        );
        if let Some(one) = all.first() {
            say!("{}\n", on_device(&one.priced));
        }
        for [
            name,
            launches,
            f32,
            f16,
            moved,
            forward,
            full,
            whole,
            half,
            most,
            rate,
            tensor,
        ] in [
            [
                "", "", "GFLOP", "GFLOP", "", "forward", "explain", "explain", "explain", "per s",
                "per s", "",
            ],
            [
                "device",
                "launches",
                "f32",
                "tensor",
                "MB",
                "100 %",
                "100 %",
                "whole",
                "50 %",
                "100 %",
                "50 %",
                "tensor cores",
            ],
        ] {
            say!(
                "{name:<15} {launches:>8} {f32:>6} {f16:>6} {moved:>5} {forward:>8} {full:>8} {whole:>8} {half:>8} {most:>6} {rate:>6}  {tensor}"
            );
        }
        for one in &all {
            let total = one.priced.total(false);
            let (forward, full) = one.at(1.0);
            let (half, whole) = (one.at(0.5).1, one.whole().1);
            let ms =
                |times: Option<(f64, f64)>| times.map_or("-".to_owned(), |t| format!("{:.2}", t.0));
            let rate =
                |times: Option<(f64, f64)>| times.map_or("-".to_owned(), |t| format!("{:.1}", t.1));
            say!(
                "{:<15} {:>8} {:>6.2} {:>6.2} {:>5.0} {forward:>8.2} {:>8} {:>8} {:>8} {:>6} {:>6}  {}",
                one.device.name,
                one.priced.launches(false).count(),
                total.f32_issued as f64 / 1e9,
                total.tensor_issued as f64 / 1e9,
                total.bytes() as f64 / 1e6,
                ms(full),
                ms(whole),
                ms(half),
                rate(full),
                rate(half),
                one.tensor.as_ref().map_or_else(String::as_str, |()| "yes")
            );
        }
        Ok(())
    }
}

fn memory(plan: &Plan<'_>) -> String {
    let options = plan.options();
    let modes = elucid_core::plan::Memory::ALL;
    let name = modes.iter().find(|(mode, _)| *mode == options.memory);
    let half = if options.half {
        " in half precision"
    } else {
        ""
    };
    format!("memory {}{half}", name.map_or("", |(_, name)| name))
}

/// Bytes of the one allocation, in words.
fn on_device(priced: &Priced) -> String {
    let layout = &priced.layout;
    let (all, weights, arena) = (layout.bytes(), layout.weight_bytes(), layout.arena_bytes());
    format!(
        "device memory: {:.1} MB, weights {:.1} MB, arena {:.1} MB, all else {:.3} MB",
        all as f64 / 1e6,
        weights as f64 / 1e6,
        arena as f64 / 1e6,
        (all - weights - arena) as f64 / 1e6
    )
}

fn object(one: &OnOne<'_>, model: &Model<'_>, plan: &Plan<'_>, steps: bool) -> serde_json::Value {
    let (device, priced) = (one.device, &one.priced);
    let prices = |cost: &Cost| {
        serde_json::json!({
            "f32_flops": cost.f32_flops, "tensor_flops": cost.tensor_flops,
            "f32_issued": cost.f32_issued, "tensor_issued": cost.tensor_issued,
            "bytes_read": cost.read, "bytes_written": cost.written, "bytes_requested": cost.requested,
        })
    };
    let times = |(forward, explain): (f64, Option<(f64, f64)>)| {
        serde_json::json!({
            "forward_ms": forward, "explain_ms": explain.map(|e| e.0),
            "explanations_per_second": explain.map(|e| e.1),
        })
    };
    let families = priced.families(device).into_iter().map(|f| {
        serde_json::json!({
            "kernels": f.name, "launches": f.launches, "ms": 1e3 * f.total(), "bound": f.bounds(), "cost": prices(&f.cost),
        })
    });
    let (forward, explain) = one.with_gaps();
    let mut object = serde_json::json!({
        "device": device.name, "title": device.title, "mode": device.mode, "source": device.source,
        "prediction": true, "share": one.share, "launch_us": LAUNCH * 1e6,
        "forward_ms": forward, "explain_ms": explain.map(|e| e.0),
        "images": plan.options().images, "targets": plan.options().targets,
        "explanations_per_second": explain.map(|e| e.1),
        "arena_bytes": plan.arena() * 4, "weight_bytes": model.sizes().1,
        "device_bytes": priced.layout.bytes(), "tensor_cores": one.tensor.is_ok(),
        "launches": priced.launches(false).count(), "forward_launches": priced.launches(true).count(),
        "cost": prices(&priced.total(false)), "forward_cost": prices(&priced.total(true)),
        "roofline": times(one.at(1.0)), "half_roofline": times(one.at(0.5)), "whole_blocks": times(one.whole()),
        "families": families.collect::<Vec<_>>(),
    });
    if steps {
        let steps = plan.steps().iter().enumerate().map(|(i, s)| {
            let (seconds, cost, bound) = one.step(i);
            serde_json::json!({
                "act": act(s), "node": model.node_name(s.node), "flops": cost.f32_flops + cost.tensor_flops,
                "bytes": cost.bytes(), "ms": seconds * 1e3, "bound": bound,
                "launches": priced.steps[i].len(),
            })
        });
        object["steps"] = steps.collect();
    }
    object
}

fn table(one: &OnOne<'_>, model: &Model<'_>, plan: &Plan<'_>) {
    let (device, priced) = (one.device, &one.priced);
    say!("{}", model.description());
    say!(
        "{}, {} on {} ({})",
        batch(plan),
        memory(plan),
        device.title,
        device.mode
    );
    say!(
        "A PREDICTION from published peak numbers: nothing was measured, on this device or any other."
    );
    say!(
        "{}: {}; source: {}",
        device.name,
        numbers(device),
        device.source
    );
    say!("{}", one.tensor());
    say!("{}", on_device(priced));
    let (all, forward) = (priced.total(false), priced.total(true));
    say!(
        "{} launches ({} of them forwards): {:.2} GFLOP f32 and {:.2} GFLOP on tensor cores issued, of which {:.2} and {:.2} are the network's; {:.1} MB from and to memory at least ({:.1} MB forwards), {:.1} MB requested of the L2 cache\n",
        priced.launches(false).count(),
        priced.launches(true).count(),
        all.f32_issued as f64 / 1e9,
        all.tensor_issued as f64 / 1e9,
        all.f32_flops as f64 / 1e9,
        all.tensor_flops as f64 / 1e9,
        all.bytes() as f64 / 1e6,
        forward.bytes() as f64 / 1e6,
        all.requested as f64 / 1e6
    );
    say!(
        "{:<44} {:>10} {:>10} {:>9}",
        "",
        "forward ms",
        "explain ms",
        "a second"
    );
    let line = |what: String, (forward, explain): (f64, Option<(f64, f64)>)| {
        let (ms, rate) = explain.map_or(("-".to_owned(), "-".to_owned()), |(ms, rate)| {
            (format!("{ms:.2}"), format!("{rate:.1}"))
        });
        say!("{what:<44} {forward:>10.2} {ms:>10} {rate:>9}");
    };
    line("100 % of the roofline".to_owned(), one.at(1.0));
    line(
        "the same, multiprocessors do whole blocks".to_owned(),
        one.whole(),
    );
    line("50 % of the roofline".to_owned(), one.at(0.5));
    let share = 100.0 * one.share;
    let gaps = format!(
        "{share:.0} %, and assumed {:.0} us for a launch",
        LAUNCH * 1e6
    );
    line(gaps, one.with_gaps());
    say!(
        "\n{:<14} {:>8} {:>9} {:>6} {:>9} {:>9} {:>8}  bound by",
        "kernels",
        "launches",
        "ms, 100 %",
        "share",
        "GFLOP",
        "issued",
        "MB"
    );
    let seconds = priced.seconds(device, false);
    for f in priced.families(device) {
        say!(
            "{:<14} {:>8} {:>9.3} {:>4.1} % {:>9.3} {:>9.3} {:>8.2}  {}",
            f.name,
            f.launches,
            1e3 * f.total(),
            100.0 * f.total() / seconds,
            (f.cost.f32_flops + f.cost.tensor_flops) as f64 / 1e9,
            (f.cost.f32_issued + f.cost.tensor_issued) as f64 / 1e9,
            f.cost.bytes() as f64 / 1e6,
            f.bounds()
        );
    }
    say!(
        "\n{:>4}  {:<9} {:<22} {:>8} {:>8} {:>8} {:>9}  bound by ({share:.0} % and launches)",
        "step",
        "act",
        "node",
        "launches",
        "MFLOP",
        "MB",
        "ms"
    );
    for (i, step) in plan.steps().iter().enumerate() {
        let (seconds, cost, bound) = one.step(i);
        say!(
            "{i:>4}  {:<9} {:<22} {:>8} {:>8.1} {:>8.2} {:>9.4}  {bound}",
            act(step),
            node_name(model, step),
            priced.steps[i].len(),
            (cost.f32_flops + cost.tensor_flops) as f64 / 1e6,
            cost.bytes() as f64 / 1e6,
            seconds * 1e3
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PlanMemory;
    use crate::synthetic;
    use elucid_core::plan::Options;
    use elucid_core::rule::{Composite, Split};

    /// Milliseconds of ResNet-18, forwards and explained.
    fn times(device: &str, share: f64, no_tensor_cores: bool) -> (f64, f64) {
        let bytes = synthetic::imagenet(18, true).unwrap();
        let bytes = crate::model_file::ModelBytes::from_bytes(&bytes, "random");
        let model = bytes.parse().unwrap();
        let options = Options::new(model.input_shape(), Some(Composite::exact(Split::Ratio)));
        let mut memory = PlanMemory::new(&model);
        let plan = memory.plan(&model, &options).unwrap();
        let of = OnDevice {
            device: None,
            share,
            no_tensor_cores,
        };
        let one = OnOne::new(&of, Device::find(device).unwrap(), &model, &plan).unwrap();
        let steps = (0..plan.steps().len()).map(|i| one.step(i));
        let sum: f64 = steps.clone().map(|s| s.0).sum();
        let (forward, explain) = one.with_gaps();
        let explain = explain.unwrap().0;
        assert!((1e3 * sum / explain - 1.0).abs() < 1e-9, "{sum} {explain}");
        let moved: u64 = steps
            .take(plan.forward_steps().len())
            .map(|s| s.1.bytes())
            .sum();
        assert!(moved > model.sizes().1, "every weight is read once");
        assert!(one.whole().1.unwrap().0 >= one.at(1.0).1.unwrap().0);
        (forward, explain)
    }

    #[test]
    fn predictions_are_ordered_as_the_devices_are() {
        let all = ["nano", "orin-nano", "orin-nano-super", "thor"];
        let all = all.map(|name| times(name, 0.5, false));
        assert!(all.windows(2).all(|pair| pair[0].1 > pair[1].1));
        assert!(
            all.iter()
                .all(|&(forward, explain)| 0.0 < forward && forward < explain)
        );
        let nano = all[0];
        assert!(times("nano", 1.0, false).1 < nano.1);
        // 3.6 GFLOP forwards on 236 GFLOP/s at half the peak is 31 ms at least.
        assert!((30.0..60.0).contains(&nano.0), "{}", nano.0);
    }

    #[test]
    fn only_some_tensor_cores_are_of_use() {
        assert!(times("orin-nano", 0.5, true).0 > times("orin-nano", 0.5, false).0);
        // Xavier has others.
        assert_eq!(times("xavier", 0.5, true), times("xavier", 0.5, false));
    }

    #[test]
    fn shares_are_fractions() {
        assert_eq!(share("0.5"), Ok(0.5));
        for wrong in ["0", "1.5", "-1", "nan", "half"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
