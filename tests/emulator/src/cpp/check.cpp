#ifdef EMULATOR_CHECKED
#include "check.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

#include "grid.h"
#include "image.h"
#include "shadow.h"
#include "tally.h"

namespace emulator {
namespace check {
namespace {

// What shared memory holds before anybody writes.
constexpr int POISON = 0xff;
// More findings help nobody.
constexpr std::size_t MOST = 20;

// Synchronisations of a warp. They are numbered; what came before one of both threads is ordered before what comes after.
struct Warp {
    std::uint32_t passed = 0;
    std::uint32_t together = 0;                              // the last of all lanes, and
    std::vector<std::pair<std::uint32_t, std::uint32_t>> partial; // of some: mask and number
};

struct State {
    Regions regions;
    std::vector<Region *> touched; // shared variables, by the running block
    std::uint32_t first_block = 1, block = 0, barrier = 0;
    std::vector<Index> blocks; // of this launch, as they ran
    std::vector<Warp> warps;
    std::set<std::pair<Kind, std::uint64_t>> seen; // of this launch
};

State &state() {
    static State *the = [] {
        auto *made = new State;
        for (const Variable &variable : image().shared) {
            made->regions.add(variable.address, variable.bytes, variable.name, true, false);
            std::memset(reinterpret_cast<void *>(variable.address), POISON, variable.bytes);
        }
        return made;
    }();
    return *the;
}

// Whether something orders an earlier access before one of the running thread.
bool ordered(const State &s, const Mark &before) {
    if (before.block != s.block) return before.block < s.first_block;
    if (before.thread == current->number || before.barrier != s.barrier) return true;
    if (before.thread / 32u != current->warp) return false;
    const Warp &warp = s.warps[current->warp];
    if (before.warp < warp.together) return true;
    const std::uint32_t both = 1u << before.thread % 32 | 1u << current->lane;
    return std::any_of(warp.partial.begin(), warp.partial.end(),
                       [&](const auto &one) { return (one.first & both) == both && before.warp < one.second; });
}

// A new finding of this kind at this place?
bool is_new(State &s, Kind kind, std::uint64_t pc) { return s.seen.size() < MOST && s.seen.insert({kind, pc}).second; }

Finding at(Kind kind, std::uint64_t pc) {
    Finding finding = finding_here(kind, nullptr, 0);
    finding.pc = pc;
    return finding;
}

const char *name_of(Access kind) {
    return kind == Access::Read ? "read" : kind == Access::Write ? "write" : "atomic access";
}

// Nothing orders the access before another one of the same launch.
void report_race(const Region &region, std::size_t offset, Access kind, std::uint64_t pc, const Mark &before, bool wrote) {
    Finding finding = at(Kind::Race, pc);
    finding.other_pc = before.pc;
    finding.other_thread = before.thread;
    const State &s = state();
    const Index block = s.blocks[before.block - s.first_block];
    const std::uint32_t numbers[3] = {block.x, block.y, block.z};
    std::memcpy(finding.other_block, numbers, sizeof numbers);
    std::snprintf(finding.text, sizeof finding.text, "%s of %s + %zu, which another thread of %s block %s", name_of(kind),
                  region.name.c_str(), offset, before.block == s.block ? "this" : "another", wrote ? "wrote" : "read");
    findings().push_back(finding);
}

// Everything about one word of an access; `bytes` are those of the word.
void touch(State &s, Region &region, std::size_t offset, std::uint8_t bytes, Access kind, std::uint64_t pc) {
    Word &word = region.word(offset);
    Mark mark;
    mark.block = s.block;
    mark.barrier = s.barrier;
    mark.warp = s.warps[current->warp].passed;
    mark.pc = static_cast<std::uint32_t>(pc);
    mark.thread = static_cast<std::uint16_t>(current->number);
    mark.bytes = bytes;
    mark.atomic = kind == Access::Atomic;
    if (kind != Access::Write && (word.initialised & bytes) != bytes) {
        if (is_new(s, Kind::Uninitialised, pc)) {
            Finding finding = at(Kind::Uninitialised, pc);
            std::snprintf(finding.text, sizeof finding.text, "%s + %zu", region.name.c_str(), offset);
            findings().push_back(finding);
        }
        word.initialised |= bytes;
    }
    const auto conflicts = [&](const Mark &before) {
        return before.block != 0 && (before.bytes & bytes) != 0 && !(before.atomic && mark.atomic) && !ordered(s, before);
    };
    const Mark *other = conflicts(word.written) ? &word.written : nullptr;
    const bool wrote = other != nullptr;
    if (kind != Access::Read) {
        for (const Mark *read : {&word.read, &word.neighbour, &word.stranger}) {
            if (other == nullptr && conflicts(*read)) other = read;
        }
    }
    if (other != nullptr && is_new(s, Kind::Race, pc)) report_race(region, offset, kind, pc, *other, wrote);
    if (kind != Access::Read) {
        word.written = mark;
        word.initialised |= bytes;
        for (Mark *read : {&word.read, &word.neighbour, &word.stranger}) {
            if ((read->bytes & ~bytes) == 0) *read = Mark{};
        }
    } else if (word.read.block == mark.block && word.read.thread / 32 == mark.thread / 32) {
        if (word.read.thread != mark.thread) word.neighbour = word.read;
        word.read = mark;
    } else {
        if (word.read.block != 0) word.stranger = word.read;
        word.neighbour = Mark{};
        word.read = mark;
    }
}

[[noreturn]] void report_outside(std::uint64_t address, unsigned int bytes, Access kind, std::uint64_t pc) {
    Finding finding = at(Kind::OutOfBounds, pc);
    const std::string near = state().regions.nearest(address);
    if (near.empty()) {
        std::snprintf(finding.text, sizeof finding.text, "%s of %u bytes at %#llx, in no registered memory", name_of(kind), bytes,
                      static_cast<unsigned long long>(address));
    } else {
        std::snprintf(finding.text, sizeof finding.text, "%s of %u bytes outside of %s", name_of(kind), bytes, near.c_str());
    }
    give_up(finding);
}

} // namespace

std::recursive_mutex &lock() {
    static auto *the = new std::recursive_mutex;
    return *the;
}

std::uint64_t offset(const void *pc) { return reinterpret_cast<std::uint64_t>(pc) - 1 - image().base; }

void add(std::uint64_t address, std::size_t bytes, const char *name, bool initialised) {
    const std::lock_guard<std::recursive_mutex> held(lock());
    if (bytes > 0) state().regions.add(address, bytes, name, false, initialised);
}

void forget(std::uint64_t address) {
    const std::lock_guard<std::recursive_mutex> held(lock());
    state().regions.remove(address);
}

void initialise(std::uint64_t address, std::size_t bytes) {
    const std::lock_guard<std::recursive_mutex> held(lock());
    Region *region = state().regions.find(address);
    if (region == nullptr) return;
    const std::size_t from = address - region->address;
    region->set_initialised(from, std::min(from + bytes, region->bytes));
}

void copied(std::uint64_t to, std::uint64_t from, std::size_t bytes) {
    const std::lock_guard<std::recursive_mutex> held(lock());
    Region *target = state().regions.find(to), *source = state().regions.find(from);
    if (target == nullptr) return;
    if (source == nullptr) return initialise(to, bytes);
    // Only what was written there is written here.
    for (std::size_t i = 0; i < bytes; ++i) {
        const std::size_t at = from + i - source->address;
        const std::size_t there = to + i - target->address;
        if (at >= source->bytes || there >= target->bytes) return;
        if (source->word(at).initialised >> at % 4 & 1) target->set_initialised(there, there + 1);
    }
}

void launch_begins() {
    State &s = state();
    s.first_block = s.block + 1;
    s.blocks.clear();
    s.seen.clear();
    s.warps.assign(worker->fibers.size() / 32, Warp{});
}

void block_begins() {
    State &s = state();
    ++s.block;
    s.blocks.push_back(worker->block);
    s.barrier = 0;
    for (Warp &warp : s.warps) warp = Warp{};
}

void barrier_passed() {
    ++state().barrier;
    tally::settle();
}

void warp_synchronised(unsigned int warp, std::uint32_t mask) {
    Warp &w = state().warps[warp];
    ++w.passed;
    if (mask == 0xffffffffu) {
        w.together = w.passed;
        w.partial.clear();
        return;
    }
    const auto same = std::find_if(w.partial.begin(), w.partial.end(), [&](const auto &one) { return one.first == mask; });
    if (same == w.partial.end()) {
        w.partial.emplace_back(mask, w.passed);
    } else {
        same->second = w.passed;
    }
}

void block_ends() {
    State &s = state();
    tally::settle();
    for (Region *region : s.touched) {
        std::memset(reinterpret_cast<void *>(region->address), POISON, region->bytes);
        region->reset();
        region->touched = false;
    }
    s.touched.clear();
}

void access(const void *place, unsigned int bytes, Access kind, const void *caller) {
    if (current == nullptr || worker->failed) return;
    const auto address = reinterpret_cast<std::uint64_t>(place);
    // Arrays of a thread lie on its stack.
    const auto stack = reinterpret_cast<std::uint64_t>(worker->stacks.of(current->number));
    if (address - stack < Stacks::BYTES) return;
    State &s = state();
    const std::uint64_t pc = offset(caller);
    if (address % bytes != 0) {
        Finding finding = at(Kind::Misaligned, pc);
        std::snprintf(finding.text, sizeof finding.text, "%s of %u bytes at %#llx", name_of(kind), bytes,
                      static_cast<unsigned long long>(address));
        give_up(finding);
    }
    Region *region = s.regions.find(address);
    if (region == nullptr) {
        // Constants are in the library.
        if (kind == Access::Read && address >= image().base && address < image().end) return;
        report_outside(address, bytes, kind, pc);
    }
    const std::size_t first = address - region->address;
    if (bytes > region->bytes - first) report_outside(region->address + region->bytes, bytes, kind, pc);
    if (region->shared && !region->touched) {
        region->touched = true;
        s.touched.push_back(region);
    }
    for (std::size_t at = first; at < first + bytes;) {
        const std::size_t end = std::min(at / 4 * 4 + 4, first + bytes);
        touch(s, *region, at, static_cast<std::uint8_t>(((1u << (end - at)) - 1) << at % 4), kind, pc);
        at = end;
    }
    if (kind != Access::Atomic) {
        tally::count(static_cast<std::uint32_t>(pc), region->shared ? first : address, bytes, region->shared,
                     kind == Access::Write);
    }
}

} // namespace check
} // namespace emulator
#endif
