// What CUDA C++ has built in, for a host compiler: included before every kernel file (-include emulator.h).
//
// Each thread of a block is a fiber (grid.cpp), so barriers and warp operations really wait for the other threads. The same
// header serves two builds: the fast one, and with EMULATOR_CHECKED the one whose accesses are instrumented (check.cpp).
// C++14, as kernels are, and nothing of it is used by the rest of the emulator but the declarations in namespace emulator.
#ifndef ELUCID_EMULATOR_H
#define ELUCID_EMULATOR_H

#include <math.h>

#define ELUCID_EMULATED 1

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define warpSize 32

// Shared memory. The checked build runs one block at a time and wants every variable by itself, with a gap behind it that
// is wider than any: 64 KiB apart, in a section of their own. The fast build has one copy for each OS thread.
#ifdef EMULATOR_CHECKED
#define __shared__ static __attribute__((section("elucid_shared"), aligned(65536)))
#else
#define __shared__ static thread_local __attribute__((aligned(128)))
#endif

#define ELUCID_DEVICE static inline __attribute__((always_inline, unused))

// Declares the kernel, notes it in the list of all kernels, and leaves its body to the file.
#define ELUCID_KERNEL(name, Params, threads, blocks)                                                             \
    extern "C" void name(const Params p);                                                                        \
    __attribute__((no_sanitize("thread"))) static void name##_call(const void *argument) {                       \
        name(*static_cast<const Params *>(argument));                                                            \
    }                                                                                                            \
    static_assert((threads) > 0 && (threads) <= 1024 && (threads) % 32 == 0, "threads of a block: whole warps"); \
    static_assert((blocks) > 0, "blocks of a multiprocessor");                                                   \
    static ::emulator::Kernel name##_kernel(#name, sizeof(Params), (threads), name##_call);                      \
    extern "C" __attribute__((noinline)) void name(const Params p)

namespace emulator {

// A kernel that registers itself when the library is loaded.
struct Kernel {
    const char *entry;
    unsigned int argument; // bytes
    unsigned int threads;  // of a block
    void (*call)(const void *argument);
    Kernel *next;
    Kernel(const char *entry, unsigned int argument, unsigned int threads, void (*call)(const void *));
};

struct Index {
    unsigned int x, y, z;
};

// Where the running thread is. Constant as far as one call of a kernel can see.
Index thread_index() __attribute__((const));
Index block_index() __attribute__((const));
Index block_size() __attribute__((const));
Index grid_size() __attribute__((const));
unsigned int lane() __attribute__((const));

enum class Vote { Or, And, Count };

// Rendezvous of the block and of lanes of a warp; `file` and `line` say where in the source.
void barrier(const char *file, unsigned int line);
int barrier_vote(Vote kind, int predicate, const char *file, unsigned int line);
void sync_warp(unsigned int mask, const char *file, unsigned int line);
unsigned int ballot(unsigned int mask, int predicate, const char *file, unsigned int line);
unsigned long long exchange(unsigned int mask, unsigned long long value, unsigned int source, const char *file,
                            unsigned int line);
void multiply(float *d, const unsigned int *a, const unsigned int *b, const char *file, unsigned int line);
void load_matrices(unsigned int *to, const void *row, const char *file, unsigned int line);

// Ends the launch: the address is not a multiple of 16.
[[noreturn]] void misaligned(const void *address, const char *file, unsigned int line);
// Tells the checker of an atomic access; nothing in the fast build.
void atomic_access(const void *address, unsigned int bytes);

template <class T> inline unsigned long long to_word(T v) {
    static_assert(sizeof(T) <= 8, "at most eight bytes are exchanged");
    unsigned long long word = 0;
    __builtin_memcpy(&word, &v, sizeof(T));
    return word;
}

template <class T> inline T of_word(unsigned long long word) {
    T v;
    __builtin_memcpy(&v, &word, sizeof(T));
    return v;
}

template <class T>
inline T exchanged(unsigned int mask, T v, unsigned int source, const char *file, unsigned int line) {
    return of_word<T>(exchange(mask, to_word(v), source, file, line));
}

// Source lanes of the shuffles: the warp falls into segments of `width` lanes, and who would look past its own keeps its
// own value.
inline unsigned int segment(int width) { return lane() & ~static_cast<unsigned int>(width - 1); }
inline unsigned int at(int source, int width) { return segment(width) + (static_cast<unsigned int>(source) & (width - 1)); }
inline unsigned int down(unsigned int delta, int width) {
    const unsigned int source = lane() + delta;
    return source < segment(width) + width ? source : lane();
}
inline unsigned int up(unsigned int delta, int width) {
    return lane() >= segment(width) + delta ? lane() - delta : lane();
}
inline unsigned int crossed(int bits, int width) {
    const unsigned int source = lane() ^ static_cast<unsigned int>(bits);
    return source < segment(width) + width ? source : lane();
}

inline unsigned int mask_of() { return 0xffffffffu; }
inline unsigned int mask_of(unsigned int mask) { return mask; }

// One access of sixteen bytes, for the compiler and so for the checker.
typedef unsigned int Sixteen __attribute__((vector_size(16), may_alias));

} // namespace emulator

