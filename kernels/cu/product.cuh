// conv(x, w), the product that a forward pass and the denominators of z+ have in common: an implicit GEMM of output pixels
// times output channels over taps times input channels, read from the input as it lies (no im2col buffer) and from the
// panels as they're stored.
#ifndef ELUCID_PRODUCT_CUH
#define ELUCID_PRODUCT_CUH

#include "gemm.cuh"

// Where a product reads its pixels. A thread feeds four products of the step (its quad) for some of the tile's pixels.
template <bool WIDE, int ROWS> struct Gather {
    static constexpr int OWN = ROWS / 4; // pixels of this thread
    const float *image[OWN];
    int top[OWN], left[OWN];
    int ky, kx, i; // the first of the quad's products: its tap, its input channel

    // Finds this thread's pixels: numbers first + m + 32 j of all images, none from `end` on.
    ELUCID_DEVICE_METHOD void place(const float *x, const ConvShape &s, unsigned int first, unsigned int end) {
        const unsigned int m = threadIdx.x >> 2, cells = s.oh * s.ow;
#pragma unroll
        for (int j = 0; j < OWN; ++j) {
            const unsigned int pixel = first + m + 32 * j;
            const unsigned int number = pixel / cells, cell = pixel - number * cells;
            const unsigned int y = cell / s.ow;
            // Far above the image for those that don't exist.
            top[j] = pixel < end ? (int)(y * s.stride) - (int)s.pad : -(1 << 30);
            left[j] = (int)((cell - y * s.ow) * s.stride) - (int)s.pad;
            image[j] = pixel < end ? x + (unsigned long long)number * s.h * s.w * s.ci : x;
        }
        ky = 0;
        kx = 0;
        i = 0;
        skip(s, (threadIdx.x & 3u) * 4u);
    }

    // Goes on by some products.
    ELUCID_DEVICE_METHOD void skip(const ConvShape &s, unsigned int products) {
        i += (int)products;
        while (i >= (int)s.ci) {
            i -= (int)s.ci;
            if (++kx == (int)s.kw) {
                kx = 0;
                ++ky;
            }
        }
    }

    // The quad of pixel j: zeros in the padding and past the last tap.
    ELUCID_DEVICE_METHOD float4 load(const ConvShape &s, int j) const {
        if (WIDE) {
            const int y = top[j] + ky, x = left[j] + kx;
            const bool inside = ky < (int)s.kh && (unsigned int)y < s.h && (unsigned int)x < s.w;
            return inside ? load4(image[j] + ((unsigned int)(y * (int)s.w + x) * s.ci + (unsigned int)i))
                          : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
        float v[4];
        int dy = ky, dx = kx, c = i;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int y = top[j] + dy, x = left[j] + dx;
            const bool inside = dy < (int)s.kh && (unsigned int)y < s.h && (unsigned int)x < s.w;
            v[k] = inside ? image[j][(unsigned int)(y * (int)s.w + x) * s.ci + (unsigned int)c] : 0.0f;
            if (++c == (int)s.ci) {
                c = 0;
                if (++dx == (int)s.kw) {
                    dx = 0;
                    ++dy;
                }
            }
        }
        return make_float4(v[0], v[1], v[2], v[3]);
    }
};

// Two halves, 0 in the place of one with the sign of a negative number.
ELUCID_DEVICE unsigned int positive_pair(unsigned int v) {
    const unsigned int signs = v >> 15 & 0x00010001u;
    return v & ~(signs * 0xffffu);
}

// This thread's part of a step's weights, as they are stored: 16 products times 64 channels by 128 threads.
template <class Weight> struct Panels;

