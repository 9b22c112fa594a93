// The start of an explanation: which class, and the relevance it starts with.
//
// The class is given, or has a given number of others before it, where larger logits come first and equal ones in order.
// It starts with its softmax probability, its logit or 1; all other classes with 0. The CPU reference is `seed` in
// core/src/op/head.rs: the same class, and a probability that differs by the rounding of expf.
//
// Versions
//   1. one block per map over its logits. The largest logit and its place are one number of 64 bits, so one fold finds
//      both. A rank is found bit by bit, counting what is as large: 32 passes over the logits and one for each bit of
//      their number, whatever the rank is, without memory of its own; rank 0 needs none of them. expf is a float's, its
//      sum a double's: a Jetson takes 64 times as long for a double's exponential.
#include "flow.cuh"

// Logits in the order of unsigned numbers; both zeros are the same.
ELUCID_DEVICE unsigned int ordered(float v) {
    const unsigned int bits = bits_of(v == 0.0f ? 0.0f : v);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// How many classes up to number `last` come at or above `key`; exactly at it with `equal`.
ELUCID_DEVICE unsigned int classes_at(const float *logits, unsigned int last, unsigned int key, bool equal,
                                      unsigned int *box) {
    unsigned int count = 0;
    for (unsigned int i = threadIdx.x; i <= last; i += ELUCID_BLOCK) {
        const unsigned int at = ordered(logits[i]);
        count += equal ? at == key : at >= key;
    }
    return fold<Sum>(count, box);
}

// The class with `rank` others before it, where there are more classes than that.
ELUCID_DEVICE unsigned int class_of_rank(const float *logits, unsigned int classes, unsigned int rank,
                                         unsigned int *box) {
    unsigned int key = 0;
    for (unsigned int bit = 0x80000000u; bit; bit /= 2) {
        if (classes_at(logits, classes - 1, key | bit, false, box) > rank) key |= bit;
    }
    // No logit's key is all ones: that is a NaN's.
    const unsigned int left = rank - classes_at(logits, classes - 1, key + 1, false, box);
    unsigned int low = 0, high = classes - 1;
    while (low < high) {
        const unsigned int middle = low + (high - low) / 2;
        if (classes_at(logits, middle, key, true, box) > left) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

ELUCID_KERNEL(elucid_seed, SeedParams, ELUCID_BLOCK, 2) {
    __shared__ double sums[ELUCID_WARPS];
    __shared__ unsigned long long places[ELUCID_WARPS];
    __shared__ unsigned int counts[ELUCID_WARPS];
    const unsigned int map = blockIdx.x;
    const float *logits = p.logits + (unsigned long long)(map / p.targets) * p.classes;
    const SeedRequest request = p.requests[map];

    // The largest logit and, among equal ones, the first.
    unsigned long long place = 0;
    unsigned int unsound = 0;
    for (unsigned int i = threadIdx.x; i < p.classes; i += ELUCID_BLOCK) {
        const float v = logits[i];
        unsound += (bits_of(v) & 0x7f800000u) == 0x7f800000u;
        place = Largest::of(place, (unsigned long long)ordered(v) << 32 | (0xffffffffu - i));
    }
    place = fold<Largest>(place, places);
    unsound = fold<Sum>(unsound, counts);

    SeedResult result;
    result.predicted = 0;
    result.target = 0;
    result.probability = 0.0f;
    result.logit = 0.0f;
    result.relevance = 0.0f;
    result.status = SEED_WELL;
    if (unsound || p.classes == 0) {
        result.status = SEED_NOT_FINITE;
    } else if (request.index >= p.classes) {
        result.status = SEED_NO_CLASS;
    } else {
        result.predicted = 0xffffffffu - (unsigned int)place;
        if (request.kind == 1) {
            result.target = request.index;
        } else if (request.index == 0) {
            result.target = result.predicted;
        } else {
            result.target = class_of_rank(logits, p.classes, request.index, counts);
        }
        const float most = logits[result.predicted];
        double total = 0.0;
        for (unsigned int i = threadIdx.x; i < p.classes; i += ELUCID_BLOCK) {
            total += (double)expf(sub_rn(logits[i], most));
        }
        total = fold<Sum>(total, sums);
        result.logit = logits[result.target];
        result.probability = (float)((double)expf(sub_rn(result.logit, most)) / total);
        result.relevance = p.start == START_PROBABILITY ? result.probability
                           : p.start == START_LOGIT     ? result.logit
                                                        : 1.0f;
    }

    float *row = p.relevance + (unsigned long long)map * p.classes;
    for (unsigned int i = threadIdx.x; i < p.classes; i += ELUCID_BLOCK) {
        row[i] = result.status == SEED_WELL && i == result.target ? result.relevance : 0.0f;
    }
    if (threadIdx.x == 0) p.results[map] = result;
}
