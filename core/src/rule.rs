//! How relevance is propagated: rules, splits and composites.
//!
//! | rule | share of input `i` in the relevance of output `j` | conserves |
//! |---|---|---|
//! | z+ | `a_i w+_ij / (sum_i a_i w+_ij + eps)` | up to `eps` and dead cells |
//! | z+, eps = 0, dead cells redistributed | the same; where the sum is 0, `w+_ij / sum_i w+_ij`, or uniform | yes |
//!
//! Source: ECCV 2024 paper, section "Relevance Splitting"; the reference implementation for the constants.
//!
//! [`Chain`] is the other family, derivatives and their relatives: every layer passes `R` back through all its weights,
//! additions hand it whole to both branches, and what is done besides is elementwise:
//!
//! | chain | at a ReLU with output `y` | at a weighted layer or a pool | conserves |
//! |---|---|---|---|
//! | gradient | `R [y > 0]` | | no: it is no share of anything |
//! | guided | `max(R, 0) [y > 0]` | | no |
//! | deconvolution | `max(R, 0)` | | no |
//! | duplicated | `R` | `x W^T (R / (y + eps sign(y)))` for input `x`, `y` before the ReLU | no: additions double it |
//!
//! Sources: Springenberg et al. 2015 (guided), Zeiler and Fergus 2014 (deconvolution), captum 0.9's `LRP` with its
//! default rules on torchvision's ResNets (duplicated).

use core::ops::Range;

use crate::graph::Op;

/// What becomes of the relevance of a cell whose z is 0: all its positively weighted inputs are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dead {
    /// It is lost, as in the reference, and booked to the ledger's sink `dead`.
    Sink,
    /// It is spread over the cell's receptive field in proportion to `w+`, or evenly where no weight is positive.
    Redistribute,
}

/// The rule of a weighted layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Rule {
    /// `R_i = a_i sum_j w+_ij R_j / (z_j + eps)` with `z_j = sum_i a_i w+_ij`; biases stay out.
    ZPlus {
        /// Added to every z. With 0, only cells whose z vanishes are treated as dead.
        eps: f32,
        /// What becomes of dead cells.
        dead: Dead,
    },
    /// A rule of zennit's, over weights with BatchNorm folded in.
    Folded(Folded),
}

impl Rule {
    /// What becomes of cells without a denominator.
    #[must_use]
    pub const fn dead(self) -> Dead {
        match self {
            Rule::ZPlus { dead, .. } => dead,
            Rule::Folded(_) => Dead::Sink,
        }
    }

    /// What is added to its denominators.
    #[must_use]
    pub const fn eps(self) -> f32 {
        match self {
            Rule::ZPlus { eps, .. } | Rule::Folded(Folded { eps, .. }) => eps,
        }
    }
}

/// A rule over weights with BatchNorm folded in, `w' = scale w` and `b' = shift`, where a negative scale turns what is
/// positive. `eps` has the sign of the denominator it is added to. What the bias takes is lost and stands in no sink.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Folded {
    /// Which.
    pub kind: Kind,
    /// Added to denominators, with their sign; 0 counts as positive.
    pub eps: f32,
    /// Whether the bias counts in denominators.
    pub bias: bool,
}

/// The rules of zennit 0.5.1, with `+` and `-` for what is positive and negative.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// `z = a w`
    Epsilon,
    /// `alpha` times by `z = a+ w+ + a- w-` less `beta` times by `z = a+ w- + a- w+`; with 1 and 0 it is zennit's z+.
    AlphaBeta {
        /// Factor of what speaks for a cell.
        alpha: f32,
        /// Factor of what speaks against it.
        beta: f32,
    },
    /// `z = a+ (w + gamma w+) + a- (w + gamma w-)` where the cell is positive, the other way round where it is negative.
    Gamma {
        /// How much more.
        gamma: f32,
    },
    /// Evenly over the receptive field.
    Flat,
    /// `z = w^2`
    WSquare,
    /// `z = a w - low w+ - high w-`: for pixels between two values.
    ZBox {
        /// The smallest pixel of each colour, normalised.
        low: [f32; 3],
        /// The largest.
        high: [f32; 3],
    },
}

/// How relevance passes a max pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PoolRule {
    /// As an average over windows of `stride x stride` without padding (the reference, 2x2 for its 3x3 pool). Windows
    /// that stick out of an odd-sized input average over their valid cells.
    StrideAverage,
    /// As an average over the pool's own window; padding counts in the divisor.
    WindowAverage,
    /// All to the first maximum of the window: conserves exactly.
    Winner,
}

/// How relevance is split where a skip branch meets a residual branch (paper, table 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Split {
    /// Row (iv), the proposed one: in proportion to the branches' absolute values, at every block.
    #[default]
    Ratio,
    /// Row (ii): half and half at every block.
    Half,
    /// Row (iii): in proportion at projections; identity skips get nothing.
    ProjectionRatio,
    /// Row (i): half and half at projections; identity skips get nothing.
    ProjectionHalf,
    /// Not of the paper: in proportion to the branches with their signs, as zennit does.
    Signed,
}

