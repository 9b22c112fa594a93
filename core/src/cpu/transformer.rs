//! Forward passes of the layers of transformers and of the adapter.

use super::Cpu;
use crate::error::Error;
use crate::graph::{Node, Op};
use crate::op::{attention, map, norm, token};
use crate::plan::Step;

impl Cpu<'_> {
    /// The map of each image, in the size of the image, once for each target.
    pub(super) fn enlarge(&mut self, step: &Step) -> Result<(), Error> {
        let (images, targets, [from, to]) = (self.images, self.targets, step.shapes);
        let (cx, o) = self.operands(step)?;
        let each = o.out.len() / images;
        let maps = o.a.chunks_exact(o.a.len() / images);
        for (map, out) in maps.zip(o.out.chunks_exact_mut(each)) {
            for out in out.chunks_exact_mut(each / targets) {
                token::enlarge(&cx, (from, to), map, out);
            }
        }
        Ok(())
    }

    pub(super) fn transformer(&mut self, node: &Node, step: &Step) -> Result<(), Error> {
        let (model, [input, output]) = (self.model, step.shapes);
        let images = self.images;
        let (cx, o) = self.operands(step)?;
        // Of two inputs the second may have another shape.
        let second = o.b.len() / images;
        let others = (0..images).map(|image| &o.b[image * second..(image + 1) * second]);
        let each = (o.a.chunks(input.elements()))
            .zip(others)
            .zip(o.out.chunks_mut(output.elements()));
        match node.op {
            Op::Norm(n) => {
                let w = (model.vector(n.weight), model.vector(n.bias));
                norm::forward(&cx, (n.c as usize, n.eps), o.a, w, o.out);
            }
            Op::Affine(f) => {
                let w = (model.vector(f.scale), model.vector(f.shift));
                norm::affine(&cx, f.c as usize, o.a, w, o.out);
            }
            Op::Tokens(t) => {
                let tokens = model.vector(t.weight).unwrap_or_default();
                each.for_each(|((x, _), y)| token::prepend(x, tokens, y));
            }
            Op::Positions(p) => {
                let tokens = model.vector(p.tokens);
                let table = (tokens, model.vector(p.grid).unwrap_or_default());
                each.for_each(|((x, _), y)| token::positions(&cx, &p, input, x, table, y));
            }
            Op::Attention(a) => each.for_each(|((x, _), y)| {
                attention::forward(&cx, &a, input.pixels(), x, (y, &mut *o.scratch));
            }),
            Op::Slice(part) => each.for_each(|((x, _), y)| token::slice(part, input, x, y)),
            Op::Fuse => each.for_each(|((map, x), y)| {
                token::fuse(&cx, (input, output), (map, x), y);
            }),
            Op::MatMul => each.for_each(|((q, x), y)| {
                let pixels = output.with_channels(input.c);
                map::matmul(&cx, (input, pixels), (q, x), (y, &mut *o.scratch));
            }),
            Op::MinMax => each.for_each(|((x, _), y)| map::minmax(x, y)),
            Op::MulMap => each.for_each(|((x, map), y)| {
                map::multiply(output.c as usize, (x, map), y);
            }),
            Op::Input
            | Op::Conv(_)
            | Op::Linear(_)
            | Op::Add { .. }
            | Op::MaxPool(_)
            | Op::AvgPool
            | Op::Subsample(_) => {
                return Err(Error::Unsupported {
                    node: u32::from(step.node),
                });
            }
        }
        Ok(())
    }
}
