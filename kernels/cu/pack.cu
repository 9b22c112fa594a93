// Checkpoints in half precision: two activations in the place of one, and out again.
//
// Rounded to nearest, ties to even; what is too large for a half becomes the largest finite one, so that no infinity comes
// of it. The CPU reference is core/src/op/half.rs, which this equals bit for bit.
//
// Versions
//   1. eight elements a thread: 32 bytes on one side, 16 on the other, in accesses of sixteen bytes. What is left over at
//      the end, or lies at other addresses, goes half by half.
#include "elucid.cuh"

#define MOST_HALF 65504.0f

ELUCID_DEVICE elucid_half half_of(float v) {
    v = v < -MOST_HALF ? -MOST_HALF : v;
    return narrow(v > MOST_HALF ? MOST_HALF : v);
}

// Two halves in the place of a float, the first in the low bits.
ELUCID_DEVICE float packed_pair(float first, float second) {
    return of_bits((unsigned int)half_of(first) | (unsigned int)half_of(second) << 16);
}

ELUCID_KERNEL(elucid_pack, PackParams, ELUCID_BLOCK, 4) {
    const unsigned int i = 8 * elucid_thread();
    if (i >= p.count) return;
    if (p.vector && p.count - i >= 8) {
        const float4 a = load4(p.x + i), b = load4(p.x + i + 4);
        float4 both;
        both.x = packed_pair(a.x, a.y);
        both.y = packed_pair(a.z, a.w);
        both.z = packed_pair(b.x, b.y);
        both.w = packed_pair(b.z, b.w);
        store4(p.packed + i / 2, both);
        return;
    }
    elucid_half *to = reinterpret_cast<elucid_half *>(p.packed);
    for (unsigned int k = i; k < i + 8 && k < p.count; ++k) to[k] = half_of(p.x[k]);
}

ELUCID_DEVICE float low_half(float both) { return widen((elucid_half)(bits_of(both) & 0xffffu)); }
ELUCID_DEVICE float high_half(float both) { return widen((elucid_half)(bits_of(both) >> 16)); }

ELUCID_KERNEL(elucid_unpack, UnpackParams, ELUCID_BLOCK, 4) {
    const unsigned int i = 8 * elucid_thread();
    if (i >= p.count) return;
    if (p.vector && p.count - i >= 8) {
        const float4 both = load4(p.packed + i / 2);
        float4 a, b;
        a.x = low_half(both.x);
        a.y = high_half(both.x);
        a.z = low_half(both.y);
        a.w = high_half(both.y);
        b.x = low_half(both.z);
        b.y = high_half(both.z);
        b.z = low_half(both.w);
        b.w = high_half(both.w);
        store4(p.y + i, a);
        store4(p.y + i + 4, b);
        return;
    }
    const elucid_half *from = reinterpret_cast<const elucid_half *>(p.packed);
    for (unsigned int k = i; k < i + 8 && k < p.count; ++k) p.y[k] = widen(from[k]);
}
