// Taps of a resize along one line of cells, and their weighted sum.
//
// The CPU reference is core/src/op/token.rs, which all of this equals bit for bit: same operations, same order, each
// rounded by itself.
#ifndef ELUCID_RESIZE_CUH
#define ELUCID_RESIZE_CUH

#include "few.cuh"

// Cells and their weights, which sum to 1. Where an edge is repeated, a cell is named more than once.
template <int TAPS>
struct Taps {
    unsigned int at[TAPS];
    float weight[TAPS];
};

// Where the centre of output cell `out` lies in the input, in cells from the centre of its first.
ELUCID_DEVICE float resized_place(unsigned int out, float step) {
    return sub_rn(mul_rn(add_rn((float)out, 0.5f), step), 0.5f);
}

// Weight of a cell at a distance of 0..1, by the cubic with a = -0.75.
ELUCID_DEVICE float cubic_near(float x) {
    const float inner = sub_rn(mul_rn(1.25f, x), 2.25f);
    return add_rn(mul_rn(mul_rn(inner, x), x), 1.0f);
}

// The same at a distance of 1..2.
ELUCID_DEVICE float cubic_far(float x) {
    const float inner = sub_rn(mul_rn(-0.75f, x), -3.75f);
    return sub_rn(mul_rn(add_rn(mul_rn(inner, x), -6.0f), x), -3.0f);
}

// The taps of output cell `out` on a line of `size` cells.
ELUCID_DEVICE Taps<4> cubic_taps(unsigned int out, unsigned int size, float step) {
    const float place = resized_place(out, step);
    const float first = floorf(place);
    const float t = sub_rn(place, first);
    const int last = (int)size - 1;
    Taps<4> taps;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int at = (int)first + k - 1;
        taps.at[k] = (unsigned int)(at < 0 ? 0 : at > last ? last : at);
    }
    taps.weight[0] = cubic_far(add_rn(t, 1.0f));
    taps.weight[1] = cubic_near(t);
    taps.weight[2] = cubic_near(sub_rn(1.0f, t));
    taps.weight[3] = cubic_far(sub_rn(2.0f, t));
    return taps;
}

ELUCID_DEVICE Taps<2> linear_taps(unsigned int out, unsigned int size, float step) {
    const float place = fmaxf(resized_place(out, step), 0.0f);
    const unsigned int whole = (unsigned int)place;
    const unsigned int first = whole < size - 1 ? whole : size - 1;
    const float t = sub_rn(place, (float)first);
    Taps<2> taps;
    taps.at[0] = first;
    taps.at[1] = first + 1 < size ? first + 1 : size - 1;
    taps.weight[0] = sub_rn(1.0f, t);
    taps.weight[1] = t;
    return taps;
}

// `y` plus what the taps of a column and of a line say of a table whose first cell is at `table`, `columns` wide.
template <int N, int TAPS>
ELUCID_DEVICE Few<N> mix(
    const float *table, unsigned int columns, unsigned int channels, const Taps<TAPS> &down, const Taps<TAPS> &across, Few<N> y
) {
#pragma unroll
    for (int i = 0; i < TAPS; ++i) {
#pragma unroll
        for (int j = 0; j < TAPS; ++j) {
            const float weight = mul_rn(down.weight[i], across.weight[j]);
            if (weight == 0.0f) continue;
            const unsigned int cell = down.at[i] * columns + across.at[j];
            const Few<N> value = Few<N>::load(table + (unsigned long long)cell * channels);
#pragma unroll
            for (int k = 0; k < N; ++k) y.v[k] = add_rn(y.v[k], mul_rn(weight, value.v[k]));
        }
    }
    return y;
}

#endif
