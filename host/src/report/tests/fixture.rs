//! Runs like those that an evaluation writes, small but whole: six methods, forty pictures, names that want to break out of
//! HTML, pictures that were left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{GrayImage, Luma, Rgb, RgbImage};

use crate::metric::statistics::{bootstrap, compare};
use crate::run::config::{Config, DataId, ModelId, Settings};
use crate::run::measure::{Better, Measure};
use crate::run::record::{Outcome, Record};
use crate::run::summary::{Estimate, MethodSummary, Paired, Summary};
use crate::synthetic::Random;

/// Pictures of a run, those that are left out included.
pub const IMAGES: usize = 40;
/// A name that breaks out of HTML that isn't careful.
pub const HOSTILE: &str = "001.Black_footed/a<b>&\"c\"<script>alert(1)</script>.jpg";
/// Methods, the share of the object in their maps, and their quality.
const METHODS: [(&str, f64); 6] = [
    ("lrp", 0.82),
    ("lrp:paper:q8", 0.81),
    ("gradcam", 0.6),
    ("rise", 0.5),
    ("random", 0.2),
    ("edge", 0.3),
];
const SIDE: u32 = 160;
/// Pictures that can't be used.
const LEFT_OUT: [usize; 2] = [11, 29];
const RESAMPLES: u32 = 200;

/// What a measure depends on.
type Options<'a> = &'a [(&'a str, &'a str)];

/// Writes runs of every measure, insertion and deletion twice, into `root`.
pub fn write(root: &Path) -> Vec<PathBuf> {
    let strict: Options = &[
        ("scorer", "strict"),
        ("patch", "8"),
        ("step", "28 pixels"),
        ("baseline", "blur 11"),
    ];
    let paper: Options = &[
        ("scorer", "paper"),
        ("patch", "1"),
        ("step", "224 pixels"),
        ("baseline", "blur 11"),
    ];
    let runs: [(&str, Measure, Options); 8] = [
        ("insdel-strict", Measure::Insdel, strict),
        ("insdel-paper", Measure::Insdel, paper),
        ("iou", Measure::Iou, &[("map", "positive part")]),
        ("pointing", Measure::Pointing, &[("tolerance", "15 pixels")]),
        (
            "sensitivity",
            Measure::Sensitivity,
            &[("pixels", "10, 50, 200, 1000, 5000"), ("subsets", "100")],
        ),
        (
            "sanity",
            Measure::Sanity,
            &[("depths", "fc, layer4, layer3, layer2, layer1, conv1")],
        ),
        (
            "conservation",
            Measure::Conservation,
            &[("init", "probability")],
        ),
        ("accuracy", Measure::Accuracy, &[]),
    ];
    let write = |(name, measure, options): (&str, Measure, Options)| {
        let folder = root.join(name);
        run(&folder, measure, options);
        folder
    };
    let folders = runs.map(write);
    // The maps of one run serve all.
    previews(&folders[0]);
    folders.into()
}

/// Writes one run, without previews.
pub fn run(folder: &Path, measure: Measure, options: Options<'_>) {
    std::fs::create_dir_all(folder).unwrap();
    let methods: Vec<(&str, f64)> = match measure {
        Measure::Accuracy => vec![("network", 0.8)],
        Measure::Conservation => METHODS[..2].to_vec(),
        _ => METHODS.to_vec(),
    };
    let mut random = Random::new(options.len() as u64 + measure as u64);
    let records: Vec<Record> = (0..IMAGES)
        .map(|i| record(i, measure, &methods, &mut random))
        .collect();
    let config = config(measure, &methods, options);
    std::fs::write(
        folder.join("config.json"),
        serde_json::to_string_pretty(&config).unwrap(),
    )
    .unwrap();
    let lines: Vec<String> = records
        .iter()
        .map(|r| serde_json::to_string(r).unwrap() + "\n")
        .collect();
    std::fs::write(folder.join("images.jsonl"), lines.concat()).unwrap();
    let summary = summary(measure, &methods, &records);
    std::fs::write(
        folder.join("summary.json"),
        serde_json::to_string_pretty(&summary).unwrap(),
    )
    .unwrap();
}

/// Writes the previews of a run of all methods.
pub fn previews(folder: &Path) {
    std::fs::create_dir_all(folder.join("previews")).unwrap();
    for position in (0..IMAGES).filter(|i| !LEFT_OUT.contains(i)) {
        preview(folder, position);
    }
}

