// What conv.cu and conv_tensor.cu have in common: the product, and how a forward pass ends.
#ifndef ELUCID_FORWARD_CUH
#define ELUCID_FORWARD_CUH

#include "activation.cuh"
#include "product.cuh"


// Writes a tile: this thread's pixels and four channels.
template <int ROWS>
ELUCID_DEVICE void finish(const ConvParams &p, unsigned int first, unsigned int end, unsigned int channel,
                          const float (&acc)[ROWS][4]) {
    const unsigned int co = p.shape.co, n = channel + (threadIdx.x & 15u) * 4u, width = n < co ? co - n : 0u;
    float scale[4], shift[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        scale[c] = p.scale && c < (int)width ? p.scale[n + c] : 1.0f;
        shift[c] = p.shift && c < (int)width ? p.shift[n + c] : 0.0f;
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const unsigned int pixel = first + (threadIdx.x >> 4) * ROWS + r;
        if (pixel >= end || width == 0u) continue;
        const unsigned long long at = (unsigned long long)pixel * co + n;
        float v[4];
#pragma unroll
        for (int c = 0; c < 4; ++c) v[c] = fmaf(acc[r][c], scale[c], shift[c]);
        const bool whole = (co & 3u) == 0u;
        if (p.skip) {
            if (whole) {
                const float4 s = load4(p.skip + at);
                v[0] = add_rn(v[0], s.x);
                v[1] = add_rn(v[1], s.y);
                v[2] = add_rn(v[2], s.z);
                v[3] = add_rn(v[3], s.w);
            } else {
                for (int c = 0; c < 4; ++c)
                    if (c < (int)width) v[c] = add_rn(v[c], p.skip[at + c]);
            }
        }
        if (p.activation == ACTIVATION_RELU) {
#pragma unroll
            for (int c = 0; c < 4; ++c) v[c] = v[c] < 0.0f ? 0.0f : v[c];
        }
        if (whole) {
            store4(p.y + at, make_float4(v[0], v[1], v[2], v[3]));
        } else {
            for (int c = 0; c < 4; ++c)
                if (c < (int)width) p.y[at + c] = v[c];
        }
    }
    if (p.activation == ACTIVATION_IDENTITY || p.activation == ACTIVATION_RELU) return;
    // What this thread has just written, once more, value by value: 32 inlined error functions would be most of the kernel.
#pragma unroll 1
    for (int r = 0; r < ROWS; ++r) {
        const unsigned int pixel = first + (threadIdx.x >> 4) * ROWS + r;
        if (pixel >= end) return;
        float *y = p.y + ((unsigned long long)pixel * co + n);
#pragma unroll 1
        for (unsigned int c = 0; c < 4u && c < width; ++c)
            y[c] = p.activation == ACTIVATION_GELU ? gelu(y[c]) : quick_gelu(y[c]);
    }
}

template <class Weight, bool WIDE, int ROWS>
ELUCID_DEVICE void convolve(const ConvParams &p, GemmMemory<8 * ROWS> &memory) {
    float acc[ROWS][4];
    const unsigned int first = blockIdx.x * (8u * ROWS), end = p.images * p.shape.oh * p.shape.ow;
    const unsigned int channel = blockIdx.y * ELUCID_TILE;
    product<Weight, WIDE, false, ROWS>(p.x, p.weight, p.shape, first, end, channel, memory, acc);
    finish<ROWS>(p, first, end, channel, acc);
}

#endif
