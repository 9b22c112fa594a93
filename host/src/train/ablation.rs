//! The same run with and without AEA and LoRA, by several seeds, judged on pictures that nobody learnt from: what each part is
//! worth.
//!
//! Every run lies in a folder of its own and can be resumed; features of the frozen encoder are computed once for all.
//! The finished models, not the tapes, are judged, by the core: accuracy, and the mean IoU of every method's map with the
//! masks, both with 95 % intervals over the pictures, each picture's mean over the seeds being one value.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use elucid_core::Shape;
use serde::{Deserialize, Serialize};

use super::adapter;
use super::config::{Choice, Config};
use super::examples::{Example, Examples};
use super::session::{Watch, largest};
use super::state::Folder;
use crate::classifier::Classifier;
use crate::engine::Threads;
use crate::method::{Spec, Subject};
use crate::metric::overlap::{Mask, iou_best, iou_mean};
use crate::metric::statistics::{Interval, RESAMPLES, bootstrap, compare, mean};
use crate::model_file::ModelBytes;

/// What is varied: the section `[ablation]` of a run's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Ablation {
    /// Seeds, each for all variants.
    pub seeds: Vec<u64>,
    /// Whether the attention alternates.
    pub aea: Vec<bool>,
    /// Whether the encoder's last block is adapted.
    pub lora: Vec<bool>,
    /// Methods whose maps are judged.
    pub methods: Vec<String>,
}

