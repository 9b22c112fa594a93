//! What a training run is made of: one TOML file, checked as a whole before any work is done.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use elucid_core::model::{Fit, Preprocess};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::ablation::Ablation;
use crate::dataset::Format;
use crate::preprocess;

/// A run of `elucid train`. Defaults are the paper's code's, but for what `Lora` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Weights of the encoder (ALA), or weights to start from (ResNet; left out: from scratch).
    pub weights: Option<PathBuf>,
    /// The ResNet that is trained from scratch, where there are no weights: resnet18, resnet50 .., or cifar-resnet20 ..
    pub arch: Option<String>,
    /// Attention heads of the encoder; 64 channels each if left out.
    pub heads: Option<u16>,
    /// Activation of the encoder's MLPs, `gelu` or `quick-gelu`; if left out QuickGELU for CLIP's names and GELU for others. CLIPs
    /// that open_clip trained have gelu unless their name says quickgelu.
    pub activation: Option<String>,
    /// Whether the encoder's positions are resized as DINO does.
    #[serde(default)]
    pub dino_positions: bool,
    /// Side of the square the photos are resized to.
    #[serde(default = "default::image")]
    pub image: u32,
    /// Constants that pixels are normalised with: `clip`, `imagenet` (what the paper's code has) or `vit`.
    #[serde(default = "default::norm")]
    pub norm: String,
    /// What is learnt from: data sets side by side; classes of the same name are one.
    pub data: Vec<Source>,
    /// Share of the training pictures that is held out to choose the best epoch.
    #[serde(default = "default::validation")]
    pub validation: f64,
    /// Epochs; with AEA, an even number, as they come in pairs.
    #[serde(default = "default::epochs")]
    pub epochs: u32,
    /// Pictures of a step.
    #[serde(default = "default::batch")]
    pub batch: usize,
    /// Learning rate of the first epoch.
    #[serde(default = "default::lr")]
    pub lr: f64,
    /// Decoupled weight decay.
    #[serde(default = "default::weight_decay")]
    pub weight_decay: f64,
    /// Norm that the whole gradient is cut to; 0 for never.
    #[serde(default = "default::clip")]
    pub clip: f64,
    /// `adamw`, or `sgd` with momentum 0.9.
    #[serde(default = "default::optimizer")]
    pub optimizer: String,
    /// Random views: `crop` (the adapter's paper), or `resized-crop` (torchvision's RandomResizedCrop and flip, the LRP paper's).
    #[serde(default = "default::views")]
    pub views: String,
    /// Exponent of the schedule: `lr (1 - epoch / epochs)^power`.
    #[serde(default = "default::power")]
    pub power: f64,
    /// Judgements without a better one that end the run.
    #[serde(default = "default::patience")]
    pub patience: u32,
    /// Decides everything random.
    #[serde(default = "default::seed")]
    pub seed: u64,
    /// Whether the attention is switched off in every other epoch (Alternating Epoch Architect).
    #[serde(default = "default::yes")]
    pub aea: bool,
    /// Weight of the attention branch's loss.
    #[serde(default = "default::attention_weight")]
    pub attention_weight: f64,
    /// Share of the map's cells that training drops.
    #[serde(default = "default::map_dropout")]
    pub map_dropout: f32,
    /// Whether photos are cropped, flipped, blurred and sharpened at random. Without, what the frozen encoder sees is
    /// computed once.
    #[serde(default = "default::yes")]
    pub augment: bool,
    /// The adapter.
    #[serde(default)]
    pub adapter: Adapter,
    /// Low-rank adaptation of the encoder's last block; `false` leaves the encoder as it is, as the paper's code does.
    #[serde(default)]
    pub lora: Choice<Lora>,
    /// What `elucid train ablation` varies.
    pub ablation: Option<Ablation>,
}

/// `false`, or what is to be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Choice<T> {
    /// `true` or `false`.
    Flag(bool),
    /// In detail.
    Chosen(T),
}

/// By hand, so that a key that isn't known is named.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Choice<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a table")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Choice<T>, E> {
                Ok(Choice::Flag(flag))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Choice<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Choice::Chosen)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T: Default> Default for Choice<T> {
    fn default() -> Self {
        Choice::Chosen(T::default())
    }
}

impl<T: Default + Clone> Choice<T> {
    /// What is to be done, if anything.
    #[must_use]
    pub fn chosen(&self) -> Option<T> {
        match self {
            Choice::Flag(false) => None,
            Choice::Flag(true) => Some(T::default()),
            Choice::Chosen(chosen) => Some(chosen.clone()),
        }
    }
}

/// A data set to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// Its folder.
    pub dir: PathBuf,
    /// Its layout: cub, imagenet, imagenet-s, voc or folder.
    pub format: String,
    /// A folder of masks instead of its own.
    pub masks: Option<PathBuf>,
    /// The part to learn from; `train` if left out, but for plain folders, which have no parts.
    pub split: Option<String>,
    /// The part to judge the finished network by, for plain folders another folder, seen from `dir`; none if left out.
    pub test: Option<String>,
    /// Classes to take, the first ones; all if left out.
    pub classes: Option<usize>,
}

