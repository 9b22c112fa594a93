//! What a run is asked to do, on the command line.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use elucid_core::Model;
use elucid_core::model::checksum;

use super::labels::Labels;
use crate::command::{Where, named};
use crate::dataset::{Dataset, Format, Options, Order, Sample, Selection, Shard, Split};
use crate::evaluation::Question;
use crate::method::{HELP, Spec};
use crate::metric::perturbation::Baseline;
use crate::metric::ranking::{Scorer, Walk};
use crate::place::Place;
use crate::run::config::{DataId, ModelId, Settings};
use crate::run::measure::Measure;
use crate::run::preview::file_name;

/// What all measures need.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Choice {
    /// Model file; the bundled flower model if left out
    #[arg(long, value_name = "M.elucid")]
    pub model: Option<PathBuf>,
    /// Folder of the data set
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Its layout
    #[arg(long, default_value = "folder", value_parser = Format::NAMES.map(|(name, _)| name))]
    format: String,
    /// The part to read; test for cub, otherwise val, if left out
    #[arg(long, value_parser = Split::NAMES.map(|(name, _)| name))]
    split: Option<String>,
    /// List of pictures and labels instead of the one in the data set's folder
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// List of classes, one a line in the order of the network's outputs
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Folder of masks instead of the one in the data set's folder (cub and folder)
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Brightest level that is background in masks of grey levels
    #[arg(long, default_value_t = 0, value_name = "LEVEL")]
    above: u8,
    /// Only the picture's own class counts as object in masks that tell classes apart
    #[arg(long)]
    own_class: bool,
    /// Method to judge, once for each (see below); controls are added: random and constant
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<Spec>,
    /// Judge maps that another program made under this name: .npy files of the pictures' names, f32 [H, W], of what the
    /// network sees (resized and cropped), at any resolution. Channels [C, H, W] are summed, unless NAME ends in :first or :abs
    #[arg(long, value_name = "NAME=DIR", value_parser = Spec::from_files)]
    maps: Vec<Spec>,
    /// A line about the data that the report shows, such as where the masks are from
    #[arg(long, value_name = "TEXT")]
    note: Vec<String>,
    /// Heat Quantization of every method's map to this many levels
    #[arg(long, value_name = "LEVELS", value_parser = clap::value_parser!(u32).range(2..=65_536))]
    quantize: Option<u32>,
    /// Which class: the predicted one, the picture's label, or `paper`: the predicted one is explained, the label's
    /// probability scored; predicted if left out, paper with the scorer paper
    #[arg(long, value_parser = Question::NAMES.map(|(_, name)| name))]
    target: Option<String>,
    /// Order of the pictures: as listed, shuffled, or the ECCV 2024 paper's choice (shuffled, max(1, 1000 / classes) of every class);
    /// shuffled if left out, paper with the scorer paper
    #[arg(long, value_parser = ["listed", "shuffled", "paper"])]
    order: Option<String>,
    /// Take at most this many pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Seed of the order, of ties and of everything random
    #[arg(long, default_value_t = 42)]
    seed: u32,
    /// Take only part INDEX of COUNT, counted from 0; `elucid eval merge` puts the parts together
    #[arg(long, default_value = "0/1", value_name = "INDEX/COUNT")]
    shard: Shard,
    /// Images forwarded at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Threads; 0 for all of the machine's
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub place: Where,
    /// Stop at the first broken picture instead of leaving it out and counting it
    #[arg(long)]
    pub strict_data: bool,
    /// Keep small pictures of at most this many photos for the report, spread evenly; 0 for none
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub previews: usize,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Folder of the run; a run that was interrupted is gone on with
    #[arg(short, long, value_name = "RUN/")]
    pub output: PathBuf,
}

/// How insertion and deletion are scored.
#[derive(Args)]
pub struct Scoring {
    /// `strict` reveals exactly so many pixels, ties in random order; `paper` is the ECCV 2024 paper's code, where all that is
    /// tied appears at once
    #[arg(long, default_value = "strict", value_parser = ["strict", "paper"])]
    scorer: String,
    /// Side of the blocks that appear as one, in pixels
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    patch: u16,
    /// Blocks from point to point
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    step: u32,
    /// What stands where a pixel was removed: black, mean, or blur:DEVIATION in pixels
    #[arg(long, default_value = "black", value_parser = baseline)]
    pub baseline: Baseline,
}

/// Which sets of pixels are removed.
#[derive(Args)]
pub struct Sets {
    /// Pixels of the sets: one n each, in percent of the image
    #[arg(long, default_value = "1,5,10,25,50", value_delimiter = ',', value_name = "PERCENT", value_parser = percent)]
    percent: Vec<f64>,
    /// Sets of each n
    #[arg(long, default_value_t = 100, value_parser = sets)]
    pub sets: usize,
    /// What stands where a pixel was removed: black, mean, or blur:DEVIATION in pixels
    #[arg(long, default_value = "black", value_parser = baseline)]
    pub baseline: Baseline,
}

