//! The numbers that training changes, and those beside them, by their names in checkpoints.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use elucid_core::builder::Role;

use super::initial::wanted;
use super::op::values;
use crate::architecture::Network;
use crate::checkpoint::{Checkpoint, Tensor as Stored};
use crate::import::{Blueprint, agree};
use crate::synthetic::Random;

/// Which part of a network a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The encoder, or a whole network without an adapter.
    Encoder,
    /// Low-rank changes of the encoder's weights.
    Lora,
    /// The adapter with its reducer.
    Adapter,
    /// The classifier of the masks.
    AttentionBranch,
    /// The perception branch and its head.
    Perception,
}

impl Group {
    /// The group of a tensor with this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
        if name.ends_with(".lora_A") || name.ends_with(".lora_B") {
            Group::Lora
        } else if begins(&["adapter.", "reducer."]) {
            Group::Adapter
        } else if begins(&["attention_branch."]) {
            Group::AttentionBranch
        } else if begins(&["perception_branch.", "head."]) {
            Group::Perception
        } else {
            Group::Encoder
        }
    }
}

/// One tensor of a network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its values, f32, of the checkpoint's shape.
    pub var: Var,
    /// Where it belongs.
    pub group: Group,
    /// Whether gradients reach it. Running statistics never are, though passes in training mode change them.
    pub trained: bool,
    /// Whether weight decay makes it smaller: not norms, nor tables of tokens and positions.
    pub decays: bool,
}

/// The product that is added to some rows of a weight matrix: `factor * b a`.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Name of `a`, `[rank, ci]`.
    pub a: String,
    /// Name of `b`, `[rows, rank]`.
    pub b: String,
    /// The first of the rows.
    pub from: usize,
    /// Rows.
    pub rows: usize,
    /// Factor.
    pub factor: f32,
}

/// All tensors of a network.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    entries: BTreeMap<String, Parameter>,
    changes: BTreeMap<String, Vec<Change>>,
    /// Tensors of the checkpoint that the network doesn't read.
    pub rest: BTreeMap<String, Stored>,
    /// What the checkpoint says of itself.
    pub metadata: BTreeMap<String, String>,
}

impl Parameters {
    /// The tensors of a checkpoint that holds all of `net`. Trained are all but the encoder of an adapter.
    ///
    /// # Errors
    /// One line if a tensor is missing or misshapen.
    pub fn new(checkpoint: &Checkpoint, net: &dyn Network) -> Result<Self> {
        let blueprint = Blueprint::new(net)?;
        let adapts = blueprint.tensors.iter().any(|t| adapts(t.name.as_str()));
        let mut parameters = Self {
            metadata: checkpoint.metadata.clone(),
            ..Self::default()
        };
        for wanted in wanted(&blueprint) {
            let stored = match checkpoint.tensors.get(&wanted.name) {
                Some(stored) => stored,
                None if wanted.optional => continue,
                None => bail!("the weights don't fit: {} is missing", wanted.name),
            };
            let table = matches!(wanted.role, Role::Table { .. });
            let fits = if table {
                // One vector may be stored without a dimension of its own.
                let elements: usize = wanted.dims.iter().map(|&d| d as usize).product();
                stored.data.len() == elements
            } else {
                agree(&stored.shape, &wanted.dims)
            };
            if !fits {
                bail!(
                    "the weights don't fit: {} is {:?} but should be {:?}",
                    wanted.name,
                    stored.shape,
                    wanted.dims
                );
            }
            let group = Group::of(&wanted.name);
            let frozen = adapts && group == Group::Encoder;
            let trained = !(wanted.running || wanted.fixed || frozen);
            let decays = !(table || wanted.norm);
            parameters.insert(&wanted.name, stored, (group, trained, decays))?;
        }
        let kept = |name: &String| !parameters.entries.contains_key(name);
        let rest = checkpoint.tensors.iter().filter(|(name, _)| kept(name));
        parameters.rest = rest.map(|(n, t)| (n.clone(), t.clone())).collect();
        Ok(parameters)
    }

    /// The tensors of `given`, and for those of `net` that it lacks what a fresh network begins with (the same for the same
    /// seed). An adapter's encoder must be given, with or without the prefix `clip.`.
    ///
    /// # Errors
    /// One line if a tensor of an adapter's encoder is missing, or one is misshapen.
    pub fn fresh(given: &Checkpoint, net: &dyn Network, seed: u64) -> Result<Self> {
        let mut random = Random::new(seed);
        let blueprint = Blueprint::new(net)?;
        let adapts = blueprint.tensors.iter().any(|t| adapts(t.name.as_str()));
        let mut all = Checkpoint {
            tensors: BTreeMap::new(),
            metadata: given.metadata.clone(),
        };
        for wanted in wanted(&blueprint) {
            let found = places(&wanted.name)
                .into_iter()
                .find_map(|name| given.tensors.get(&name));
            let tensor = match found {
                Some(tensor) => Some(tensor.clone()),
                None if adapts && Group::of(&wanted.name) == Group::Encoder => {
                    if !wanted.optional {
                        bail!(
                            "the encoder's weights don't fit: {} is missing",
                            wanted.name
                        );
                    }
                    None
                }
                None => wanted.draw(&mut random),
            };
            all.tensors.extend(tensor.map(|t| (wanted.name, t)));
        }
        Self::new(&all, net)
    }