impl Source {
    /// The layout.
    ///
    /// # Errors
    /// For another name.
    pub fn format(&self) -> Result<Format> {
        self.format
            .parse()
            .map_err(|e: String| anyhow!("data: {e}"))
    }
}

/// The adapter by numbers; the defaults are those for CUB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Adapter {
    /// Channels of its tokens.
    pub width: u32,
    /// Attention heads.
    pub heads: u16,
    /// Blocks.
    pub depth: u32,
    /// Queries.
    pub queries: u32,
    /// Patch size, pixels.
    pub patch: u16,
    /// Rows and columns of its position embeddings.
    pub grid: u16,
    /// Layers of the encoder that it reads; evenly spread ones over three quarters of it if left out.
    pub lattice: Option<Vec<u16>>,
    /// `add`, or `none` for an adapter that reads no layer.
    pub fusion: String,
}

impl Default for Adapter {
    fn default() -> Self {
        Self {
            width: 64,
            heads: 4,
            depth: 8,
            queries: 100,
            patch: 16,
            grid: 40,
            lattice: None,
            fusion: "add".to_owned(),
        }
    }
}

/// Low-rank adaptation. (In the paper's code it is dead: it sits on a block that isn't run. Here it does what the paper
/// says.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Lora {
    /// Rank.
    pub rank: usize,
    /// The product of both matrices counts `alpha / rank`.
    pub alpha: f64,
    /// Block, counted from 1; the one that gives the lattice's last layer if left out.
    pub block: Option<u32>,
    /// Which matrices: `out`, `fc`, `proj`, `q`, `v`.
    pub projections: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 16.0,
            block: None,
            projections: ["out", "fc", "proj"].map(str::to_owned).to_vec(),
        }
    }
}

mod default {
    pub fn image() -> u32 {
        384
    }
    pub fn norm() -> String {
        "clip".to_owned()
    }
    pub fn validation() -> f64 {
        0.1
    }
    pub fn epochs() -> u32 {
        120
    }
    pub fn batch() -> usize {
        8
    }
    pub fn lr() -> f64 {
        5e-5
    }
    pub fn weight_decay() -> f64 {
        1e-4
    }
    pub fn clip() -> f64 {
        0.01
    }
    pub fn optimizer() -> String {
        "adamw".to_owned()
    }
    pub fn views() -> String {
        "crop".to_owned()
    }
    pub fn power() -> f64 {
        0.9
    }
    pub fn patience() -> u32 {
        10
    }
    pub fn seed() -> u64 {
        42
    }
    pub fn yes() -> bool {
        true
    }
    pub fn attention_weight() -> f64 {
        1.0 / 15.0
    }
    pub fn map_dropout() -> f32 {
        0.75
    }
}