/// How one addition is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Share {
    /// All to the residual branch.
    Residual,
    /// Half and half.
    Half,
    /// In proportion to absolute values, 0/0 = 1/2.
    Ratio,
    /// In proportion to signed values, by their sum and [`ZENNIT_EPS`] with its sign.
    Signed,
    /// All to each of both: a derivative.
    Both,
}

impl Share {
    /// Whether the values of the branches matter.
    #[must_use]
    pub const fn reads(self) -> bool {
        match self {
            Share::Ratio | Share::Signed => true,
            Share::Residual | Share::Half | Share::Both => false,
        }
    }
}

impl Split {
    /// The paper's splits with their names on the command line and in the paper's table.
    pub const ALL: [(Split, &'static str); 4] = [
        (Split::Ratio, "ratio"),
        (Split::Half, "half"),
        (Split::ProjectionRatio, "projection-ratio"),
        (Split::ProjectionHalf, "projection-half"),
    ];

    /// How an addition with this kind of skip is split.
    #[must_use]
    pub const fn share(self, skip: crate::graph::Skip) -> Share {
        use crate::graph::Skip::{Identity, Projection};
        match (self, skip) {
            (Split::Ratio, _) | (Split::ProjectionRatio, Projection) => Share::Ratio,
            (Split::Half, _) | (Split::ProjectionHalf, Projection) => Share::Half,
            (Split::ProjectionRatio | Split::ProjectionHalf, Identity) => Share::Residual,
            (Split::Signed, _) => Share::Signed,
        }
    }
}

/// One rule for each kind of layer: relevance that is shared out among a layer's inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rules {
    /// Convolutions.
    pub conv: Rule,
    /// Convolutions of the image. With `None`, the rule of the others: they see ones instead of the image, so pixel values
    /// never enter the last step, and give the map at once.
    pub first: Option<Rule>,
    /// Fully connected layers.
    pub linear: Rule,
    /// Max pools.
    pub pool: PoolRule,
    /// Global average pools: added to the mean, as `eps` in [`Rule::ZPlus`]; with 0, an all-zero map gets even shares.
    pub average_eps: f32,
    /// Additions.
    pub split: Split,
}

impl Rules {
    /// The rule of a weighted layer, of the image or not.
    #[must_use]
    pub const fn of(&self, op: &Op, image: bool) -> Rule {
        match op {
            Op::Linear(_) => self.linear,
            _ => self.of_conv(image),
        }
    }

    /// The rule of a convolution, of the image or not.
    #[must_use]
    pub const fn of_conv(&self, image: bool) -> Rule {
        match self.first {
            Some(first) if image => first,
            Some(_) | None => self.conv,
        }
    }
}

/// What flows back through all weights and whole into both branches of an addition. BatchNorm multiplies by its scale, a
/// max pool passes it to the first maximum of a window, a global average in even parts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Chain {
    /// The derivative of the explained logit, 0 where a ReLU's output is 0.
    Gradient,
    /// The same, with what is negative cut off at every ReLU.
    Guided,
    /// Cut off in the same way, but passed on whether the ReLU was active or not.
    Deconvolution,
    /// LRP-epsilon that knows nothing of additions, so that both branches get all of the relevance.
    ///
    /// Every value that a weighted layer or a pool reads gets `x` times the sum of what its readers send back: what an
    /// identity skip sends is multiplied by it as well. The bias and BatchNorm's shift count in the denominators, and the
    /// image's pixels in the last step. Start with [`Init::Logit`].
    Duplicated {
        /// Added to every denominator, with its sign; 0 counts as positive.
        eps: f32,
    },
}

/// How relevance is propagated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Composite {
    /// Shared out layer by layer.
    Rules(Rules),
    /// Through all weights, as a derivative.
    Chain(Chain),
    /// Not at all: the map is the adapter's own, enlarged bilinearly, the same for every class
    /// ([`crate::arch::ala`]). There is nothing to conserve.
    Attention,
}

/// eps of the reference implementation.
pub const REFERENCE_EPS: f32 = 1e-5;
/// eps of zennit's rules.
pub const ZENNIT_EPS: f32 = 1e-6;
/// eps of captum's epsilon rule.
pub const CAPTUM_EPS: f32 = 1e-9;

/// zennit's z+.
const PLUS: Kind = Kind::AlphaBeta {
    alpha: 1.0,
    beta: 0.0,
};
const ALPHA2_BETA1: Kind = Kind::AlphaBeta {
    alpha: 2.0,
    beta: 1.0,
};

impl Composite {
    /// Conserving to rounding: winner-take-all pool, eps only where z vanishes, dead cells redistributed.
    #[must_use]
    pub const fn exact(split: Split) -> Self {
        let rule = Rule::ZPlus {
            eps: 0.0,
            dead: Dead::Redistribute,
        };
        Self::Rules(Rules {
            conv: rule,
            first: None,
            linear: rule,
            pool: PoolRule::Winner,
            average_eps: 0.0,
            split,
        })
    }

