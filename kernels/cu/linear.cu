// A fully connected layer over one pixel: y = W x + b, its denominators of z+, and the way back. Tiles of conv.cu would
// multiply 63 rows of nothing; these products read every weight once and are bound by memory.
//
// The CPU reference is core/src/op/linear.rs.
//
// Versions
//   1. a block for each panel of sixteen outputs: a thread reads a whole row of the panel (64 bytes, 32 in halves) for
//      every 128th input, so a warp reads 2 KiB in a line; then sums over the block in a fixed order.
//      Back: 32 inputs times four groups of panels, so that a layer of 2048 inputs fills 64 blocks.
#include "quotient.cuh"

// A row of a panel.
ELUCID_DEVICE void panel_row(const float *row, float (&w)[ELUCID_PANEL]) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
        const float4 v = load4(row + 4 * q);
        w[4 * q] = v.x;
        w[4 * q + 1] = v.y;
        w[4 * q + 2] = v.z;
        w[4 * q + 3] = v.w;
    }
}
ELUCID_DEVICE void panel_row(const elucid_half *row, float (&w)[ELUCID_PANEL]) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
        const uint4 v = load8(row + 8 * q);
        const unsigned int pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            w[8 * q + 2 * k] = widen((elucid_half)(pairs[k] & 0xffffu));
            w[8 * q + 2 * k + 1] = widen((elucid_half)(pairs[k] >> 16));
        }
    }
}

// The products of sixteen outputs, in thread j < 16 of the block the one of output j; all threads must call it.
template <class Weight>
ELUCID_DEVICE float dot(const float *x, const void *weight, unsigned int panel, unsigned int ci, bool plus,
                        float (&shared)[4][ELUCID_PANEL]) {
    float acc[ELUCID_PANEL], w[ELUCID_PANEL];
#pragma unroll
    for (int j = 0; j < ELUCID_PANEL; ++j) acc[j] = 0.0f;
    for (unsigned int i = threadIdx.x; i < ci; i += ELUCID_GEMM_BLOCK) {
        panel_row((const Weight *)weight + ((unsigned long long)panel * ci + i) * ELUCID_PANEL, w);
        const float v = x[i];
#pragma unroll
        for (int j = 0; j < ELUCID_PANEL; ++j) acc[j] = fmaf(v, plus ? fmaxf(w[j], 0.0f) : w[j], acc[j]);
    }
#pragma unroll
    for (int j = 0; j < ELUCID_PANEL; ++j) {
        for (int offset = 16; offset > 0; offset >>= 1)
            acc[j] = add_rn(acc[j], __shfl_xor_sync(0xffffffffu, acc[j], offset));
        if ((threadIdx.x & 31u) == (unsigned int)j) shared[threadIdx.x >> 5][j] = acc[j];
    }
    __syncthreads();
    float sum = 0.0f;
    if (threadIdx.x < ELUCID_PANEL)
        for (int warp = 0; warp < 4; ++warp) sum = add_rn(sum, shared[warp][threadIdx.x]);
    return sum;
}

// Forward: grid [panels, images].
template <class Weight> ELUCID_DEVICE void linear_forward(const ConvParams &p, float (&shared)[4][ELUCID_PANEL]) {
    const unsigned int ci = p.shape.ci, co = p.shape.co, j = blockIdx.x * ELUCID_PANEL + threadIdx.x;
    const float sum =
        dot<Weight>(p.x + (unsigned long long)blockIdx.y * ci, p.weight, blockIdx.x, ci, false, shared);
    if (threadIdx.x >= ELUCID_PANEL || j >= co) return;
    p.y[(unsigned long long)blockIdx.y * co + j] =
        fmaf(sum, p.scale ? p.scale[j] : 1.0f, p.shift ? p.shift[j] : 0.0f);
}

// z+, first half: grid [panels].
template <class Weight> ELUCID_DEVICE void linear_z(const QuotientParams &p, float (&shared)[4][ELUCID_PANEL]) {
    const unsigned int j = blockIdx.x * ELUCID_PANEL + threadIdx.x;
    const float sum = dot<Weight>(p.a, p.weight, blockIdx.x, p.shape.ci, true, shared);
    if (threadIdx.x >= ELUCID_PANEL || j >= p.shape.co) return;
    const float z = add_rn(sum, p.eps);
    p.s[j] = p.r ? quotient(p.r[j], z, p.spread) : z;
}

// The way back: grid [ci / 32]; thread (i, group) takes every fourth panel.
template <class Weight> ELUCID_DEVICE void linear_back(const BackParams &p, float (&shared)[2][4][32]) {
    const unsigned int ci = p.shape.ci, co = p.shape.co, panels = (co + ELUCID_PANEL - 1) / ELUCID_PANEL;
    const unsigned int lane = threadIdx.x & 31u, group = threadIdx.x >> 5, i = blockIdx.x * 32u + lane;
    float sum = 0.0f, given = 0.0f, w[ELUCID_PANEL];
    for (unsigned int panel = group; panel < panels && i < ci; panel += 4u) {
        panel_row((const Weight *)p.weight + ((unsigned long long)panel * ci + i) * ELUCID_PANEL, w);
#pragma unroll
        for (unsigned int k = 0; k < ELUCID_PANEL; ++k) {
            const unsigned int j = panel * ELUCID_PANEL + k;
            if (j >= co) continue;
            const float v = p.s[j], weight = p.plus ? fmaxf(w[k], 0.0f) : w[k];
            if (p.r && dead(v))
                given = add_rn(given, spread_share(p.r[j], weight, p.sums[j], (float)ci));
            else
                sum = fmaf(v, weight, sum);
        }
    }
    shared[0][group][lane] = sum;
    shared[1][group][lane] = given;
    __syncthreads();
    if (group != 0u || i >= ci) return;
    sum = 0.0f;
    given = 0.0f;
    for (int g = 0; g < 4; ++g) {
        sum = add_rn(sum, shared[0][g][lane]);
        given = add_rn(given, shared[1][g][lane]);
    }
    const float a = p.a ? p.a[i] : 1.0f;
    const float v = p.accumulate ? fmaf(a, sum, p.out[i]) : mul_rn(a, sum);
    p.out[i] = p.r ? add_rn(v, given) : v;
}

#define LINEAR(suffix, Weight)                                                                                         \
    ELUCID_KERNEL(elucid_linear_##suffix, ConvParams, ELUCID_GEMM_BLOCK, 8) {                                          \
        __shared__ float shared[4][ELUCID_PANEL];                                                                      \
        linear_forward<Weight>(p, shared);                                                                             \
    }                                                                                                                  \
    ELUCID_KERNEL(elucid_linear_z_##suffix, QuotientParams, ELUCID_GEMM_BLOCK, 8) {                                    \
        __shared__ float shared[4][ELUCID_PANEL];                                                                      \
        linear_z<Weight>(p, shared);                                                                                   \
    }                                                                                                                  \
    ELUCID_KERNEL(elucid_linear_back_##suffix, BackParams, ELUCID_GEMM_BLOCK, 8) {                                     \
        __shared__ float shared[2][4][32];                                                                             \
        linear_back<Weight>(p, shared);                                                                                \
    }

LINEAR(f32, float)
LINEAR(f16, elucid_half)
