//! Emits the steps of a [`Chain`]: what flows through all weights and whole into both branches of a sum.

use crate::error::Error;
use crate::graph::{Activation, NONE, NodeId, Op};
use crate::op::gate::Gate;
use crate::op::{conv, linear};
use crate::plan::Act;
use crate::plan::schedule::Scheduler;
use crate::rule::Chain;

impl Scheduler<'_, '_> {
    /// Multiplies the relevance of a node's output by that output, where that is its rule.
    pub(super) fn weigh(&mut self, id: NodeId) -> Result<(), Error> {
        if !self.slot(id).weighed {
            return Ok(());
        }
        let mut step = self.step(Act::Weigh, id);
        step.ins[0] = self.activation(id)?;
        step.out = self.region(self.slots[usize::from(id)].relevance);
        self.push(step)
    }

    /// Passes the derivative by a node's output on to its inputs.
    pub(super) fn derivative(&mut self, id: NodeId, chain: Chain) -> Result<(), Error> {
        let node = self.model.node(id);
        let relevance = self.slot(id).relevance;
        self.weigh(id)?;
        let gate = Gate::of(chain, &node.op);
        let unsupported = Error::Unsupported {
            node: u32::from(id),
        };
        let layer = node.op.layer();
        // What a ReLU cut off is no denominator.
        let cut = layer.is_some_and(|c| c.act == Activation::Relu)
            && matches!(gate, Gate::Divide { .. })
            && !self.slot(id).weighed;
        if !node.op.explainable() || cut {
            return Err(unsupported);
        }
        let scaled = layer.is_some_and(|c| c.scale != NONE);
        if gate != Gate::Open || scaled {
            let mut step = self.step(Act::Gate, id);
            if gate.reads() {
                step.ins[0] = self.activation(id)?;
            }
            step.out = self.region(relevance);
            self.push(step)?;
        }
        let threads = self.options.threads.max(1);
        let [source, skip] = node.inputs;
        let (scratch, reads) = match node.op {
            Op::Conv(c) => (conv::gradient_scratch(&c, threads), false),
            Op::Linear(l) => (linear::gradient_scratch(&l, threads), false),
            Op::MaxPool(_) => (0, true),
            Op::AvgPool | Op::Subsample(_) | Op::Input => (0, false),
            Op::Add { .. } => return self.both(id, [skip, source]),
            Op::Tokens(_)
            | Op::Positions(_)
            | Op::Norm(_)
            | Op::Attention(_)
            | Op::Slice(_)
            | Op::Fuse
            | Op::MatMul
            | Op::MinMax
            | Op::MulMap
            | Op::Affine(_) => return Err(unsupported),
        };
        let mut step = self.step(Act::Relevance, id);
        if reads {
            step.ins[0] = self.activation(source)?;
        }
        step.ins[1] = self.region(relevance);
        (step.out, step.accumulate) = self.target(source)?;
        let scratch = self.scratch(id, scratch)?;
        step.scratch = self.region(scratch);
        self.push(step)
    }

    /// Hands the derivative by a sum to those of its branches that lead to the end; the last one takes the value itself.
    fn both(&mut self, id: NodeId, branches: [NodeId; 2]) -> Result<(), Error> {
        let relevance = self.slot(id).relevance;
        let leads = branches.map(|branch| self.slot(branch).toward);
        for (i, branch) in branches.into_iter().enumerate().filter(|&(i, _)| leads[i]) {
            let last = i == 1 || !leads[1];
            if last && self.slot(branch).relevance == NONE {
                self.slot(branch).relevance = relevance;
                continue;
            }
            let mut step = self.step(Act::Split, id);
            step.ins[2] = self.region(relevance);
            (step.out, step.accumulate) = self.target(branch)?;
            self.push(step)?;
        }
        Ok(())
    }
}
