//! Functions whose gradients are written by hand, and the slices that they work on.
//!
//! A value is worked out at once; what its gradient needs is kept by a closure, and only where an input carries one.

use std::ops::Deref;
use std::sync::Mutex;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor,
    bail,
};
use elucid_core::op::Context;
use elucid_core::par::Serial;
use elucid_core::simd::Isa;
use rayon::prelude::*;

/// Parts that sums over rows are worked out in: always as many, so that the threads don't change a bit of them.
const PARTS: usize = 16;

/// Values of a tensor in memory, row-major, and what keeps others from changing them.
struct Values<G> {
    storage: G,
    start: usize,
    len: usize,
}

/// The values of a contiguous f32 tensor in main memory, row-major.
///
/// # Errors
/// For any other tensor.
pub fn values(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a tensor of shape {:?} isn't contiguous", layout.shape());
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(v)) if v.len() >= end => {}
        _ => bail!("f32 values in main memory are needed"),
    }
    let len = end - start;
    Ok(Values {
        storage,
        start,
        len,
    })
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(v)) => &v[self.start..self.start + self.len],
            // `values` makes no others.
            _ => &[],
        }
    }
}

/// A tensor of these values.
pub fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// What kernels of the core need, on one thread: rayon has the others.
pub fn context(isa: Isa) -> Context<'static> {
    Context {
        isa,
        pool: &Serial,
        zero: &[],
        audit: false,
    }
}

/// Rows of a part when `rows` are cut into [`PARTS`].
pub fn part_rows(rows: usize) -> usize {
    rows.div_ceil(PARTS).max(1)
}

/// The sum of vectors, element by element, in order.
pub fn total(parts: &[Vec<f32>], len: usize) -> Vec<f32> {
    let mut sum = vec![0.0; len];
    for part in parts {
        for (s, v) in sum.iter_mut().zip(part) {
            *s += v;
        }
    }
    sum
}

/// The sum of all rows of `c` values.
pub fn sum_rows(values: &[f32], c: usize) -> Vec<f32> {
    let step = part_rows(values.len() / c.max(1)) * c;
    let parts: Vec<Vec<f32>> = values
        .par_chunks(step.max(1))
        .map(|rows| {
            let mut sum = vec![0.0; c];
            for row in rows.chunks_exact(c) {
                for (s, v) in sum.iter_mut().zip(row) {
                    *s += v;
                }
            }
            sum
        })
        .collect();
    total(&parts, c)
}

/// Gradients of the inputs from that of the value, which is contiguous.
type Backward<const N: usize> = Box<dyn Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

struct Hand<const N: usize> {
    name: &'static str,
    value: Mutex<Option<(Vec<f32>, Shape)>>,
    backward: Backward<N>,
}

impl<const N: usize> Hand<N> {
    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let taken = self.value.lock().ok().and_then(|mut value| value.take());
        let Some((value, shape)) = taken else {
            bail!("{} was asked for its value twice", self.name);
        };
        Ok((CpuStorage::F32(value), shape))
    }

    fn backward(&self, grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        (self.backward)(&grad.contiguous()?)
    }
}

impl CustomOp1 for Hand<1> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.backward(grad)?;
        Ok(a)
    }
}

impl CustomOp2 for Hand<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.backward(grad)?;
        Ok((a, b))
    }
}

impl CustomOp3 for Hand<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.backward(grad)?;
        Ok((a, b, c))
    }
}

/// A value with its gradient: `backward` takes the gradient of the value, which is contiguous, and gives those of the
/// inputs, each of its input's shape; [`None`] for one that carries none ([`Tensor::track_op`]).
pub trait ByHand {
    /// The value as a function of the inputs.
    ///
    /// # Errors
    /// If there are fewer or more values than the shape has places.
    fn by_hand(
        self,
        name: &'static str,
        value: Vec<f32>,
        shape: impl Into<Shape>,
    ) -> Result<Tensor>;
}

macro_rules! by_hand {
    ($count:literal, $first:ident $(, $other:ident)*; $apply:ident) => {
        impl<F> ByHand for ([&Tensor; $count], F)
        where
            F: Fn(&Tensor) -> Result<[Option<Tensor>; $count]> + Send + Sync + 'static,
        {
            fn by_hand(
                self,
                name: &'static str,
                value: Vec<f32>,
                shape: impl Into<Shape>,
            ) -> Result<Tensor> {
                let (inputs, backward) = self;
                let shape = shape.into();
                if !inputs.iter().any(|input| input.track_op()) {
                    return tensor(value, shape);
                }
                if shape.elem_count() != value.len() {
                    bail!("{name} gave {} values for shape {shape:?}", value.len());
                }
                let hand = Hand::<$count> {
                    name,
                    value: Mutex::new(Some((value, shape))),
                    backward: Box::new(backward),
                };
                let [$first $(, $other)*] = inputs;
                $first.$apply($($other,)* hand)
            }
        }
    };
}

by_hand!(1, a; apply_op1);
by_hand!(2, a, b; apply_op2);
by_hand!(3, a, b, c; apply_op3);
