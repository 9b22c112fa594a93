//! What can be measured, and what its numbers mean.

use serde::{Deserialize, Serialize};

/// What a run measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Insertion, deletion and ID score.
    Insdel,
    /// Overlap of map and mask.
    Iou,
    /// Where the maximum and the energy of the map lie.
    Pointing,
    /// How much relevance is lost on the way to the image.
    Conservation,
    /// How often the network is right.
    Accuracy,
    /// Whether the map changes when the network's weights are replaced by random ones.
    Sanity,
    /// Sensitivity-n.
    Sensitivity,
}

/// Which way a score is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// High is good.
    Higher,
    /// Low is good.
    Lower,
    /// It tells something, but neither is good.
    Neither,
}

/// One of the numbers that a run gives every map.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Its name in files.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is, in a sentence.
    pub meaning: &'static str,
    /// Which way it is good.
    pub better: Better,
}

const fn score(
    name: &'static str,
    title: &'static str,
    better: Better,
    meaning: &'static str,
) -> Score {
    Score {
        name,
        title,
        meaning,
        better,
    }
}

/// Tie fraction, which stands beside every score that ranks pixels.
const TIES: Score = score(
    "tie_fraction",
    "Ties",
    Better::Neither,
    "Share of the pixels in the largest group of equal relevance; with many ties the order of pixels is not the map's.",
);

const INSDEL: &[Score] = &[
    score("id", "ID", Better::Higher, "Insertion minus deletion."),
    score(
        "insertion",
        "Insertion",
        Better::Higher,
        "Area under the probability of the class while the most relevant pixels appear first.",
    ),
    score(
        "deletion",
        "Deletion",
        Better::Lower,
        "Area under the probability of the class while the most relevant pixels disappear first.",
    ),
    TIES,
];

const IOU: &[Score] = &[
    score(
        "iou",
        "IoU, mean threshold",
        Better::Higher,
        "Overlap of the mask with the pixels of at least the map's mean.",
    ),
    score(
        "iou_best",
        "IoU, best threshold",
        Better::Higher,
        "The highest overlap that any threshold reaches on this picture.",
    ),
    score(
        "iou_deviation",
        "IoU, mean + deviation",
        Better::Higher,
        "Overlap with the pixels above mean and standard deviation, after a blur of one pixel.",
    ),
    score(
        "iou_byte",
        "IoU, upper half",
        Better::Higher,
        "Overlap with the pixels above 127 of the map as a picture of 256 levels.",
    ),
    TIES,
];

const POINTING: &[Score] = &[
    score(
        "pointing",
        "Pointing game",
        Better::Higher,
        "Whether the map's maximum lies on the object or at most 15 pixels from it.",
    ),
    score(
        "pointing_exact",
        "Pointing, no tolerance",
        Better::Higher,
        "Whether the map's maximum lies on the object.",
    ),
    score(
        "energy_mask",
        "Energy in mask",
        Better::Higher,
        "Share of the positive relevance that lies on the object.",
    ),
    score(
        "energy_box",
        "Energy in box",
        Better::Higher,
        "Share of the positive relevance that lies in the object's box.",
    ),
    score(
        "sparseness",
        "Sparseness",
        Better::Neither,
        "Gini coefficient of the absolute map: 0 if all pixels are equal, towards 1 if few hold everything.",
    ),
    TIES,
];

const CONSERVATION: &[Score] = &[
    score(
        "error",
        "Error at the image",
        Better::Lower,
        "|sum of the map - starting relevance| / |starting relevance|.",
    ),
    score(
        "error_first_block",
        "Error at the first block",
        Better::Lower,
        "The same for the relevance that enters the first block.",
    ),
    score(
        "error_last_block",
        "Error at the last block",
        Better::Lower,
        "The same for the relevance that enters the last block.",
    ),
    score(
        "start",
        "Start",
        Better::Neither,
        "The relevance that the class starts with.",
    ),
    score(
        "sum_image",
        "Sum at the image",
        Better::Neither,
        "The sum of the map.",
    ),
    score(
        "sum_first_block",
        "Sum at the first block",
        Better::Neither,
        "The relevance that enters the first block.",
    ),
    score(
        "sum_last_block",
        "Sum at the last block",
        Better::Neither,
        "The relevance that enters the last block.",
    ),
];

const ACCURACY: &[Score] = &[
    score(
        "top1",
        "Top-1",
        Better::Higher,
        "Whether the likeliest class is the picture's.",
    ),
    score(
        "top5",
        "Top-5",
        Better::Higher,
        "Whether the picture's class is among the five likeliest.",
    ),
    score(
        "probability",
        "Probability",
        Better::Higher,
        "Softmax probability of the picture's class.",
    ),
];

const SANITY: &[Score] = &[
    score(
        "similarity",
        "Similarity",
        Better::Lower,
        "Rank correlation of the map with that of the same network when all of its weights are random.",
    ),
    score(
        "similarity_last",
        "Similarity, classifier random",
        Better::Lower,
        "The same when only the classifier's weights are random.",
    ),
];

const SENSITIVITY: &[Score] = &[
    score(
        "sensitivity",
        "Sensitivity-n",
        Better::Higher,
        "Mean over n of the correlation between the relevance of n random pixels and the fall of the probability without them.",
    ),
    TIES,
];

impl Measure {
    /// Every measure with its name on the command line.
    pub const ALL: [(Measure, &'static str); 7] = [
        (Measure::Insdel, "insdel"),
        (Measure::Iou, "iou"),
        (Measure::Pointing, "pointing"),
        (Measure::Conservation, "conservation"),
        (Measure::Accuracy, "accuracy"),
        (Measure::Sanity, "sanity"),
        (Measure::Sensitivity, "sensitivity"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(measure, _)| *measure == self);
        found.map_or("", |(_, name)| name)
    }

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Measure::Insdel => "Insertion and deletion",
            Measure::Iou => "Overlap with the object",
            Measure::Pointing => "Pointing game and energy",
            Measure::Conservation => "Conservation of relevance",
            Measure::Accuracy => "Accuracy",
            Measure::Sanity => "Model randomisation",
            Measure::Sensitivity => "Sensitivity-n",
        }
    }

    /// Whether it asks where the object is.
    #[must_use]
    pub const fn needs_mask(self) -> bool {
        matches!(self, Measure::Iou | Measure::Pointing)
    }

    /// Its scores; methods are ordered and compared by the first.
    #[must_use]
    pub const fn scores(self) -> &'static [Score] {
        match self {
            Measure::Insdel => INSDEL,
            Measure::Iou => IOU,
            Measure::Pointing => POINTING,
            Measure::Conservation => CONSERVATION,
            Measure::Accuracy => ACCURACY,
            Measure::Sanity => SANITY,
            Measure::Sensitivity => SENSITIVITY,
        }
    }
}
