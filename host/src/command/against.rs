//! The others in `elucid bench --against`: ONNX Runtime and PyTorch on the same network, and the reference procedure of
//! LRP in PyTorch.
//!
//! They run in a Python process that computes when asked, so that all take turns in one run on one machine. Before any
//! time is taken, the logits must agree.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};

use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Model, Shape};
use serde::{Deserialize, Serialize};

use super::bench::Spread;
use super::mebibytes;
use super::network::{self, Network};
use super::python::Python;
use super::say::say;
use crate::engine::{Engine, Method, Threads};

/// Logits that differ by more than this share of the largest come from another network.
const MOST_DIFFERENCE: f64 = 1e-3;

/// Threads of the process before may still spin: ours don't run beside them.
const PAUSE: Duration = Duration::from_millis(5);

/// What is compared.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub model: &'a Model<'a>,
    pub threads: &'a Threads,
    pub shape: Shape,
    /// `[h, w, 3]`
    pub image: &'a [f32],
    /// What elucid computed from the image.
    pub logits: &'a [f32],
}

impl Subject<'_> {
    fn send(&self, python: &mut Python) -> Result<()> {
        let threads = self.threads.pool().threads();
        let network = Network::new(self.model, self.shape, threads)?;
        let planes: Vec<f32> = (0..3)
            .flat_map(|c| self.image.iter().skip(c).step_by(3).copied())
            .collect();
        python.send(|to| {
            network.write(self.model, &mut *to)?;
            network::floats(to, &planes)
        })?;
        python.answer::<String>()?;
        Ok(())
    }

    /// The map of the preset `paper`.
    fn paper_map(&self) -> Result<Vec<f32>> {
        let mut engine = Engine::new(self.model, self.threads);
        let method = Method::new(Some(Composite::paper(Split::Ratio)));
        let mut explainer = engine.open(self.shape, method)?;
        explainer.explain(self.image, Target::Predicted, Init::Probability, None)?;
        let mut map = vec![0.0; self.shape.pixels()];
        explainer.heat(&mut map)?;
        Ok(map)
    }
}

/// What the script computes once, to be compared.
#[derive(Deserialize)]
struct Check {
    logits: BTreeMap<String, Vec<f32>>,
    map: Vec<f32>,
}

/// The others, with the times of their runs so far.
pub struct Rivals {
    python: Python,
    onnxruntime: Vec<f64>,
    torch: Vec<f64>,
    torch_channels_last: Vec<f64>,
    torch_lrp: Vec<f64>,
    logits_difference: f64,
    map_difference: f64,
    lrp_memory: Memories,
}

/// Resident memory of a process that does nothing but LRP in PyTorch, in bytes, where the system tells.
#[derive(Clone, Copy)]
struct Memories {
    /// Before the first explanation: interpreter, libraries and network.
    before: Option<u64>,
    /// At most.
    peak: Option<u64>,
}

/// Milliseconds of convolutions and linear layers by node.
pub type Layers = BTreeMap<u16, f64>;

impl Rivals {
    /// Starts them and checks that they compute what elucid computes.
    ///
    /// # Errors
    /// One line if the interpreter or a module is missing, or if the logits differ.
    pub fn start(interpreter: &str, subject: &Subject<'_>) -> Result<Self> {
        let lrp_memory = lrp_memory(interpreter, subject)?;
        let mut python = Python::start(interpreter, &[])?;
        subject.send(&mut python)?;
        let check: Check = python.ask("check")?;
        let mut logits_difference = 0.0f64;
        for (name, logits) in &check.logits {
            let difference = difference(subject.logits, logits);
            if difference > MOST_DIFFERENCE {
                bail!(
                    "--against {interpreter}: the logits of {name} differ from elucid's by {difference:.1e} of the largest, so the networks aren't the same; please report this model"
                );
            }
            logits_difference = logits_difference.max(difference);
        }
        let map_difference = difference(&subject.paper_map()?, &check.map);
        Ok(Self {
            python,
            onnxruntime: Vec::new(),
            torch: Vec::new(),
            torch_channels_last: Vec::new(),
            torch_lrp: Vec::new(),
            logits_difference,
            map_difference,
            lrp_memory,
        })
    }

