// The emulator's own C interface: what src/library.rs calls.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "grid.h"
#ifdef EMULATOR_CHECKED
#include "check.h"
#include "tally.h"
#endif

using namespace emulator;

namespace {

// Notes that a launch cannot be; always 1 finding.
std::size_t refused(const char *entry, const char *why) {
    Finding finding = finding_here(Kind::Launch, nullptr, 0);
    std::snprintf(finding.kernel, sizeof finding.kernel, "%s", entry);
    std::snprintf(finding.text, sizeof finding.text, "%s", why);
    findings().assign(1, finding);
    return 1;
}

} // namespace

// Runs a grid on host memory and returns how many findings there are.
EMULATOR_EXPORT std::size_t emulator_launch(const char *entry, const std::uint32_t *grid, const void *argument,
                                            std::size_t bytes, std::uint32_t order, std::uint64_t seed) {
    const Kernel *kernel = find_kernel(entry);
    if (kernel == nullptr) return refused(entry, "there is no such kernel");
    if (kernel->argument != bytes) return refused(entry, "its argument has another size");
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535) {
        return refused(entry, "no device has such a grid");
    }
    const Order turns{static_cast<Order::Kind>(std::min(order, 2u)), seed};
#ifdef EMULATOR_CHECKED
    const std::lock_guard<std::recursive_mutex> one_at_a_time(check::lock());
#endif
    launch(*kernel, {grid[0], grid[1], grid[2]}, argument, turns);
    return findings().size();
}

// Findings of the calling thread's last launch.
EMULATOR_EXPORT void emulator_findings(Finding *to, std::size_t count) {
    const std::vector<Finding> &all = findings();
    std::copy_n(all.begin(), std::min(count, all.size()), to);
}

// Kernel number `index`; false if there are fewer.
EMULATOR_EXPORT bool emulator_kernel(std::size_t index, const char **entry, std::uint32_t *argument,
                                     std::uint32_t *threads) {
    const Kernel *kernel = first_kernel();
    for (; kernel != nullptr && index > 0; --index) kernel = kernel->next;
    if (kernel == nullptr) return false;
    *entry = kernel->entry;
    *argument = kernel->argument;
    *threads = kernel->threads;
    return true;
}

#ifdef EMULATOR_CHECKED
EMULATOR_EXPORT void emulator_register(std::uint64_t address, std::size_t bytes, const char *name, bool initialised) {
    check::add(address, bytes, name, initialised);
}

EMULATOR_EXPORT void emulator_initialise(std::uint64_t address, std::size_t bytes) { check::initialise(address, bytes); }

EMULATOR_EXPORT void emulator_forget(std::uint64_t address) { check::forget(address); }

// Copies the sites of all launches since the last emulator_clear_sites and returns how many there are.
EMULATOR_EXPORT std::size_t emulator_sites(tally::Site *to, std::size_t count) {
    const std::lock_guard<std::recursive_mutex> held(check::lock());
    tally::copy_sites(to, count);
    return tally::sites();
}

EMULATOR_EXPORT void emulator_clear_sites() {
    const std::lock_guard<std::recursive_mutex> held(check::lock());
    tally::clear();
}
#endif
