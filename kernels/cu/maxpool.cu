// Max pool, and the relevance of its input.
//
// y = the largest of each window; the padding never wins. Relevance goes whole to the first maximum of a window, or as
// through an average: every cell of a window gets a s / n with s = R / (mean + eps), where windows of the reference are
// stride x stride and count the cells inside the input, and the pool's own count the padding. The CPU reference is
// core/src/op/pool.rs, which all but the sinks equal bit for bit.
//
// Versions
//   1. relevance is gathered: a thread owns four channels of an input pixel (one where addresses or channels don't allow
//      it), visits the windows over it in ascending order and works out each one's maximum or mean again. Overlapping
//      windows would need atomic additions otherwise. A 3x3 pool of stride 2 has 2.25 windows over a pixel, 20 loads that
//      neighbours share in the cache, and no pixel's loads depend on another's; every byte comes from memory about once.
//   2. the loops over a window's columns aren't unrolled: windows are two or three wide, below what a compiler unrolls by,
//      and the registers that it took for that (64 and more, now 40) kept half of the threads away.
#include "flow.cuh"

// Rows or columns, first to last without the last.
struct Span {
    unsigned int start, end;
};

// Those of the input that lie in window number o of one direction.
ELUCID_DEVICE Span inputs_of(unsigned int o, const unsigned int (&window)[3], unsigned int size) {
    const unsigned int start = o * window[1], reach = start + window[0], pad = window[2];
    Span span;
    span.end = reach > pad ? reach - pad : 0;
    span.end = span.end < size ? span.end : size;
    span.start = start > pad ? start - pad : 0;
    span.start = span.start < span.end ? span.start : span.end;
    return span;
}

// The windows of one direction over number i of the input.
ELUCID_DEVICE Span windows_of(unsigned int i, const unsigned int (&window)[3], unsigned int count) {
    const unsigned int kernel = window[0], stride = window[1], at = i + window[2];
    Span span;
    span.end = at / stride + 1;
    span.end = span.end < count ? span.end : count;
    span.start = at < kernel ? 0 : (at - kernel) / stride + 1;
    span.start = span.start < span.end ? span.start : span.end;
    return span;
}

template <int N> ELUCID_DEVICE void max_row(const MaxParams &p, unsigned int i) {
    const unsigned int window[3] = {p.kernel, p.stride, p.pad};
    const unsigned int c = i % p.channels, pixel = i / p.channels;
    const unsigned int x = pixel % p.out_w, row = pixel / p.out_w;
    const unsigned int y = row % p.out_h, image = row / p.out_h;
    const Span rows = inputs_of(y, window, p.in_h), columns = inputs_of(x, window, p.in_w);
    float best[N];
    fill(best, of_bits(0xff800000u));
    for (unsigned int iy = rows.start; iy < rows.end; ++iy) {
#pragma unroll 1
        for (unsigned int ix = columns.start; ix < columns.end; ++ix) {
            float v[N];
            fetch(v, p.x + ((image * p.in_h + iy) * p.in_w + ix) * p.channels + c);
            for (int k = 0; k < N; ++k) best[k] = v[k] > best[k] ? v[k] : best[k];
        }
    }
    put(p.y + i, best);
}

ELUCID_KERNEL(elucid_max, MaxParams, ELUCID_BLOCK, 4) {
    const unsigned int i = p.vector ? 4 * elucid_thread() : elucid_thread();
    if (i >= p.count) return;
    if (p.vector) {
        max_row<4>(p, i);
    } else {
        max_row<1>(p, i);
    }
}

// The sums of a window's cells, top to bottom, left to right, in N channels from c on; and how many they are.
template <int N>
ELUCID_DEVICE float window_sums(const MaxRelevanceParams &p, Span rows, Span columns, unsigned int c, float (&sums)[N]) {
    fill(sums, -0.0f);
    for (unsigned int iy = rows.start; iy < rows.end; ++iy) {
#pragma unroll 1
        for (unsigned int ix = columns.start; ix < columns.end; ++ix) {
            float v[N];
            fetch(v, p.a + (iy * p.in_w + ix) * p.channels + c);
            for (int k = 0; k < N; ++k) sums[k] = add_rn(sums[k], v[k]);
        }
    }
    const unsigned int count = (rows.end - rows.start) * (columns.end - columns.start);
    return p.divisor > 0.0f ? p.divisor : (float)(count > 0 ? count : 1);
}