    /// One forward pass of each, after which it's elucid's turn.
    pub fn forward(&mut self) -> Result<()> {
        if self.python.lacks().is_none() {
            self.onnxruntime.push(self.python.ask("ort")?);
        }
        self.torch.push(self.python.ask("torch")?);
        self.torch_channels_last.push(self.python.ask("torch-cl")?);
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// One explanation, after which it's elucid's turn.
    pub fn explain(&mut self) -> Result<()> {
        self.torch_lrp.push(self.python.ask("lrp")?);
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// Forgets the times so far: they were for warming up.
    pub fn forget(&mut self) {
        for series in [
            &mut self.onnxruntime,
            &mut self.torch,
            &mut self.torch_channels_last,
            &mut self.torch_lrp,
        ] {
            series.clear();
        }
    }

    /// The layers of PyTorch and of ONNX Runtime.
    pub fn layers(&mut self) -> Result<[Layers; 2]> {
        let torch = self.python.ask("layers-torch")?;
        let onnxruntime = if self.python.lacks().is_none() {
            self.python.ask("layers-ort")?
        } else {
            Layers::new()
        };
        Ok([torch, onnxruntime])
    }

    /// What came out.
    pub fn report(self, forward: &Spread, explain: &Spread, peak_rss: Option<u64>) -> Report {
        let onnxruntime = (!self.onnxruntime.is_empty()).then(|| Spread::of(self.onnxruntime));
        let torch_lrp = Spread::of(self.torch_lrp);
        let rss = self.lrp_memory.peak.zip(peak_rss);
        Report {
            forward_over_onnxruntime: onnxruntime.as_ref().map(|o| forward.median / o.median),
            torch_lrp_over_explain: torch_lrp.median / explain.median,
            torch_lrp_peak_rss_over_ours: rss.map(|(theirs, ours)| theirs as f64 / ours as f64),
            onnxruntime,
            torch: Spread::of(self.torch),
            torch_channels_last: Spread::of(self.torch_channels_last),
            torch_lrp,
            torch_lrp_rss_before_bytes: self.lrp_memory.before,
            torch_lrp_peak_rss_bytes: self.lrp_memory.peak,
            logits_difference: self.logits_difference,
            map_difference: self.map_difference,
            versions: self.python.versions().clone(),
            lacks: self.python.lacks(),
        }
    }
}

fn lrp_memory(interpreter: &str, subject: &Subject<'_>) -> Result<Memories> {
    let mut python = Python::start(interpreter, &["memory"])?;
    subject.send(&mut python)?;
    let before = python.ask("resident")?;
    for _ in 0..2 {
        python.ask::<f64>("lrp")?;
    }
    let peak = python.ask("peak")?;
    Ok(Memories { before, peak })
}

/// The largest difference as a share of the largest value of `theirs`; infinite for other lengths and for NaN.
fn difference(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() || ours.iter().chain(theirs).any(|v| v.is_nan()) {
        return f64::INFINITY;
    }
    let largest = theirs.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let apart = ours
        .iter()
        .zip(theirs)
        .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    if apart == 0.0 {
        0.0
    } else {
        f64::from(apart) / f64::from(largest)
    }
}

/// The others' figures.
#[derive(Serialize)]
pub struct Report {
    onnxruntime: Option<Spread>,
    torch: Spread,
    torch_channels_last: Spread,
    torch_lrp: Spread,
    forward_over_onnxruntime: Option<f64>,
    torch_lrp_over_explain: f64,
    torch_lrp_rss_before_bytes: Option<u64>,
    torch_lrp_peak_rss_bytes: Option<u64>,
    torch_lrp_peak_rss_over_ours: Option<f64>,
    logits_difference: f64,
    map_difference: f64,
    versions: BTreeMap<String, String>,
    /// Why ONNX Runtime took no part.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<String>,
}

impl Report {
    /// Forward passes with their names.
    pub fn forwards(&self) -> impl Iterator<Item = (&'static str, &Spread)> {
        let onnxruntime = self.onnxruntime.as_ref().map(|s| ("ONNX Runtime", s));
        onnxruntime.into_iter().chain([
            ("PyTorch", &self.torch),
            ("PyTorch, channels last", &self.torch_channels_last),
        ])
    }

    /// The explanation with its name.
    pub fn explanation(&self) -> (&'static str, &Spread) {
        ("LRP in PyTorch", &self.torch_lrp)
    }

    /// Prints ratios and differences.
    pub fn print(&self) {
        if let Some(ratio) = self.forward_over_onnxruntime {
            say!("forward takes {ratio:.2} x the time of ONNX Runtime");
        }
        say!(
            "LRP in PyTorch takes {:.2} x the time of explain",
            self.torch_lrp_over_explain
        );
        if let (Some(peak), Some(before), Some(ratio)) = (
            self.torch_lrp_peak_rss_bytes,
            self.torch_lrp_rss_before_bytes,
            self.torch_lrp_peak_rss_over_ours,
        ) {
            say!(
                "and {ratio:.1} x the peak resident memory: {} in a process of its own, {} of it interpreter, libraries and network before the first explanation",
                mebibytes(peak as usize),
                mebibytes(before as usize)
            );
        }
        say!(
            "largest differences: logits {:.1e} of the largest, map {:.1e} (preset paper, split ratio, against LRP in PyTorch)",
            self.logits_difference,
            self.map_difference
        );
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        say!("{}", versions.join(", "));
        if let Some(lacks) = &self.lacks {
            say!("{lacks}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Options, import};
    use crate::model_file::ModelBytes;
    use crate::preprocess;
    use crate::synthetic::{self, Random};
    use elucid_core::arch::resnet::{Block, Resnet, StrideOn};

    #[test]
    fn differences_are_shares_of_the_largest() {
        assert_eq!(difference(&[1.0, -4.0], &[1.0, -4.0]), 0.0);
        assert_eq!(difference(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        assert_eq!(difference(&[0.0], &[0.0]), 0.0);
        assert_eq!(difference(&[0.0], &[]), f64::INFINITY);
        assert_eq!(difference(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(difference(&[1.0, 0.0], &[f32::NAN, 5.0]), f64::INFINITY);
    }

    /// Networks of all kinds come out of the script as they went in.
    #[test]
    fn the_script_computes_the_same() {
        let Ok(interpreter) = std::env::var("ELUCID_PYTHON") else {
            eprintln!(
                "SKIPPED: set ELUCID_PYTHON to a Python that has torch, onnx and onnxruntime"
            );
            return;
        };
        let mut first = Resnet::imagenet(50, 4, 10).unwrap();
        first.stride_on = StrideOn::First;
        assert_eq!(first.block, Block::Bottleneck);
        let networks = [
            (
                Resnet::imagenet(18, 8, 7).unwrap(),
                Shape::new(64, 48, 3),
                true,
            ),
            (first, Shape::new(33, 65, 3), false),
            (Resnet::cifar(2, 8, 10), Shape::new(17, 32, 3), true),
        ];
        for (net, shape, half) in networks {
            let options = Options {
                bn_eps: 1e-5,
                half,
                preprocess: preprocess::find(None, &net).unwrap(),
                classes: Vec::new(),
            };
            let bytes = import(&synthetic::checkpoint(&net, 3).unwrap(), &net, &options).unwrap();
            let bytes = ModelBytes::from_bytes(&bytes, "random");
            let model = bytes.parse().unwrap();
            let mut random = Random::new(2);
            let image: Vec<f32> = (0..shape.elements()).map(|_| random.draw()).collect();
            let threads = Threads::new(1).unwrap();
            let mut engine = Engine::new(&model, &threads);
            let mut explainer = engine.open(shape, Method::new(None)).unwrap();
            explainer.forward(&image).unwrap();
            let mut logits = vec![0.0; model.classes() as usize];
            explainer.logits(&mut logits).unwrap();
            let subject = Subject {
                model: &model,
                threads: &threads,
                shape,
                image: &image,
                logits: &logits,
            };
            let mut rivals = Rivals::start(&interpreter, &subject).unwrap();
            assert!(
                rivals.logits_difference < 1e-5,
                "{}",
                rivals.logits_difference
            );
            assert!(rivals.map_difference < 1e-4, "{}", rivals.map_difference);
            rivals.forward().unwrap();
            rivals.explain().unwrap();
            let weighted = (0..model.node_count())
                .filter(|&id| {
                    use elucid_core::graph::Op::{Conv, Linear};
                    matches!(model.node(id).op, Conv(_) | Linear(_))
                })
                .collect::<Vec<_>>();
            for layers in rivals.layers().unwrap() {
                let found: Vec<u16> = layers.into_keys().collect();
                assert_eq!(found, weighted, "every layer is found");
            }
        }
    }
}
