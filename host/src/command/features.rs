//! `elucid features`: what a layer gives, for whoever wants to compare or compute with it.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use elucid_core::Shape;

use super::say::say;
use super::{Where, tell};
use crate::classifier::Classifier;
use crate::engine::Threads;
use crate::model_file::ModelBytes;
use crate::npy;
use crate::photo::Photo;

#[derive(Args)]
pub struct Arguments {
    /// Photo (JPEG, PNG, WebP), or a .npy file with f32 [3, H, W] that is normalised already
    image: PathBuf,
    /// Model file; the bundled flower model if left out
    #[arg(long, value_name = "M.elucid")]
    model: Option<PathBuf>,
    /// Name of the layer, as `elucid inspect` lists it
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Where it goes: f32 [h, w, channels], or [rows, channels] where a transformer's tokens come before the grid
    #[arg(short, long, value_name = "out.npy")]
    output: PathBuf,
    /// Threads; 0 for all of the machine's
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    place: Where,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let bytes = ModelBytes::open(arguments.model.as_deref())?;
    let model = bytes.parse()?;
    let node = model.find(&arguments.node).ok_or_else(|| {
        anyhow!(
            "the model has no layer {}; `elucid inspect` lists them",
            arguments.node
        )
    })?;
    let path = &arguments.image;
    let (image, h, w) = if path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("npy"))
    {
        npy::read_image(path)?
    } else {
        let ready = Photo::open(path)?.prepare(&model.preprocess())?;
        (ready.image, ready.height, ready.width)
    };
    let threads = Threads::new(arguments.threads)?;
    let place = arguments.place.open()?;
    let shape = Shape::new(h as u32, w as u32, 3);
    let mut network = Classifier::new(&model, shape, &threads).at(&place);
    let (_, values, shape) = network.activation(&image, node)?;
    tell(&place);
    let rows = match shape.tokens {
        0 => vec![u64::from(shape.h), u64::from(shape.w)],
        _ => vec![shape.pixels() as u64],
    };
    let dims: Vec<u64> = rows.into_iter().chain([u64::from(shape.c)]).collect();
    npy::write(&arguments.output, &values, &dims)?;
    say!(
        "{}: {} {dims:?}",
        arguments.output.display(),
        arguments.node
    );
    Ok(())
}
