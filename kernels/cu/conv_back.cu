// z+ relevance, second half: R_in = a * conv_transposed(s, max(w, 0)), [oh, ow, co] -> [h, w, ci], of one image; with all
// weights and without a it is the derivative by the input.
//
// The CPU reference is core/src/op/conv/transposed.rs. An implicit GEMM of input pixels times input channels over taps times
// output channels: a pixel gathers the cells that it feeds, so nothing is scattered and the order of every sum is fixed.
// Strides leave taps that no pixel of a residue class reaches: the grid's third dimension goes through the classes, each
// over its own taps, so none is multiplied in vain.
//
// Where s marks dead cells (see conv_z.cu), a block that met one walks through its taps once more and adds what such a cell
// spreads: r w / total, with the totals of weights worked out once (sums.cu). No other block pays for it.
//
// Versions
//   1. a product of all taps for all pixels: with stride 2, three quarters of it zeros.
//   2. residue classes, the tile of gemm.cuh; the panels' sixteen output channels are one step, transposed on their way.
//   3. the product with a in the epilogue, written or added: R_in crosses memory once.
//   4. tiles of 32 pixels as in conv.cu.
//   5. weights are clamped by a bound instead of a branch, which had all their stores twice in the loop.
#include "gemm.cuh"
#include "quotient.cuh"

// The pixels of a residue class, their taps, and where they stand.
struct Class {
    int ry, rx;     // rows and columns of the image with this remainder
    int rows, cols; // how many there are
    int ky, kx;     // first tap that reaches the class; the others follow by strides
    int dy, dx;     // how far the cell under the first tap lies from the pixel's number; one less for each tap that follows

    ELUCID_DEVICE_METHOD void place(const ConvShape &s, unsigned int number) {
        const int stride = (int)s.stride;
        ry = (int)number / stride;
        rx = (int)number - ry * stride;
        rows = ((int)s.h - ry + stride - 1) / stride;
        cols = ((int)s.w - rx + stride - 1) / stride;
        dy = (ry + (int)s.pad) / stride;
        dx = (rx + (int)s.pad) / stride;
        ky = ry + (int)s.pad - dy * stride;
        kx = rx + (int)s.pad - dx * stride;
    }
};

template <bool WIDE, int ROWS> struct Cells {
    static constexpr int OWN = ROWS / 4;
    int y[OWN], x[OWN]; // numbers within the class; far outside for pixels that don't exist

    ELUCID_DEVICE_METHOD void place(const Class &c, unsigned int first) {
#pragma unroll
        for (int j = 0; j < OWN; ++j) {
            const int pixel = (int)first + (int)(threadIdx.x >> 2) + 32 * j;
            const bool there = pixel < c.rows * c.cols;
            y[j] = there ? pixel / c.cols : -(1 << 30);
            x[j] = there ? pixel % c.cols : 0;
        }
    }

    // Four output channels from `channel` on of the cell under a tap with these shifts.
    ELUCID_DEVICE_METHOD float4 load(const BackParams &p, int j, int dy, int dx, unsigned int channel) const {
        const ConvShape &s = p.shape;
        const int oy = y[j] + dy, ox = x[j] + dx;
        const bool inside = (unsigned int)oy < s.oh && (unsigned int)ox < s.ow;
        const unsigned int at = (unsigned int)(oy * (int)s.ow + ox) * s.co + channel;
        if (WIDE) return inside && channel < s.co ? load4(p.s + at) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        float v[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) v[k] = inside && channel + k < s.co ? p.s[at + k] : 0.0f;
        return make_float4(v[0], v[1], v[2], v[3]);
    }
};

ELUCID_DEVICE float4 at_least(float4 v, float least) {
    return make_float4(fmaxf(v.x, least), fmaxf(v.y, least), fmaxf(v.z, least), fmaxf(v.w, least));
}

// This thread's part of a step's weights: sixteen output channels of one tap times 64 input channels.
template <class Weight> struct Turned;

template <> struct Turned<float> {
    float4 v[2];

    ELUCID_DEVICE_METHOD void load(const void *weight, unsigned long long row, unsigned int channel, unsigned int ci) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const unsigned int i = channel + (threadIdx.x >> 2) + 32u * j;
            v[j] = i < ci ? load4((const float *)weight + (row + i) * ELUCID_PANEL + (threadIdx.x & 3u) * 4u)
                          : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }

    ELUCID_DEVICE_METHOD void store(float (&rows)[GEMM_STEP][ELUCID_TILE], float least) const {
#pragma unroll
        for (int j = 0; j < 2; ++j)
            put_channel(rows, (threadIdx.x & 3) * 4, (threadIdx.x >> 2) + 32 * j, at_least(v[j], least));
    }
};

