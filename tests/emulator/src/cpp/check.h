// The checker of the checked build: it hears of every access of memory that a kernel makes (tsan.cpp) and of whatever
// orders them.
//
// Two accesses of one place by two threads, one of them writing, are a race unless a barrier lies between them, or a
// __syncwarp of both; blocks of one launch are never ordered. Shuffles and votes order nothing: CUDA says so.
#ifndef ELUCID_EMULATOR_CHECK_H
#define ELUCID_EMULATOR_CHECK_H

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace emulator {
namespace check {

enum class Access : std::uint8_t { Read, Write, Atomic };

// Held while a kernel runs: there is one state for all.
std::recursive_mutex &lock();

// Memory that kernels may use. A registration takes the place of those it overlaps.
void add(std::uint64_t address, std::size_t bytes, const char *name, bool initialised);
void forget(std::uint64_t address);
// The host, or a copy, has written there.
void initialise(std::uint64_t address, std::size_t bytes);
void copied(std::uint64_t to, std::uint64_t from, std::size_t bytes);

void launch_begins();
void block_begins();
void barrier_passed();
void warp_synchronised(unsigned int warp, std::uint32_t mask);
void block_ends();

// The running thread is about to access memory; `pc` is the return address of who says so.
void access(const void *address, unsigned int bytes, Access kind, const void *pc);

// An address of code as an offset in the library, within the instruction that called.
std::uint64_t offset(const void *pc);

} // namespace check
} // namespace emulator

#endif