impl Config {
    /// Reads and checks a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// One line with the file, the line and the mend.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut config = Self::parse(&text).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // The same run is the same from whatever folder it's gone on with.
        let whole = |path: &Path| {
            let joined = folder.join(path);
            std::path::absolute(&joined).unwrap_or(joined)
        };
        let masks = config.data.iter_mut().filter_map(|d| d.masks.as_mut());
        for path in config.weights.iter_mut().chain(masks) {
            *path = whole(path);
        }
        for source in &mut config.data {
            source.dir = whole(&source.dir);
        }
        Ok(config)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// One line with the line and the mend.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| {
            let before = e.span().map_or("", |s| &text[..s.start.min(text.len())]);
            let line = 1 + before.matches('\n').count();
            anyhow!(
                "line {line}: {}",
                e.message().lines().next().unwrap_or_default()
            )
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: &str, wanted: &str| Err(anyhow!("{what} must be {wanted}"));
        if self.data.is_empty() {
            bail!("no [[data]] is given; name a data set to learn from");
        }
        for source in &self.data {
            source.format()?;
        }
        let unit = |v: f64| (0.0..1.0).contains(&v);
        match () {
            () if !(16..=2048).contains(&self.image) => wrong("image", "16 to 2048 pixels"),
            () if !unit(self.validation) || self.validation == 0.0 => {
                wrong("validation", "a share above 0 and below 1")
            }
            () if self.epochs == 0 => wrong("epochs", "1 or more"),
            () if !(2..=4096).contains(&self.batch) => {
                wrong("batch", "2 to 4096: statistics need more than one picture")
            }
            () if !(self.lr > 0.0 && self.lr < 10.0) => wrong("lr", "a small positive number"),
            () if !unit(self.weight_decay) => wrong("weight-decay", "0 to 1"),
            () if !(self.clip >= 0.0 && self.clip.is_finite()) => wrong("clip", "0 or more"),
            () if !(self.power >= 0.0 && self.power <= 10.0) => wrong("power", "0 to 10"),
            () if self.patience == 0 => wrong("patience", "1 or more"),
            () if !(self.attention_weight >= 0.0 && self.attention_weight.is_finite()) => {
                wrong("attention-weight", "0 or more")
            }
            () if !unit(f64::from(self.map_dropout)) => wrong("map-dropout", "0 to 1, 1 excluded"),
            () => self.parts(),
        }
    }

    /// Whether epochs come in pairs, as they must with AEA.
    ///
    /// # Errors
    /// If one is left over.
    pub fn pairs(&self) -> Result<()> {
        if self.aea && self.epochs % 2 == 1 {
            bail!("epochs must be even with aea: they come in pairs, attention off and on");
        }
        Ok(())
    }

    fn parts(&self) -> Result<()> {
        self.preprocess()?;
        if !["adamw", "sgd"].contains(&self.optimizer.as_str()) {
            bail!("optimizer must be adamw or sgd, not {}", self.optimizer);
        }
        if !["crop", "resized-crop"].contains(&self.views.as_str()) {
            bail!("views must be crop or resized-crop, not {}", self.views);
        }
        if !["add", "none"].contains(&self.adapter.fusion.as_str()) {
            bail!(
                "adapter.fusion must be add or none, not {}",
                self.adapter.fusion
            );
        }
        let own = &self.adapter;
        for (what, size, most) in [
            ("width", own.width, 4096),
            ("heads", u32::from(own.heads), 4096),
            ("depth", own.depth, 64),
            ("queries", own.queries, 4096),
            ("patch", u32::from(own.patch), 64),
            ("grid", u32::from(own.grid), 1024),
        ] {
            if !(1..=most).contains(&size) {
                bail!("adapter.{what} must be 1 to {most}, not {size}");
            }
        }
        if self.data.iter().any(|source| source.classes == Some(0)) {
            bail!("classes must be 1 or more; leave it out for all");
        }
        let Some(lora) = self.lora.chosen() else {
            return Ok(());
        };
        if lora.rank == 0 || !lora.alpha.is_finite() || lora.projections.is_empty() {
            bail!(
                "lora needs a rank of 1 or more, a finite alpha and some projections; lora = false switches it off"
            );
        }
        let known = ["out", "fc", "proj", "q", "v"];
        let has = |name: &str| lora.projections.iter().any(|p| p == name);
        match lora
            .projections
            .iter()
            .find(|p| !known.contains(&p.as_str()))
        {
            Some(other) => bail!(
                "lora.projections has {other}; choose from {}",
                known.join(", ")
            ),
            None if has("q") != has("v") => bail!("lora.projections takes q and v together"),
            None => Ok(()),
        }
    }

    /// How a photo becomes an input: straight to the image's size, then normalised.
    ///
    /// # Errors
    /// For an unknown `norm`.
    pub fn preprocess(&self) -> Result<Preprocess> {
        let base = match self.norm.as_str() {
            "clip" => preprocess::CLIP,
            "imagenet" => preprocess::IMAGENET,
            "vit" => preprocess::VIT,
            other => bail!("norm must be clip, imagenet or vit, not {other}"),
        };
        Ok(Preprocess {
            fit: Fit::Squash,
            resize: self.image,
            crop: [self.image; 2],
            ..base
        })
    }

    /// Whether epoch `epoch`, counted from 0, has its attention on.
    #[must_use]
    pub fn attends(&self, epoch: u32) -> bool {
        !self.aea || epoch % 2 == 1
    }

    /// Learning rate of an epoch, counted from 0.
    #[must_use]
    pub fn rate(&self, epoch: u32) -> f64 {
        let left = 1.0 - f64::from(epoch) / f64::from(self.epochs);
        self.lr * left.max(0.0).powf(self.power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "[[data]]\ndir = \"birds\"\nformat = \"cub\"\n";

    #[test]
    fn what_is_left_out_is_the_papers() {
        let config = Config::parse(DATA).unwrap();
        assert_eq!((config.image, config.epochs, config.batch), (384, 120, 8));
        assert_eq!((config.adapter.width, config.adapter.queries), (64, 100));
        assert_eq!(config.lora.chosen().unwrap().rank, 16);
        assert!(!config.attends(0) && config.attends(1));
        assert!((config.rate(60) - 5e-5 * 0.5f64.powf(0.9)).abs() < 1e-15);
        let off = Config::parse(&format!("lora = false\naea = false\n{DATA}")).unwrap();
        assert!(off.lora.chosen().is_none() && off.attends(0));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, said) in [
            ("epoch = 3\n", "line 1"),
            ("epoch = 3\n", "epoch"),
            ("epochs = 0\n", "epochs"),
            ("batch = 1\n", "batch"),
            ("lora = { rank = 4, rnak = 1 }\n", "rnak"),
            ("lora = { projections = [\"q\"] }\n", "together"),
            ("adapter = { depth = 4000000000 }\n", "adapter.depth"),
            ("norm = \"bgr\"\n", "norm"),
            ("lora = { rank = 0 }\n", "rank"),
            ("lora = { projections = [\"k\"] }\n", "projections"),
            ("adapter = { fusion = \"cat\" }\n", "fusion"),
            ("validation = 1.5\n", "validation"),
        ] {
            let error = format!("{:#}", Config::parse(&format!("{text}{DATA}")).unwrap_err());
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        }
        assert!(Config::parse("epochs = 2\n").is_err());
    }
}
