#include "grid.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>

#ifdef EMULATOR_CHECKED
#include "check.h"
#endif

namespace emulator {

thread_local Fiber *current = nullptr;
thread_local Worker *worker = nullptr;

namespace {

Kernel *kernels = nullptr; // the list that constructors of kernels add themselves to

void say(Finding &finding, const char *format, ...) __attribute__((format(printf, 2, 3)));
void say(Finding &finding, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(finding.text, sizeof finding.text, format, arguments);
    va_end(arguments);
}

// Back to the scheduler, until it resumes this fiber.
void pause() { emulator_switch(&current->stack_pointer, worker->stack_pointer); }

void run_thread() {
    worker->kernel->call(worker->argument);
    current->state = Fiber::State::Done;
    pause();
    __builtin_unreachable();
}

void resume(Fiber &fiber) {
    if (fiber.state == Fiber::State::Fresh) {
        fiber.stack_pointer = start_of(worker->stacks, fiber.number, run_thread);
        fiber.state = Fiber::State::Running;
    }
    current = &fiber;
    emulator_switch(&worker->stack_pointer, fiber.stack_pointer);
    current = nullptr;
    if (fiber.state != Fiber::State::Done) return;
    --worker->live;
    worker->warps[fiber.warp].returned |= 1u << fiber.lane;
}

// Notes a finding about a thread that waits.
void blame(const Fiber &fiber, Finding finding) {
    finding.thread = fiber.number;
    findings().push_back(finding);
    worker->failed = true;
}

// All threads that are alive wait at a barrier: lets them go on, or says why not.
void release_barrier() {
    Worker &w = *worker;
    const Fiber *first = nullptr, *returned = nullptr;
    for (const Fiber &fiber : w.fibers) {
        if (fiber.state == Fiber::State::Done) {
            returned = &fiber;
        } else if (first == nullptr) {
            first = &fiber;
        } else if (fiber.line != first->line || std::strcmp(fiber.file, first->file) != 0) {
            Finding finding = finding_here(Kind::Divergence, fiber.file, fiber.line);
            say(finding, "waits here while thread %u waits at the barrier of line %u", first->number, first->line);
            return blame(fiber, finding);
        }
    }
    if (returned != nullptr) {
        Finding finding = finding_here(Kind::Exited, first->file, first->line);
        say(finding, "waits at a barrier that thread %u has returned without", returned->number);
        return blame(*first, finding);
    }
    for (Fiber &fiber : w.fibers) fiber.state = Fiber::State::Running;
    w.waiting = 0;
    w.counted = w.votes;
    w.asked = w.voters;
    w.votes = w.voters = 0;
#ifdef EMULATOR_CHECKED
    check::barrier_passed();
#endif
}

// Nobody can go on.
void report_deadlock() {
    const Fiber *at_barrier = nullptr, *in_warp = nullptr;
    for (const Fiber &fiber : worker->fibers) {
        if (fiber.state == Fiber::State::AtBarrier && at_barrier == nullptr) at_barrier = &fiber;
        if (fiber.state == Fiber::State::InWarp && in_warp == nullptr) in_warp = &fiber;
    }
    // Not every live thread is at the barrier, else it would have been released.
    if (in_warp == nullptr) return;
    const std::uint32_t gone = worker->warps[in_warp->warp].returned & in_warp->mask;
    Finding finding = finding_here(gone != 0 ? Kind::Exited : Kind::Deadlock, in_warp->file, in_warp->line);
    if (gone != 0) {
        say(finding, "waits for lanes %#x of its warp, which have returned", gone);
    } else if (at_barrier != nullptr) {
        say(finding, "waits for lanes %#x of its warp, and thread %u at the barrier of line %u", in_warp->mask,
            at_barrier->number, at_barrier->line);
    } else {
        say(finding, "waits for lanes %#x of its warp", in_warp->mask);
    }
    blame(*in_warp, finding);
}

// A permutation of 0..n, again and again.
class Turns {
  public:
    Turns(Order order, std::size_t n) : order(order), state(order.seed * 0x9E3779B97F4A7C15ull + 1), all(n) {
        std::iota(all.begin(), all.end(), 0u);
        if (order.kind == Order::Descending) std::reverse(all.begin(), all.end());
        shuffle();
    }
    void shuffle() {
        if (order.kind != Order::Shuffled) return;
        for (std::size_t i = all.size(); i > 1; --i) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(all[i - 1], all[(state >> 33) % i]);
        }
    }
    const std::vector<unsigned int> &get() const { return all; }

