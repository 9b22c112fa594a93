// Normalisation over the channels of each row: (x - mean) / sqrt(variance + eps) * weight + bias.
//
// The CPU reference is `forward` in core/src/op/norm.rs. Both take the mean first and the squares of what is centred then;
// they sum in other orders, each in a fixed one.
//
// Versions
//   1. elucid_norm: a warp per row, which it keeps in registers (8 times 4 channels a lane): every byte comes from memory
//      once, 8 bytes and some 6 operations for a channel: bound by memory. No barrier; a reduction is 5 shuffles.
//      elucid_norm_wide: a block per row that reads it three times, the second and third time from the cache, float by
//      float: for rows that are wider or not made of fours.
#include "elucid.cuh"

#define NORM_BLOCK 128
#define NORM_QUADS 8

ELUCID_DEVICE float norm_sum(float v) {
#pragma unroll
    for (int other = 16; other > 0; other /= 2) v = add_rn(v, __shfl_xor_sync(0xffffffffu, v, other));
    return v;
}

ELUCID_DEVICE float norm_factor(float squares, float count, float eps) {
    return div_rn(1.0f, sqrtf(add_rn(div_rn(squares, count), eps)));
}

ELUCID_DEVICE float norm_of(float centred, float factor, float weight, float bias) {
    return fmaf(mul_rn(centred, factor), weight, bias);
}

ELUCID_KERNEL(elucid_norm, NormParams, NORM_BLOCK, 6) {
    const unsigned int row = blockIdx.x * (NORM_BLOCK / 32) + threadIdx.x / 32;
    // The whole warp.
    if (row >= p.rows) return;

    const unsigned int lane = threadIdx.x % 32;
    const unsigned int quads = p.channels / 4;
    const float count = (float)p.channels;
    const unsigned long long start = (unsigned long long)row * p.channels;
    const float4 none = {0.0f, 0.0f, 0.0f, 0.0f};
    const float4 ones = {1.0f, 1.0f, 1.0f, 1.0f};

    float4 x[NORM_QUADS];
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < NORM_QUADS; ++k) {
        const unsigned int quad = lane + 32 * k;
        x[k] = quad < quads ? load4(p.x + start + 4 * quad) : none;
        sum += (x[k].x + x[k].y) + (x[k].z + x[k].w);
    }
    const float mean = div_rn(norm_sum(sum), count);

    float squares = 0.0f;
#pragma unroll
    for (int k = 0; k < NORM_QUADS; ++k) {
        if (lane + 32 * k < quads) {
            x[k].x = sub_rn(x[k].x, mean);
            x[k].y = sub_rn(x[k].y, mean);
            x[k].z = sub_rn(x[k].z, mean);
            x[k].w = sub_rn(x[k].w, mean);
            squares = fmaf(x[k].x, x[k].x, squares);
            squares = fmaf(x[k].y, x[k].y, squares);
            squares = fmaf(x[k].z, x[k].z, squares);
            squares = fmaf(x[k].w, x[k].w, squares);
        }
    }
    const float factor = norm_factor(norm_sum(squares), count, p.eps);

#pragma unroll
    for (int k = 0; k < NORM_QUADS; ++k) {
        const unsigned int quad = lane + 32 * k;
        if (quad < quads) {
            const float4 weight = p.weight ? load4(p.weight + 4 * quad) : ones;
            const float4 bias = p.bias ? load4(p.bias + 4 * quad) : none;
            float4 y;
            y.x = norm_of(x[k].x, factor, weight.x, bias.x);
            y.y = norm_of(x[k].y, factor, weight.y, bias.y);
            y.z = norm_of(x[k].z, factor, weight.z, bias.z);
            y.w = norm_of(x[k].w, factor, weight.w, bias.w);
            store4(p.y + start + 4 * quad, y);
        }
    }
}

// The sum over a block, for all of its threads; `sums` may be used again after the next barrier.
ELUCID_DEVICE float norm_block_sum(float v, float *sums) {
    v = norm_sum(v);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < ELUCID_BLOCK / 32; ++warp) sum = add_rn(sum, sums[warp]);
    return sum;
}

ELUCID_KERNEL(elucid_norm_wide, NormParams, ELUCID_BLOCK, 4) {
    __shared__ float first[ELUCID_BLOCK / 32];
    __shared__ float second[ELUCID_BLOCK / 32];
    const float count = (float)p.channels;
    const unsigned long long start = (unsigned long long)blockIdx.x * p.channels;
    const float *x = p.x + start;
    float *y = p.y + start;

    float sum = 0.0f;
    for (unsigned int c = threadIdx.x; c < p.channels; c += ELUCID_BLOCK) sum = add_rn(sum, x[c]);
    const float mean = div_rn(norm_block_sum(sum, first), count);

    float squares = 0.0f;
    for (unsigned int c = threadIdx.x; c < p.channels; c += ELUCID_BLOCK) {
        const float centred = sub_rn(x[c], mean);
        squares = fmaf(centred, centred, squares);
    }
    const float factor = norm_factor(norm_block_sum(squares, second), count, p.eps);

    for (unsigned int c = threadIdx.x; c < p.channels; c += ELUCID_BLOCK) {
        const float weight = p.weight ? p.weight[c] : 1.0f;
        const float bias = p.bias ? p.bias[c] : 0.0f;
        y[c] = norm_of(sub_rn(x[c], mean), factor, weight, bias);
    }
}
