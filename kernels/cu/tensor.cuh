// Tensor cores: one product of 16 x 16 halves with 16 x 8 halves, added up in f32, and the loads of its fragments.
//
// From sm_80 on. Emulated, the same fragments are exchanged by shuffles, lane by lane as PTX lays them out.
#ifndef ELUCID_TENSOR_CUH
#define ELUCID_TENSOR_CUH

#include "elucid.cuh"

#ifndef ELUCID_EMULATED
#if __CUDA_ARCH__ >= 800
#define ELUCID_TENSOR 1

// d += a b
ELUCID_DEVICE void mma(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of halves in shared memory: lane l names row l % 8 of matrix l / 8, sixteen bytes.
ELUCID_DEVICE void load_matrices(unsigned int (&m)[4], const elucid_half *row) {
    const unsigned int at = (unsigned int)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(at)
                 : "memory");
}

// The same, each matrix transposed.
ELUCID_DEVICE void load_transposed(unsigned int (&m)[4], const elucid_half *row) {
    const unsigned int at = (unsigned int)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(at)
                 : "memory");
}

// Two floats as halves, the first in the lower bits; rounded to nearest, even.
ELUCID_DEVICE unsigned int halves(float low, float high) {
    unsigned int packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
#endif
#else
#define ELUCID_TENSOR 1

ELUCID_DEVICE void mma(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
    const unsigned int lane = threadIdx.x & 31u, row = lane >> 2, column = (lane & 3u) * 2u;
    const elucid_half none = 0;
    elucid_half upper[16], lower[16], left[16], right[16];
    for (int k = 0; k < 16; ++k) upper[k] = lower[k] = left[k] = right[k] = none;
    for (unsigned int t = 0; t < 4u; ++t) {
        for (unsigned int h = 0; h < 2u; ++h) {
            // Halves 2 t and 2 t + 1 of the eight from 8 h on.
            const unsigned int k = 8u * h + 2u * t;
            const unsigned int top = __shfl_sync(0xffffffffu, a[2u * h], (int)(row * 4u + t));
            const unsigned int bottom = __shfl_sync(0xffffffffu, a[2u * h + 1u], (int)(row * 4u + t));
            const unsigned int first = __shfl_sync(0xffffffffu, b[h], (int)(column * 4u + t));
            const unsigned int second = __shfl_sync(0xffffffffu, b[h], (int)((column + 1u) * 4u + t));
            upper[k] = (elucid_half)(top & 0xffffu);
            upper[k + 1u] = (elucid_half)(top >> 16);
            lower[k] = (elucid_half)(bottom & 0xffffu);
            lower[k + 1u] = (elucid_half)(bottom >> 16);
            left[k] = (elucid_half)(first & 0xffffu);
            left[k + 1u] = (elucid_half)(first >> 16);
            right[k] = (elucid_half)(second & 0xffffu);
            right[k + 1u] = (elucid_half)(second >> 16);
        }
    }
    for (int k = 0; k < 16; ++k) {
        d[0] += widen(upper[k]) * widen(left[k]);
        d[1] += widen(upper[k]) * widen(right[k]);
        d[2] += widen(lower[k]) * widen(left[k]);
        d[3] += widen(lower[k]) * widen(right[k]);
    }
}

// The row that a lane names, as every lane sees it.
ELUCID_DEVICE const elucid_half *named_row(const elucid_half *row, unsigned int lane) {
    return (const elucid_half *)__shfl_sync(0xffffffffu, (unsigned long long)row, (int)lane);
}

ELUCID_DEVICE void load_matrices(unsigned int (&m)[4], const elucid_half *row) {
    const unsigned int lane = threadIdx.x & 31u;
    for (unsigned int i = 0; i < 4u; ++i) {
        const elucid_half *at = named_row(row, 8u * i + lane / 4u) + lane % 4u * 2u;
        m[i] = (unsigned int)at[0] | (unsigned int)at[1] << 16;
    }
}

ELUCID_DEVICE void load_transposed(unsigned int (&m)[4], const elucid_half *row) {
    const unsigned int lane = threadIdx.x & 31u;
    for (unsigned int i = 0; i < 4u; ++i) {
        const elucid_half *first = named_row(row, 8u * i + lane % 4u * 2u) + lane / 4u;
        const elucid_half *second = named_row(row, 8u * i + lane % 4u * 2u + 1u) + lane / 4u;
        m[i] = (unsigned int)first[0] | (unsigned int)second[0] << 16;
    }
}

ELUCID_DEVICE unsigned int halves(float low, float high) {
    return (unsigned int)emulated_narrow(low) | (unsigned int)emulated_narrow(high) << 16;
}
#endif

#endif
