// Fibers: stacks, and the switch from one to another.
#ifndef ELUCID_EMULATOR_FIBER_H
#define ELUCID_EMULATOR_FIBER_H

#include <cstddef>

namespace emulator {

// Stacks of equal size in one mapping, each with a page below it that nothing may touch.
class Stacks {
  public:
    static constexpr std::size_t BYTES = 64 << 10;

    Stacks() = default;
    Stacks(const Stacks &) = delete;
    Stacks &operator=(const Stacks &) = delete;
    ~Stacks();

    // Room for `count` stacks; false if there is none. Only while no fiber is alive.
    bool reserve(std::size_t count);
    // Lowest address of stack number `index`.
    char *of(std::size_t index) const { return base + index * BYTES; }

  private:
    char *base = nullptr;
    std::size_t count = 0;
};

// A stack pointer at which `entry` starts on stack number `index` when it is switched to. `entry` must not return.
void *start_of(const Stacks &stacks, std::size_t index, void (*entry)());

} // namespace emulator

// Saves where this fiber is in `*from` and goes on at `to`.
extern "C" void emulator_switch(void **from, void *to);

#endif