fn config(measure: Measure, methods: &[(&str, f64)], options: Options<'_>) -> Config {
    let command = [
        "elucid",
        "eval",
        measure.name(),
        "--model",
        "/models/my resnet50.elucid",
        "--data",
        "/data/CUB_200_2011",
        "-o",
        "runs/it's",
    ];
    Config {
        elucid: "0.1.0".to_owned(),
        command: command.map(str::to_owned).into(),
        settings: Settings {
            measure,
            model: ModelId {
                name: "resnet50.elucid".to_owned(),
                crc32: "5f3759df".to_owned(),
                classes: 200,
                input: [SIDE, SIDE],
            },
            data: DataId {
                name: "CUB_200_2011".to_owned(),
                format: "cub".to_owned(),
                split: "test".to_owned(),
                order: "shuffled 42".to_owned(),
                selected: IMAGES,
                crc32: "0badcafe".to_owned(),
                remarks: vec!["The masks are pseudo-masks (a segmenter run on the true boxes), not those of the data set's authors: overlap and pointing scores aren't comparable with published ones.".to_owned()],
            },
            methods: methods.iter().map(|(name, _)| (*name).to_owned()).collect(),
            target: "predicted".to_owned(),
            shard: "0/1".to_owned(),
            strict_data: false,
            seed: 42,
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        },
    }
}

fn record(i: usize, measure: Measure, methods: &[(&str, f64)], random: &mut Random) -> Record {
    let id = match i {
        2 => HOSTILE.to_owned(),
        7 => "002.Grünspecht/grün_ß_鳥 im Wald.jpg".to_owned(),
        _ => format!(
            "{:03}.Laysan_Albatross/Laysan_Albatross_{i:04}_545.jpg",
            1 + i / 4
        ),
    };
    if LEFT_OUT.contains(&i) {
        let skipped = Some(
            if i == 11 {
                "its mask is empty <mask>"
            } else {
                "it can't be decoded"
            }
            .to_owned(),
        );
        return Record {
            position: i,
            id,
            skipped,
            ..Record::default()
        };
    }
    let p = 0.35 + 0.64 * unit(random);
    let label = (i / 4) as u32;
    let predicted = if i % 7 == 6 { label + 30 } else { label };
    let outcome = |quality: f64, random: &mut Random| {
        let mut noise = |size: f64| size * (unit(random) - 0.5);
        let quality = (quality + noise(0.3)).clamp(0.05, 0.98);
        let mut outcome = Outcome::default();
        for score in measure.scores() {
            let value = match score.name {
                "tie_fraction" => {
                    if quality > 0.75 {
                        0.01
                    } else {
                        0.2 * (1.0 - quality)
                    }
                }
                "deletion" => 0.3 * p * (1.0 - quality),
                "insertion" => p * quality,
                "id" => p * quality - 0.3 * p * (1.0 - quality),
                "pointing" | "pointing_exact" => f64::from(u8::from(quality > 0.5 + noise(1.0))),
                "top1" => f64::from(u8::from(predicted == label)),
                "top5" => 1.0,
                "error" => (1.0 - quality) * 0.05,
                "error_first_block" | "error_last_block" => 2e-6 * (1.0 - quality),
                "start" => p,
                "sum_image" => p * (1.0 - (1.0 - quality) * 0.3 * p),
                "sum_first_block" | "sum_last_block" => p * (1.0 - 1e-4),
                "similarity" | "similarity_last" => 0.8 - 0.7 * quality,
                "probability" => p,
                _ => (quality - 0.1 + noise(0.1)).max(0.0),
            };
            outcome.set(score.name, value);
        }
        let bend = |x: f64, power: f64| x.powf(power);
        let curve = |f: &dyn Fn(f64) -> f64, n: usize| {
            (0..n)
                .map(|k| f(k as f64 / (n - 1) as f64))
                .collect::<Vec<f64>>()
        };
        match measure {
            Measure::Insdel => {
                outcome.curves.insert(
                    "insertion".to_owned(),
                    curve(&|x| p * bend(x, (1.0 - quality) / quality), 29),
                );
                outcome.curves.insert(
                    "deletion".to_owned(),
                    curve(&|x| p * bend(1.0 - x, 2.0 + 20.0 * quality * quality), 29),
                );
            }
            Measure::Sanity => {
                outcome.curves.insert(
                    "similarity".to_owned(),
                    curve(&|x| 1.0 - quality * x.sqrt() - 0.1 * x, 6),
                );
            }
            Measure::Sensitivity => {
                outcome.curves.insert(
                    "correlation".to_owned(),
                    curve(&|x| (quality - 0.25) * (0.4 + 0.6 * x), 5),
                );
            }
            _ => {}
        }
        outcome
    };
    Record {
        position: i,
        id,
        skipped: None,
        label: Some(label),
        predicted: Some(predicted),
        target: Some(predicted),
        probability: Some(p),
        methods: methods
            .iter()
            .map(|(name, quality)| ((*name).to_owned(), outcome(*quality, random)))
            .collect(),
    }
}

/// The next number of 0..1.
fn unit(random: &mut Random) -> f64 {
    0.5 + 0.5 * f64::from(random.draw())
}

fn estimate(values: &[f64]) -> Estimate {
    let interval = bootstrap(values, RESAMPLES, 42).unwrap();
    Estimate {
        mean: interval.mean,
        low: interval.low,
        high: interval.high,
        images: values.len(),
    }
}

