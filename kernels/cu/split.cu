// Relevance splitting: undoes the addition m + s of a residual block.
//
// The residual branch m keeps R_m = R |m| / (|m| + |s|), the skip branch s gets R_s = R - R_m; or each gets half; or the
// residual branch keeps all (ECCV 2024, section "Relevance Splitting"). Where both branches are 0 each gets half. Signed
// shares are those of zennit, R m / (m + s + eps), R s / (m + s + eps). A derivative goes whole into both.
// The CPU reference is core/src/op/add.rs, which this equals bit for bit: same operations, same order, each rounded.
//
// Only channels live_start..live_end of the skip branch can pass relevance on (the zero channels of a parameter-free
// shortcut have no input); on the others all of it stays with the residual branch.
//
// Versions
//   1. one thread per element, neighbours read neighbours. At most 20 bytes read and 8 written per element and one
//      division: bound by memory. The modulo by the channels is only paid where some channels aren't live.
//   2. four elements a thread in accesses of sixteen bytes where all channels are live: a quarter of the instructions and
//      of the requests in flight for the same bytes.
#include "flow.cuh"

// The skip branch's share of r; r keeps the rest.
ELUCID_DEVICE float share_of(const SplitParams &p, float &r, float m, float s) {
    if (p.share == SHARE_HALF) {
        r = mul_rn(r, 0.5f);
        return r;
    }
    if (p.share == SHARE_RATIO) {
        m = fabsf(m);
        const float both = add_rn(m, fabsf(s));
        const float kept = mul_rn(r, both > 0.0f ? div_rn(m, both) : 0.5f);
        const float passed = sub_rn(r, kept);
        r = kept;
        return passed;
    }
    if (p.share == SHARE_SIGNED) {
        const float sum = add_rn(m, s);
        const float t = div_rn(r, add_rn(sum, sum < 0.0f ? -p.eps : p.eps));
        r = mul_rn(m, t);
        return mul_rn(s, t);
    }
    return r;
}

// N elements from number i on.
template <int N> ELUCID_DEVICE void split_row(const SplitParams &p, unsigned int i) {
    float r[N], m[N], s[N], skip[N];
    fetch(r, p.relevance + i);
    if (p.share == SHARE_RATIO || p.share == SHARE_SIGNED) {
        fetch(m, p.residual + i);
        fetch(s, p.skip + i);
    } else {
        fill(m, 0.0f);
        fill(s, 0.0f);
    }
    before(skip, p.skip_relevance + i, p.accumulate);
    for (int k = 0; k < N; ++k) skip[k] = add_rn(skip[k], share_of(p, r[k], m[k], s[k]));
    put(p.skip_relevance + i, skip);
    if (p.share != SHARE_BOTH) put(p.relevance + i, r);
}

// N elements whose skip branch gets nothing.
template <int N> ELUCID_DEVICE void keep_row(const SplitParams &p, unsigned int i) {
    float none[N];
    fill(none, 0.0f);
    if (!p.accumulate) put(p.skip_relevance + i, none);
}

ELUCID_KERNEL(elucid_split, SplitParams, ELUCID_BLOCK, 4) {
    if (p.vector) {
        const unsigned int i = 4 * elucid_thread();
        if (i >= p.count) return;
        if (p.share == SHARE_RESIDUAL) {
            keep_row<4>(p, i);
        } else {
            split_row<4>(p, i);
        }
        return;
    }
    const unsigned int i = elucid_thread();
    if (i >= p.count) return;
    const bool every = p.live_start == 0 && p.live_end == p.channels;
    const unsigned int channel = every ? 0 : i % p.channels;
    const bool live = every || (channel >= p.live_start && channel < p.live_end);
    if (p.share == SHARE_RESIDUAL || !live) {
        keep_row<1>(p, i);
    } else {
        split_row<1>(p, i);
    }
}
