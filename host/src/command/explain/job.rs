//! One picture after the other.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use elucid::CudaError;
use elucid_core::audit::{Account, Ledger};
use elucid_core::backend::Backend;
use elucid_core::explain::Explainer;
use elucid_core::op::head::{Seed, probability, seed};
use elucid_core::rule::{Init, Target};
use elucid_core::simd::Isa;
use elucid_core::{Error, Model, Shape, heat};
use image::{ImageFormat, RgbImage};
use indicatif::ProgressBar;

use super::Arguments;
use crate::classifier::Classifier;
use crate::command::explanation::{Explanation, Line, Sinks, short};
use crate::command::line;
use crate::command::outputs::{DEMO_NAME, DEMO_PHOTO, Input, Output};
use crate::engine::{Engine, Method, PRESETS, Threads, explain_error, ledger_entries};
use crate::method::{Adapter, Attribution, Lrp, Spec, Subject};
use crate::photo::Photo;
use crate::picture::{ColorMap, Figure, render};
use crate::place::Place;
use crate::{atomic, npy};

/// A picture ready for the network.
struct Ready {
    input: Input,
    /// One for each class.
    outputs: Vec<Output>,
    values: Vec<f32>,
    shape: Shape,
    view: Option<RgbImage>,
}

/// What all pictures have in common.
pub struct Job<'j> {
    pub arguments: &'j Arguments,
    /// Where.
    pub place: &'j Place,
    /// By which instruction set, on the CPU.
    pub kernels: Isa,
    /// How.
    pub spec: &'j Spec,
    pub model: &'j Model<'j>,
    pub targets: Vec<Target>,
    pub init: Init,
    pub method: Method,
    /// The rules, where the method is LRP.
    pub rules: Option<Lrp>,
    pub colors: ColorMap,
}