template <> struct Panels<float> {
    float4 v[2];

    ELUCID_DEVICE_METHOD void load(const void *weight, unsigned int channel, unsigned int panels, unsigned int products,
                                   unsigned int step) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const unsigned int e = threadIdx.x + 128 * j;
            const unsigned int panel = channel / ELUCID_PANEL + (e >> 6), k = step + (e >> 2 & 15u);
            v[j] = panel < panels && k < products
                       ? load4((const float *)weight +
                               ((unsigned long long)panel * products + k) * ELUCID_PANEL + (e & 3u) * 4u)
                       : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }

    template <bool PLUS> ELUCID_DEVICE_METHOD void store(float (&rows)[GEMM_STEP][ELUCID_TILE]) const {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const unsigned int e = threadIdx.x + 128 * j;
            put_row(rows, e >> 2 & 15u, (e >> 6) * 16u + (e & 3u) * 4u, PLUS ? positive(v[j]) : v[j]);
        }
    }
};

template <> struct Panels<elucid_half> {
    uint4 v;

    ELUCID_DEVICE_METHOD void load(const void *weight, unsigned int channel, unsigned int panels, unsigned int products,
                                   unsigned int step) {
        const unsigned int e = threadIdx.x;
        const unsigned int panel = channel / ELUCID_PANEL + (e >> 5), k = step + (e >> 1 & 15u);
        v = panel < panels && k < products
                ? load8((const elucid_half *)weight + ((unsigned long long)panel * products + k) * ELUCID_PANEL +
                        (e & 1u) * 8u)
                : make_uint4(0u, 0u, 0u, 0u);
    }

    template <bool PLUS> ELUCID_DEVICE_METHOD void store(float (&rows)[GEMM_STEP][ELUCID_TILE]) const {
        const unsigned int e = threadIdx.x, k = e >> 1 & 15u, n = (e >> 5) * 16u + (e & 1u) * 8u;
        const float4 low = widen_pair(v.x, v.y), high = widen_pair(v.z, v.w);
        put_row(rows, k, n, PLUS ? positive(low) : low);
        put_row(rows, k, n + 4u, PLUS ? positive(high) : high);
    }

    // As halves, for tensor cores.
    template <bool PLUS, int ROW> ELUCID_DEVICE_METHOD void keep(elucid_half (&rows)[GEMM_STEP][ROW]) const {
        const unsigned int e = threadIdx.x;
        const uint4 kept =
            PLUS ? make_uint4(positive_pair(v.x), positive_pair(v.y), positive_pair(v.z), positive_pair(v.w)) : v;
        store8(&rows[e >> 1 & 15u][(e >> 5) * 16u + (e & 1u) * 8u], kept);
    }
};

// acc = conv(x, w) of the tile that starts at pixel `first` and channel `channel`; with PLUS, of what is positive of w.
template <class Weight, bool WIDE, bool PLUS, int ROWS>
ELUCID_DEVICE void product(const float *x, const void *weight, const ConvShape &s, unsigned int first, unsigned int end,
                           unsigned int channel, GemmMemory<8 * ROWS> &memory, float (&acc)[ROWS][4]) {
    const unsigned int panels = (s.co + ELUCID_PANEL - 1) / ELUCID_PANEL, products = s.kh * s.kw * s.ci;
    const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
    const int quad = (threadIdx.x & 3) * 4, m = threadIdx.x >> 2;
    Gather<WIDE, ROWS> gather;
    Panels<Weight> weights;
    float4 pixels[ROWS / 4];

    gather.place(x, s, first, end);
#pragma unroll
    for (int j = 0; j < ROWS / 4; ++j) pixels[j] = gather.load(s, j);
    weights.load(weight, channel, panels, products, 0);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = 0.0f;

    int at = 0;
    for (unsigned int step = 0; step < products; step += GEMM_STEP) {
#pragma unroll
        for (int j = 0; j < ROWS / 4; ++j) put_pixels(memory.pixels[at], quad, m + 32 * j, pixels[j]);
        weights.template store<PLUS>(memory.channels[at]);
        __syncthreads();
        if (step + GEMM_STEP < products) {
            gather.skip(s, GEMM_STEP);
#pragma unroll
            for (int j = 0; j < ROWS / 4; ++j) pixels[j] = gather.load(s, j);
            weights.load(weight, channel, panels, products, step + GEMM_STEP);
        }
        multiply<RowMajor>(memory.pixels[at], memory.channels[at], ty, tx, acc);
        at ^= 1;
    }
}

#endif
