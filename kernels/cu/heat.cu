// What may be done to a finished map: Heat Quantization, and normalising it to 0..1.
//
// Quantization rounds every value down to one of `levels` evenly spaced edges between smallest and largest; only the largest
// keeps the top level. The CPU reference is core/src/heat.rs, which this equals bit for bit. Normalising is
// (v - smallest) / (largest - smallest). A map that is constant or not finite is left as it is by both.
//
// Versions
//   1. some blocks find the range of what their threads meet, then every block of the second kernel folds
//      their ranges again and changes its pixels: two launches, no synchronisation of the grid. Edges are double
//      precision's, as the reference's: about ten such operations a pixel.
#include "flow.cuh"

// Smallest and largest of a map, and whether it holds NaN, folded over a block.
struct Range {
    float low, high;
    unsigned int unsound;
};

ELUCID_DEVICE Range nothing() {
    Range range;
    range.low = of_bits(0x7f800000u);
    range.high = of_bits(0xff800000u);
    range.unsound = 0;
    return range;
}

ELUCID_DEVICE Range folded(Range range, float *box, unsigned int *counts) {
    range.low = fold<Smallest>(range.low, box);
    range.high = fold<Largest>(range.high, box);
    range.unsound = fold<Sum>(range.unsound, counts);
    return range;
}

ELUCID_KERNEL(elucid_range, RangeParams, ELUCID_BLOCK, 4) {
    __shared__ float box[ELUCID_WARPS];
    __shared__ unsigned int counts[ELUCID_WARPS];
    const unsigned int step = gridDim.x * ELUCID_BLOCK;
    Range range = nothing();
    for (unsigned int i = elucid_thread(); i < p.count; i += step) {
        const float v = p.map[i];
        range.low = Smallest::of(range.low, v);
        range.high = Largest::of(range.high, v);
        range.unsound += v != v;
    }
    range = folded(range, box, counts);
    if (threadIdx.x == 0) {
        p.ranges[blockIdx.x] = range.low;
        p.ranges[gridDim.x + blockIdx.x] = range.high;
        p.ranges[2 * gridDim.x + blockIdx.x] = range.unsound ? 1.0f : 0.0f;
    }
}

// The range of the whole map, from those of the blocks.
ELUCID_DEVICE Range range_of(const HeatParams &p, float *box, unsigned int *counts) {
    Range range = nothing();
    for (unsigned int block = threadIdx.x; block < p.blocks; block += ELUCID_BLOCK) {
        range.low = Smallest::of(range.low, p.ranges[block]);
        range.high = Largest::of(range.high, p.ranges[p.blocks + block]);
        range.unsound += p.ranges[2 * p.blocks + block] != 0.0f;
    }
    return folded(range, box, counts);
}

// Edge number i of the levels.
ELUCID_DEVICE float edge_of(const Range &range, double step, unsigned int i) {
    return (float)add_rn((double)range.low, mul_rn((double)i, step));
}

ELUCID_KERNEL(elucid_quantize, HeatParams, ELUCID_BLOCK, 4) {
    __shared__ float box[ELUCID_WARPS];
    __shared__ unsigned int counts[ELUCID_WARPS];
    const Range range = range_of(p, box, counts);
    const double spread = (double)range.high - (double)range.low;
    // Larger than any finite one: an infinity's.
    const bool sound = !range.unsound && spread > 0.0 && spread < 1e39;
    const unsigned int i = elucid_thread(), last = p.levels - 1;
    if (i < p.count && p.levels >= 2 && sound && p.map[i] < range.high) {
        const float v = p.map[i];
        const double step = spread / (double)last;
        unsigned int bin = (unsigned int)(((double)v - (double)range.low) / step);
        bin = bin < last - 1 ? bin : last - 1;
        while (bin > 0 && v < edge_of(range, step, bin)) --bin;
        while (bin + 1 < last && v >= edge_of(range, step, bin + 1)) ++bin;
        p.map[i] = edge_of(range, step, bin);
    }
}

ELUCID_KERNEL(elucid_normalize, HeatParams, ELUCID_BLOCK, 4) {
    __shared__ float box[ELUCID_WARPS];
    __shared__ unsigned int counts[ELUCID_WARPS];
    const Range range = range_of(p, box, counts);
    const float spread = sub_rn(range.high, range.low);
    const bool sound = !range.unsound && spread > 0.0f && spread < of_bits(0x7f800000u);
    const unsigned int i = elucid_thread();
    if (i < p.count && sound) p.map[i] = div_rn(sub_rn(p.map[i], range.low), spread);
}
