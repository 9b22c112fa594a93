//! Methods by name.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use elucid_core::heat::quantize;
use elucid_core::rule::Split;

use super::{
    Adapter, Attribution, Centre, Channels, Constant, Derivative, Edge, Flow, Given, GradCam, Lrp,
    Noise, RawAttention, Rise, Rollout, ScoreCam, ScoreVariant, Subject,
};
use crate::classifier::Classifier;
use crate::engine::PRESETS;

/// What the names mean, for `--help`.
pub const HELP: &str = "\
Methods:
  lrp         LRP with relevance splitting; options: a preset (exact, paper, or zennit's epsilon-plus, alpha2-beta1,
              both also with -flat, and epsilon-gamma-box) and, for exact and paper, a split (ratio, half, projection-ratio,
              projection-half), as in lrp:paper:half
  ala         the map of the model's Attention Lattice Adapter, the same for every class
  attention, rollout
              what the class token of a vision transformer attends to: in the last block, and through all of them
  gradcam     Grad-CAM at the end of the last block
  scorecam    Score-CAM there; scorecam:softmax as pytorch-grad-cam has it
  rise[:N]    RISE with N random masks (5000) of 9 x 9 cells, 61.7 % of them shown; rise:2000:g8:p0.5 for other numbers
  ig[:N]      integrated gradients, N points (50), from an image of zeros
  gradient, inputxgrad, gbp, deconv, smoothgrad[:N]
              gradient, Input x Gradient, guided backpropagation, deconvolution, mean of N noisy gradients (50)
  lrp-eps     LRP-epsilon as captum has it: without splitting, relevance is duplicated at every block
              (ig to lrp-eps: channels are summed; :abs sums absolute values, :first takes the first channel)
  random, constant, edge, centre
              controls that know nothing of the network: noise, the same everywhere, Sobel's edges, a box of half the
              area in the middle
Any of them with :qN has its map rounded down to N levels (Heat Quantization), as in gradcam:q8";

/// The share of RISE's cells that the ECCV 2024 paper's code shows: how many of normally distributed numbers lie below 0.3.
const OFFICIAL_SHARE: f32 = 0.617_911_4;

/// A method as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    name: String,
    kind: Kind,
    levels: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Lrp(Lrp),
    Adapter,
    Attention,
    Rollout,
    GradCam,
    ScoreCam(ScoreVariant),
    Rise {
        masks: usize,
        grid: usize,
        share: f32,
    },
    Derivative(Flow, Channels),
    Given(Given),
    Noise,
    Constant,
    Edge,
    Centre,
}

impl Spec {
    /// What stands for the network itself where no map is judged.
    #[must_use]
    pub fn network() -> Self {
        Self {
            name: "network".to_owned(),
            kind: Kind::Constant,
            levels: None,
        }
    }