#define threadIdx (::emulator::thread_index())
#define blockIdx (::emulator::block_index())
#define blockDim (::emulator::block_size())
#define gridDim (::emulator::grid_size())

#define EMULATOR_HERE __FILE__, __LINE__
#define __syncthreads() ::emulator::barrier(EMULATOR_HERE)
#define __syncthreads_or(predicate) ::emulator::barrier_vote(::emulator::Vote::Or, (predicate) != 0, EMULATOR_HERE)
#define __syncthreads_and(predicate) ::emulator::barrier_vote(::emulator::Vote::And, (predicate) != 0, EMULATOR_HERE)
#define __syncthreads_count(predicate) ::emulator::barrier_vote(::emulator::Vote::Count, (predicate) != 0, EMULATOR_HERE)
#define __syncwarp(...) ::emulator::sync_warp(::emulator::mask_of(__VA_ARGS__), EMULATOR_HERE)
#define __ballot_sync(mask, predicate) ::emulator::ballot((mask), (predicate) != 0, EMULATOR_HERE)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (__ballot_sync(mask, !(predicate)) == 0)

// The optional width is 32.
#define EMULATOR_FIFTH(a, b, c, d, e, ...) e
#define EMULATOR_SHUFFLE(source, mask, v, with, width) \
    ::emulator::exchanged((mask), (v), ::emulator::source((with), (width)), EMULATOR_HERE)
#define EMULATOR_SHUFFLE_3(source, mask, v, with) EMULATOR_SHUFFLE(source, mask, v, with, 32)
#define EMULATOR_SHUFFLE_4(source, mask, v, with, width) EMULATOR_SHUFFLE(source, mask, v, with, width)
#define EMULATOR_SHUFFLE_OF(source, ...) \
    EMULATOR_FIFTH(__VA_ARGS__, EMULATOR_SHUFFLE_4, EMULATOR_SHUFFLE_3, , )(source, __VA_ARGS__)
#define __shfl_sync(...) EMULATOR_SHUFFLE_OF(at, __VA_ARGS__)
#define __shfl_down_sync(...) EMULATOR_SHUFFLE_OF(down, __VA_ARGS__)
#define __shfl_up_sync(...) EMULATOR_SHUFFLE_OF(up, __VA_ARGS__)
#define __shfl_xor_sync(...) EMULATOR_SHUFFLE_OF(crossed, __VA_ARGS__)

// Vectors.
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned int x, y;
};
struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
ELUCID_DEVICE float2 make_float2(float x, float y) { return {x, y}; }
ELUCID_DEVICE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
ELUCID_DEVICE uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
ELUCID_DEVICE uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }
ELUCID_DEVICE int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// Arithmetic. What <math.h> declares (fmaf, fmaxf, expf, sqrtf...) needs nothing here: without -ffast-math a host compiler
// rounds it as CUDA does without approximations.
#define EMULATOR_LEAST_AND_GREATEST(T)                      \
    ELUCID_DEVICE T min(T a, T b) { return b < a ? b : a; } \
    ELUCID_DEVICE T max(T a, T b) { return a < b ? b : a; }
