//! Training runs and a comparison as `elucid train` leaves them, small and made up.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use image::{ImageFormat, Rgb, RgbImage};

use super::fixture::HOSTILE;
use crate::picture::{ColorMap, Figure, render};
use crate::train::ablation::{Score, Table, Variant, folder};
use crate::train::config::Config;
use crate::train::state::{Epoch, Judged};

/// Epochs of a finished run.
pub const EPOCHS: u32 = 20;
/// Pictures with maps.
pub const PICTURES: usize = 3;
/// The epoch with the least validation loss.
pub const BEST: u32 = 13;
/// Methods of a comparison.
const METHODS: [(&str, f64); 5] = [
    ("ala", 0.41),
    ("gradcam", 0.36),
    ("rollout", 0.4),
    ("centre", 0.38),
    ("random", 0.21),
];

/// The configuration of a run.
fn config(aea: bool, lora: bool, seed: u64) -> String {
    let text = format!(
        "weights = \"/models/vit <tiny>.safetensors\"\nepochs = {EPOCHS}\nseed = {seed}\naea = {aea}\nlora = {lora}\n\
         [[data]]\ndir = \"/data/birds & <b>co\"\nformat = \"cub\"\ntest = \"test\"\n"
    );
    toml::to_string(&Config::parse(&text).unwrap()).unwrap()
}

/// A run of which this many epochs are done; with AEA half of them are judged.
pub fn run(path: &Path, done: u32, (aea, lora): (bool, bool), seed: u64) {
    std::fs::create_dir_all(path.join("maps")).unwrap();
    std::fs::write(path.join("config.toml"), config(aea, lora, seed)).unwrap();
    let mut lines = String::new();
    for epoch in 0..done {
        let attends = !aea || epoch % 2 == 1;
        let x = f64::from(epoch) + 0.1 * seed as f64;
        let epoch = Epoch {
            epoch,
            attends,
            rate: 5e-5,
            loss: 3.1 * (-0.12 * x).exp(),
            perception_loss: (2.9 + 0.4 * f64::from(u8::from(attends))) * (-0.12 * x).exp(),
            attention_loss: attends.then_some(3.5 - 0.05 * x),
            accuracy: 0.9 - 0.8 * (-0.15 * x).exp(),
            seconds: 12.5,
            validation: attends.then_some(Judged {
                loss: 1.0 + 0.02 * (f64::from(epoch) - f64::from(BEST)).powi(2),
                accuracy: 0.8 - 0.7 * (-0.12 * x).exp(),
                iou: Some(0.42 - 0.2 * (-0.2 * x).exp()),
                pictures: 150,
            }),
        };
        lines += &(serde_json::to_string(&epoch).unwrap() + "\n");
        if attends {
            (0..PICTURES).for_each(|number| map(path, epoch.epoch, number));
        }
    }
    std::fs::write(path.join("epochs.jsonl"), lines).unwrap();
    let names = [HOSTILE, "002.Gr\u{fc}n/b.jpg", "003.Crow/c.jpg"];
    std::fs::write(
        path.join("maps/pictures.json"),
        serde_json::to_string(&names[..PICTURES]).unwrap(),
    )
    .unwrap();
}

/// The figure of a map that is sharper in late epochs. Figures take long to draw, so these are drawn once.
fn map(path: &Path, epoch: u32, number: usize) {
    const SIDE: usize = 14;
    static DRAWN: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let draw = |i: usize| -> Vec<u8> {
        let centre = 4.0 + 3.0 * (i / 2) as f32;
        let sharp = 0.02 + 0.06 * (i % 2) as f32;
        let heat: Vec<f32> = (0..SIDE * SIDE)
            .map(|i| ((i / SIDE) as f32 - centre, (i % SIDE) as f32 - centre))
            .map(|(y, x)| (-sharp * (x * x + y * y)).exp())
            .collect();
        let view = RgbImage::from_fn(96, 96, |x, y| Rgb([2 * x as u8, 2 * y as u8, 30 * i as u8]));
        let figure = render(&Figure {
            view: &view,
            heat: &heat,
            heat_size: (SIDE, SIDE),
            caption: "bird",
            detail: "attention map",
            map: ColorMap::default(),
        });
        let mut png = Cursor::new(Vec::new());
        figure.write_to(&mut png, ImageFormat::Png).unwrap();
        png.into_inner()
    };
    let drawn = DRAWN.get_or_init(|| (0..2 * PICTURES).map(draw).collect());
    let name = format!("maps/epoch{epoch:03}-{number}.png");
    let late = usize::from(epoch > EPOCHS / 2);
    std::fs::write(path.join(name), &drawn[2 * number + late]).unwrap();
}

fn score(mean: f64, reach: f64) -> Score {
    Score {
        mean,
        low: mean - reach,
        high: mean + reach,
        seeds: vec![mean - 0.011, mean + 0.011],
    }
}

/// A comparison of four variants by two seeds, with a run's folder for each.
pub fn comparison(path: &Path) -> PathBuf {
    let mut variants = Vec::new();
    for (i, (aea, lora)) in [(true, true), (true, false), (false, true), (false, false)]
        .into_iter()
        .enumerate()
    {
        let less = 0.02 * i as f64;
        let of = |more: f64| -> BTreeMap<String, Score> {
            let all = METHODS.iter();
            all.map(|(name, mean)| ((*name).to_owned(), score(mean + more - less, 0.013)))
                .collect()
        };
        let ahead = METHODS[1..].iter().map(|(name, mean)| {
            let mean = METHODS[0].1 - mean;
            let p = if mean > 0.02 { 0.0002 } else { 0.4 };
            ((*name).to_owned(), [mean, mean - 0.015, mean + 0.015, p])
        });
        for seed in [1, 2] {
            let own = path.join(folder((aea, lora), seed));
            run(&own, EPOCHS, (aea, lora), seed);
        }
        let on = |name: &str, on: bool| format!("{}{name}", if on { "" } else { "no " });
        variants.push(Variant {
            name: format!("{}, {}", on("AEA", aea), on("LoRA", lora)),
            aea,
            lora,
            accuracy: score(0.77 - less, 0.02),
            iou: of(0.0),
            iou_best: of(0.1),
            ahead: ahead.collect(),
        });
    }
    let table = Table {
        pictures: 400,
        masks: 398,
        seeds: vec![1, 2],
        methods: METHODS.map(|(name, _)| name.to_owned()).to_vec(),
        variants,
    };
    std::fs::write(
        path.join("table.json"),
        serde_json::to_string_pretty(&table).unwrap(),
    )
    .unwrap();
    path.to_owned()
}