template <> struct Turned<elucid_half> {
    uint4 v;

    ELUCID_DEVICE_METHOD void load(const void *weight, unsigned long long row, unsigned int channel, unsigned int ci) {
        const unsigned int i = channel + (threadIdx.x >> 1);
        v = i < ci ? load8((const elucid_half *)weight + (row + i) * ELUCID_PANEL + (threadIdx.x & 1u) * 8u)
                   : make_uint4(0u, 0u, 0u, 0u);
    }

    ELUCID_DEVICE_METHOD void store(float (&rows)[GEMM_STEP][ELUCID_TILE], float least) const {
        const int k = (threadIdx.x & 1) * 8, i = threadIdx.x >> 1;
        const float4 low = widen_pair(v.x, v.y), high = widen_pair(v.z, v.w);
        put_channel(rows, k, i, at_least(low, least));
        put_channel(rows, k + 4, i, at_least(high, least));
    }
};

ELUCID_DEVICE float zero_if_dead(float s, int &met) {
    const bool is = dead(s);
    met |= is ? 1 : 0;
    return is ? 0.0f : s;
}

// The total of the positive weights of output channel j over the taps that lie inside the image, and how many those are.
ELUCID_DEVICE float total_of(const BackParams &p, unsigned int j, int oy, int ox, int &taps) {
    const ConvShape &s = p.shape;
    const unsigned int row = (s.co + ELUCID_PANEL - 1) / ELUCID_PANEL * ELUCID_PANEL;
    float total = 0.0f;
    taps = 0;
    for (int ky = 0; ky < (int)s.kh; ++ky) {
        for (int kx = 0; kx < (int)s.kw; ++kx) {
            const int y = oy * (int)s.stride - (int)s.pad + ky, x = ox * (int)s.stride - (int)s.pad + kx;
            if ((unsigned int)y >= s.h || (unsigned int)x >= s.w) continue;
            total = add_rn(total, p.sums[(unsigned int)(ky * (int)s.kw + kx) * row + j]);
            ++taps;
        }
    }
    return total;
}

// What the dead cells that input channel i of a pixel feeds spread to it.
template <class Weight>
ELUCID_DEVICE float spread(const BackParams &p, const Class &c, int y, int x, unsigned int i) {
    const ConvShape &s = p.shape;
    float sum = 0.0f;
    for (int ky = c.ky, oy = y + c.dy; ky < (int)s.kh; ky += (int)s.stride, --oy) {
        for (int kx = c.kx, ox = x + c.dx; kx < (int)s.kw; kx += (int)s.stride, --ox) {
            if ((unsigned int)oy >= s.oh || (unsigned int)ox >= s.ow) continue;
            const unsigned int cell = (unsigned int)(oy * (int)s.ow + ox) * s.co;
            const unsigned int tap = (unsigned int)(ky * (int)s.kw + kx);
            for (unsigned int j = 0; j < s.co; ++j) {
                if (!dead(p.s[cell + j])) continue;
                int taps;
                const float total = total_of(p, j, oy, ox, taps);
                const unsigned long long row = (unsigned long long)(j / ELUCID_PANEL * s.kh * s.kw + tap) * s.ci + i;
                const float w = fmaxf(widen(((const Weight *)p.weight)[row * ELUCID_PANEL + j % ELUCID_PANEL]), 0.0f);
                sum = add_rn(sum, spread_share(p.r[cell + j], w, total, (float)(taps * (int)s.ci)));
            }
        }
    }
    return sum;
}