fn summary(measure: Measure, methods: &[(&str, f64)], records: &[Record]) -> Summary {
    let scored: Vec<&Record> = records
        .iter()
        .filter(|record| record.skipped.is_none())
        .collect();
    let values = |method: &str, score: &str| -> Vec<f64> {
        scored
            .iter()
            .map(|r| r.methods[method].scores[score])
            .collect()
    };
    let method = |(name, _): &(&str, f64)| {
        let curves = scored[0].methods[*name].curves.iter();
        let points = |curve: &str, n: usize| {
            let at = |k: usize| -> Vec<f64> {
                scored
                    .iter()
                    .map(|r| r.methods[*name].curves[curve][k])
                    .collect()
            };
            (0..n).map(|k| estimate(&at(k))).collect()
        };
        MethodSummary {
            name: (*name).to_owned(),
            control: matches!(*name, "random" | "edge"),
            scores: measure
                .scores()
                .iter()
                .map(|s| (s.name.to_owned(), estimate(&values(name, s.name))))
                .collect(),
            curves: curves
                .map(|(curve, all)| (curve.clone(), points(curve, all.len())))
                .collect::<BTreeMap<_, Vec<_>>>(),
        }
    };
    let mut comparisons = Vec::new();
    for score in measure
        .scores()
        .iter()
        .filter(|score| score.better != Better::Neither)
    {
        for (i, (first, _)) in methods.iter().enumerate() {
            for (second, _) in &methods[i + 1..] {
                let found = compare(
                    &values(first, score.name),
                    &values(second, score.name),
                    RESAMPLES * 5,
                    42,
                )
                .unwrap();
                let d = found.difference;
                comparisons.push(Paired {
                    score: score.name.to_owned(),
                    first: (*first).to_owned(),
                    second: (*second).to_owned(),
                    difference: Estimate {
                        mean: d.mean,
                        low: d.low,
                        high: d.high,
                        images: scored.len(),
                    },
                    p: found.p,
                });
            }
        }
    }
    let right: Vec<f64> = scored
        .iter()
        .map(|r| f64::from(u8::from(r.label == r.predicted)))
        .collect();
    Summary {
        measure,
        images: scored.len(),
        skipped: records.len() - scored.len(),
        correct: Some(estimate(&right)),
        methods: methods.iter().map(method).collect(),
        comparisons,
    }
}

/// A photo of a striped thing on a ground, its mask, and maps that lie more or less on it.
fn preview(folder: &Path, position: usize) {
    let folder = folder.join("previews");
    let turn = position as f64 * 0.7;
    let (cx, cy) = (80.0 + 22.0 * turn.cos(), 80.0 + 16.0 * turn.sin());
    let far = |x: u32, y: u32, cx: f64, cy: f64, a: f64, b: f64| {
        ((f64::from(x) - cx) / a).hypot((f64::from(y) - cy) / b)
    };
    let body = |x, y| {
        far(x, y, cx, cy, 46.0, 28.0) < 1.0 || far(x, y, cx + 38.0, cy - 24.0, 17.0, 15.0) < 1.0
    };
    let photo = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (fx, fy) = (f64::from(x), f64::from(y));
        let leaf = (fx * 0.21 + turn).sin() * (fy * 0.17).cos() + (fx * 0.05 - fy * 0.09).sin();
        let stripe = (fx * 0.35 + fy * 0.12).sin();
        let colour = match body(x, y) {
            true => [
                176.0 + 40.0 * stripe,
                116.0 + 36.0 * stripe,
                70.0 + 12.0 * leaf,
            ],
            false => [
                84.0 + 26.0 * leaf,
                118.0 + 34.0 * leaf + 0.2 * fy,
                78.0 + 18.0 * leaf,
            ],
        };
        Rgb(colour.map(|c: f64| c.clamp(0.0, 255.0) as u8))
    });
    photo
        .save(folder.join(format!("{position:06}.jpg")))
        .unwrap();
    let mask = GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([if body(x, y) { 255 } else { 0 }]));
    mask.save(folder.join(format!("{position:06}.mask.png")))
        .unwrap();
    let mut random = Random::new(position as u64);
    for (name, quality) in &METHODS {
        let off = 60.0 * (1.0 - quality);
        let map = GrayImage::from_fn(SIDE, SIDE, |x, y| {
            let blob = (-far(x, y, cx + 30.0 - off, cy - 14.0 + off, 20.0, 18.0).powi(2)).exp()
                + 0.5 * (-far(x, y, cx - off, cy, 30.0, 22.0).powi(2)).exp();
            let grain = unit(&mut random);
            let value = match *name {
                "random" => grain,
                "lrp" | "lrp:paper:q8" => {
                    blob * (0.4 + 0.6 * grain) * if body(x, y) { 1.0 } else { 0.35 }
                }
                "edge" => {
                    if body(x, y) == body(x.saturating_sub(2), y.saturating_sub(1)) {
                        0.06 * grain
                    } else {
                        0.9
                    }
                }
                _ => blob,
            };
            Luma([(255.0 * value.min(1.0)) as u8])
        });
        map.save(folder.join(format!("{position:06}.{}.png", name.replace(':', "-"))))
            .unwrap();
    }
}
