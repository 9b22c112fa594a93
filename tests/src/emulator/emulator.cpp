// Runs CUDA kernels on the CPU: every thread of the grid, one after the other, in the order the caller gives.
//
// These kernels have no barriers, no shared memory and no warp operations: their threads never wait for each other, so
// a plain loop executes them faithfully. A kernel with a barrier needs threads that can be suspended, which this isn't.
#include <math.h>

namespace {
struct Index {
    unsigned int x, y, z;
};
// What a kernel sees of its place in the grid.
thread_local Index threadIdx, blockIdx, blockDim;
} // namespace

#include "collect.cu"
#include "split.cu"

namespace {
// `order` names every thread of the grid once.
template <class P>
void run(void (*kernel)(P), const P *params, unsigned int blocks, unsigned int block, const unsigned int *order) {
    blockDim = {block, 1, 1};
    for (unsigned int i = 0; i < blocks * block; ++i) {
        blockIdx = {order[i] / block, 0, 0};
        threadIdx = {order[i] % block, 0, 0};
        kernel(*params);
    }
}
} // namespace

extern "C" void emulate_split(const SplitParams *params, unsigned int blocks, unsigned int block,
                              const unsigned int *order) {
    run(elucid_split, params, blocks, block, order);
}

extern "C" void emulate_collect(const CollectParams *params, unsigned int blocks, unsigned int block,
                                const unsigned int *order) {
    run(elucid_collect, params, blocks, block, order);
}
