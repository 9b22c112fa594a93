/*
 * Parameters of the kernels: each takes one struct, by value.
 *
 * C, C++ and CUDA C++ read these files as they are; src/params/ says the same in Rust, and the tests compare the two with
 * bindgen. Pointers are addresses on the device. No struct has padding, so all its bytes are the parameters.
 */
#ifndef ELUCID_PARAMS_H
#define ELUCID_PARAMS_H

/* Threads of a block, for most kernels. */
#define ELUCID_BLOCK 256

#include "params_conv.h"
#include "params_flow.h"
#include "params_token.h"

#endif
