// The ledger of an audited explanation: sums in double precision and one fixed order.
//
// Some blocks sum what their threads meet, and a last one adds their sums. The CPU references are `sum` in
// core/src/math.rs and `settle` in core/src/op/conv/quotient.rs; doubles in another order agree with them to about 1e-12.
//
// Versions
//   1. a thread takes every n-th element, n being the threads of the grid; warps fold by halves, blocks warp by warp.
//      Nobody audits in a hurry.
#include "flow.cuh"

ELUCID_KERNEL(elucid_total, TotalParams, ELUCID_BLOCK, 4) {
    __shared__ double box[ELUCID_WARPS];
    const unsigned int step = gridDim.x * ELUCID_BLOCK;
    double sum = 0.0;
    for (unsigned int i = elucid_thread(); i < p.count; i += step) {
        if (p.skip_end > p.skip_start) {
            const unsigned int c = i % p.channels;
            if (c >= p.skip_start && c < p.skip_end) continue;
        }
        sum += (double)p.values[i];
    }
    sum = fold<Sum>(sum, box);
    if (threadIdx.x == 0) p.sums[blockIdx.x] = sum;
}

ELUCID_KERNEL(elucid_cells, CellsParams, ELUCID_BLOCK, 4) {
    __shared__ double box[ELUCID_WARPS];
    const unsigned int step = gridDim.x * ELUCID_BLOCK;
    double eps = 0.0, dead = 0.0, redistributed = 0.0;
    for (unsigned int i = elucid_thread(); i < p.count; i += step) {
        const float r = p.r[i], s = p.s[i];
        if (p.redistribute) {
            if (bits_of(s) == ELUCID_DEAD_CELL) {
                redistributed += (double)r;
                continue;
            }
        } else if (s == 0.0f && r != 0.0f) {
            dead += (double)r;
        }
        if (p.eps > 0.0f) {
            // z = 0 gives exactly R / eps: nothing of it went on.
            const double lost = (double)s * (double)p.eps;
            if (s == div_rn(r, p.eps)) {
                dead += lost;
            } else {
                eps += lost;
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

ELUCID_KERNEL(elucid_tally, TallyParams, ELUCID_BLOCK, 4) {
    __shared__ double box[ELUCID_WARPS];
    for (unsigned int slot = 0; slot < p.width; ++slot) {
        double sum = 0.0;
        for (unsigned int block = threadIdx.x; block < p.blocks; block += ELUCID_BLOCK) {
            sum += p.sums[block * p.width + slot];
        }
        sum = fold<Sum>(sum, box);
        if (threadIdx.x == 0) p.slots[slot] = sum;
    }
}
