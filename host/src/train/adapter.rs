//! Training an Attention Lattice Adapter for an encoder, from the run's file to the exported model.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use elucid_core::Shape;
use elucid_core::arch::ala::{Ala, Fusion, MAP, MAX_LATTICE, PERCEPTION};
use elucid_core::graph::Activation;

use super::config::{self, Config};
use super::examples::{Example, Examples};
use super::feed::Feed;
use super::frozen::Frozen;
use super::lora::{self, Lora};
use super::parameters::Parameters;
use super::session::{Ends, Session, Watch};
use super::state::{Folder, Progress, bytes};
use super::tape::Tape;
use crate::architecture::{OWN, Said, Wanted, encoder};
use crate::checkpoint::Checkpoint;
use crate::engine::{Engine, Threads};
use crate::import::{Options, import};
use crate::model_file::ModelBytes;
use crate::synthetic::Random;

/// eps of the BatchNorms.
const BN_EPS: f64 = 1e-5;
/// What encoders are called in the network's tensors.
const PREFIX: &str = "clip.";

/// The adapter that a run asks for, on the encoder of a checkpoint.
///
/// # Errors
/// One line if the checkpoint holds no encoder, or the numbers don't go together.
pub fn network(config: &Config, weights: &Checkpoint, classes: u32) -> Result<Ala> {
    let wanted = Wanted {
        heads: config.heads,
        act: match config.activation.as_deref() {
            None => None,
            Some("gelu") => Some(Activation::Gelu),
            Some("quick-gelu") => Some(Activation::QuickGelu),
            Some(other) => bail!("activation must be gelu or quick-gelu, not {other}"),
        },
        dino: config.dino_positions,
        ..Wanted::default()
    };
    let mut found = encoder(weights, &wanted)?;
    // Whatever the importer would refuse isn't trained for either: a tensor that nobody reads would mean another network.
    let options = Options {
        bn_eps: BN_EPS,
        half: false,
        preprocess: config.preprocess()?,
        classes: Vec::new(),
    };
    import(weights, &found, &options)?;
    found.prefix = PREFIX;
    let own = &config.adapter;
    let grids = [own.patch, found.patch].map(|patch| config.image / u32::from(patch));
    if grids[0] != grids[1] {
        bail!(
            "adapter.patch {} gives {} x {} cells of an image of {} pixels, but the encoder has {} x {}; make it {}",
            own.patch,
            grids[0],
            grids[0],
            config.image,
            grids[1],
            grids[1],
            found.patch
        );
    }
    let mut ala = Ala::published(found, own.width, classes);
    if let Some(lattice) = &own.lattice {
        let growing = lattice.is_sorted_by(|a, b| a < b);
        if lattice.is_empty() || lattice.len() > MAX_LATTICE || !growing {
            bail!("adapter.lattice {lattice:?} isn't a growing list of 1 to {MAX_LATTICE} layers");
        }
        ala.layers = lattice.len();
        ala.lattice[..lattice.len()].copy_from_slice(lattice);
    }
    if ala.blocks() == 0 && config.lora.chosen().is_some() {
        bail!(
            "adapter.lattice reads no block that could be adapted; say lora = false, or let it read a later layer"
        );
    }
    if ala.blocks() > found.depth {
        bail!(
            "adapter.lattice reads layer {}, but the encoder has {} blocks",
            ala.blocks(),
            found.depth
        );
    }
    if ala.layers > own.depth as usize + 1 {
        bail!(
            "adapter.lattice has {} layers, but an adapter of {} blocks takes {} at most",
            ala.layers,
            own.depth,
            own.depth + 1
        );
    }
    if own.heads == 0 || !own.width.is_multiple_of(u32::from(own.heads)) {
        bail!(
            "adapter.heads {} doesn't divide adapter.width {}",
            own.heads,
            own.width
        );
    }
    (ala.heads, ala.depth, ala.queries) = (own.heads, own.depth, own.queries);
    (ala.patch, ala.grid) = (own.patch, [own.grid; 2]);
    if own.fusion == "none" {
        ala.fusion = Fusion::None;
    }
    Ok(ala)
}

/// A run's LoRA as the tape knows it.
fn low_rank(chosen: &config::Lora) -> Lora {
    let has = |name: &str| chosen.projections.iter().any(|p| p == name);
    Lora {
        block: chosen.block,
        rank: chosen.rank,
        alpha: chosen.alpha as f32,
        output: has("out"),
        up: has("fc"),
        down: has("proj"),
        query_value: has("q"),
    }
}

