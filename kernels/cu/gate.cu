// What is done to a derivative before a layer passes it on: ReLU masks, the factors of LRP without splitting, and
// BatchNorm's scale.
//
// r = gate(r, y) * scale[channel] in place. The CPU reference is core/src/op/gate.rs, which this equals bit for bit.
//
// Versions
//   1. four channels of a pixel a thread in accesses of sixteen bytes, one where addresses or channels don't allow it. At
//      most eight bytes read from memory and four written per element: bound by memory, as the scale stays in the cache.
//      The modulo by the channels is only paid where there is a scale.
#include "flow.cuh"

ELUCID_DEVICE float gated(const GateParams &p, float r, float y) {
    switch (p.kind) {
    case GATE_MASK:
        return y > 0.0f ? r : 0.0f;
    case GATE_CLAMP_MASK:
        return y > 0.0f && r > 0.0f ? r : 0.0f;
    case GATE_CLAMP:
        return r > 0.0f ? r : 0.0f;
    case GATE_DIVIDE: {
        const float z = add_rn(y, y < 0.0f ? -p.eps : p.eps);
        return z == 0.0f ? 0.0f : div_rn(r, z);
    }
    case GATE_WEIGH:
        return mul_rn(r, y);
    default:
        return r;
    }
}

template <int N> ELUCID_DEVICE void gate_row(const GateParams &p, unsigned int i) {
    float r[N], y[N];
    fetch(r, p.relevance + i);
    if (p.kind == GATE_OPEN || p.kind == GATE_CLAMP) {
        fill(y, 0.0f);
    } else {
        fetch(y, p.y + i);
    }
    for (int k = 0; k < N; ++k) r[k] = gated(p, r[k], y[k]);
    if (p.scale) {
        float scale[N];
        fetch(scale, p.scale + i % p.channels);
        for (int k = 0; k < N; ++k) r[k] = mul_rn(r[k], scale[k]);
    }
    put(p.relevance + i, r);
}

ELUCID_KERNEL(elucid_gate, GateParams, ELUCID_BLOCK, 4) {
    const unsigned int i = p.vector ? 4 * elucid_thread() : elucid_thread();
    if (i >= p.count) return;
    if (p.vector) {
        gate_row<4>(p, i);
    } else {
        gate_row<1>(p, i);
    }
}
