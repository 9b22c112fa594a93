// Relevance splitting: undoes the addition m + s of a residual block.
//
// The residual branch m keeps R_m = R |m| / (|m| + |s|), the skip branch s gets R_s = R - R_m; or each gets half; or the
// residual branch keeps all (ECCV 2024, section "Relevance Splitting"). Where both branches are 0 each gets half.
// The CPU reference is core/src/op/add.rs, which this equals bit for bit: same operations, same order, each rounded.
//
// Only channels live_start..live_end of the skip branch can pass relevance on (the zero channels of a parameter-free
// shortcut have no input); on the others all of it stays with the residual branch.
//
// Versions
//   1. one thread per element, neighbours read neighbours. At most 20 bytes read and 8 written per element and one
//      division: bound by memory. The modulo by the channels is only paid where some channels aren't live.
#include "elucid.cuh"

ELUCID_KERNEL(elucid_split, SplitParams, ELUCID_BLOCK, 8) {
    const unsigned int i = elucid_thread();
    if (i >= p.count) return;

    const bool every = p.live_start == 0 && p.live_end == p.channels;
    const unsigned int channel = every ? 0 : i % p.channels;
    const bool live = every || (channel >= p.live_start && channel < p.live_end);

    if (p.share == SHARE_RESIDUAL || !live) {
        if (!p.accumulate) p.skip_relevance[i] = 0.0f;
        return;
    }

    const float r = p.relevance[i];
    float kept, passed;
    if (p.share == SHARE_HALF) {
        kept = mul_rn(r, 0.5f);
        passed = kept;
    } else {
        const float m = fabsf(p.residual[i]), s = fabsf(p.skip[i]);
        const float both = add_rn(m, s);
        const float rho = both > 0.0f ? div_rn(m, both) : 0.5f;
        kept = mul_rn(r, rho);
        passed = sub_rn(r, kept);
    }
    const float before = p.accumulate ? p.skip_relevance[i] : 0.0f;
    p.relevance[i] = kept;
    p.skip_relevance[i] = add_rn(before, passed);
}
