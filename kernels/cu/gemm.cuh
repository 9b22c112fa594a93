// The tile that every convolution is made of: 64 (or 32) pixels times 64 channels, over steps of 16 products.
//
// A block of 128 threads holds two steps of both operands in shared memory: while it multiplies one, the other is on its
// way through registers. A thread owns 8 (or 4) pixels times 4 channels: 32 multiply-adds for three 128-bit loads of shared
// memory, and two warps' loads are broadcast.
//
// Places in shared memory are swizzled instead of padded, so that neither the transposing stores nor the 128-bit loads
// meet in a bank: row k of the pixels keeps column m at m ^ 8 (k / 4); for the channels see the two policies.
#ifndef ELUCID_GEMM_CUH
#define ELUCID_GEMM_CUH

#include "elucid.cuh"

#define GEMM_STEP 16

// Where a panel's row of channels is stored as it comes, 128 bits at a time: eight threads store two rows' sixteen channels.
struct RowMajor {
    static constexpr ELUCID_CONSTANT int swizzle(int k) { return ((k & 1) << 4) ^ ((k & 2) << 1); }
};

// Where channels are transposed on their way, as pixels are.
struct Transposed {
    static constexpr ELUCID_CONSTANT int swizzle(int k) { return (k >> 2) << 3; }
};

// Two steps of both operands.
template <int PIXELS> struct alignas(16) GemmMemory {
    float pixels[2][GEMM_STEP][PIXELS];
    float channels[2][GEMM_STEP][ELUCID_TILE];
};

// Four values of one pixel, products k .. k + 3 of the step (k a multiple of four), into column m.
template <int PIXELS> ELUCID_DEVICE void put_pixels(float (&rows)[GEMM_STEP][PIXELS], int k, int m, float4 v) {
    const int at = m ^ (k << 1);
    rows[k][at] = v.x;
    rows[k + 1][at] = v.y;
    rows[k + 2][at] = v.z;
    rows[k + 3][at] = v.w;
}

// The same of one channel.
ELUCID_DEVICE void put_channel(float (&rows)[GEMM_STEP][ELUCID_TILE], int k, int n, float4 v) {
    const int at = n ^ Transposed::swizzle(k);
    rows[k][at] = v.x;
    rows[k + 1][at] = v.y;
    rows[k + 2][at] = v.z;
    rows[k + 3][at] = v.w;
}

// Four channels of product k.
ELUCID_DEVICE void put_row(float (&rows)[GEMM_STEP][ELUCID_TILE], int k, int n, float4 v) {
    store4(&rows[k][n ^ RowMajor::swizzle(k)], v);
}

ELUCID_DEVICE float4 positive(float4 v) {
    return make_float4(fmaxf(v.x, 0.0f), fmaxf(v.y, 0.0f), fmaxf(v.z, 0.0f), fmaxf(v.w, 0.0f));
}

// Four weights of 128 stored bits' lower or upper half.
ELUCID_DEVICE float4 widen_pair(unsigned int low, unsigned int high) {
    return make_float4(widen((elucid_half)(low & 0xffffu)), widen((elucid_half)(low >> 16)),
                       widen((elucid_half)(high & 0xffffu)), widen((elucid_half)(high >> 16)));
}

// One step: acc[r][c] += pixel 8 ty + r (or 4 ty + r) times channel 4 tx + c.
template <class Policy, int ROWS>
ELUCID_DEVICE void multiply(const float (&pixels)[GEMM_STEP][8 * ROWS], const float (&channels)[GEMM_STEP][ELUCID_TILE],
                            int ty, int tx, float (&acc)[ROWS][4]) {
#pragma unroll
    for (int k = 0; k < GEMM_STEP; ++k) {
        float a[ROWS];
        const float4 b = load4(&channels[k][(tx << 2) ^ Policy::swizzle(k)]);
#pragma unroll
        for (int r = 0; r < ROWS; r += 4) {
            const float4 v = load4(&pixels[k][(ty * ROWS + r) ^ ((k >> 2) << 3)]);
            a[r] = v.x;
            a[r + 1] = v.y;
            a[r + 2] = v.z;
            a[r + 3] = v.w;
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            acc[r][0] = fmaf(a[r], b.x, acc[r][0]);
            acc[r][1] = fmaf(a[r], b.y, acc[r][1]);
            acc[r][2] = fmaf(a[r], b.z, acc[r][2]);
            acc[r][3] = fmaf(a[r], b.w, acc[r][3]);
        }
    }
}

#endif