EMULATOR_LEAST_AND_GREATEST(int)
EMULATOR_LEAST_AND_GREATEST(unsigned int)
EMULATOR_LEAST_AND_GREATEST(long)
EMULATOR_LEAST_AND_GREATEST(unsigned long)
EMULATOR_LEAST_AND_GREATEST(long long)
EMULATOR_LEAST_AND_GREATEST(unsigned long long)
ELUCID_DEVICE unsigned int min(int a, unsigned int b) { return min(static_cast<unsigned int>(a), b); }
ELUCID_DEVICE unsigned int min(unsigned int a, int b) { return min(a, static_cast<unsigned int>(b)); }
ELUCID_DEVICE unsigned int max(int a, unsigned int b) { return max(static_cast<unsigned int>(a), b); }
ELUCID_DEVICE unsigned int max(unsigned int a, int b) { return max(a, static_cast<unsigned int>(b)); }
ELUCID_DEVICE float min(float a, float b) { return __builtin_fminf(a, b); }
ELUCID_DEVICE float max(float a, float b) { return __builtin_fmaxf(a, b); }
ELUCID_DEVICE double min(double a, double b) { return __builtin_fmin(a, b); }
ELUCID_DEVICE double max(double a, double b) { return __builtin_fmax(a, b); }
ELUCID_DEVICE float rsqrtf(float v) { return 1.0f / __builtin_sqrtf(v); }

ELUCID_DEVICE float __fadd_rn(float a, float b) { return a + b; }
ELUCID_DEVICE float __fsub_rn(float a, float b) { return a - b; }
ELUCID_DEVICE float __fmul_rn(float a, float b) { return a * b; }
ELUCID_DEVICE float __fdiv_rn(float a, float b) { return a / b; }
ELUCID_DEVICE float __fsqrt_rn(float v) { return __builtin_sqrtf(v); }
ELUCID_DEVICE float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
ELUCID_DEVICE double __dadd_rn(double a, double b) { return a + b; }
ELUCID_DEVICE double __dsub_rn(double a, double b) { return a - b; }
ELUCID_DEVICE double __dmul_rn(double a, double b) { return a * b; }
ELUCID_DEVICE double __ddiv_rn(double a, double b) { return a / b; }
ELUCID_DEVICE double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }

ELUCID_DEVICE unsigned int __float_as_uint(float v) { return ::emulator::of_word<unsigned int>(::emulator::to_word(v)); }
ELUCID_DEVICE int __float_as_int(float v) { return ::emulator::of_word<int>(::emulator::to_word(v)); }
ELUCID_DEVICE float __uint_as_float(unsigned int v) { return ::emulator::of_word<float>(::emulator::to_word(v)); }
ELUCID_DEVICE float __int_as_float(int v) { return ::emulator::of_word<float>(::emulator::to_word(v)); }
ELUCID_DEVICE int __popc(unsigned int v) { return __builtin_popcount(v); }
ELUCID_DEVICE int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
ELUCID_DEVICE int __clz(int v) { return v == 0 ? 32 : __builtin_clz(static_cast<unsigned int>(v)); }
ELUCID_DEVICE int __ffs(int v) { return __builtin_ffs(v); }
ELUCID_DEVICE unsigned int __umulhi(unsigned int a, unsigned int b) {
    return static_cast<unsigned int>((static_cast<unsigned long long>(a) * b) >> 32);
}
template <class T> ELUCID_DEVICE T __ldg(const T *from) { return *from; }

// Fences: threads of this emulator see each other's writes at once, and the checker takes no fence for a synchronisation.
ELUCID_DEVICE void __threadfence() {}
ELUCID_DEVICE void __threadfence_block() {}

// Atomics, real ones: blocks of several OS threads may meet at them.
#define EMULATOR_ATOMICS(T)                                                              \
    ELUCID_DEVICE T atomicAdd(T *to, T v) {                                              \
        ::emulator::atomic_access(to, sizeof(T));                                        \
        return ::emulator::fetch_add(to, v);                                             \
    }                                                                                    \
    ELUCID_DEVICE T atomicExch(T *to, T v) {                                             \
        ::emulator::atomic_access(to, sizeof(T));                                        \
        return ::emulator::swap(to, v);                                                  \
    }                                                                                    \
    ELUCID_DEVICE T atomicCAS(T *to, T expected, T v) {                                  \
        ::emulator::atomic_access(to, sizeof(T));                                        \
        return ::emulator::compare_and_swap(to, expected, v);                            \
    }                                                                                    \
    ELUCID_DEVICE T atomicMax(T *to, T v) {                                              \
        ::emulator::atomic_access(to, sizeof(T));                                        \
        T seen = ::emulator::fetch_add(to, static_cast<T>(0));                                        \
        for (T old = seen; old < v; old = seen)                                          \
            if ((seen = ::emulator::compare_and_swap(to, old, v)) == old) break;         \
        return seen;                                                                     \
    }                                                                                    \
    ELUCID_DEVICE T atomicMin(T *to, T v) {                                              \
        ::emulator::atomic_access(to, sizeof(T));                                        \
        T seen = ::emulator::fetch_add(to, static_cast<T>(0));                                        \
        for (T old = seen; v < old; old = seen)                                          \
            if ((seen = ::emulator::compare_and_swap(to, old, v)) == old) break;         \
        return seen;                                                                     \
    }
