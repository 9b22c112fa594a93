// Warp operations: the lanes of a mask wait for each other, and the last to come does the work of all.
#include <cstdio>
#include <cstring>

#include "grid.h"
#ifdef EMULATOR_CHECKED
#include "check.h"
#endif

namespace emulator {
namespace {

using Lanes = Fiber *const (&)[32]; // those of the mask; others are null

[[noreturn]] void refuse(Kind kind, const char *format, unsigned int a, unsigned int b) {
    Finding finding = finding_here(kind, current->file, current->line);
    std::snprintf(finding.text, sizeof finding.text, format, a, b);
    give_up(finding);
}

void vote(Lanes lanes) {
    std::uint64_t yes = 0;
    for (unsigned int i = 0; i < 32; ++i) {
        if (lanes[i] != nullptr && lanes[i]->value != 0) yes |= 1ull << i;
    }
    for (Fiber *lane : lanes) {
        if (lane != nullptr) lane->result = yes;
    }
}

void shuffle(Lanes lanes) {
    for (Fiber *lane : lanes) {
        if (lane == nullptr) continue;
        const Fiber *from = lane->source < 32 ? lanes[lane->source] : nullptr;
        if (from == nullptr) {
            refuse(Kind::Warp, "lane %u reads lane %u, which takes no part in the shuffle", lane->lane, lane->source);
        }
        lane->result = from->value;
    }
}

// The half at `index` of a fragment.
float half_of(const void *fragment, unsigned int index) {
    unsigned short half;
    std::memcpy(&half, static_cast<const unsigned short *>(fragment) + index, sizeof half);
    return emulated_widen(half);
}

// Products of halves are exact in single precision. How a tensor core rounds their sum isn't specified; this one rounds
// once, at the end.
void multiply_fragments(Lanes lanes) {
    float a[16][16], b[16][8];
    for (unsigned int i = 0; i < 32; ++i) {
        const unsigned int group = i / 4, pair = i % 4 * 2;
        for (unsigned int h = 0; h < 8; ++h) {
            // a0 a1: the upper left quarter; a2 a3: the lower left; a4 a5: the upper right; a6 a7: the lower right.
            a[group + (h & 2 ? 8 : 0)][pair + (h & 1) + (h & 4 ? 8 : 0)] = half_of(lanes[i]->operands[0], h);
        }
        for (unsigned int h = 0; h < 4; ++h) b[pair + (h & 1) + (h & 2 ? 8 : 0)][group] = half_of(lanes[i]->operands[1], h);
    }
    for (unsigned int i = 0; i < 32; ++i) {
        const unsigned int group = i / 4, pair = i % 4 * 2;
        auto *d = static_cast<float *>(lanes[i]->destination);
        for (unsigned int c = 0; c < 4; ++c) {
            double sum = static_cast<double>(d[c]);
            const float *row = a[group + (c & 2 ? 8 : 0)];
            for (unsigned int k = 0; k < 16; ++k) sum += static_cast<double>(row[k]) * b[k][pair + (c & 1)];
            d[c] = static_cast<float>(sum);
        }
    }
}

// Lanes 8m..8m+8 point at the rows of matrix m. Of each matrix a lane gets two neighbours of row lane / 4.
void distribute_matrices(Lanes lanes) {
    for (unsigned int i = 0; i < 32; ++i) {
        auto *to = static_cast<unsigned int *>(lanes[i]->destination);
        for (unsigned int m = 0; m < 4; ++m) {
            const void *row = lanes[8 * m + i / 4]->operands[0];
            std::memcpy(&to[m], static_cast<const char *>(row) + 4 * (i % 4), 4);
        }
    }
}

// Whether all lanes of `mask` are at this very operation; fills `lanes` with them.
bool complete(const Fiber &me, Fiber *first, Fiber *(&lanes)[32]) {
    for (unsigned int i = 0; i < 32; ++i) {
        lanes[i] = me.mask >> i & 1 ? first + i : nullptr;
        if (lanes[i] == nullptr) continue;
        const Fiber &other = *lanes[i];
        if (other.mask != me.mask) return false;
        const bool same_file = other.file == me.file || std::strcmp(other.file, me.file) == 0;
        if (other.operation != me.operation || other.line != me.line || !same_file) {
            refuse(Kind::Warp, "lane %u is at another warp operation, of line %u", i, other.line);
        }
    }
    return true;
}

// Waits for the lanes of `mask`, all at the same operation.
void meet(Fiber &me, Fiber::Operation operation, unsigned int mask, const char *file, unsigned int line) {
    Worker &w = *worker;
    WarpState &warp = w.warps[me.warp];
    me.operation = operation;
    me.mask = mask;
    me.file = file;
    me.line = line;
    if ((mask >> me.lane & 1) == 0) refuse(Kind::Warp, "lane %u is not in its own mask %#x", me.lane, mask);
    if ((warp.returned & mask) != 0) {
        refuse(Kind::Exited, "lane %u waits for lane %u of its warp, which has returned", me.lane,
               static_cast<unsigned int>(__builtin_ctz(warp.returned & mask)));
    }
    me.state = Fiber::State::InWarp;
    warp.arrived |= 1u << me.lane;
    Fiber *lanes[32];
    if ((warp.arrived & mask) != mask || !complete(me, &w.fibers[me.warp * 32], lanes)) {
        emulator_switch(&me.stack_pointer, w.stack_pointer);
        return;
    }
    warp.arrived &= ~mask;
    switch (operation) {
    case Fiber::Operation::Synchronise:
#ifdef EMULATOR_CHECKED
        check::warp_synchronised(me.warp, mask);
#endif
        break;
    case Fiber::Operation::Ballot: vote(lanes); break;
    case Fiber::Operation::Exchange: shuffle(lanes); break;
    case Fiber::Operation::Multiply: multiply_fragments(lanes); break;
    case Fiber::Operation::LoadMatrices: distribute_matrices(lanes); break;
    }
    for (Fiber *lane : lanes) {
        if (lane != nullptr) lane->state = Fiber::State::Running;
    }
}

} // namespace

void sync_warp(unsigned int mask, const char *file, unsigned int line) {
    meet(*current, Fiber::Operation::Synchronise, mask, file, line);
}

unsigned int ballot(unsigned int mask, int predicate, const char *file, unsigned int line) {
    Fiber &me = *current;
    me.value = predicate != 0;
    meet(me, Fiber::Operation::Ballot, mask, file, line);
    return static_cast<unsigned int>(me.result);
}

unsigned long long exchange(unsigned int mask, unsigned long long value, unsigned int source, const char *file,
                            unsigned int line) {
    Fiber &me = *current;
    me.value = value;
    me.source = source;
    meet(me, Fiber::Operation::Exchange, mask, file, line);
    return me.result;
}

void multiply(float *d, const unsigned int *a, const unsigned int *b, const char *file, unsigned int line) {
    Fiber &me = *current;
    me.operands[0] = a;
    me.operands[1] = b;
    me.destination = d;
    meet(me, Fiber::Operation::Multiply, 0xffffffffu, file, line);
}

void load_matrices(unsigned int *to, const void *row, const char *file, unsigned int line) {
    if (reinterpret_cast<unsigned long>(row) % 16 != 0) misaligned(row, file, line);
#ifdef EMULATOR_CHECKED
    check::access(row, 16, check::Access::Read, __builtin_return_address(0));
#endif
    Fiber &me = *current;
    me.operands[0] = row;
    me.destination = to;
    meet(me, Fiber::Operation::LoadMatrices, 0xffffffffu, file, line);
}

// A kernel may not call what this file is compiled from, so atomics are here too.
#define EMULATOR_DEFINE_ATOMICS(T)                                                                        \
    T fetch_add(T *to, T v) { return __atomic_fetch_add(to, v, __ATOMIC_RELAXED); }                       \
    T swap(T *to, T v) { return __atomic_exchange_n(to, v, __ATOMIC_RELAXED); }                           \
    T compare_and_swap(T *to, T expected, T v) {                                                          \
        __atomic_compare_exchange_n(to, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);         \
        return expected;                                                                                  \
    }
EMULATOR_DEFINE_ATOMICS(int)
EMULATOR_DEFINE_ATOMICS(unsigned int)
EMULATOR_DEFINE_ATOMICS(unsigned long long)

void atomic_access(const void *address, unsigned int bytes) {
#ifdef EMULATOR_CHECKED
    check::access(address, bytes, check::Access::Atomic, __builtin_return_address(0));
#else
    (void)address;
    (void)bytes;
#endif
}

} // namespace emulator
