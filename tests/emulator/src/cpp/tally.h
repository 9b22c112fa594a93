// What accesses cost: how a warp's accesses at one place fall into sectors of memory and banks of shared memory.
//
// The n-th accesses that the lanes of a warp make at one instruction are taken for one request, counted anew from each
// barrier on.
#ifndef ELUCID_EMULATOR_TALLY_H
#define ELUCID_EMULATOR_TALLY_H

#include <cstddef>
#include <cstdint>

namespace emulator {
namespace tally {

// An instruction of a kernel, as it goes to Rust (src/site.rs has the same struct).
struct Site {
    std::uint64_t pc; // offset in the library
    std::uint32_t shared, write;
    std::uint64_t requests, lanes, bytes;
    std::uint64_t sectors, ideal_sectors;       // of global memory: 32 bytes each
    std::uint64_t wavefronts, ideal_wavefronts; // of shared memory: what its 32 banks give at once
    char kernel[64];
};

// One access of the running thread; `address` is relative to the variable for shared memory.
void count(std::uint32_t pc, std::uint64_t address, unsigned int bytes, bool shared, bool write);
// What was counted becomes requests: at a barrier, and at the end of a block.
void settle();

std::size_t sites();
void copy_sites(Site *to, std::size_t count);
void clear();

} // namespace tally
} // namespace emulator

#endif
