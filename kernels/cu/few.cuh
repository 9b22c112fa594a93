// One float or four at once: kernels whose rows can't always be read sixteen bytes at a time are written once for both.
#ifndef ELUCID_FEW_CUH
#define ELUCID_FEW_CUH

#include "elucid.cuh"

template <int N>
struct Few;

template <>
struct Few<1> {
    float v[1];

    ELUCID_DEVICE Few load(const float *from) {
        Few few;
        few.v[0] = from[0];
        return few;
    }

    ELUCID_DEVICE void store(float *to, const Few &few) { to[0] = few.v[0]; }
};

// The addresses are multiples of sixteen bytes.
template <>
struct Few<4> {
    float v[4];

    ELUCID_DEVICE Few load(const float *from) {
        const float4 four = load4(from);
        Few few;
        few.v[0] = four.x;
        few.v[1] = four.y;
        few.v[2] = four.z;
        few.v[3] = four.w;
        return few;
    }

    ELUCID_DEVICE void store(float *to, const Few &few) {
        float4 four;
        four.x = few.v[0];
        four.y = few.v[1];
        four.z = few.v[2];
        four.w = few.v[3];
        store4(to, four);
    }
};

// The same of all of them.
template <int N>
ELUCID_DEVICE Few<N> all_of(float value) {
    Few<N> few;
#pragma unroll
    for (int i = 0; i < N; ++i) few.v[i] = value;
    return few;
}

#endif