template <class Weight, bool WIDE, int ROWS>
ELUCID_DEVICE void transposed(const BackParams &p, GemmMemory<8 * ROWS> &memory) {
    const ConvShape &s = p.shape;
    const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
    const unsigned int first = blockIdx.x * (8u * ROWS), channel = blockIdx.y * ELUCID_TILE;
    const unsigned int panels = (s.co + ELUCID_PANEL - 1) / ELUCID_PANEL, taps = s.kh * s.kw;
    const int stride = (int)s.stride;
    Class c;
    c.place(s, blockIdx.z);
    if ((int)first >= c.rows * c.cols) return; // the whole block: classes have different sizes

    Cells<WIDE, ROWS> cells;
    cells.place(c, first);
    Turned<Weight> weights;
    // Minus infinity where all weights count: a branch would have every store twice.
    const float least = p.plus ? 0.0f : of_bits(0xff800000u);
    float4 pixels[ROWS / 4];
    float acc[ROWS][4];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = 0.0f;

    const unsigned int quad = (threadIdx.x & 3u) * 4u;
    const bool some = c.ky < (int)s.kh && c.kx < (int)s.kw;
    int ky = c.ky, kx = c.kx, dy = c.dy, dx = c.dx, met = 0, at = 0;
    unsigned int panel = 0;
    bool more = some;
    if (more) {
#pragma unroll
        for (int j = 0; j < ROWS / 4; ++j) pixels[j] = cells.load(p, j, dy, dx, quad);
        weights.load(p.weight, (unsigned long long)(unsigned int)(ky * (int)s.kw + kx) * s.ci, channel, s.ci);
    }
    while (more) {
#pragma unroll
        for (int j = 0; j < ROWS / 4; ++j) {
            float4 v = pixels[j];
            if (p.r) {
                v.x = zero_if_dead(v.x, met);
                v.y = zero_if_dead(v.y, met);
                v.z = zero_if_dead(v.z, met);
                v.w = zero_if_dead(v.w, met);
            }
            put_pixels(memory.pixels[at], (int)quad, (int)(threadIdx.x >> 2) + 32 * j, v);
        }
        weights.store(memory.channels[at], least);
        __syncthreads();
        // The next step: sixteen more output channels, or the next tap.
        if (++panel == panels) {
            panel = 0;
            kx += stride;
            --dx;
            if (kx >= (int)s.kw) {
                kx = c.kx;
                dx = c.dx;
                ky += stride;
                --dy;
            }
        }
        more = ky < (int)s.kh;
        if (more) {
#pragma unroll
            for (int j = 0; j < ROWS / 4; ++j) pixels[j] = cells.load(p, j, dy, dx, panel * ELUCID_PANEL + quad);
            const unsigned int tap = (unsigned int)(ky * (int)s.kw + kx);
            weights.load(p.weight, (unsigned long long)(panel * taps + tap) * s.ci, channel, s.ci);
        }
        multiply<Transposed>(memory.pixels[at], memory.channels[at], ty, tx, acc);
        at ^= 1;
    }

    const unsigned int n = channel + (unsigned int)tx * 4u, width = n < s.ci ? s.ci - n : 0u;
    const bool whole = (s.ci & 3u) == 0u;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int pixel = (int)first + ty * ROWS + r;
        if (pixel >= c.rows * c.cols || width == 0u) continue;
        const int y = pixel / c.cols, x = pixel - y * c.cols;
        const unsigned int to =
            (unsigned int)((y * stride + c.ry) * (int)s.w + x * stride + c.rx) * s.ci + n;
        if (whole) {
            const float4 a = p.a ? load4(p.a + to) : make_float4(1.0f, 1.0f, 1.0f, 1.0f);
            float4 v;
            if (p.accumulate) {
                v = load4(p.out + to);
                v.x = fmaf(a.x, acc[r][0], v.x);
                v.y = fmaf(a.y, acc[r][1], v.y);
                v.z = fmaf(a.z, acc[r][2], v.z);
                v.w = fmaf(a.w, acc[r][3], v.w);
            } else {
                v = make_float4(mul_rn(a.x, acc[r][0]), mul_rn(a.y, acc[r][1]), mul_rn(a.z, acc[r][2]),
                                mul_rn(a.w, acc[r][3]));
            }
            store4(p.out + to, v);
        } else {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                if (k >= (int)width) continue;
                const float a = p.a ? p.a[to + k] : 1.0f;
                p.out[to + k] = p.accumulate ? fmaf(a, acc[r][k], p.out[to + k]) : mul_rn(a, acc[r][k]);
            }
        }
    }

    // Dead cells are rare: what they spread is added to what this thread has just written.
    if (p.r && __syncthreads_or(met)) {
#pragma unroll 1
        for (int r = 0; r < ROWS; ++r) {
            const int pixel = (int)first + ty * ROWS + r;
            if (pixel >= c.rows * c.cols) continue;
            const int y = pixel / c.cols, x = pixel - y * c.cols;
            const unsigned int to =
                (unsigned int)((y * stride + c.ry) * (int)s.w + x * stride + c.rx) * s.ci + n;
#pragma unroll 1
            for (unsigned int k = 0; k < 4u && k < width; ++k)
                p.out[to + k] = add_rn(p.out[to + k], spread<Weight>(p, c, y, x, n + k));
        }
    }
}

#define CONV_BACK(name, Weight, WIDE, ROWS)                                                                            \
    ELUCID_KERNEL(name, BackParams, ELUCID_GEMM_BLOCK, ROWS == 8 ? 4 : 5) {                                                            \
        __shared__ GemmMemory<8 * ROWS> memory;                                                                        \
        transposed<Weight, WIDE, ROWS>(p, memory);                                                                     \
    }

CONV_BACK(elucid_back_f32, float, true, 8)
CONV_BACK(elucid_back_f16, elucid_half, true, 8)
CONV_BACK(elucid_back_half_f32, float, true, 4)
CONV_BACK(elucid_back_half_f16, elucid_half, true, 4)
CONV_BACK(elucid_back_single_f32, float, false, 8)
CONV_BACK(elucid_back_single_f16, elucid_half, false, 8)
