//! Training a ResNet that is to be explained, from published weights or from scratch: the loop without attention.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use elucid_core::arch::resnet::Resnet;

use super::adapter::Trained;
use super::config::Config;
use super::examples::Examples;
use super::feed::Feed;
use super::parameters::Parameters;
use super::session::{Ends, Session, Watch};
use super::state::{Folder, bytes};
use super::tape::Tape;
use crate::architecture::{Net, Wanted, infer};
use crate::checkpoint::Checkpoint;
use crate::import::{Options, import};

/// eps of the BatchNorms.
const BN_EPS: f64 = 1e-5;

/// The network: that of the weights with another classifier, or the one whose name is given.
fn network(config: &Config, classes: u32) -> Result<(Resnet, Checkpoint)> {
    let Some(path) = &config.weights else {
        let name = config.arch.as_deref().unwrap_or_default();
        let number = |prefix: &str| {
            name.strip_prefix(prefix)
                .and_then(|n| n.parse::<u32>().ok())
        };
        let small = number("cifar-resnet").filter(|n| *n >= 8 && n % 6 == 2);
        let found = match (number("resnet"), small) {
            (Some(depth), _) => Resnet::imagenet(depth, 64, classes),
            (None, Some(layers)) => Some(Resnet::cifar(layers / 6, 16, classes)),
            (None, None) => None,
        };
        let net = found.ok_or_else(|| {
            anyhow!("say weights = \"FILE\" to start from, or arch = \"resnet18\" .. \"resnet152\" or \"cifar-resnet20\" ..")
        })?;
        return Ok((net, Checkpoint::default()));
    };
    let mut checkpoint = Checkpoint::open(path)?;
    let named = || path.display().to_string();
    let Net::Resnet(net) = infer(&checkpoint, &Wanted::default()).with_context(named)? else {
        return Err(anyhow!("{} holds no ResNet", path.display()));
    };
    // The classifier of other classes is of no use.
    if net.classes != classes {
        checkpoint
            .tensors
            .retain(|name, _| !name.starts_with("fc.") && !name.starts_with("linear."));
    }
    Ok((Resnet { classes, ..net }, checkpoint))
}

/// Trains as the file says, in a folder, and exports `model.safetensors` and `model.elucid` there.
///
/// # Errors
/// One line: whatever is wrong with the weights, the pictures or the disk, or a loss that isn't finite any more.
pub fn train(config: &Config, path: &Path, resume: bool, watch: &mut dyn Watch) -> Result<Trained> {
    let examples = Examples::open(config)?;
    let (net, checkpoint) = network(config, examples.classes.len() as u32)?;
    let folder = Folder::open(path, config, resume)?;
    let parameters = Parameters::fresh(&checkpoint, &net, config.seed)?;
    let how = config.preprocess()?;
    let tape = Tape::new(&net, BN_EPS)?;
    let feed = Feed::new(&tape, None, &[], (how, config.batch))?;
    let ends = Ends {
        perception: tape.last(),
        attention: None,
        sum: tape.last(),
    };
    let parts = (config, &examples);
    let mut session = Session::new(parts, (&tape, ends), parameters, feed, &folder)?;
    session.run(watch)?;
    let mut trained = session.parameters.to_checkpoint()?;
    trained.metadata.clear();
    folder.write("model.safetensors", &bytes(&trained)?)?;
    let options = Options {
        bn_eps: BN_EPS,
        half: false,
        preprocess: how,
        classes: examples.classes.clone(),
    };
    let model = import(&trained, &net, &options)?;
    folder.write("model.elucid", &model)?;
    Ok(Trained {
        progress: session.progress,
        model,
    })
}