fn baseline(text: &str) -> Result<Baseline, String> {
    match text.split_once(':') {
        None if text == "black" => Ok(Baseline::Black),
        None if text == "mean" => Ok(Baseline::Mean),
        Some(("blur", deviation)) => match deviation.parse() {
            Ok(deviation) if deviation > 0.0 && deviation <= 1000.0 => {
                Ok(Baseline::Blur(deviation))
            }
            _ => Err("write blur:DEVIATION in pixels, as in blur:10".to_owned()),
        },
        _ => Err("choose black, mean or blur:DEVIATION".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|&v: &f64| v > 0.0 && v < 100.0);
    parsed.ok_or_else(|| "a share of the image lies between 0 and 100 percent".to_owned())
}

fn sets(text: &str) -> Result<usize, String> {
    let parsed = text
        .parse()
        .ok()
        .filter(|&n: &usize| (2..=100_000).contains(&n));
    parsed.ok_or_else(|| "between 2 and 100000 sets tell something".to_owned())
}

impl Scoring {
    fn scorer(&self) -> Scorer {
        if self.scorer == "paper" {
            Scorer::Paper
        } else {
            Scorer::Strict
        }
    }

    /// How curves are walked along.
    pub fn walk(&self) -> Walk {
        Walk {
            patch: self.patch.into(),
            step: self.step as usize,
            ..Walk::new(self.scorer())
        }
    }
}

impl Sets {
    /// The n for the model's images.
    pub fn pixels(&self, model: &Model<'_>) -> Vec<usize> {
        let all = model.input_shape().pixels();
        let share =
            |percent: &f64| ((all as f64 * percent / 100.0).round() as usize).clamp(1, all - 1);
        self.percent.iter().map(share).collect()
    }
}

/// A run, ready to begin.
pub struct Plan {
    pub data: Dataset,
    /// The network's labels.
    labels: Labels,
    /// Places of the pictures in the data set, in the run's order, of all shards together.
    pub order: Vec<usize>,
    /// Positions in `order` that are this shard's.
    pub positions: Vec<usize>,
    pub methods: Vec<Spec>,
    pub question: Question,
    pub settings: Settings,
}

impl Plan {
    /// The picture at a position, with the network's label.
    pub fn sample(&self, position: usize) -> Sample {
        let mut sample = self.data.sample(self.order[position]);
        sample.label = self.labels.of_label(sample.label);
        sample
    }
}

impl Choice {
    /// Opens the data set and settles what was left open.
    pub fn plan(
        &self,
        measure: Measure,
        scoring: Option<&Scoring>,
        sets: Option<&Sets>,
        model: &Model<'_>,
    ) -> Result<Plan> {
        let paper = scoring.is_some_and(|s| s.scorer() == Scorer::Paper);
        let default = |other: &'static str| if paper { "paper" } else { other };
        let format: Format = self.format.parse().map_err(|e| anyhow!("{e}"))?;
        let split = self.split.as_deref().map(str::parse::<Split>).transpose();
        let data = Dataset::open(
            format,
            &self.data,
            &Options {
                split: split.map_err(|e| anyhow!("{e}"))?,
                list: self.list.clone(),
                classes: self.classes.clone(),
                masks: self.masks.clone(),
                above: self.above,
                own_class: self.own_class,
            },
        )?;
        let target = self.target.as_deref().unwrap_or(default("predicted"));
        let question = named(&Question::NAMES, target)?;
        let order = self.order.as_deref().unwrap_or(default("shuffled"));
        let selection = Selection {
            order: match order {
                "listed" => Order::Listed,
                "paper" => Order::Paper { seed: self.seed },
                _ => Order::Shuffled { seed: self.seed },
            },
            limit: self
                .limit
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            shard: Shard::WHOLE,
        };
        let places = data.select(&selection)?;
        let positions: Vec<usize> = self.shard.of(0..places.len()).collect();
        let needs_label = measure == Measure::Accuracy || question != Question::Predicted;
        let labels = Labels::of(&data, model, needs_label)?;
        let mut identity = String::new();
        let (mut masks, mut found) = (String::new(), false);
        for &place in &places {
            let sample = data.sample(place);
            let _ = writeln!(
                identity,
                "{} {:?}",
                sample.id,
                labels.of_label(sample.label)
            );
            // Files of masks are looked at only where masks are judged by.
            let mask = sample.mask.as_ref().filter(|_| measure.needs_mask());
            found |= mask.is_some();
            let size = mask.and_then(|mask| std::fs::metadata(&mask.path).ok());
            let _ = writeln!(masks, "{:?}", size.map(|file| file.len()));
        }
        if measure.needs_mask() && !found {
            bail!(
                "no picture has a mask, which {} needs; name their folder with --masks",
                measure.name()
            );
        }
        let methods = self.methods(measure)?;
        let mut options = BTreeMap::new();
        for spec in &methods {
            if let Some(given) = spec.given() {
                let samples = places.iter().map(|&place| data.sample(place).id);
                let crc = given
                    .identity(samples)
                    .map_err(|e| anyhow!("--maps {spec}: {e}"))?;
                options.insert(format!("maps of {spec}"), crc);
            }
        }
        let mut set = |name: &str, value: String| options.insert(name.to_owned(), value);
        if self.place.backend != Place::NAMES[0] {
            set("backend", self.place.backend.clone());
        }
        if let Some(scoring) = scoring {
            set("scorer", scoring.scorer.clone());
            set("patch", scoring.patch.to_string());
            set("step", scoring.step.to_string());
            set("baseline", shown(scoring.baseline));
        }
        if let Some(sets) = sets {
            let pixels: Vec<String> = sets.pixels(model).iter().map(usize::to_string).collect();
            set("pixels", pixels.join(","));
            set("sets", sets.sets.to_string());
            set("baseline", shown(sets.baseline));
        }
        if measure.needs_mask() {
            set(
                "masks",
                format!(
                    "sizes {:08x}, above {}",
                    checksum(masks.as_bytes()),
                    self.above
                ),
            );
            set("own_class", self.own_class.to_string());
        }
        let name = |path: &std::path::Path| {
            let name = path.canonicalize().ok();
            let name = name.as_deref().unwrap_or(path).file_name();
            name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        };
        let shape = model.input_shape();
        let settings = Settings {
            measure,
            model: ModelId {
                name: self
                    .model
                    .as_deref()
                    .map_or("the demo model".to_owned(), name),
                crc32: format!("{:08x}", model.crc()),
                classes: model.classes(),
                input: [shape.h, shape.w],
            },
            data: DataId {
                name: name(&self.data),
                format: self.format.clone(),
                split: self
                    .split
                    .clone()
                    .unwrap_or_else(|| format.usual_split().to_string()),
                order: match order {
                    "listed" => order.to_owned(),
                    _ => format!("{order} {}", self.seed),
                },
                selected: places.len(),
                crc32: format!("{:08x}", checksum(identity.as_bytes())),
                remarks: [data.remarks(), labels.remarks(), &self.note].concat(),
            },
            methods: methods.iter().map(|spec| spec.name().to_owned()).collect(),
            target: target.to_owned(),
            shard: self.shard.to_string(),
            strict_data: self.strict_data,
            seed: self.seed.into(),
            options,
        };
        Ok(Plan {
            labels,
            data,
            order: places,
            positions,
            methods,
            question,
            settings,
        })
    }

    /// The methods that were asked for, or the usual ones, with controls.
    fn methods(&self, measure: Measure) -> Result<Vec<Spec>> {
        let parse = |names: &[&str]| -> Result<Vec<Spec>> {
            let specs = names
                .iter()
                .map(|name| name.parse().map_err(|e| anyhow!("{e}")));
            specs.collect()
        };
        if measure == Measure::Accuracy {
            if !self.methods.is_empty() || !self.maps.is_empty() {
                bail!("accuracy is the network's own; leave --method out");
            }
            return Ok(vec![Spec::network()]);
        }
        let mut methods = [self.methods.as_slice(), &self.maps].concat();
        if measure == Measure::Conservation {
            if methods.is_empty() {
                methods = parse(&["lrp", "lrp:paper", "lrp:paper:half"])?;
            }
            if let Some(other) = methods.iter().find(|spec| spec.lrp().is_none()) {
                bail!("{other} has no ledger: conservation is measured for lrp");
            }
            if let Some(other) = methods.iter().find(|spec| spec.quantizes()) {
                bail!("{other}: conservation is measured before Heat Quantization; leave it out");
            }
            if self.quantize.is_some() {
                bail!("conservation is measured before Heat Quantization; leave --quantize out");
            }
        } else {
            if methods.is_empty() {
                methods = parse(&["lrp", "gradcam"])?;
            }
            for control in parse(&["random", "constant"])? {
                if methods.iter().all(|spec| spec.name() != control.name()) {
                    methods.push(control);
                }
            }
        }
        if let Some(levels) = self.quantize {
            methods = methods
                .into_iter()
                .map(|spec| spec.quantized(levels))
                .collect();
        }
        if measure == Measure::Sanity
            && let Some(given) = methods.iter().find(|spec| spec.given().is_some())
        {
            bail!("{given}: maps from files can't change with the network; sanity needs methods");
        }
        // Names are those of previews too.
        let mut names = HashSet::from(["mask".to_owned()]);
        if let Some(twice) = methods
            .iter()
            .find(|spec| !names.insert(file_name(spec.name())))
        {
            bail!("--method {twice} is given twice, or its name is taken");
        }
        Ok(methods)
    }
}

fn shown(baseline: Baseline) -> String {
    match baseline {
        Baseline::Black => "black".to_owned(),
        Baseline::Mean => "mean".to_owned(),
        Baseline::Blur(deviation) => format!("blur:{deviation}"),
    }
}