    /// Maps from files, as `--maps NAME=FOLDER` asks for them, or `NAME:first=FOLDER`, `NAME:abs=FOLDER` where they have
    /// channels; the folder isn't part of the name.
    ///
    /// # Errors
    /// One line if the text is something else, or the name is another method's.
    pub fn from_files(text: &str) -> Result<Self, String> {
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        let wrong = || "write NAME=FOLDER, the name in letters and digits".to_owned();
        let (name, folder) = text.split_once('=').ok_or_else(wrong)?;
        let (own, channels) = name.split_once(':').unwrap_or((name, "sum"));
        let mut ways = Channels::NAMES.iter();
        let way = ways.find(|(_, name)| *name == channels).ok_or_else(wrong)?;
        if own.is_empty() || !own.chars().all(usual) {
            return Err(wrong());
        }
        if name.parse::<Self>().is_ok() {
            return Err(format!(
                "{name} is a method's name already; choose another one"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            kind: Kind::Given(Given {
                folder: folder.into(),
                channels: way.0,
            }),
            levels: None,
        })
    }

    /// The name as it was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it knows nothing of the network.
    #[must_use]
    pub fn control(&self) -> bool {
        matches!(
            self.kind,
            Kind::Noise | Kind::Constant | Kind::Edge | Kind::Centre
        )
    }

    /// Whether it is the adapter's own map.
    #[must_use]
    pub fn adapter(&self) -> bool {
        self.kind == Kind::Adapter
    }

    /// Its rules, if it is LRP.
    #[must_use]
    pub fn lrp(&self) -> Option<Lrp> {
        match self.kind {
            Kind::Lrp(lrp) => Some(lrp),
            Kind::GradCam
            | Kind::ScoreCam(_)
            | Kind::Rise { .. }
            | Kind::Derivative(..)
            | Kind::Given(_)
            | Kind::Noise
            | Kind::Constant
            | Kind::Edge
            | Kind::Centre
            | Kind::Adapter
            | Kind::Attention
            | Kind::Rollout => None,
        }
    }

    /// Where its maps come from, if from files.
    #[must_use]
    pub fn given(&self) -> Option<&Given> {
        match &self.kind {
            Kind::Given(given) => Some(given),
            Kind::Lrp(_)
            | Kind::GradCam
            | Kind::ScoreCam(_)
            | Kind::Rise { .. }
            | Kind::Derivative(..)
            | Kind::Noise
            | Kind::Constant
            | Kind::Edge
            | Kind::Centre
            | Kind::Adapter
            | Kind::Attention
            | Kind::Rollout => None,
        }
    }

    /// Whether Heat Quantization ends it.
    #[must_use]
    pub fn quantizes(&self) -> bool {
        self.levels.is_some()
    }

    /// The same with Heat Quantization, unless it has some.
    #[must_use]
    pub fn quantized(mut self, levels: u32) -> Self {
        if self.levels.is_none() {
            self.name = format!("{}:q{levels}", self.name);
            self.levels = Some(levels);
        }
        self
    }

    /// The method; `batch` images are forwarded at once where it needs several.
    #[must_use]
    pub fn make(&self, batch: usize) -> Box<dyn Attribution> {
        let method: Box<dyn Attribution> = match self.kind.clone() {
            Kind::Lrp(lrp) => Box::new(lrp),
            Kind::GradCam => Box::new(GradCam),
            Kind::ScoreCam(variant) => Box::new(ScoreCam { variant, batch }),
            Kind::Derivative(flow, channels) => Box::new(Derivative {
                flow,
                channels,
                batch,
            }),
            Kind::Rise { masks, grid, share } => Box::new(Rise {
                masks,
                grid,
                share,
                batch,
            }),
            Kind::Given(given) => Box::new(given),
            Kind::Noise => Box::new(Noise),
            Kind::Constant => Box::new(Constant),
            Kind::Edge => Box::new(Edge),
            Kind::Centre => Box::new(Centre),
            Kind::Adapter => Box::new(Adapter),
            Kind::Attention => Box::new(RawAttention),
            Kind::Rollout => Box::new(Rollout),
        };
        match self.levels {
            Some(levels) => Box::new(Quantized { method, levels }),
            None => method,
        }
    }
}

/// Whether a method's name is that of a control.
#[must_use]
pub fn is_control(name: &str) -> bool {
    name.parse::<Spec>().is_ok_and(|spec| spec.control())
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let derivative = |flow| Kind::Derivative(flow, Channels::Sum);
        let mut kind = match name {
            "lrp" => Kind::Lrp(Lrp {
                preset: 0,
                split: Split::Ratio,
            }),
            "gradcam" => Kind::GradCam,
            "scorecam" => Kind::ScoreCam(ScoreVariant::Official),
            "rise" => Kind::Rise {
                masks: 5000,
                grid: 9,
                share: OFFICIAL_SHARE,
            },
            "ig" => derivative(Flow::Integrated { steps: 50 }),
            "gradient" => derivative(Flow::Gradient),
            "inputxgrad" => derivative(Flow::InputTimesGradient),
            "gbp" => derivative(Flow::Guided),
            "deconv" => derivative(Flow::Deconvolution),
            "smoothgrad" => derivative(Flow::Smooth { samples: 50 }),
            "lrp-eps" => derivative(Flow::Duplicated),
            "random" => Kind::Noise,
            "constant" => Kind::Constant,
            "edge" => Kind::Edge,
            "centre" => Kind::Centre,
            "ala" => Kind::Adapter,
            "attention" => Kind::Attention,
            "rollout" => Kind::Rollout,
            _ => {
                return Err(format!(
                    "there is no method {name}; choose lrp, ala, attention, rollout, gradcam, scorecam, rise, ig, gradient, inputxgrad, gbp, deconv, \
                     smoothgrad, lrp-eps, random, constant, edge or centre (`elucid eval insdel --help` says what they are)"
                ));
            }
        };
        let mut levels = None;
        for option in parts {
            if let Some(count) = option.strip_prefix('q').and_then(|n| n.parse().ok())
                && (2..=65_536).contains(&count)
            {
                levels = Some(count);
            } else {
                kind.set(option).ok_or_else(|| {
                    format!("{name} has no option {option}; `elucid eval insdel --help` lists them")
                })?;
            }
        }
        if let Kind::Lrp(lrp) = kind
            && PRESETS[lrp.preset].0 != "exact"
            && PRESETS[lrp.preset].0 != "paper"
            && lrp.split != Split::Ratio
        {
            return Err(format!(
                "{text}: the preset has a split of its own; leave the other one out"
            ));
        }
        Ok(Self {
            name: text.to_owned(),
            kind,
            levels,
        })
    }
}