  private:
    Order order;
    std::uint64_t state;
    std::vector<unsigned int> all;
};

void run_block(Turns &turns) {
    Worker &w = *worker;
    for (Fiber &fiber : w.fibers) fiber.state = Fiber::State::Fresh;
    w.warps.assign(w.fibers.size() / 32, WarpState{0, 0});
    w.live = static_cast<unsigned int>(w.fibers.size());
    w.waiting = w.votes = w.voters = 0;
    turns.shuffle();
#ifdef EMULATOR_CHECKED
    check::block_begins();
#endif
    while (w.live > 0 && !w.failed) {
        bool anyone = false;
        for (unsigned int i : turns.get()) {
            Fiber &fiber = w.fibers[i];
            if (fiber.state > Fiber::State::Running) continue;
            anyone = true;
            resume(fiber);
            if (w.failed) break;
        }
        if (w.failed || w.live == 0) break;
        if (w.waiting == w.live) {
            release_barrier();
            turns.shuffle();
        } else if (!anyone) {
            report_deadlock();
        }
    }
#ifdef EMULATOR_CHECKED
    check::block_ends();
#endif
}

} // namespace

Kernel::Kernel(const char *entry, unsigned int argument, unsigned int threads, void (*call)(const void *))
    : entry(entry), argument(argument), threads(threads), call(call), next(kernels) {
    kernels = this;
}

Kernel *first_kernel() { return kernels; }

const Kernel *find_kernel(const char *entry) {
    for (const Kernel *kernel = kernels; kernel != nullptr; kernel = kernel->next) {
        if (std::strcmp(kernel->entry, entry) == 0) return kernel;
    }
    return nullptr;
}

Index thread_index() { return {current->number, 0, 0}; }
Index block_index() { return worker->block; }
Index block_size() { return {worker->kernel->threads, 1, 1}; }
Index grid_size() { return worker->grid; }
unsigned int lane() { return current->lane; }

void barrier(const char *file, unsigned int line) {
    current->state = Fiber::State::AtBarrier;
    current->file = file;
    current->line = line;
    ++worker->waiting;
    pause();
}

int barrier_vote(Vote kind, int predicate, const char *file, unsigned int line) {
    worker->votes += predicate != 0;
    ++worker->voters;
    barrier(file, line);
    const unsigned int yes = worker->counted;
    switch (kind) {
    case Vote::Or: return yes != 0;
    case Vote::And: return yes == worker->asked;
    default: return static_cast<int>(yes);
    }
}

Finding finding_here(Kind kind, const char *file, unsigned int line) {
    Finding finding{};
    finding.kind = kind;
    finding.file = file;
    finding.line = line;
    if (worker != nullptr && worker->kernel != nullptr) {
        finding.block[0] = worker->block.x;
        finding.block[1] = worker->block.y;
        finding.block[2] = worker->block.z;
        std::snprintf(finding.kernel, sizeof finding.kernel, "%s", worker->kernel->entry);
    }
    if (current != nullptr) finding.thread = current->number;
    return finding;
}

void give_up(const Finding &finding) {
    findings().push_back(finding);
    worker->failed = true;
    pause();
    __builtin_unreachable();
}

void misaligned(const void *address, const char *file, unsigned int line) {
    Finding finding = finding_here(Kind::Misaligned, file, line);
#ifdef EMULATOR_CHECKED
    finding.pc = check::offset(__builtin_return_address(0));
#endif
    say(finding, "sixteen bytes at %p", address);
    give_up(finding);
}

void launch(const Kernel &kernel, Index grid, const void *argument, Order order) {
    thread_local std::unique_ptr<Worker> mine;
    if (!mine) mine = std::make_unique<Worker>();
    findings().clear();
    Worker &w = *mine;
    worker = &w;
    w.kernel = &kernel;
    w.grid = grid;
    w.failed = false;
    if (!w.stacks.reserve(kernel.threads)) {
        Finding finding = finding_here(Kind::Launch, nullptr, 0);
        say(finding, "no memory for the stacks of %u threads", kernel.threads);
        findings().push_back(finding);
        return;
    }
    w.fibers.assign(kernel.threads, Fiber{});
    for (unsigned int i = 0; i < kernel.threads; ++i) {
        w.fibers[i].number = i;
        w.fibers[i].lane = i % 32;
        w.fibers[i].warp = i / 32;
    }
    std::vector<unsigned long long> copy((kernel.argument + 7) / 8);
    std::memcpy(copy.data(), argument, kernel.argument);
    w.argument = copy.data();
#ifdef EMULATOR_CHECKED
    check::launch_begins();
#endif
    const std::size_t plane = static_cast<std::size_t>(grid.x) * grid.y;
    Turns blocks(order, plane * grid.z), threads(order, kernel.threads);
    for (unsigned int number : blocks.get()) {
        const std::size_t in_plane = number % plane;
        w.block.x = static_cast<unsigned int>(in_plane % grid.x);
        w.block.y = static_cast<unsigned int>(in_plane / grid.x);
        w.block.z = static_cast<unsigned int>(number / plane);
        run_block(threads);
        if (w.failed) break;
    }
    w.kernel = nullptr;
    worker = nullptr;
}

} // namespace emulator
