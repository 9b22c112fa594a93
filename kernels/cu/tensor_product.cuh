// conv(x, w) on tensor cores, as exact as in f32: what conv_tensor.cu and conv_z_tensor.cu have in common.
//
// An activation is the sum of two halves, x = hi + lo / 2048 with hi = half(x) and lo = half(2048 (x - hi)), together 22 bits; stored
// weights are halves anyway. Both products have f32 accumulators of their own.
#ifndef ELUCID_TENSOR_PRODUCT_CUH
#define ELUCID_TENSOR_PRODUCT_CUH

#include "product.cuh"
#include "tensor.cuh"

// Rows in shared memory are padded by eight halves: neither fragments' rows nor stores meet in a bank more than twice.
#define PIXEL_ROW (GEMM_STEP + 8)
#define CHANNEL_ROW (ELUCID_TILE + 8)

// Two steps of the operands; afterwards the finished tile; or the operands of conv.cu.
union alignas(16) TensorMemory {
    struct {
        elucid_half high[2][ELUCID_TILE][PIXEL_ROW];
        elucid_half low[2][ELUCID_TILE][PIXEL_ROW];
        elucid_half channels[2][GEMM_STEP][CHANNEL_ROW];
    } steps;
    float tile[ELUCID_TILE][ELUCID_TILE];
    GemmMemory<ELUCID_TILE> plain;
};

#ifdef ELUCID_TENSOR

// Eight bytes of shared memory at once.
ELUCID_DEVICE void store_pair(elucid_half *to, unsigned int first, unsigned int second) {
#ifndef ELUCID_EMULATED
    *reinterpret_cast<uint2 *>(to) = make_uint2(first, second);
#else
    to[0] = (elucid_half)(first & 0xffffu);
    to[1] = (elucid_half)(first >> 16);
    to[2] = (elucid_half)(second & 0xffffu);
    to[3] = (elucid_half)(second >> 16);
#endif
}

// An activation's first half as a float, and 2048 times what is missing.
ELUCID_DEVICE float rest(float x, elucid_half high) { return mul_rn(sub_rn(x, widen(high)), 2048.0f); }

// Splits four activations of a pixel; the largest size of one.
ELUCID_DEVICE float put_split(elucid_half *high, elucid_half *low, float4 v) {
    const unsigned int h0 = halves(v.x, v.y), h1 = halves(v.z, v.w);
    store_pair(high, h0, h1);
    store_pair(low, halves(rest(v.x, (elucid_half)(h0 & 0xffffu)), rest(v.y, (elucid_half)(h0 >> 16))),
               halves(rest(v.z, (elucid_half)(h1 & 0xffffu)), rest(v.w, (elucid_half)(h1 >> 16))));
    return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

// The smallest of some positive activations' bits, less one: 0 is the largest number then, and so is no denominator's concern; what is
// negative is as large as positive.
ELUCID_DEVICE unsigned int least_bits(unsigned int least, float4 v) {
    return min(min(min(least, bits_of(v.x) - 1u), min(bits_of(v.y) - 1u, bits_of(v.z) - 1u)), bits_of(v.w) - 1u);
}

// Below it an activation is too small for the halves: 2^-35.
#define TENSOR_LEAST 2.9103830456733704e-11f

// acc as product() gives it; with PLUS, of what is positive of w. Whether halves could hold the activations; if not, acc is of no use. With
// PLUS, those that halves can't tell from 0 count as well: whether a denominator vanishes depends on them.
template <bool PLUS>
ELUCID_DEVICE bool tensor_product(const float *x, const elucid_half *weight, const ConvShape &s, unsigned int first,
                                  unsigned int end, unsigned int channel, TensorMemory &memory, float (&acc)[8][4]) {
    const unsigned int panels = (s.co + ELUCID_PANEL - 1) / ELUCID_PANEL, products = s.kh * s.kw * s.ci;
    const unsigned int lane = threadIdx.x & 31u, warp = threadIdx.x >> 5;
    const unsigned int quad = (threadIdx.x & 3u) * 4u, m = threadIdx.x >> 2;
    // This warp's quarter of the tile.
    const unsigned int top = (warp & 1u) * 32u, left = (warp >> 1) * 32u;
    Gather<true, 8> gather;
    Panels<elucid_half> weights;
    float4 pixels[2];
    float high[2][4][4], low[2][4][4];
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int k = 0; k < 4; ++k) high[i][j][k] = low[i][j][k] = 0.0f;

    gather.place(x, s, first, end);
    pixels[0] = gather.load(s, 0);
    pixels[1] = gather.load(s, 1);
    weights.load(weight, channel, panels, products, 0);
    int at = 0;
    float most = 0.0f;
    unsigned int least = 0xffffffffu;
    for (unsigned int step = 0; step < products; step += GEMM_STEP) {
        most = fmaxf(most, put_split(&memory.steps.high[at][m][quad], &memory.steps.low[at][m][quad], pixels[0]));
        most = fmaxf(
            most, put_split(&memory.steps.high[at][m + 32u][quad], &memory.steps.low[at][m + 32u][quad], pixels[1]));
        if (PLUS) least = least_bits(least_bits(least, pixels[0]), pixels[1]);
        weights.keep<PLUS>(memory.steps.channels[at]);
        __syncthreads();
        if (step + GEMM_STEP < products) {
            gather.skip(s, GEMM_STEP);
            pixels[0] = gather.load(s, 0);
            pixels[1] = gather.load(s, 1);
            weights.load(weight, channel, panels, products, step + GEMM_STEP);
        }
        unsigned int b[4][2];
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            // Two blocks of eight channels, each in two halves of the step.
            unsigned int four[4];
            load_transposed(four, &memory.steps.channels[at][lane & 15u][left + 8u * j + (lane >> 4) * 8u]);
            b[j][0] = four[0];
            b[j][1] = four[1];
            b[j + 1][0] = four[2];
            b[j + 1][1] = four[3];
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const unsigned int row = top + 16u * i + (lane & 15u), column = (lane >> 4) * 8u;
            unsigned int a[4];
            load_matrices(a, &memory.steps.high[at][row][column]);
#pragma unroll
            for (int j = 0; j < 4; ++j) mma(high[i][j], a, b[j]);
            load_matrices(a, &memory.steps.low[at][row][column]);
#pragma unroll
            for (int j = 0; j < 4; ++j) mma(low[i][j], a, b[j]);
        }
        at ^= 1;
    }
    // All warps are through with the operands: the finished tile takes their place.
    if (__syncthreads_or(most > 65504.0f || least < bits_of(TENSOR_LEAST) - 1u ? 1 : 0)) return false;
    const int normal = __syncthreads_or(most >= 1.0f / 1024.0f ? 1 : 0);
    if (!normal && __syncthreads_or(most > 0.0f ? 1 : 0)) return false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const unsigned int row = top + 16u * i + (lane >> 2) + (k >> 1) * 8u;
                const unsigned int column = left + 8u * j + (lane & 3u) * 2u + (k & 1);
                memory.tile[row][column ^ (row & 7u) * 8u] = fmaf(low[i][j][k], 1.0f / 2048.0f, high[i][j][k]);
            }
        }
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 8; ++r) {
        const unsigned int row = (threadIdx.x >> 4) * 8u + r;
        const float4 v = load4(&memory.tile[row][((threadIdx.x & 15u) * 4u) ^ (row & 7u) * 8u]);
        acc[r][0] = v.x;
        acc[r][1] = v.y;
        acc[r][2] = v.z;
        acc[r][3] = v.w;
    }
    return true;
}

#endif

#endif