namespace emulator {
#define EMULATOR_ATOMIC_BASICS(T)              \
    T fetch_add(T *to, T v);                   \
    T swap(T *to, T v);                        \
    T compare_and_swap(T *to, T expected, T v);
EMULATOR_ATOMIC_BASICS(int)
EMULATOR_ATOMIC_BASICS(unsigned int)
EMULATOR_ATOMIC_BASICS(unsigned long long)
} // namespace emulator
EMULATOR_ATOMICS(int)
EMULATOR_ATOMICS(unsigned int)
EMULATOR_ATOMICS(unsigned long long)

// What elucid.cuh asks of its emulator.

// A stored half as a float: exact.
ELUCID_DEVICE float emulated_widen(unsigned short half) {
    const unsigned int magnitude = half & 0x7fffu;
    // The exponent's bias differs by 112; subnormals come out right too.
    unsigned int bits = __float_as_uint(__uint_as_float(magnitude << 13) * 0x1p112f);
    if (magnitude >= 0x7c00u) bits = 0x7f800000u | (magnitude << 13);
    return __uint_as_float(bits | (half & 0x8000u) << 16);
}

// A float as a half, to the nearest, ties to even.
ELUCID_DEVICE unsigned short emulated_narrow(float v) {
    const unsigned int bits = __float_as_uint(v), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    unsigned int half;
    if (magnitude > 0x7f800000u) {
        half = 0x7fffu; // not a number
    } else if (magnitude >= 0x477ff000u) {
        half = 0x7c00u; // from 65520 on: infinity
    } else if (magnitude < 0x38800000u) {
        // Below 2^-14 halves are multiples of 2^-24: the addition rounds to one.
        half = __float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    return static_cast<unsigned short>(half | sign);
}

ELUCID_DEVICE unsigned int emulated_bits(float v) { return __float_as_uint(v); }
ELUCID_DEVICE float emulated_float(unsigned int bits) { return __uint_as_float(bits); }

// Sixteen bytes in one access.
#define emulated_load16 ::emulator::Load16(EMULATOR_HERE).from
#define emulated_store16 ::emulator::Store16(EMULATOR_HERE).to
namespace emulator {
struct Load16 {
    const char *file;
    unsigned int line;
    __attribute__((always_inline)) Load16(const char *file, unsigned int line) : file(file), line(line) {}
    template <class T> __attribute__((always_inline)) T from(const void *address) const {
        static_assert(sizeof(T) == 16, "sixteen bytes");
        if (reinterpret_cast<unsigned long>(address) % 16 != 0) misaligned(address, file, line);
        const Sixteen all = *static_cast<const Sixteen *>(address);
        T v;
        __builtin_memcpy(&v, &all, 16);
        return v;
    }
};
struct Store16 {
    const char *file;
    unsigned int line;
    __attribute__((always_inline)) Store16(const char *file, unsigned int line) : file(file), line(line) {}
    template <class T> __attribute__((always_inline)) void to(void *address, T v) const {
        static_assert(sizeof(T) == 16, "sixteen bytes");
        if (reinterpret_cast<unsigned long>(address) % 16 != 0) misaligned(address, file, line);
        Sixteen all;
        __builtin_memcpy(&all, &v, 16);
        *static_cast<Sixteen *>(address) = all;
    }
};
} // namespace emulator

// Tensor cores: PTX's mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 with the fragments of its lanes, D = A B + D, and
// ldmatrix.sync.aligned.m8n8.x4.shared.b16, for which `row` is the row of eight halves that this lane points at.
#define emulated_mma_m16n8k16(d, a, b) ::emulator::multiply((d), (a), (b), EMULATOR_HERE)
#define emulated_ldmatrix_x4(r, row) ::emulator::load_matrices((r), (row), EMULATOR_HERE)

#endif
