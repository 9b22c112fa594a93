// Convolution, forward, on tensor cores (sm_80 and later), for weights in halves: as conv.cu, and as exact.
//
// An activation isn't rounded to a half: it is the sum of two, x = hi + lo / 2048 with hi = half(x) and
// lo = half(2048 (x - hi)), together 22 bits. Two products for one, each with f32 accumulators of its own, give what f32
// arithmetic gives but for the last bits; stored weights are halves anyway. Half precision's range is no limit either: a
// block that met an activation beyond 65504, or nothing but such that are below 2^-10, does its tile once more as conv.cu
// does.
//
// The CPU reference is core/src/op/conv.
//
// Versions
//   1. activations as halves: one product, but features that differ from the CPU's by 1e-3, and relevance with them.
//   2. two halves: tiles of 64 x 64 over steps of 16, four warps of 32 x 32 each: 16 matrix products for 6 loads of
//      fragments. On Orin a matrix product keeps its tensor core busy for 8 cycles: 128 cycles of a step. Its 146
//      instructions (16 matrix products, 14 accesses of memory, the rest addresses and the splitting of eight activations)
//      are issued one a cycle, so tensor cores are busy for 7 cycles of 8 at best.
#include "forward.cuh"
#include "tensor_product.cuh"

ELUCID_KERNEL(elucid_tensor_f16, ConvParams, ELUCID_GEMM_BLOCK, 3) {
    __shared__ TensorMemory memory;
    float acc[8][4];
    const unsigned int first = blockIdx.x * ELUCID_TILE, end = p.images * p.shape.oh * p.shape.ow;
    const unsigned int channel = blockIdx.y * ELUCID_TILE;
    const elucid_half *weight = (const elucid_half *)p.weight;
#ifdef ELUCID_TENSOR
    if (tensor_product<false>(p.x, weight, p.shape, first, end, channel, memory, acc)) {
        finish<8>(p, first, end, channel, acc);
        return;
    }
#endif
    product<elucid_half, true, false, 8>(p.x, weight, p.shape, first, end, channel, memory.plain, acc);
    finish<8>(p, first, end, channel, acc);
}
