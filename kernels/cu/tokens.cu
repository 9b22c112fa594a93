// Learned tokens put before the rows of every image.
//
// The CPU reference is `prepend` in core/src/op/token.rs, which this equals bit for bit: it is a copy.
//
// Versions
//   1. one thread per element, 8 bytes moved for each (those of the tokens are read from the cache for all images but the
//      first): bound by memory. Four elements a thread where rows are multiples of four.
#include "few.cuh"

template <int N>
ELUCID_DEVICE void tokens_of(const TokensParams &p) {
    const unsigned int i = elucid_thread() * N;
    const unsigned int both = p.head + p.rest;
    if (i >= both) return;
    for (unsigned int image = blockIdx.y; image < p.images; image += gridDim.y) {
        const float *rest = p.x + (unsigned long long)image * p.rest;
        float *y = p.y + (unsigned long long)image * both;
        Few<N>::store(y + i, Few<N>::load(i < p.head ? p.tokens + i : rest + (i - p.head)));
    }
}

ELUCID_KERNEL(elucid_tokens, TokensParams, ELUCID_BLOCK, 8) {
    if (p.vector) {
        tokens_of<4>(p);
    } else {
        tokens_of<1>(p);
    }
}
