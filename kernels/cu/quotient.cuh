// The division of z+.
#ifndef ELUCID_QUOTIENT_CUH
#define ELUCID_QUOTIENT_CUH

#include "elucid.cuh"

// r / z; where z vanishes 0, or with `spread` the mark of a dead cell that holds relevance.
ELUCID_DEVICE float quotient(float r, float z, unsigned int spread) {
    if (z > ELUCID_LEAST_Z) return div_rn(r, z);
    return spread && r != 0.0f ? of_bits(ELUCID_DEAD_CELL) : 0.0f;
}

// Whether s is such a mark.
ELUCID_DEVICE bool dead(float s) { return bits_of(s) == ELUCID_DEAD_CELL; }

// What one input of a dead cell gets of its relevance r: in proportion to its weight w among `total`, or an even share where
// no weight is positive.
ELUCID_DEVICE float spread_share(float r, float w, float total, float count) {
    return total > ELUCID_LEAST_Z ? mul_rn(r, div_rn(w, total)) : mul_rn(r, div_rn(1.0f, count));
}

#endif
