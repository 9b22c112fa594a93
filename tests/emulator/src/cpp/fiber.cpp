#include "fiber.h"

#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

// Everything that a callee must preserve goes to the stack; the stack pointers change places; it comes back from there.
#if defined(__x86_64__)
asm(R"(
    .text
    .hidden emulator_switch
    .globl emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
    .size emulator_switch, .-emulator_switch
)");
#elif defined(__aarch64__)
asm(R"(
    .text
    .hidden emulator_switch
    .globl emulator_switch
    .type emulator_switch, @function
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size emulator_switch, .-emulator_switch
)");
#else
#error "the emulator knows how to switch fibers on x86_64 and aarch64 only"
#endif

namespace emulator {

Stacks::~Stacks() {
    if (base != nullptr) munmap(base, count * BYTES);
}

bool Stacks::reserve(std::size_t wanted) {
    if (wanted <= count) return true;
    void *all = mmap(nullptr, wanted * BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return false;
    if (base != nullptr) munmap(base, count * BYTES);
    base = static_cast<char *>(all);
    count = wanted;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    for (std::size_t i = 0; i < count; ++i) mprotect(of(i), page < BYTES / 2 ? page : 0, PROT_NONE);
    return true;
}

void *start_of(const Stacks &stacks, std::size_t index, void (*entry)()) {
    // Tops a multiple of 64 KiB apart would all fall into the same set of the cache.
    const std::size_t colour = index * 320 & 0x3fc0;
    auto *top = reinterpret_cast<std::uintptr_t *>(stacks.of(index) + Stacks::BYTES - 64 - colour);
    const auto start = reinterpret_cast<std::uintptr_t>(entry);
#if defined(__x86_64__)
    *--top = 0; // where `entry` would return to
    *--top = start;
    for (int i = 0; i < 6; ++i) *--top = 0;
#else
    top -= 20;
    std::memset(top, 0, 160);
    top[11] = start; // x30
#endif
    return top;
}

} // namespace emulator
