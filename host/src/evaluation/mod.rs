//! The measures, one picture and one method at a time.
//!
//! [`Case::open`] makes a picture ready and asks the network what it sees; a [`Judge`] then gives each method's map its
//! numbers. Everything is a pure function of the picture, the network and the seed.

mod accuracy;
mod conservation;
mod insdel;
mod object;
mod sanity;
mod sensitivity;

use anyhow::{Result, bail};
use elucid_core::op::head::{Seed, seed};
use elucid_core::rule::{Init, Target};

pub use accuracy::Accuracy;
pub use conservation::Conservation;
pub use insdel::Insdel;
pub use object::{Iou, Pointing};
pub use sanity::{Randomised, Sanity};
pub use sensitivity::Sensitivity;

use crate::classifier::Classifier;
use crate::dataset::{DataError, Mask, Rect, Sample};
use crate::method::{Attribution, Spec, Subject};
use crate::metric::overlap;
use crate::photo::Prepared;
use crate::run::record::Outcome;

/// Which class is explained, and the probability of which class is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The predicted class, for both.
    Predicted,
    /// The picture's class, for both.
    Label,
    /// Explained is the predicted class, scored the picture's: what the ECCV 2024 paper's code does.
    Paper,
}

impl Question {
    /// Every question by the name that `--target` takes.
    pub const NAMES: [(Question, &'static str); 3] = [
        (Question::Predicted, "predicted"),
        (Question::Label, "label"),
        (Question::Paper, "paper"),
    ];
}

/// Why a picture is left out, in words without paths.
#[derive(Debug)]
pub enum Skip {
    /// The picture or its mask is broken.
    Data(DataError),
    /// It lacks what the measure needs.
    Lacks(&'static str),
}

impl Skip {
    /// For the records.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Skip::Data(error) => error.reason(),
            Skip::Lacks(what) => what,
        }
    }
}

/// A picture that is judged by.
pub struct Case {
    /// What it is called.
    pub id: String,
    /// What the network sees of it.
    pub prepared: Prepared,
    /// The network's answer.
    pub logits: Vec<f32>,
    /// Its class, if it has one.
    pub label: Option<u32>,
    /// The class that the network predicts, and its probability.
    pub predicted: Seed,
    /// The class that is explained.
    pub explained: u32,
    /// The class whose probability is scored, and that probability.
    pub scored: Seed,
    /// Where the object is in the network's input.
    pub mask: Option<Mask>,
    /// Boxes around it there.
    pub boxes: Vec<Rect>,
    /// Decides whatever is random about this picture.
    pub seed: u64,
}

impl Case {
    /// Makes a sample ready. `Ok(Err(..))` says why it has to be left out.
    ///
    /// # Errors
    /// If the network can't take its picture, or has no such class.
    pub fn open(
        network: &mut Classifier<'_>,
        sample: &Sample,
        question: Question,
        needs_mask: bool,
        seed_of_run: u64,
    ) -> Result<std::result::Result<Case, Skip>> {
        let how = network.model().preprocess();
        let photo = match sample.photo() {
            Ok(photo) => photo,
            Err(e) => return Ok(Err(Skip::Data(e))),
        };
        let dimensions = photo.rgb.dimensions();
        let mask = match sample.input_mask(dimensions, &how) {
            Ok(mask) => mask,
            // A picture whose mask isn't asked for is as good without.
            Err(_) if !needs_mask => None,
            Err(e) => return Ok(Err(Skip::Data(e))),
        };
        if needs_mask {
            match &mask {
                None => return Ok(Err(Skip::Lacks("it has no mask"))),
                Some(mask) if overlap::Mask::new(&mask.object, &mask.ignored).is_err() => {
                    return Ok(Err(Skip::Lacks(
                        "its object lies outside of what the network sees",
                    )));
                }
                Some(_) => {}
            }
        }
        let prepared = photo.prepare(&how)?;
        let logits = network.logits(&prepared.image)?.to_vec();
        if let Some(label) = sample.label.filter(|&label| label as usize >= logits.len()) {
            bail!(
                "{} is of class {label}, but the network has {} classes; name the network's with --classes",
                sample.id,
                logits.len()
            );
        }
        let about = |target| seed(&logits, target, Init::Probability);
        let predicted = about(Target::Predicted)?;
        let label = || sample.label.map(Target::Class);
        let (explained, scored) = match question {
            Question::Predicted => (Some(Target::Predicted), Some(Target::Predicted)),
            Question::Label => (label(), label()),
            Question::Paper => (Some(Target::Predicted), label()),
        };
        let (Some(explained), Some(scored)) = (explained, scored) else {
            return Ok(Err(Skip::Lacks("it has no label")));
        };
        Ok(Ok(Case {
            id: sample.id.clone(),
            label: sample.label,
            predicted,
            explained: about(explained)?.target,
            scored: about(scored)?,
            mask,
            boxes: sample.input_boxes(dimensions, &how),
            seed: seed_of_run,
            prepared,
            logits,
        }))
    }

    /// What methods are asked about.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            image: &self.prepared.image,
            id: &self.id,
            class: self.explained,
            seed: self.seed,
        }
    }

    /// `[h, w]` of the network's input.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.prepared.height, self.prepared.width]
    }

    /// The mask for the metrics on overlap.
    ///
    /// # Errors
    /// If there is none with a pixel of the object.
    pub fn object(&self) -> Result<overlap::Mask<'_>> {
        let (object, ignored) = match &self.mask {
            Some(mask) => (mask.object.as_slice(), mask.ignored.as_slice()),
            None => (&[][..], &[][..]),
        };
        overlap::Mask::new(object, ignored)
    }
}

/// A method's numbers, and the map they are for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The numbers.
    pub outcome: Outcome,
    /// The map `[h, w]`; empty if the measure has no use for it.
    pub map: Vec<f32>,
}

/// A measure.
pub trait Judge {
    /// Gets ready for a picture.
    ///
    /// # Errors
    /// If the network can't take what is made of the picture.
    fn begin(&mut self, _: &mut Classifier<'_>, _: &Case) -> Result<()> {
        Ok(())
    }

    /// Judges a method by the picture of the last [`Judge::begin`].
    ///
    /// # Errors
    /// Those of the method and of the network.
    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        method: (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict>;
}
