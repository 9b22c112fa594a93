//! The part of a network that training leaves alone, run by the core: as fast as inference, in the memory of one batch.

use anyhow::{Result, anyhow};
use elucid_core::backend::Backend;
use elucid_core::cpu::Cpu;
use elucid_core::graph::{NONE, NodeId};
use elucid_core::plan::Plan;
use elucid_core::{Model, Shape};

use crate::engine::{Engine, Method, explain_error};

/// What some nodes give, computed in order up to the last of them.
pub struct Frozen<'e> {
    model: &'e Model<'e>,
    plan: Plan<'e>,
    backend: Cpu<'e>,
    nodes: Vec<NodeId>,
}

/// The output of a node for a batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// Shape for one image.
    pub shape: Shape,
    /// Values, image after image.
    pub values: Vec<f32>,
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

    /// What the nodes give for normalised images `[count, h, w, 3]`, in the order they were asked for.
    ///
    /// # Errors
    /// If the images have another size.
    pub fn run(&mut self, images: &[f32]) -> Result<Vec<Output>> {
        let named = |e| explain_error(self.model, e);
        let mut outputs: Vec<Option<Output>> = vec![None; self.nodes.len()];
        self.backend.put(self.plan.image(), images).map_err(named)?;
        let count = self.plan.options().images;
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
                let shape = self.shape(node, values.len() / count);
                *output = Some(Output { shape, values });
            }
        }
        let whole: Option<Vec<Output>> = outputs.into_iter().collect();
        whole.ok_or_else(|| anyhow!("a layer that was asked for is never computed"))
    }

    /// Shape of a node's output with this many elements: steps see the rows of tokens and grid in one line.
    fn shape(&self, node: NodeId, elements: usize) -> Shape {
        let steps = self.plan.steps().iter();
        let mut made = steps.filter(|s| s.node == node || s.fused == node);
        let shape = made.next().map_or(Shape::default(), |s| s.shapes[1]);
        debug_assert_eq!(shape.elements(), elements);
        shape
    }
}
