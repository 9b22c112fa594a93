// What kernels that are compiled with -fsanitize=thread call at each access of memory: the checker, not the sanitizer's
// own library.
#ifdef EMULATOR_CHECKED
#include <cstddef>
#include <cstring>

#include "check.h"

using emulator::check::access;
using emulator::check::Access;

namespace {

// Longer accesses come from copies of structs: in pieces that are aligned, as a GPU would.
void accesses(const void *address, std::size_t bytes, Access kind, const void *pc) {
    const auto *at = static_cast<const char *>(address);
    while (bytes > 0) {
        std::size_t piece = 16;
        while (piece > bytes || reinterpret_cast<std::size_t>(at) % piece != 0) piece /= 2;
        access(at, static_cast<unsigned int>(piece), kind, pc);
        at += piece;
        bytes -= piece;
    }
}

} // namespace

#define PC __builtin_return_address(0)
#define READ_AND_WRITE(n)                                                                  \
    void __tsan_read##n(void *at) { access(at, n, Access::Read, PC); }                     \
    void __tsan_write##n(void *at) { access(at, n, Access::Write, PC); }                   \
    void __tsan_unaligned_read##n(void *at) { access(at, n, Access::Read, PC); }           \
    void __tsan_unaligned_write##n(void *at) { access(at, n, Access::Write, PC); }         \
    void __tsan_volatile_read##n(void *at) { access(at, n, Access::Read, PC); }            \
    void __tsan_volatile_write##n(void *at) { access(at, n, Access::Write, PC); }          \
    void __tsan_read_write##n(void *at) {                                                  \
        access(at, n, Access::Read, PC);                                                   \
        access(at, n, Access::Write, PC);                                                  \
    }                                                                                      \
    void __tsan_unaligned_read_write##n(void *at) {                                        \
        access(at, n, Access::Read, PC);                                                   \
        access(at, n, Access::Write, PC);                                                  \
    }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
READ_AND_WRITE(1)
READ_AND_WRITE(2)
READ_AND_WRITE(4)
READ_AND_WRITE(8)
READ_AND_WRITE(16)
void __tsan_read_range(void *at, std::size_t bytes) { accesses(at, bytes, Access::Read, PC); }
void __tsan_write_range(void *at, std::size_t bytes) { accesses(at, bytes, Access::Write, PC); }
// Of clang.
void *__tsan_memcpy(void *to, const void *from, std::size_t bytes) {
    accesses(from, bytes, Access::Read, PC);
    accesses(to, bytes, Access::Write, PC);
    return std::memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, std::size_t bytes) {
    accesses(from, bytes, Access::Read, PC);
    accesses(to, bytes, Access::Write, PC);
    return std::memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int value, std::size_t bytes) {
    accesses(to, bytes, Access::Write, PC);
    return std::memset(to, value, bytes);
}
}
#endif
