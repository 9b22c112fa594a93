// What kernels between weighted layers share: rows of one or four floats, folds over a block in a fixed order, and
// doubles that nobody rearranges.
#ifndef ELUCID_FLOW_CUH
#define ELUCID_FLOW_CUH

#include "elucid.cuh"

// One float, or four at an address that is a multiple of sixteen.
ELUCID_DEVICE void fetch(float (&row)[1], const float *from) { row[0] = from[0]; }
ELUCID_DEVICE void fetch(float (&row)[4], const float *from) {
    const float4 v = load4(from);
    row[0] = v.x;
    row[1] = v.y;
    row[2] = v.z;
    row[3] = v.w;
}
ELUCID_DEVICE void put(float *to, const float (&row)[1]) { to[0] = row[0]; }
ELUCID_DEVICE void put(float *to, const float (&row)[4]) {
    float4 v;
    v.x = row[0];
    v.y = row[1];
    v.z = row[2];
    v.w = row[3];
    store4(to, v);
}

// The same in every element.
template <int N> ELUCID_DEVICE void fill(float (&row)[N], float v) {
    for (int k = 0; k < N; ++k) row[k] = v;
}

// What is there already if it is to be added to, else zeros.
template <int N> ELUCID_DEVICE void before(float (&row)[N], const float *from, bool accumulate) {
    if (accumulate) {
        fetch(row, from);
    } else {
        fill(row, 0.0f);
    }
}

// How two values become one. Largest and smallest pass over NaN.
struct Sum {
    template <class T> ELUCID_DEVICE T of(T a, T b) { return a + b; }
};
struct Largest {
    template <class T> ELUCID_DEVICE T of(T a, T b) { return b > a ? b : a; }
};
struct Smallest {
    template <class T> ELUCID_DEVICE T of(T a, T b) { return b < a ? b : a; }
};

// One value of every warp of a block, shared.
#define ELUCID_WARPS (ELUCID_BLOCK / 32)

// All of a block's values in one, in every thread: within warps by halves, then warp by warp. `box` has ELUCID_WARPS
// elements and may be used again at once.
template <class How, class T> ELUCID_DEVICE T fold(T v, T *box) {
    for (int apart = 16; apart > 0; apart /= 2) v = How::of(v, __shfl_xor_sync(0xffffffffu, v, apart));
    if (threadIdx.x % 32 == 0) box[threadIdx.x / 32] = v;
    __syncthreads();
    T all = box[0];
    for (int warp = 1; warp < ELUCID_WARPS; ++warp) all = How::of(all, box[warp]);
    __syncthreads();
    return all;
}

// Doubles, each operation rounded by itself.
#ifndef ELUCID_EMULATED
ELUCID_DEVICE double add_rn(double a, double b) { return __dadd_rn(a, b); }
ELUCID_DEVICE double mul_rn(double a, double b) { return __dmul_rn(a, b); }
#else
ELUCID_DEVICE double add_rn(double a, double b) { return a + b; }
ELUCID_DEVICE double mul_rn(double a, double b) { return a * b; }
#endif

#endif
