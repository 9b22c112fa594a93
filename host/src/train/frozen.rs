//! The part of a network that training leaves alone, run by the core: as fast as inference, in the memory of one batch.

use anyhow::{Result, anyhow};
use elucid_core::backend::Backend;
use elucid_core::graph::{NONE, NodeId};
use elucid_core::plan::Plan;
use elucid_core::{Model, Shape};

use crate::engine::{Engine, Method, explain_error};
use crate::place::Machine;

/// What some nodes give, computed in order up to the last of them.
pub struct Frozen<'e> {
    model: &'e Model<'e>,
    plan: Plan<'e>,
    backend: Machine<'e>,
    nodes: Vec<NodeId>,
}

impl<'e> Frozen<'e> {
    /// For batches of `count` images of this shape. `names` are nodes of the model.
    ///
    /// # Errors
    /// If there is no such node, or the images don't fit.
    pub fn new(
        model: &'e Model<'e>,
        engine: &'e mut Engine<'_>,
        names: &[String],
        (shape, count): (Shape, usize),
    ) -> Result<Self> {
        let find = |name: &String| {
            model
                .find(name)
                .ok_or_else(|| anyhow!("the network has no layer {name}"))
        };
        let nodes = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        let method = Method {
            images: count,
            ..Method::new(None)
        };
        let (plan, backend) = engine.parts(shape, method)?;
        Ok(Self {
            model,
            plan,
            backend,
            nodes,
        })
    }

    /// What the nodes give for normalised images `[count, h, w, 3]`, in the order they were asked for, image after image.
    ///
    /// # Errors
    /// If the images have another size.
    pub fn run(&mut self, images: &[f32]) -> Result<Vec<Vec<f32>>> {
        let named = |e| explain_error(self.model, e);
        let mut outputs: Vec<Option<Vec<f32>>> = vec![None; self.nodes.len()];
        self.backend.put(self.plan.image(), images).map_err(named)?;
        for step in self.plan.forward_steps() {
            if outputs.iter().all(Option::is_some) {
                break;
            }
            self.backend.step(step, &mut []).map_err(named)?;
            let node = if step.fused == NONE {
                step.node
            } else {
                step.fused
            };
            for (output, _) in outputs
                .iter_mut()
                .zip(&self.nodes)
                .filter(|(_, n)| **n == node)
            {
                let mut values = vec![0.0; step.out.len as usize];
                self.backend.get(step.out, &mut values).map_err(named)?;
                *output = Some(values);
            }
        }
        let whole: Option<Vec<Vec<f32>>> = outputs.into_iter().collect();
        whole.ok_or_else(|| anyhow!("a layer that was asked for is never computed"))
    }
}