/// A number that other weights of the encoder don't have.
fn encoder_checksum(weights: &Checkpoint) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (name, tensor) in weights
        .tensors
        .iter()
        .filter(|(n, _)| n.starts_with(PREFIX))
    {
        hasher.update(name.as_bytes());
        hasher.update(bytemuck::cast_slice(&tensor.data));
    }
    hasher.finalize()
}

/// A trained network.
#[derive(Clone, Debug)]
pub struct Trained {
    /// How it went.
    pub progress: Progress,
    /// The model file's bytes.
    pub model: Vec<u8>,
}

/// Trains as the file says, in a folder, and exports `model.safetensors` and `model.elucid` there. `kept` is where features
/// of the frozen encoder are kept, if nothing is augmented.
///
/// # Errors
/// One line: whatever is wrong with the weights, the pictures or the disk, or a loss that isn't finite any more.
pub fn train(
    config: &Config,
    path: &Path,
    (resume, kept): (bool, Option<&Path>),
    threads: &Threads,
    watch: &mut dyn Watch,
) -> Result<Trained> {
    config.pairs()?;
    let weights = config.weights.as_ref();
    let weights = weights.ok_or_else(|| anyhow!("weights is missing: name the encoder's file"))?;
    let checkpoint = Checkpoint::open(weights)?;
    let examples = Examples::open(config)?;
    let named = || weights.display().to_string();
    let net = network(config, &checkpoint, examples.classes.len() as u32).with_context(named)?;
    let folder = Folder::open(path, config, resume)?;
    let mut parameters = Parameters::fresh(&checkpoint, &net, config.seed).with_context(named)?;
    drop(checkpoint);
    let how = config.preprocess()?;
    let tape = Tape::new(&net, BN_EPS)?;
    // An image that doesn't fit is found now.
    tape.shapes(how.crop)?;

    let options = || Options {
        bn_eps: BN_EPS,
        half: false,
        preprocess: how,
        classes: examples.classes.clone(),
    };
    // What stays as it is, run by the core; what it's given to begin with doesn't change in training.
    let whole = parameters.to_checkpoint()?;
    let bytes_of_frozen = import(&whole, &net, &options())?;
    let checksum = encoder_checksum(&whole);
    drop(whole);
    let frozen_model = ModelBytes::from_bytes(&bytes_of_frozen, "the encoder");
    drop(bytes_of_frozen);
    let model = frozen_model.parse()?;
    let mut engine = Engine::new(&model, threads);
    let changed = config.lora.chosen().map(|chosen| low_rank(&chosen));
    let mut names: Vec<String> = Vec::new();
    let first = match &changed {
        Some(lora) => lora.block(&net)?,
        None => u32::MAX,
    };
    names.extend(
        (net.lattice().iter())
            .filter(|&&layer| u32::from(layer) < first)
            .map(|layer| format!("h{layer}")),
    );
    if let Some(lora) = &changed {
        names.push(lora.input(&net)?);
        // Another stream than that of the weights.
        let mut random = Random::new(config.seed ^ 0x4C6F_5241);
        lora.attach(&mut parameters, &net, &mut random)?;
    }
    let image = Shape::new(how.crop[0], how.crop[1], 3);
    let frozen = Frozen::new(&model, &mut engine, &names, (image, config.batch))?;
    let mut feed = Feed::new(&tape, Some(frozen), &names, (how, config.batch))?;
    let all: Vec<&Example> = (examples.train.iter())
        .chain(&examples.validation)
        .collect();
    if !config.augment {
        let own = folder.path("features.f16");
        let count = all.len();
        let kept = (kept.unwrap_or(&own), checksum);
        feed.keep(kept, &all, |done| {
            watch.prepare(done, count);
        })?;
    }
    let ends = Ends {
        perception: tape.node(PERCEPTION)?,
        attention: Some((tape.node("logits_attention_branch")?, tape.node(MAP)?)),
        sum: tape.last(),
    };
    let mut session = Session::new(
        (config, &examples),
        (&tape, ends),
        parameters,
        feed,
        &folder,
    )?;
    session.run(watch)?;

    let mut merged = lora::merge(&session.parameters)?;
    merged.metadata.clear();
    merged.metadata.insert(OWN.to_owned(), Said::of(&net)?);
    folder.write("model.safetensors", &bytes(&merged)?)?;
    let model = import(&merged, &net, &options())?;
    folder.write("model.elucid", &model)?;
    Ok(Trained {
        progress: session.progress,
        model,
    })
}
