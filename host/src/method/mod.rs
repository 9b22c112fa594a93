//! Methods that make maps, ours and those we compare with, on one interface.
//!
//! A method is asked for by name, with options after colons: `lrp`, `lrp:paper:half`, `gradcam:q8`. [`Spec`] reads such a
//! name, [`Spec::make`] makes the method.

mod attention;
mod cam;
mod control;
mod given;
mod gradient;
mod lrp;
mod rise;
mod spec;

use anyhow::Result;

pub use attention::{Adapter, RawAttention, Rollout};
pub use cam::{GradCam, ScoreCam, ScoreVariant};
pub use control::{Centre, Constant, Edge, Noise};
pub use given::Given;
pub use gradient::{Channels, Derivative, Flow};
pub use lrp::Lrp;
pub use rise::{Masks, Rise};
pub use spec::{HELP, Spec, is_control};

use crate::classifier::Classifier;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The network's input `[h, w, 3]`, normalised.
    pub image: &'a [f32],
    /// What the picture is called.
    pub id: &'a str,
    /// The class.
    pub class: u32,
    /// Decides whatever the method draws at random; another one for every picture.
    pub seed: u64,
}

/// A way to say which pixels made the network say something.
pub trait Attribution {
    /// A map `[h, w]` of the size of the network's input: the more a pixel spoke for the class, the larger.
    ///
    /// # Errors
    /// If the network can't take the image.
    fn map(&mut self, network: &mut Classifier<'_>, subject: &Subject<'_>) -> Result<Vec<f32>>;
}