    /// The reference implementation, leaks included (0/0 splits are halved instead of NaN).
    #[must_use]
    pub const fn paper(split: Split) -> Self {
        let rule = Rule::ZPlus {
            eps: REFERENCE_EPS,
            dead: Dead::Sink,
        };
        Self::Rules(Rules {
            conv: rule,
            first: None,
            linear: rule,
            pool: PoolRule::StrideAverage,
            average_eps: REFERENCE_EPS,
            split,
        })
    }

    /// A composite of zennit's: linear layers by its epsilon rule, sums and global averages in proportion, max pools to the
    /// maximum. Start with [`Init::One`].
    const fn zennit(conv: Kind, first: Kind, bias: bool) -> Self {
        const fn rule(kind: Kind, bias: bool) -> Rule {
            let eps = ZENNIT_EPS;
            Rule::Folded(Folded { kind, eps, bias })
        }
        Self::Rules(Rules {
            conv: rule(conv, bias),
            first: Some(rule(first, bias)),
            linear: rule(Kind::Epsilon, bias),
            pool: PoolRule::Winner,
            average_eps: ZENNIT_EPS,
            split: Split::Signed,
        })
    }

    /// zennit's `EpsilonPlus`; without `bias`, as with its `zero_params="bias"`.
    #[must_use]
    pub const fn epsilon_plus(bias: bool) -> Self {
        Self::zennit(PLUS, PLUS, bias)
    }

    /// zennit's `EpsilonPlusFlat`.
    #[must_use]
    pub const fn epsilon_plus_flat(bias: bool) -> Self {
        Self::zennit(PLUS, Kind::Flat, bias)
    }

    /// zennit's `EpsilonAlpha2Beta1`.
    #[must_use]
    pub const fn alpha2_beta1(bias: bool) -> Self {
        Self::zennit(ALPHA2_BETA1, ALPHA2_BETA1, bias)
    }

    /// zennit's `EpsilonAlpha2Beta1Flat`.
    #[must_use]
    pub const fn alpha2_beta1_flat(bias: bool) -> Self {
        Self::zennit(ALPHA2_BETA1, Kind::Flat, bias)
    }

    /// zennit's `EpsilonGammaBox` with its gamma, for pixels between `low` and `high`, normalised.
    #[must_use]
    pub const fn epsilon_gamma_box(low: [f32; 3], high: [f32; 3], bias: bool) -> Self {
        Self::zennit(Kind::Gamma { gamma: 0.25 }, Kind::ZBox { low, high }, bias)
    }

    /// The derivative of the explained logit. Start with [`Init::One`].
    #[must_use]
    pub const fn gradient() -> Self {
        Self::Chain(Chain::Gradient)
    }

    /// Guided backpropagation. Start with [`Init::One`].
    #[must_use]
    pub const fn guided() -> Self {
        Self::Chain(Chain::Guided)
    }

    /// The deconvolution of a network. Start with [`Init::One`].
    #[must_use]
    pub const fn deconvolution() -> Self {
        Self::Chain(Chain::Deconvolution)
    }

    /// LRP-epsilon without splitting, as captum's `LRP` gives it with [`CAPTUM_EPS`]. Start with [`Init::Logit`].
    #[must_use]
    pub const fn duplicated(eps: f32) -> Self {
        Self::Chain(Chain::Duplicated { eps })
    }

    /// The channels of a skip branch, with this operation at its end, that take part in a split. Zero channels of a parameter-free
    /// shortcut have no input: where nothing may be lost, they don't.
    #[must_use]
    pub fn live(&self, branch: &Op, channels: usize) -> Range<usize> {
        match (self, branch) {
            (Self::Rules(rules), Op::Subsample(s)) if rules.conv.dead() == Dead::Redistribute => {
                usize::from(s.before)..channels - usize::from(s.after)
            }
            _ => 0..channels,
        }
    }

    /// How an addition with this kind of skip is split.
    #[must_use]
    pub const fn share(&self, skip: crate::graph::Skip) -> Share {
        match self {
            Self::Rules(rules) => rules.split.share(skip),
            Self::Chain(_) | Self::Attention => Share::Both,
        }
    }
}

/// The relevance that the explained class starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Init {
    /// Its softmax probability (the paper).
    #[default]
    Probability,
    /// Its logit.
    Logit,
    /// One.
    One,
}

impl Init {
    /// All choices with their names on the command line.
    pub const ALL: [(Init, &'static str); 3] = [
        (Init::Probability, "probability"),
        (Init::Logit, "logit"),
        (Init::One, "one"),
    ];
}

/// The class to explain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Target {
    /// The predicted one.
    #[default]
    Predicted,
    /// This one.
    Class(u32),
    /// The one with this many likelier than it: 0 is the predicted one.
    Rank(u32),
}
