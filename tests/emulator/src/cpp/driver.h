// A CUDA driver whose device is this CPU: what its files share. Everything is executed at once, in the calling thread, so
// streams need no queues; but what a real driver refuses this one refuses too.
#ifndef ELUCID_EMULATOR_DRIVER_H
#define ELUCID_EMULATOR_DRIVER_H

#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <typeindex>
#include <vector>

#include "grid.h"

namespace mock {

// CUresult: the codes that this driver has reason to give.
enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    UNSUPPORTED_PTX_VERSION = 222,
    FILE_NOT_FOUND = 301,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    MISALIGNED_ADDRESS = 716,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_INVALIDATED = 901,
    STREAM_CAPTURE_UNMATCHED = 903,
    STREAM_CAPTURE_WRONG_THREAD = 908,
};

using Address = std::uint64_t; // CUdeviceptr

// What the environment says: the table is in src/lib.rs.
struct Options {
    int major = 8, minor = 7;
    bool integrated = true;
    std::size_t memory = std::size_t(8) << 30;
    int version = 12060;
    int devices = 1;
    bool graphs = true;
    bool pools = false;
    emulator::Order order{emulator::Order::Ascending, 0};
    FILE *log = nullptr;
    struct Failure {
        Result code;
        unsigned long after; // calls that still succeed
    };
    std::map<std::string, Failure> failures;

    Options();
};

struct Allocation {
    enum Kind { Device, Managed, Host } kind;
    std::size_t bytes;
};

// One thing that a stream was asked to do.
struct Work {
    enum Kind { Launch, Copy, Set, Call } kind = Launch;
    const emulator::Kernel *kernel = nullptr; // Launch
    emulator::Index grid{};
    std::vector<unsigned char> argument;
    void *to = nullptr;        // Copy, Set
    const void *from = nullptr; // Copy
    std::size_t bytes = 0;
    const char *direction = ""; // Copy
    unsigned char value = 0;    // Set
    void (*function)(void *) = nullptr; // Call
    void *data = nullptr;
};

struct Graph {
    std::vector<Work> work;
};

struct Executable {
    std::vector<Work> work;
};

// What a stream, and those that have joined it by events, is being asked while it captures.
struct Capture {
    void *origin; // the stream that it began on
    int mode;     // 0: global, 1: of its thread, 2: relaxed
    std::thread::id thread;
    bool blocking; // the default stream waits for it
    bool valid = true, ended = false;
    Graph graph;
};

struct Stream {
    bool blocking = true;
    std::shared_ptr<Capture> capture;
};

struct Event {
    bool recorded = false;
    std::chrono::steady_clock::time_point when;
    std::shared_ptr<Capture> capture; // recorded while capturing
};

struct Function {
    const emulator::Kernel *kernel;
};

struct Module {
    std::map<std::string, std::size_t> entries; // bytes of each entry's argument
    std::map<std::string, std::unique_ptr<Function>> functions;
};

struct Driver {
    std::recursive_mutex lock;
    Options options;
    bool initialised = false;
    unsigned int retained = 0; // of the primary context
    Result broken = SUCCESS;   // after a fault nothing but releasing the context helps
    std::map<Address, Allocation> memory;
    std::size_t used = 0;
    std::map<void *, std::type_index> handles; // streams, events, modules, functions, graphs
    Stream default_stream, thread_stream;
    std::vector<std::weak_ptr<Capture>> captures;
};

Driver &driver();

// One line to MOCK_LOG.
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A call of the driver, from its first line to its end.
class Call {
  public:
    enum Needs { Nothing, Initialised, Context };
    Call(const char *function, Needs needs);

    Result refused = SUCCESS;

  private:
    std::unique_lock<std::recursive_mutex> held;
};

// The stream of a handle, null if there is none such.
Stream *stream_of(void *handle);
// Does it, or captures it.
Result submit(void *stream, Work &&work);
// Does it now.
Result perform(const Work &work, bool replayed);
// What must not be called while something captures: then the capture is spoiled.
Result forbid_while_capturing();
// Waiting for the default stream, which waits for others, while one of them captures: likewise.
Result forbid_on_default_stream();

// The allocation that holds these bytes, or null.
const Allocation *holding(Address address, std::size_t bytes);
// Everything that the primary context owns goes.
void release_all();

// Names of entries with the bytes of their arguments, of PTX or of a cubin.
Result read_image(const void *image, const Options &options, Module &module);

// Handles of what was made and not destroyed, each of one type.
template <class T> T *made(T *handle) {
    driver().handles.emplace(handle, typeid(T));
    return handle;
}
template <class T> T *known(void *handle) {
    const auto found = driver().handles.find(handle);
    return found != driver().handles.end() && found->second == typeid(T) ? static_cast<T *>(handle) : nullptr;
}
template <class T> Result destroy(void *handle) {
    T *one = known<T>(handle);
    if (one == nullptr) return INVALID_HANDLE;
    driver().handles.erase(handle);
    delete one;
    return SUCCESS;
}

} // namespace mock

#define DRIVER EMULATOR_EXPORT int
#define BEGIN(needs)                                      \
    const mock::Call call(__func__, mock::Call::needs);   \
    if (call.refused != mock::SUCCESS) return call.refused

#endif