impl Kind {
    /// Takes an option; `None` if there is none of this name.
    fn set(&mut self, option: &str) -> Option<()> {
        let positive = || option.parse().ok().filter(|&n: &usize| n > 0);
        match self {
            Kind::Lrp(Lrp { preset, split }) => {
                if let Some(found) = PRESETS.iter().position(|(name, _)| *name == option) {
                    *preset = found;
                } else {
                    let mut splits = Split::ALL.iter();
                    *split = splits.find(|(_, name)| *name == option)?.0;
                }
            }
            Kind::Rise { masks, grid, share } => {
                if let Some(cells) = option.strip_prefix('g') {
                    *grid = cells.parse().ok().filter(|n| (1..=64).contains(n))?;
                } else if let Some(shown) = option.strip_prefix('p') {
                    *share = shown.parse().ok().filter(|&p| p > 0.0 && p < 1.0)?;
                } else {
                    *masks = positive()?;
                }
            }
            Kind::ScoreCam(variant) => {
                *variant = (option == "softmax").then_some(ScoreVariant::Softmax)?;
            }
            Kind::Derivative(flow, channels) => {
                let mut ways = Channels::NAMES.iter();
                match (ways.find(|(_, name)| *name == option), flow) {
                    (Some((way, _)), _) => *channels = *way,
                    (None, Flow::Integrated { steps: count } | Flow::Smooth { samples: count }) => {
                        *count = positive()?;
                    }
                    (
                        None,
                        Flow::Gradient
                        | Flow::InputTimesGradient
                        | Flow::Guided
                        | Flow::Deconvolution
                        | Flow::Duplicated,
                    ) => return None,
                }
            }
            Kind::GradCam
            | Kind::Adapter
            | Kind::Attention
            | Kind::Rollout
            | Kind::Given(_)
            | Kind::Noise
            | Kind::Constant
            | Kind::Edge
            | Kind::Centre => return None,
        }
        Some(())
    }
}

/// A method with its map rounded down to a few levels.
struct Quantized {
    method: Box<dyn Attribution>,
    levels: u32,
}

impl Attribution for Quantized {
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>> {
        let mut map = self.method.map(network, subject)?;
        quantize(&mut map, self.levels);
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_made() {
        let spec: Spec = "lrp:paper:half:q8".parse().unwrap();
        assert_eq!(
            (spec.lrp(), spec.levels),
            (
                Some(Lrp {
                    preset: 1,
                    split: Split::Half
                }),
                Some(8)
            )
        );
        assert_eq!(spec.name(), "lrp:paper:half:q8");
        assert_eq!(spec.clone().quantized(4), spec);
        let random: Spec = "random".parse().unwrap();
        assert!(random.control() && !spec.control());
        assert_eq!(random.quantized(4).name(), "random:q4");
        let ig: Spec = "ig:7:abs:q3".parse().unwrap();
        let flow = Flow::Integrated { steps: 7 };
        assert_eq!(ig.kind, Kind::Derivative(flow, Channels::Absolute));
        let rise: Spec = "rise:40".parse().unwrap();
        let wanted = |masks, grid, share| Kind::Rise { masks, grid, share };
        assert_eq!(rise.kind, wanted(40, 9, OFFICIAL_SHARE));
        let rise: Spec = "rise:2000:g8:p0.5".parse().unwrap();
        assert_eq!(rise.kind, wanted(2000, 8, 0.5));
    }

    #[test]
    fn unknown_names_are_refused_in_a_line() {
        for wrong in [
            "",
            "lpr",
            "lrp:",
            "lrp:q1",
            "lrp:whole",
            "rise:0",
            "random:3",
        ] {
            let error = wrong.parse::<Spec>().unwrap_err();
            assert!(error.contains("--help") && !error.contains('\n'), "{error}");
        }
    }
}