/// How pictures are explained.
enum Way<'w> {
    /// By LRP, with a ledger.
    Rules(Box<Engine<'w>>),
    /// By something else, with the network for the size of the last picture.
    Other(Box<dyn Attribution>, Option<Box<Classifier<'w>>>),
}

/// Images that methods which need several forward at once.
const BATCH: usize = 8;

impl Job<'_> {
    /// Explains everything; returns how many failed.
    pub fn explain_all(
        &self,
        threads: &Threads,
        jobs: impl Iterator<Item = (Input, Vec<Output>)>,
        bar: &ProgressBar,
    ) -> usize {
        let (kernels, place) = (self.kernels, self.place);
        let mut way = match &self.rules {
            Some(_) => {
                let engine = Engine::new(self.model, threads).at(place);
                Way::Rules(Box::new(engine.with_kernels(kernels)))
            }
            None => Way::Other(self.spec.make(BATCH), None),
        };
        let mut failed = 0;
        for (input, outputs) in jobs {
            let name = input.name();
            bar.set_message(name.clone());
            let explained = self
                .prepare(input, outputs)
                .and_then(|ready| match &mut way {
                    Way::Rules(engine) => {
                        self.explain(&mut engine.open(ready.shape, self.method)?, &ready)
                    }
                    Way::Other(method, network) => {
                        let same = network.take().filter(|n| n.shape() == ready.shape);
                        let network = network.insert(same.unwrap_or_else(|| {
                            let fresh = Classifier::new(self.model, ready.shape, threads);
                            Box::new(fresh.at(place).with_kernels(kernels))
                        }));
                        self.explain_otherwise(network, method.as_mut(), &ready)
                    }
                });
            match explained {
                Ok(reports) => bar.suspend(|| {
                    for report in reports {
                        report.print(self.arguments.json);
                    }
                }),
                Err(error) => {
                    failed += 1;
                    let text = line(&error);
                    let place = if text.contains(&name) {
                        String::new()
                    } else {
                        format!("{name}: ")
                    };
                    bar.suspend(|| eprintln!("elucid: {place}{text}"));
                }
            }
            bar.inc(1);
        }
        failed
    }

    fn prepare(&self, input: Input, outputs: Vec<Output>) -> Result<Ready> {
        let photo = match &input {
            Input::File(path)
                if path
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case("npy")) =>
            {
                let (values, h, w) = npy::read_image(path)?;
                let shape = Shape::new(h as u32, w as u32, 3);
                return Ok(Ready {
                    input,
                    outputs,
                    values,
                    shape,
                    view: None,
                });
            }
            Input::File(path) => Photo::open(path)?,
            Input::Demo => Photo::decode(DEMO_PHOTO, DEMO_NAME)?,
        };
        let prepared = photo.prepare(&self.model.preprocess())?;
        let shape = Shape::new(prepared.height as u32, prepared.width as u32, 3);
        Ok(Ready {
            input,
            outputs,
            values: prepared.image,
            shape,
            view: Some(prepared.view),
        })
    }

    fn explain<B: Backend<Error = CudaError>>(
        &self,
        explainer: &mut Explainer<'_, B>,
        ready: &Ready,
    ) -> Result<Vec<Explanation>> {
        let wrong = |e| explain_error(self.model, e);
        let mut entries = ledger_entries(explainer.plan());
        let mut ledger = Ledger::new(&mut entries);
        let start = Instant::now();
        explainer.forward(&ready.values).map_err(wrong)?;
        let forward = start.elapsed();
        let mut logits = vec![0.0; self.model.classes() as usize];
        explainer.logits(&mut logits).map_err(wrong)?;
        let mut seeds = vec![Seed::default(); self.targets.len()];
        explainer
            .maps(&self.targets, self.init, &mut seeds, Some(&mut ledger))
            .map_err(wrong)?;
        let explain = start.elapsed();
        let pixels = ready.shape.pixels();
        let mut maps = vec![0.0; pixels * seeds.len()];
        explainer.heat(&mut maps).map_err(wrong)?;
        if maps.iter().any(|v| !v.is_finite()) {
            return Err(wrong(Error::NotFinite.into()));
        }
        // Before Heat Quantization, which doesn't conserve them.
        let sum = |map: &[f32]| map.iter().map(|&v| f64::from(v)).sum();
        let sums: Vec<f64> = maps.chunks(pixels).map(sum).collect();
        if let Some(levels) = self.arguments.quantize {
            explainer.quantize(levels).map_err(wrong)?;
            explainer.heat(&mut maps).map_err(wrong)?;
        }
        let mut reports = Vec::new();
        for (of, (map, seed)) in maps.chunks_mut(pixels).zip(&seeds).enumerate() {
            let relevance_sum = sums[of];
            let output = &ready.outputs[of];
            let account = ledger.account(of);
            let report = Explanation {
                image: ready.input.name(),
                forward_ms: forward.as_secs_f64() * 1e3,
                explain_ms: explain.as_secs_f64() * 1e3,
                arena_bytes: explainer.plan().arena() * 4,
                ..self.report(output, seed, &logits, account, relevance_sum)
            };
            self.write(ready, output, &report, map)?;
            reports.push(report);
        }
        Ok(reports)
    }

    /// By a method that has no ledger: relevance that starts and what is lost on the way are not known.
    fn explain_otherwise(
        &self,
        network: &mut Classifier<'_>,
        method: &mut dyn Attribution,
        ready: &Ready,
    ) -> Result<Vec<Explanation>> {
        let wrong = |e| explain_error(self.model, e);
        let start = Instant::now();
        // The adapter's map comes with the logits.
        let (logits, mut known) = if self.spec.adapter() && self.targets.len() == 1 {
            let (logits, map) = Adapter::logits_and_map(network, &ready.values)?;
            (logits, Some(map))
        } else {
            (network.logits(&ready.values)?.to_vec(), None)
        };
        let forward = start.elapsed();
        let seeds: Result<Vec<Seed>, Error> = self
            .targets
            .iter()
            .map(|&target| seed(&logits, target, self.init))
            .collect();
        let mut maps = Vec::new();
        let seeds = seeds.map_err(wrong)?;
        let name = ready.input.name();
        for seed in &seeds {
            let subject = Subject {
                image: &ready.values,
                id: &name,
                class: seed.target,
                seed: 0,
            };
            let map = match known.take() {
                Some(map) => map,
                None => method.map(network, &subject)?,
            };
            if map.iter().any(|v| !v.is_finite()) {
                return Err(wrong(Error::NotFinite));
            }
            maps.push(map);
        }
        let explain = start.elapsed();
        let mut reports = Vec::new();
        for ((mut map, seed), output) in maps.into_iter().zip(&seeds).zip(&ready.outputs) {
            let relevance_sum: f64 = map.iter().map(|&v| f64::from(v)).sum();
            if let Some(levels) = self.arguments.quantize {
                heat::quantize(&mut map, levels);
            }
            let mut entries = [];
            let account = Ledger::new(&mut entries);
            let report = Explanation {
                image: ready.input.name(),
                forward_ms: forward.as_secs_f64() * 1e3,
                explain_ms: explain.as_secs_f64() * 1e3,
                relevance_in: f64::NAN,
                conservation_error: f64::NAN,
                arena_bytes: network.arena_bytes(),
                ..self.report(output, seed, &logits, account.account(0), relevance_sum)
            };
            self.write(ready, output, &report, &map)?;
            reports.push(report);
        }
        Ok(reports)
    }

    fn class_name(&self, index: u32) -> Option<String> {
        self.model.class_name(index).map(str::to_owned)
    }

    fn report(
        &self,
        output: &Output,
        seed: &Seed,
        logits: &[f32],
        account: Account<'_>,
        sum: f64,
    ) -> Explanation {
        let start = account.start();
        let lines: Vec<Line> = account.entries().map(|e| self.line(e)).collect();
        let sinks = account.sinks();
        let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
        Explanation {
            image: String::new(),
            class_index: seed.predicted,
            class_name: self.class_name(seed.predicted),
            probability: probability(logits, seed.predicted as usize).into(),
            target_index: seed.target,
            target_name: self.class_name(seed.target),
            target_probability: seed.probability.into(),
            relevance_in: start,
            relevance_sum: sum,
            conservation_error: if start == 0.0 {
                sum.abs()
            } else {
                (sum - start).abs() / start.abs()
            },
            sinks: Sinks {
                eps: sinks.eps,
                dead: sinks.dead,
                redistributed: sinks.redistributed,
            },
            balanced: account.balances(),
            forward_ms: 0.0,
            explain_ms: 0.0,
            classes_explained: self.targets.len(),
            arena_bytes: 0,
            backend: self.place.name(),
            device: self.place.device(),
            method: self.spec.name().to_owned(),
            preset: self.rules.map(|lrp| PRESETS[lrp.preset].0.to_owned()),
            split: self.rules.map(|lrp| lrp.split_name().to_owned()),
            picture: path(&output.picture),
            map: path(&output.map),
            worst_step: self
                .arguments
                .audit
                .then(|| account.worst().map(|e| self.line(&e)))
                .flatten(),
            audit: self.arguments.audit.then_some(lines),
        }
    }

    fn line(&self, entry: &elucid_core::audit::Entry) -> Line {
        let tally = entry.tally;
        Line {
            act: format!("{:?}", entry.act).to_lowercase(),
            node: self.model.node_name(entry.node).to_owned(),
            relevance_in: tally.into,
            relevance_out: tally.out,
            eps: tally.sinks.eps,
            dead: tally.sinks.dead,
            redistributed: tally.sinks.redistributed,
            unexplained: entry.unexplained(),
        }
    }

    fn write(
        &self,
        ready: &Ready,
        output: &Output,
        report: &Explanation,
        map: &[f32],
    ) -> Result<()> {
        let (h, w) = (ready.shape.h as usize, ready.shape.w as usize);
        if let Some(path) = &output.map {
            npy::write_map(path, map, h, w)?;
        }
        let Some(path) = &output.picture else {
            return Ok(());
        };
        let stretched;
        let view = match &ready.view {
            Some(view) => view,
            None => {
                stretched = displayable(&ready.values, h, w);
                &stretched
            }
        };
        let mut caption = format!(
            "{}  {:.1} %",
            report.target(),
            100.0 * report.target_probability
        );
        if report.target_index != report.class_index {
            let predicted = report.predicted();
            caption = format!(
                "{caption} (predicted: {predicted} {:.1} %)",
                100.0 * report.probability
            );
        }
        let quantized = self
            .arguments
            .quantize
            .map_or(String::new(), |q| format!(", {q} levels"));
        let detail = match (&report.preset, &report.split) {
            (Some(preset), Some(split)) => format!(
                "lrp {preset}, {split} split{quantized}, sum of relevance {} of {}",
                short(report.relevance_sum),
                short(report.relevance_in)
            ),
            _ => format!("{}{quantized}", report.method),
        };
        let figure = Figure {
            view,
            heat: map,
            heat_size: (h, w),
            caption: &caption,
            detail: &detail,
            map: self.colors,
        };
        let picture = render(&figure);
        atomic::write(path, |file| {
            let mut png = std::io::Cursor::new(Vec::new());
            picture
                .write_to(&mut png, ImageFormat::Png)
                .context("cannot encode the picture")?;
            Ok(file.write_all(png.get_ref())?)
        })
    }
}

/// A picture of an already normalised input: each channel stretched to its own range.
fn displayable(values: &[f32], h: usize, w: usize) -> RgbImage {
    let mut range = [(f32::INFINITY, f32::NEG_INFINITY); 3];
    for pixel in values.chunks_exact(3) {
        for (r, &v) in range.iter_mut().zip(pixel) {
            *r = (r.0.min(v), r.1.max(v));
        }
    }
    RgbImage::from_fn(w as u32, h as u32, |x, y| {
        let at = (y as usize * w + x as usize) * 3;
        let byte = |c: usize| {
            let (low, high) = range[c];
            let span = if high > low { high - low } else { 1.0 };
            (255.0 * (values[at + c] - low) / span).round() as u8
        };
        image::Rgb([byte(0), byte(1), byte(2)])
    })
}