    /// Adds a tensor.
    pub(super) fn insert(
        &mut self,
        name: &str,
        stored: &Stored,
        (group, trained, decays): (Group, bool, bool),
    ) -> Result<()> {
        let var = Var::from_slice(&stored.data, stored.shape.as_slice(), &Device::Cpu)
            .map_err(|e| anyhow!("{name}: {e}"))?;
        let parameter = Parameter {
            var,
            group,
            trained,
            decays,
        };
        self.entries.insert(name.to_owned(), parameter);
        Ok(())
    }

    /// Adds products to a weight matrix.
    pub(super) fn change(&mut self, weight: &str, change: Change) {
        self.changes
            .entry(weight.to_owned())
            .or_default()
            .push(change);
    }

    /// What is added to a weight matrix.
    #[must_use]
    pub fn changes(&self, weight: &str) -> &[Change] {
        self.changes.get(weight).map_or(&[], Vec::as_slice)
    }

    /// All changes, by the weight that they belong to.
    pub fn all_changes(&self) -> impl Iterator<Item = (&str, &[Change])> {
        self.changes.iter().map(|(n, c)| (n.as_str(), c.as_slice()))
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.entries.iter().map(|(n, p)| (n.as_str(), p))
    }

    /// The tensor with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.entries.get(name)
    }

    /// Trains exactly those that `which` says yes to; running statistics never are.
    pub fn train(&mut self, which: impl Fn(&str, &Parameter) -> bool) {
        for (name, parameter) in &mut self.entries {
            parameter.trained = which(name, parameter) && !is_running(name);
        }
    }

    /// The tensor with this name for a pass: with a gradient if it is trained.
    ///
    /// # Errors
    /// If there is none.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let parameter = (self.get(name)).ok_or_else(|| anyhow!("{name} is missing"))?;
        Ok(if parameter.trained {
            parameter.var.as_tensor().clone()
        } else {
            parameter.var.as_detached_tensor()
        })
    }

    /// The gradients of what is trained, by name; what no gradient reached has none.
    #[must_use]
    pub fn gradients(&self, store: &GradStore) -> BTreeMap<String, Tensor> {
        (self.iter().filter(|(_, p)| p.trained))
            .filter_map(|(name, p)| Some((name.to_owned(), store.get(p.var.as_tensor())?.clone())))
            .collect()
    }

    /// Everything, bit for bit, the rest of the checkpoint included.
    ///
    /// # Errors
    /// If a tensor can't be read.
    pub fn to_checkpoint(&self) -> Result<Checkpoint> {
        let mut tensors = self.rest.clone();
        for (name, parameter) in self.iter() {
            let tensor = parameter.var.as_tensor();
            let stored = Stored {
                shape: tensor.dims().to_vec(),
                data: values(tensor)?.to_vec(),
            };
            tensors.insert(name.to_owned(), stored);
        }
        let metadata = self.metadata.clone();
        Ok(Checkpoint { tensors, metadata })
    }

    /// Brings all tensors to the values of a checkpoint, the best of a run say.
    ///
    /// # Errors
    /// One line if a tensor is missing or has another shape; then nothing is changed.
    pub fn restore(&self, checkpoint: &Checkpoint) -> Result<()> {
        let mut all = Vec::new();
        for (name, parameter) in self.iter() {
            let stored = (checkpoint.tensors.get(name))
                .filter(|stored| stored.shape == parameter.var.dims())
                .ok_or_else(|| anyhow!("the checkpoint to go back to lacks {name}"))?;
            all.push((parameter, stored));
        }
        for (parameter, stored) in all {
            let tensor = Tensor::from_slice(&stored.data, stored.shape.as_slice(), &Device::Cpu)?;
            parameter.var.set(&tensor)?;
        }
        Ok(())
    }
}

fn adapts(name: &str) -> bool {
    Group::of(name) == Group::Adapter
}

