// Rules over weights with BatchNorm folded in, as zennit defines them: what a term of such a rule takes of weights, input
// and bias, and the division. The products themselves are conv.cu and conv_back.cu over what is written out here.
//
// The CPU reference is core/src/op/conv/folded, which these equal bit for bit.
//
// Versions
//   1. one thread per element: bound by memory. A layer's modified weights are written once a term, in f32, and read back
//      by every tile of the product.
#include "elucid.cuh"

ELUCID_DEVICE float part_of(float v, unsigned int part, float gamma) {
    const float plus = v > 0.0f ? v : 0.0f, minus = v < 0.0f ? v : 0.0f;
    switch (part) {
    case PART_POSITIVE:
        return plus;
    case PART_NEGATIVE:
        return minus;
    case PART_MORE_POSITIVE:
        return add_rn(v, mul_rn(gamma, plus));
    case PART_MORE_NEGATIVE:
        return add_rn(v, mul_rn(gamma, minus));
    case PART_ONE:
        return 1.0f;
    case PART_SQUARE:
        return mul_rn(v, v);
    default:
        return v;
    }
}

template <class Weight> ELUCID_DEVICE void term_weights(const TermWeightsParams &p) {
    const unsigned int e = elucid_thread();
    if (e >= p.count) return;
    const unsigned int j = e / (p.rows * ELUCID_PANEL) * ELUCID_PANEL + e % ELUCID_PANEL;
    const float scale = p.scale ? (j < p.co ? p.scale[j] : 0.0f) : 1.0f;
    const float w = mul_rn(widen(((const Weight *)p.weight)[e]), scale);
    p.to[e] = mul_rn(p.sign, part_of(w, p.part, p.gamma));
}

ELUCID_KERNEL(elucid_term_weights_f32, TermWeightsParams, ELUCID_BLOCK, 8) { term_weights<float>(p); }
ELUCID_KERNEL(elucid_term_weights_f16, TermWeightsParams, ELUCID_BLOCK, 8) { term_weights<elucid_half>(p); }

ELUCID_KERNEL(elucid_term_inputs, TermInputsParams, ELUCID_BLOCK, 8) {
    const unsigned int e = elucid_thread();
    if (p.bias && e < p.co)
        p.bias[e] = p.shift ? mul_rn(p.sign, part_of(p.shift[e], p.part, p.gamma)) : 0.0f;
    if (e >= p.count) return;
    float x = 1.0f;
    if (p.of == OF_CONSTANT) {
        const unsigned int colour = e % p.channels % 3u;
        x = colour == 0u ? p.constant[0] : colour == 1u ? p.constant[1] : p.constant[2];
    } else if (p.of != OF_ONES) {
        x = p.a[e];
        if (p.of == OF_POSITIVE) x = x > 0.0f ? x : 0.0f;
        if (p.of == OF_NEGATIVE) x = x < 0.0f ? x : 0.0f;
    }
    p.x[e] = x;
}

ELUCID_KERNEL(elucid_folded_divide, FoldedDivideParams, ELUCID_BLOCK, 8) {
    const unsigned int e = elucid_thread();
    if (e >= p.count) return;
    const bool passes = !p.whole || (p.sign > 0.0f ? p.whole[e] > 0.0f : p.whole[e] < 0.0f);
    float z = p.z[e];
    z = add_rn(z, z < 0.0f ? -p.eps : p.eps);
    p.s[e] = passes && z != 0.0f ? div_rn(mul_rn(p.factor, p.r[e]), z) : 0.0f;
}
