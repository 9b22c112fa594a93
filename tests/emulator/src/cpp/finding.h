// What went wrong in a launch, as it goes to Rust (src/fault.rs has the same struct).
#ifndef ELUCID_EMULATOR_FINDING_H
#define ELUCID_EMULATOR_FINDING_H

#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

enum class Kind : std::uint32_t {
    Launch = 0,        // there is no such kernel, or not with such an argument or grid
    Divergence = 1,    // threads of a block wait at different barriers
    Exited = 2,        // a barrier or a warp operation waits for threads that have returned
    Deadlock = 3,      // threads wait for each other
    Warp = 4,          // lanes don't agree on a warp operation, or read a lane that takes no part
    Misaligned = 5,    // sixteen bytes at an address that isn't a multiple of sixteen
    OutOfBounds = 6,   // an address in no registered memory
    Uninitialised = 7, // a read of what nobody wrote
    Race = 8,          // two threads at one place, one of them writing, with nothing that orders them
};

struct Finding {
    Kind kind;
    std::uint32_t block[3], thread;
    std::uint32_t other_block[3], other_thread; // of a race: the earlier access
    std::uint32_t line;                         // 0: known by `pc`
    const char *file;                           // null: known by `pc`
    std::uint64_t pc, other_pc;                 // offsets in the library; 0: none
    char kernel[64];
    char text[160];
};

// All findings of the calling OS thread's last launch.
std::vector<Finding> &findings();

// One line of text. Offsets in the library appear as `@0x1234`.
std::string describe(const Finding &finding);

} // namespace emulator

#endif
