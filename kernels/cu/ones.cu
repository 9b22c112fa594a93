// The first layer: it sees ones instead of the image, and of its relevance only the sum over the image's channels is wanted.
//
// z of a cell is the sum of sums[tap, j] over the taps inside the image, and
// heat[p] = sum over taps and channels j of s[cell(p, tap), j] * sums[tap, j]: no weight is read, and the stem's transposed
// product over three channels, which would leave most of a tile empty, doesn't exist. What a dead cell spreads is known here
// without a search: all its inputs' shares of one tap are r sums[tap, j] / total.
//
// The CPU reference is core/src/op/conv/ones.rs.
//
// Versions
//   1. one thread per cell and channel for s; one warp per pixel for the map, lanes over channels, so that a cell's
//      channels are read 128 bytes at a time and the sums come from cache; cells inside the image take the sum of all taps
//      from its row.
#include "quotient.cuh"

// The sum over the taps that lie inside the image, in ascending order, and how many those are.
ELUCID_DEVICE float inside(const OnesParams &p, unsigned int j, int oy, int ox, int &taps) {
    const ConvShape &s = p.shape;
    const unsigned int row = (s.co + ELUCID_PANEL - 1) / ELUCID_PANEL * ELUCID_PANEL;
    const int top = oy * (int)s.stride - (int)s.pad, left = ox * (int)s.stride - (int)s.pad;
    const bool all = top >= 0 && left >= 0 && top + (int)s.kh <= (int)s.h && left + (int)s.kw <= (int)s.w;
    taps = (int)(s.kh * s.kw);
    if (all) return p.sums[(unsigned int)taps * row + j];
    float total = 0.0f;
    taps = 0;
    for (int ky = 0; ky < (int)s.kh; ++ky) {
        for (int kx = 0; kx < (int)s.kw; ++kx) {
            if ((unsigned int)(top + ky) >= s.h || (unsigned int)(left + kx) >= s.w) continue;
            total = add_rn(total, p.sums[(unsigned int)(ky * (int)s.kw + kx) * row + j]);
            ++taps;
        }
    }
    return total;
}

// s = r / (z + eps) of every cell.
ELUCID_KERNEL(elucid_ones_divide, OnesParams, ELUCID_BLOCK, 8) {
    const ConvShape &s = p.shape;
    const unsigned int i = elucid_thread();
    if (i >= s.oh * s.ow * s.co) return;
    const unsigned int cell = i / s.co, j = i - cell * s.co;
    int taps;
    const float z = add_rn(inside(p, j, (int)(cell / s.ow), (int)(cell % s.ow), taps), p.eps);
    p.s[i] = quotient(p.r[i], z, p.spread);
}

// The map: a warp for each pixel.
ELUCID_KERNEL(elucid_ones_collect, OnesParams, ELUCID_BLOCK, 6) {
    const ConvShape &s = p.shape;
    const unsigned int pixel = elucid_thread() / 32u, lane = threadIdx.x & 31u;
    if (pixel >= s.h * s.w) return; // a whole warp
    const int y = (int)(pixel / s.w), x = (int)(pixel % s.w), stride = (int)s.stride;
    const unsigned int row = (s.co + ELUCID_PANEL - 1) / ELUCID_PANEL * ELUCID_PANEL;
    // The first tap that reaches this pixel's residue class, and the cell under it.
    const int cy = (y + (int)s.pad) / stride, cx = (x + (int)s.pad) / stride;
    float sum = 0.0f;
    for (int ky = y + (int)s.pad - cy * stride, oy = cy; ky < (int)s.kh; ky += stride, --oy) {
        if ((unsigned int)oy >= s.oh) continue;
        for (int kx = x + (int)s.pad - cx * stride, ox = cx; kx < (int)s.kw; kx += stride, --ox) {
            if ((unsigned int)ox >= s.ow) continue;
            const unsigned int cell = (unsigned int)(oy * (int)s.ow + ox) * s.co;
            const float *sums = p.sums + (unsigned int)(ky * (int)s.kw + kx) * row;
            for (unsigned int j = lane; j < s.co; j += 32u) {
                const float v = p.s[cell + j];
                if (dead(v)) {
                    int taps;
                    const float total = inside(p, j, oy, ox, taps);
                    // An even share for each of the image's channels, together.
                    const float share = total > ELUCID_LEAST_Z ? div_rn(sums[j], total) : div_rn(1.0f, (float)taps);
                    sum = fmaf(p.r[cell + j], share, sum);
                } else {
                    sum = fmaf(v, sums[j], sum);
                }
            }
        }
    }
    for (int offset = 16; offset > 0; offset >>= 1) sum = add_rn(sum, __shfl_xor_sync(0xffffffffu, sum, offset));
    if (lane == 0u) p.heat[pixel] = p.accumulate ? add_rn(p.heat[pixel], sum) : sum;
}
