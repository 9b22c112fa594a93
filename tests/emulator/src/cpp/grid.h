// Execution of a grid: blocks one after the other, the threads of a block as fibers.
#ifndef ELUCID_EMULATOR_GRID_H
#define ELUCID_EMULATOR_GRID_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator.h"
#include "fiber.h"
#include "finding.h"

#define EMULATOR_EXPORT extern "C" __attribute__((visibility("default")))

namespace emulator {

// In which order blocks, and the threads of a block, get their turn. A GPU promises none.
struct Order {
    enum Kind : std::uint32_t { Ascending = 0, Descending = 1, Shuffled = 2 } kind;
    std::uint64_t seed; // of Shuffled
};

// A thread of the running block.
struct Fiber {
    enum class State : std::uint8_t { Fresh, Running, AtBarrier, InWarp, Done };
    enum class Operation : std::uint8_t { Synchronise, Ballot, Exchange, Multiply, LoadMatrices };

    void *stack_pointer;
    unsigned int number, lane, warp;
    State state;
    // Where it waits, and what for.
    const char *file;
    unsigned int line;
    Operation operation;
    std::uint32_t mask;
    std::uint64_t value, result;
    unsigned int source;
    const void *operands[2];
    void *destination;
};

// Lanes of a warp, a bit for each.
struct WarpState {
    std::uint32_t arrived, returned; // at a warp operation; from the kernel
};

// What an OS thread executes grids with.
struct Worker {
    Stacks stacks;
    std::vector<Fiber> fibers;
    std::vector<WarpState> warps;
    void *stack_pointer = nullptr; // of the scheduler
    const Kernel *kernel = nullptr;
    const void *argument = nullptr;
    Index grid{}, block{};
    unsigned int live = 0, waiting = 0; // threads that haven't returned; that are at a barrier
    unsigned int votes = 0, voters = 0, counted = 0, asked = 0;
    bool failed = false;
};

// The fiber that runs on this OS thread, null outside of kernels, and the worker it belongs to.
extern thread_local Fiber *current;
extern thread_local Worker *worker;

// All kernels of the library, in no particular order.
Kernel *first_kernel();
const Kernel *find_kernel(const char *entry);

// Runs a grid; what went wrong is in findings(). The argument is copied.
void launch(const Kernel &kernel, Index grid, const void *argument, Order order);

// A finding at the running thread (or none, in the scheduler), not yet noted.
Finding finding_here(Kind kind, const char *file, unsigned int line);
// Notes it and ends the launch; only in a fiber.
[[noreturn]] void give_up(const Finding &finding);

} // namespace emulator

#endif