// Whether pixel `own` is the first maximum of a window in each of N channels from c on.
template <int N>
ELUCID_DEVICE void winners(const MaxRelevanceParams &p, Span rows, Span columns, unsigned int c, unsigned int own,
                           bool (&wins)[N]) {
    const unsigned int first = rows.start * p.in_w + columns.start;
    float best[N];
    fill(best, of_bits(0xff800000u));
    for (int k = 0; k < N; ++k) wins[k] = own == first;
    for (unsigned int iy = rows.start; iy < rows.end; ++iy) {
#pragma unroll 1
        for (unsigned int ix = columns.start; ix < columns.end; ++ix) {
            const unsigned int pixel = iy * p.in_w + ix;
            float v[N];
            fetch(v, p.a + pixel * p.channels + c);
            for (int k = 0; k < N; ++k) {
                const bool more = v[k] > best[k];
                wins[k] = more ? pixel == own : wins[k];
                best[k] = more ? v[k] : best[k];
            }
        }
    }
}

template <int N> ELUCID_DEVICE void max_relevance_row(const MaxRelevanceParams &p, unsigned int i) {
    const unsigned int window[3] = {p.kernel, p.stride, p.pad};
    const unsigned int c = i % p.channels, own = i / p.channels;
    const Span down = windows_of(own / p.in_w, window, p.out_h), across = windows_of(own % p.in_w, window, p.out_w);
    float out[N], a[N];
    before(out, p.out + i, p.accumulate);
    if (p.share == POOL_AVERAGE) {
        fetch(a, p.a + i);
    } else {
        fill(a, 0.0f);
    }
    for (unsigned int oy = down.start; oy < down.end; ++oy) {
        const Span rows = inputs_of(oy, window, p.in_h);
        for (unsigned int ox = across.start; ox < across.end; ++ox) {
            const Span columns = inputs_of(ox, window, p.in_w);
            float r[N];
            fetch(r, p.r + (oy * p.out_w + ox) * p.channels + c);
            if (p.share == POOL_AVERAGE) {
                float sums[N];
                const float count = window_sums(p, rows, columns, c, sums);
                for (int k = 0; k < N; ++k) {
                    const float z = add_rn(div_rn(sums[k], count), p.eps);
                    if (z <= ELUCID_LEAST_Z) continue;
                    out[k] = add_rn(out[k], div_rn(mul_rn(a[k], div_rn(r[k], z)), count));
                }
            } else {
                bool wins[N];
                winners(p, rows, columns, c, own, wins);
                for (int k = 0; k < N; ++k) out[k] = wins[k] ? add_rn(out[k], r[k]) : out[k];
            }
        }
    }
    put(p.out + i, out);
}

ELUCID_KERNEL(elucid_max_relevance, MaxRelevanceParams, ELUCID_BLOCK, 4) {
    const unsigned int i = p.vector ? 4 * elucid_thread() : elucid_thread();
    if (i >= p.in_h * p.in_w * p.channels) return;
    if (p.vector) {
        max_relevance_row<4>(p, i);
    } else {
        max_relevance_row<1>(p, i);
    }
}

// What averages lose: to eps, and in windows without a denominator.
ELUCID_KERNEL(elucid_max_sinks, MaxRelevanceParams, ELUCID_BLOCK, 4) {
    __shared__ double box[ELUCID_WARPS];
    const unsigned int window[3] = {p.kernel, p.stride, p.pad};
    const unsigned int count = p.out_h * p.out_w * p.channels, step = gridDim.x * ELUCID_BLOCK;
    double eps = 0.0, dead = 0.0;
    for (unsigned int i = elucid_thread(); i < count; i += step) {
        const unsigned int c = i % p.channels, pixel = i / p.channels;
        const Span rows = inputs_of(pixel / p.out_w, window, p.in_h);
        const Span columns = inputs_of(pixel % p.out_w, window, p.in_w);
        float sum[1];
        const float cells = window_sums(p, rows, columns, c, sum);
        const float z = add_rn(div_rn(sum[0], cells), p.eps), r = p.r[i];
        const double lost = z <= ELUCID_LEAST_Z ? (double)r : (double)div_rn(r, z) * (double)p.eps;
        if (z <= ELUCID_LEAST_Z || sum[0] == 0.0f) {
            dead += lost;
        } else {
            eps += lost;
        }
    }
    eps = fold<Sum>(eps, box);
    dead = fold<Sum>(dead, box);
    if (threadIdx.x == 0) {
        double *sums = p.sums + 3 * blockIdx.x;
        sums[0] = eps;
        sums[1] = dead;
        sums[2] = 0.0;
    }
}
