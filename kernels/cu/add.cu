// The addition of a residual block that no convolution does on its way: y = relu?(m + s).
//
// The CPU reference is `forward` in core/src/op/add.rs, which this equals bit for bit; a NaN stays one.
//
// Versions
//   1. four elements a thread in accesses of sixteen bytes, one where addresses or the count don't allow it. Eight bytes
//      read and four written per element, one addition: bound by memory.
#include "flow.cuh"

template <int N> ELUCID_DEVICE void add_row(const AddParams &p, unsigned int i) {
    float m[N], s[N];
    fetch(m, p.residual + i);
    fetch(s, p.skip + i);
    for (int k = 0; k < N; ++k) {
        const float sum = add_rn(m[k], s[k]);
        m[k] = p.relu && sum < 0.0f ? 0.0f : sum;
    }
    put(p.sum + i, m);
}

ELUCID_KERNEL(elucid_add, AddParams, ELUCID_BLOCK, 4) {
    const unsigned int i = p.vector ? 4 * elucid_thread() : elucid_thread();
    if (i >= p.count) return;
    if (p.vector) {
        add_row<4>(p, i);
    } else {
        add_row<1>(p, i);
    }
}