impl Default for Ablation {
    fn default() -> Self {
        Self {
            seeds: vec![1, 2, 3],
            aea: vec![true, false],
            lora: vec![true, false],
            methods: ["ala", "gradcam", "attention", "rollout", "centre", "random"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// A mean with its interval, and the means of the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The mean over pictures and seeds.
    pub mean: f64,
    /// Lower end of the 95 % interval over pictures.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Means over pictures, seed by seed.
    pub seeds: Vec<f64>,
}

impl Score {
    /// Of the pictures' values, one list for each seed.
    fn of(seeds: &[Vec<f64>]) -> Option<Self> {
        let pictures = across(seeds);
        let Interval {
            mean: all,
            low,
            high,
        } = bootstrap(&pictures, RESAMPLES, 1)?;
        Some(Self {
            mean: all,
            low,
            high,
            seeds: seeds.iter().map(|values| mean(values)).collect(),
        })
    }
}

/// Each picture's mean over the seeds.
fn across(seeds: &[Vec<f64>]) -> Vec<f64> {
    let pictures = seeds.first().map_or(0, Vec::len);
    let mean_of = |i: usize| seeds.iter().map(|s| s[i]).sum::<f64>() / seeds.len() as f64;
    (0..pictures).map(mean_of).collect()
}

/// What a variant came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// `AEA, LoRA` and the like.
    pub name: String,
    /// Whether the attention alternated.
    pub aea: bool,
    /// Whether the encoder was adapted.
    pub lora: bool,
    /// Share of pictures that both branches together classify rightly.
    pub accuracy: Score,
    /// Mean IoU with what is at least the map's mean, method by method.
    pub iou: BTreeMap<String, Score>,
    /// Mean IoU at each map's best threshold.
    pub iou_best: BTreeMap<String, Score>,
    /// Mean difference of the IoU of the first method and each other one on the same pictures: mean, ends of the interval, p.
    pub ahead: BTreeMap<String, [f64; 4]>,
}

/// A finished comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Pictures that were classified.
    pub pictures: usize,
    /// Of these, pictures with masks.
    pub masks: usize,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Methods in the order they were asked for.
    pub methods: Vec<String>,
    /// What each variant came to.
    pub variants: Vec<Variant>,
}

/// What one model says of the pictures.
struct Said {
    right: Vec<f64>,
    /// IoU at the mean and at the best threshold, method by method.
    ious: Vec<[Vec<f64>; 2]>,
}

/// Trains all variants in folders of `path` and judges them. `table.json` and `table.md` are written there.
///
/// # Errors
/// Those of the runs, or if no picture is there to judge by.
pub fn run(
    config: &Config,
    path: &Path,
    threads: &Threads,
    mut watch: impl FnMut(&str, &Path) -> Box<dyn Watch>,
) -> Result<Table> {
    let wanted = config.ablation.clone().unwrap_or_default();
    let specs: Vec<Spec> = (wanted.methods.iter())
        .map(|name| name.parse::<Spec>().map_err(anyhow::Error::msg))
        .collect::<Result<_>>()?;
    let examples = Examples::open(config)?;
    if !examples.test.iter().any(|e| e.sample.mask.is_some()) {
        bail!(
            "no pictures with masks to judge by: say test = \"test\" (a part of the data set that has masks) in [[data]]"
        );
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut variants = Vec::new();
    for &aea in &wanted.aea {
        for &lora in &wanted.lora {
            let on = |name: &str, on: bool| format!("{}{name}", if on { "" } else { "no " });
            let name = format!("{}, {}", on("AEA", aea), on("LoRA", lora));
            let mut said = Vec::new();
            for &seed in &wanted.seeds {
                let one = Config {
                    seed,
                    aea,
                    lora: match lora {
                        true => Choice::Chosen(config.lora.chosen().unwrap_or_default()),
                        false => Choice::Flag(false),
                    },
                    ablation: None,
                    ..config.clone()
                };
                let folder = path.join(folder((aea, lora), seed));
                let model = folder.join("model.elucid");
                // Whatever is there must have been made as the file says now.
                Folder::open(&folder, &one, true)?;
                if !model.exists() {
                    let mut told = watch(&format!("{name}, seed {seed}"), &folder);
                    let kept = path.join(if lora {
                        "features-lora.f16"
                    } else {
                        "features.f16"
                    });
                    let how = (true, Some(kept.as_path()));
                    adapter::train(&one, &folder, how, threads, told.as_mut())?;
                }
                said.push(judge(&model, &examples.test, &specs, threads, seed)?);
            }
            variants.push(summary(name, (aea, lora), &wanted.methods, &said)?);
        }
    }
    let masks = examples
        .test
        .iter()
        .filter(|e| e.sample.mask.is_some())
        .count();
    let table = Table {
        pictures: examples.test.len(),
        masks,
        seeds: wanted.seeds,
        methods: wanted.methods,
        variants,
    };
    let folder = Folder::at(path);
    folder.write("table.json", &serde_json::to_vec_pretty(&table)?)?;
    folder.write("table.md", table.markdown().as_bytes())?;
    Ok(table)
}

/// The name of a run's folder: with or without AEA and LoRA, of this seed.
#[must_use]
pub fn folder((aea, lora): (bool, bool), seed: u64) -> String {
    format!(
        "{}-{}-seed{seed}",
        if aea { "aea" } else { "noaea" },
        if lora { "lora" } else { "nolora" }
    )
}

fn judge(
    model: &Path,
    examples: &[Example],
    specs: &[Spec],
    threads: &Threads,
    seed: u64,
) -> Result<Said> {
    let bytes = ModelBytes::open(Some(model))?;
    let model = bytes.parse()?;
    let how = model.preprocess();
    let shape = Shape::new(how.crop[0], how.crop[1], 3);
    let mut network = Classifier::new(&model, shape, threads);
    let mut methods: Vec<_> = specs.iter().map(|spec| spec.make(1)).collect();
    let mut said = Said {
        right: Vec::new(),
        ious: vec![[Vec::new(), Vec::new()]; specs.len()],
    };
    for (number, example) in examples.iter().enumerate() {
        let (image, mask) = example.load(&how)?;
        let logits = network.logits(&image)?;
        let best = largest(logits);
        said.right
            .push(f64::from(u8::from(best == example.label as usize)));
        let Some(mask) = mask else { continue };
        let mask = Mask::new(&mask.object, &mask.ignored)?;
        let subject = Subject {
            image: &image,
            id: &example.sample.id,
            class: best as u32,
            seed: seed << 32 | number as u64,
        };
        for (method, [at_mean, at_best]) in methods.iter_mut().zip(&mut said.ious) {
            let map = method.map(&mut network, &subject)?;
            at_mean.push(iou_mean(&map, mask));
            at_best.push(iou_best(&map, mask));
        }
    }
    Ok(said)
}

fn summary(
    name: String,
    (aea, lora): (bool, bool),
    methods: &[String],
    said: &[Said],
) -> Result<Variant> {
    let none = || anyhow::anyhow!("no picture has a mask to judge by");
    let score = |seeds: Vec<Vec<f64>>| Score::of(&seeds).ok_or_else(none);
    let accuracy = score(said.iter().map(|s| s.right.clone()).collect())?;
    let of = |method: usize, which: usize| -> Vec<Vec<f64>> {
        said.iter().map(|s| s.ious[method][which].clone()).collect()
    };
    let (mut iou, mut best, mut ahead) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (at, method) in methods.iter().enumerate() {
        iou.insert(method.clone(), score(of(at, 0))?);
        best.insert(method.clone(), score(of(at, 1))?);
        if at > 0 {
            let (first, other) = (across(&of(0, 0)), across(&of(at, 0)));
            let found = compare(&first, &other, RESAMPLES, 1).ok_or_else(none)?;
            let Interval { mean, low, high } = found.difference;
            ahead.insert(method.clone(), [mean, low, high, found.p]);
        }
    }
    Ok(Variant {
        name,
        aea,
        lora,
        accuracy,
        iou,
        iou_best: best,
        ahead,
    })
}

impl Table {
    /// For a README.
    #[must_use]
    pub fn markdown(&self) -> String {
        let cell = |s: &Score| format!("{:.3} [{:.3}, {:.3}]", s.mean, s.low, s.high);
        let mut text = String::from("| variant | accuracy |");
        for method in &self.methods {
            text += &format!(" {method} |");
        }
        text += "\n|---|---|";
        text += &"---|".repeat(self.methods.len());
        for variant in &self.variants {
            text += &format!("\n| {} | {} |", variant.name, cell(&variant.accuracy));
            for method in &self.methods {
                let found = variant.iou.get(method);
                text += &format!(" {} |", found.map_or(String::new(), cell));
            }
        }
        text += &format!(
            "\n\nMean IoU of what is at least the map's mean, {} pictures with masks ({} classified), seeds {:?}; in brackets \
             the 95 % interval over pictures.\n",
            self.masks, self.pictures, self.seeds
        );
        text
    }
}
