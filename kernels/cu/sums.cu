// Sums over a layer's positive weights: sums[tap, j] = sum over i of max(w[j, tap, i], 0), and in a last row the sums of all
// taps. Worked out once, when an explainer is opened: the first layer sees ones instead of the image, so these are its
// weights (ones.cu), and relevance of dead cells is spread by them (conv_back.cu, linear.cu).
//
// The CPU reference is `Sum` in core/src/op/conv/ones.rs: input channels in ascending order.
//
// Versions
//   1. one thread per tap and channel; sixteen threads read a panel's row, so every line of memory is used whole.
#include "elucid.cuh"

template <class Weight> ELUCID_DEVICE void sum_weights(const SumsParams &p) {
    const unsigned int row = p.panels * ELUCID_PANEL, j = elucid_thread();
    if (j >= row) return;
    const Weight *weight = (const Weight *)p.weight;
    float whole = 0.0f;
    for (unsigned int tap = 0; tap < p.taps; ++tap) {
        const unsigned long long first = (unsigned long long)(j / ELUCID_PANEL * p.taps + tap) * p.ci;
        float sum = 0.0f;
        for (unsigned int i = 0; i < p.ci; ++i)
            sum = add_rn(sum, fmaxf(widen(weight[(first + i) * ELUCID_PANEL + j % ELUCID_PANEL]), 0.0f));
        p.sums[tap * row + j] = sum;
        whole = add_rn(whole, sum);
    }
    p.sums[p.taps * row + j] = whole;
}

ELUCID_KERNEL(elucid_sums_f32, SumsParams, ELUCID_BLOCK, 8) { sum_weights<float>(p); }
ELUCID_KERNEL(elucid_sums_f16, SumsParams, ELUCID_BLOCK, 8) { sum_weights<elucid_half>(p); }
