// Position embeddings, added: those of the tokens as they are, those of the grid resized to it (bicubic, a = -0.75, edges
// repeated).
//
// The CPU reference is `positions` in core/src/op/token.rs, which this equals bit for bit: same operations, same order,
// each rounded.
//
// Versions
//   1. one thread per element, four where channels are a multiple of four; neighbours read neighbours. Where the table has
//      the grid's size the taps are 0, 1, 0, 0, and this is an addition: 12 bytes for an element. Where it hasn't, a thread
//      of four elements finds eight weights (some 60 operations) and reads 16 cells, which lie in the cache (128 more): 6
//      operations for each of the 32 bytes it moves, where Orin could do 26. Bound by memory.
#include "resize.cuh"

template <int N>
ELUCID_DEVICE void positions_of(const PositionsParams &p) {
    const unsigned int i = elucid_thread() * N;
    const unsigned int count = (p.tokens + p.rows * p.columns) * p.channels;
    if (i >= count) return;

    const unsigned int row = i / p.channels, channel = i % p.channels;
    const unsigned int cell = row < p.tokens ? 0 : row - p.tokens;
    const bool same = p.rows == p.table_rows && p.columns == p.table_columns;
    const Taps<4> down = cubic_taps(cell / p.columns, p.table_rows, p.down);
    const Taps<4> across = cubic_taps(cell % p.columns, p.table_columns, p.across);
    for (unsigned int image = blockIdx.y; image < p.images; image += gridDim.y) {
        const unsigned long long at = (unsigned long long)image * count + i;
        Few<N> y = Few<N>::load(p.x + at);
        if (row < p.tokens || same) {
            const float *from = row < p.tokens ? p.head : p.table;
            if (from) {
                const Few<N> more = Few<N>::load(from + (row < p.tokens ? i : cell * p.channels + channel));
#pragma unroll
                for (int k = 0; k < N; ++k) y.v[k] = add_rn(y.v[k], more.v[k]);
            }
        } else {
            y = mix<N, 4>(p.table + channel, p.table_columns, p.channels, down, across, y);
        }
        Few<N>::store(p.y + at, y);
    }
}

ELUCID_KERNEL(elucid_positions, PositionsParams, ELUCID_BLOCK, 4) {
    if (p.vector) {
        positions_of<4>(p);
    } else {
        positions_of<1>(p);
    }
}