/// Whether a tensor holds running statistics of a BatchNorm.
fn is_running(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// Names under which a checkpoint of a bare encoder may have a tensor.
fn places(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Some(bare) = name.strip_prefix("clip.") {
        names.extend([bare.to_owned(), format!("visual.{bare}")]);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{self, Net};
    use crate::synthetic;
    use elucid_core::arch::ala::Ala;
    use elucid_core::arch::vit::{CLIP, Vit};
    use elucid_core::graph::Activation;

    pub fn small() -> Ala {
        let encoder = Vit {
            names: CLIP,
            prefix: "clip.",
            patch: 8,
            width: 24,
            depth: 4,
            heads: 3,
            mlp: 40,
            grid: [3, 3],
            act: Activation::QuickGelu,
            eps: 1e-5,
            patch_bias: false,
            input_bias: true,
            larger: false,
            outputs: 5,
        };
        let mut net = Ala::published(encoder, 16, 7);
        net.depth = 5;
        net.patch = 8;
        net.queries = 6;
        net.grid = [5, 5];
        net
    }

    #[test]
    fn checkpoints_come_back_bit_for_bit() {
        let net = small();
        let mut checkpoint = synthetic::checkpoint(&net, 3).unwrap();
        let extra = Stored {
            shape: vec![1],
            data: vec![-0.0],
        };
        checkpoint.tensors.insert("clip.proj".to_owned(), extra);
        let parameters = Parameters::new(&checkpoint, &net).unwrap();
        let back = parameters.to_checkpoint().unwrap();
        assert_eq!(back.tensors, checkpoint.tensors);
        let bits = |c: &Checkpoint| c.tensors["clip.proj"].data[0].to_bits();
        assert_eq!(bits(&back), bits(&checkpoint));
        checkpoint.tensors.remove("reducer.conv.bias");
        let error = Parameters::new(&checkpoint, &net).unwrap_err().to_string();
        assert_eq!(error, "the weights don't fit: reducer.conv.bias is missing");
    }

    #[test]
    fn a_fresh_adapter_is_one_that_the_importer_finds() {
        let net = small();
        let all = synthetic::checkpoint(&net, 3).unwrap();
        let bare = |prefix: &str| {
            let encoder = all.tensors.iter().filter_map(|(name, t)| {
                let bare = name.strip_prefix("clip.")?;
                Some((format!("{prefix}{bare}"), t.clone()))
            });
            Checkpoint {
                tensors: encoder.collect(),
                metadata: BTreeMap::new(),
            }
        };
        let fresh = Parameters::fresh(&bare(""), &net, 5).unwrap();
        let again = Parameters::fresh(&bare("visual."), &net, 5).unwrap();
        let other = Parameters::fresh(&bare("clip."), &net, 6).unwrap();
        let tensors = |p: &Parameters| p.to_checkpoint().unwrap().tensors;
        assert_eq!(tensors(&fresh), tensors(&again));
        assert_ne!(tensors(&fresh), tensors(&other));
        let mut checkpoint = fresh.to_checkpoint().unwrap();
        let said = architecture::Said::of(&net).unwrap();
        checkpoint
            .metadata
            .insert(architecture::OWN.to_owned(), said);
        let wanted = architecture::Wanted {
            heads: Some(3),
            ..architecture::Wanted::default()
        };
        let Net::Ala(found) = architecture::infer(&checkpoint, &wanted).unwrap() else {
            panic!("no adapter was found");
        };
        assert_eq!((found.width, found.depth, found.queries), (16, 5, 6));
        assert_eq!(found.perception, net.perception);
        let data = |name: &str| &checkpoint.tensors[name].data;
        let is = |name: &str, value: f32| data(name).iter().all(|&v| v == value);
        assert!(is("adapter.vit_model.blocks.0.norm1.weight", 1.0));
        assert!(is("adapter.vit_model.blocks.0.attn.qkv.bias", 0.0));
        assert!(is("adapter.fusion_layers.layer_0.input_proj.1.bias", 0.0));
        assert!(is("head.bn1.running_var", 1.0));
        assert!(!is("perception_branch.conv1.bias", 0.0));
        let spread = |name: &str| {
            let sum: f32 = data(name).iter().map(|v| v * v).sum();
            (sum / data(name).len() as f32).sqrt()
        };
        let deviation = spread("adapter.vit_model.blocks.0.mlp.fc1.weight");
        assert!((deviation - 0.02).abs() < 2e-3, "{deviation}");
        let bound = (3.0f32 / 24.0).sqrt() / 3.0f32.sqrt();
        let deviation = spread("adapter.fusion_layers.layer_0.input_proj.1.weight");
        assert!((deviation / bound - 1.0).abs() < 0.1, "{deviation} {bound}");
        let trained = |name: &str| fresh.get(name).unwrap().trained;
        assert!(!trained(
            "adapter.fusion_layers.layer_0.input_proj.0.weight"
        ));
        assert!(!trained("clip.ln_pre.weight") && !trained("head.bn1.running_mean"));
        assert!(trained("adapter.query_embed") && trained("reducer.conv.weight"));
        let decays = |name: &str| fresh.get(name).unwrap().decays;
        assert!(!decays("adapter.query_embed") && !decays("adapter.vit_model.pos_embed"));
        assert!(!decays("adapter.vit_model.blocks.0.norm1.bias") && !decays("head.bn1.weight"));
        assert!(decays("head.linear1.bias") && decays("head.linear1.weight"));
    }
}
