// Global average pool, the relevance of its input, and its derivative.
//
// y = mean of a channel; R_in = a / n * R / (mean + eps), or where that denominator vanishes even shares or nothing; the
// derivative is R / n everywhere. The CPU reference is core/src/op/pool.rs, which adds pixels in double precision, one
// after the other; here eight threads share a channel's pixels, each with a sum in two floats (Knuth's), and their sums
// are added in the same way: the same to about 2^-45, then rounded once. All other operations are equal bit for bit.
//
// Versions
//   1. a block has 32 channels of one image, a warp every eighth pixel: a load is 128 consecutive bytes whatever the
//      channels are, and 2048 channels of 49 pixels fill 64 blocks. Two floats, as a Jetson adds 64 floats in the time of
//      one double.
#include "flow.cuh"

#define AVERAGE_CHANNELS 32
#define AVERAGE_SEGMENTS (ELUCID_BLOCK / AVERAGE_CHANNELS)

// A sum of floats and what its roundings lost.
struct Exact {
    float high, low;
};

ELUCID_DEVICE void include(Exact &sum, float v) {
    const float high = add_rn(sum.high, v), part = sub_rn(high, sum.high);
    sum.low = add_rn(sum.low, add_rn(sub_rn(sum.high, sub_rn(high, part)), sub_rn(v, part)));
    sum.high = high;
}

// What each segment of the pixels sums up to, in each channel.
struct Segments {
    float high[AVERAGE_SEGMENTS][AVERAGE_CHANNELS];
    float low[AVERAGE_SEGMENTS][AVERAGE_CHANNELS];
};

// The sum of channel c of [pixels, channels], in every thread of that channel; `boxes` are shared.
ELUCID_DEVICE Exact channel_sum(const float *x, unsigned int pixels, unsigned int channels, unsigned int c,
                                Segments &boxes) {
    const unsigned int lane = threadIdx.x % AVERAGE_CHANNELS, segment = threadIdx.x / AVERAGE_CHANNELS;
    Exact own;
    own.high = own.low = 0.0f;
    if (c < channels) {
        for (unsigned int pixel = segment; pixel < pixels; pixel += AVERAGE_SEGMENTS) {
            include(own, x[pixel * channels + c]);
        }
    }
    boxes.high[segment][lane] = own.high;
    boxes.low[segment][lane] = own.low;
    __syncthreads();
    Exact total;
    total.high = total.low = 0.0f;
    for (int s = 0; s < AVERAGE_SEGMENTS; ++s) {
        include(total, boxes.high[s][lane]);
        total.low = add_rn(total.low, boxes.low[s][lane]);
    }
    __syncthreads();
    return total;
}

ELUCID_KERNEL(elucid_average, AverageParams, ELUCID_BLOCK, 4) {
    __shared__ Segments boxes;
    const unsigned int tiles = (p.channels + AVERAGE_CHANNELS - 1) / AVERAGE_CHANNELS;
    const unsigned int image = blockIdx.x / tiles;
    const unsigned int c = blockIdx.x % tiles * AVERAGE_CHANNELS + threadIdx.x % AVERAGE_CHANNELS;
    const float *x = p.x + (unsigned long long)image * p.pixels * p.channels;
    const Exact total = channel_sum(x, p.pixels, p.channels, c, boxes);
    if (threadIdx.x < AVERAGE_CHANNELS && c < p.channels) {
        p.y[image * p.channels + c] = (float)(((double)total.high + (double)total.low) / (double)p.pixels);
    }
}

ELUCID_KERNEL(elucid_average_relevance, AverageRelevanceParams, ELUCID_BLOCK, 4) {
    __shared__ Segments boxes;
    const unsigned int c = blockIdx.x * AVERAGE_CHANNELS + threadIdx.x % AVERAGE_CHANNELS;
    const Exact total = channel_sum(p.a, p.pixels, p.channels, c, boxes);
    if (c < p.channels) {
        // What a pixel gets for its activation, and what it gets in any case.
        const float r = p.r[c], count = (float)p.pixels, z = add_rn(div_rn(add_rn(total.high, total.low), count), p.eps);
        const bool alive = z > ELUCID_LEAST_Z;
        const float factor = alive ? div_rn(div_rn(r, z), count) : 0.0f;
        const float even = !alive && p.redistribute ? div_rn(r, count) : 0.0f;
        for (unsigned int pixel = threadIdx.x / AVERAGE_CHANNELS; pixel < p.pixels; pixel += AVERAGE_SEGMENTS) {
            const unsigned int i = pixel * p.channels + c;
            const float share = add_rn(mul_rn(p.a[i], factor), even);
            p.out[i] = add_rn(p.accumulate ? p.out[i] : 0.0f, share);
        }
    }
}

// What averages lose: to eps, and in channels without a denominator; and what these spread instead.
ELUCID_KERNEL(elucid_average_sinks, AverageRelevanceParams, ELUCID_BLOCK, 4) {
    __shared__ Segments boxes;
    __shared__ double box[ELUCID_WARPS];
    const unsigned int tiles = (p.channels + AVERAGE_CHANNELS - 1) / AVERAGE_CHANNELS;
    double eps = 0.0, dead = 0.0, redistributed = 0.0;
    for (unsigned int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const unsigned int c = tile * AVERAGE_CHANNELS + threadIdx.x % AVERAGE_CHANNELS;
        const Exact total = channel_sum(p.a, p.pixels, p.channels, c, boxes);
        if (threadIdx.x < AVERAGE_CHANNELS && c < p.channels) {
            const float r = p.r[c], z = add_rn(div_rn(add_rn(total.high, total.low), (float)p.pixels), p.eps);
            if (z > ELUCID_LEAST_Z) {
                const double lost = (double)div_rn(r, z) * (double)p.eps;
                if (total.high == 0.0f && total.low == 0.0f) {
                    dead += lost;
                } else {
                    eps += lost;
                }
            } else if (p.redistribute) {
                redistributed += (double)r;
            } else {
                dead += (double)r;
            }
        }
    }
    eps = fold<Sum>(eps, box);
    dead = fold<Sum>(dead, box);
    redistributed = fold<Sum>(redistributed, box);
    if (threadIdx.x == 0) {
        double *sums = p.sums + 3 * blockIdx.x;
        sums[0] = eps;
        sums[1] = dead;
        sums[2] = redistributed;
    }
}

template <int N> ELUCID_DEVICE void average_gradient_row(const AverageGradientParams &p, unsigned int i) {
    float r[N], out[N];
    fetch(r, p.r + i % p.channels);
    before(out, p.out + i, p.accumulate);
    for (int k = 0; k < N; ++k) out[k] = add_rn(out[k], div_rn(r[k], p.pixels));
    put(p.out + i, out);
}

ELUCID_KERNEL(elucid_average_gradient, AverageGradientParams, ELUCID_BLOCK, 4) {
    const unsigned int i = p.vector ? 4 * elucid_thread() : elucid_thread();
    if (i >= p.count) return;
    if (p.vector) {
        average_gradient_row<4>(p, i);
    } else {
        average_gradient_row<1>(p, i);
    }
}
