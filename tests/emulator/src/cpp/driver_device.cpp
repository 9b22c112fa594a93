// The device, its context, and the driver as a whole.
#include <cstdlib>
#include <cstring>

#include "driver.h"
#ifdef EMULATOR_CHECKED
#include "check.h"
#endif

namespace mock {
namespace {

thread_local void *current_context = nullptr;
int primary_context; // its address is the context

const char *variable(const char *name) {
    const char *value = std::getenv(name);
    return value == nullptr || *value == '\0' ? nullptr : value;
}

long number(const char *name, long otherwise) {
    const char *value = variable(name);
    return value == nullptr ? otherwise : std::strtol(value, nullptr, 10);
}

struct Meaning {
    int code;
    const char *name, *text;
};

const Meaning MEANINGS[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "PTX JIT compiler library not found"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {301, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {802, "CUDA_ERROR_SYSTEM_NOT_READY", "system not yet initialized"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not initiated in this stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const Meaning *meaning_of(int code) {
    for (const Meaning &meaning : MEANINGS) {
        if (meaning.code == code) return &meaning;
    }
    return nullptr;
}

// CUdevice_attribute; what isn't named is 0, as for something that isn't supported.
int attribute_of(int attribute, const Options &o) {
    const bool big = o.major >= 8 && o.minor == 0; // data centres' devices have more of everything
    switch (attribute) {
    case 1: return 1024;                                // threads of a block
    case 2: case 3: return 1024;                        // of its x and y
    case 4: return 64;                                  // of its z
    case 5: return 0x7fffffff;                          // blocks of a grid's x
    case 6: case 7: return 65535;                       // of its y and z
    case 8: return 49152;                               // shared memory of a block
    case 9: return 65536;                               // constant memory
    case 10: return 32;                                 // threads of a warp
    case 11: return 0x7fffffff;                         // pitch
    case 12: case 82: return 65536;                     // registers of a block, of a multiprocessor
    case 13: return 625000;                             // clock in kHz
    case 14: return 512;                                // alignment of textures
    case 15: return 1;                                  // copies while kernels run
    case 16: return 8;                                  // multiprocessors
    case 18: return o.integrated;
    case 19: return 1;                                  // can map host memory
    case 31: return 1;                                  // concurrent kernels
    case 36: return 2133000;                            // clock of the memory in kHz
    case 37: return 128;                                // width of its bus
    case 38: return 2 << 20;                            // L2 cache
    case 39: return big ? 2048 : 1536;                  // threads of a multiprocessor
    case 40: return 2;                                  // engines that copy
    case 41: return 1;                                  // one address space with the host
    case 75: return o.major;
    case 76: return o.minor;
    case 78: return 1;                                  // priorities of streams
    case 81: return big ? 167936 : 102400;              // shared memory of a multiprocessor
    case 83: return 1;                                  // managed memory
    case 89: return 0;                                  // managed memory while kernels run
    case 97: return big ? 166912 : 101376;              // shared memory of a block that asks for more
    case 106: return 16;                                // blocks of a multiprocessor
    case 115: return o.pools;
    default: return 0;
    }
}

} // namespace

Options::Options() {
    if (const char *capability = variable("MOCK_CAPABILITY")) std::sscanf(capability, "%d.%d", &major, &minor);
    integrated = number("MOCK_INTEGRATED", 1) != 0;
    if (const char *bytes = variable("MOCK_MEMORY")) memory = std::strtoull(bytes, nullptr, 10);
    version = static_cast<int>(number("MOCK_DRIVER_VERSION", version));
    devices = static_cast<int>(number("MOCK_DEVICES", devices));
    graphs = number("MOCK_NO_GRAPHS", 0) == 0;
    pools = number("MOCK_POOLS", 0) != 0;
    if (const char *name = variable("MOCK_LOG")) log = std::fopen(name, "a");
    if (const char *kind = variable("EMULATOR_ORDER")) {
        if (std::strcmp(kind, "descending") == 0) {
            order.kind = emulator::Order::Descending;
        } else if (std::strcmp(kind, "ascending") != 0) {
            order = {emulator::Order::Shuffled, std::strtoull(kind, nullptr, 10)};
        }
    }
    // function:code or function:code:calls that succeed before, several separated by commas.
    const char *failing = variable("MOCK_FAIL");
    for (std::string rest = failing == nullptr ? "" : failing; !rest.empty();) {
        const std::size_t comma = rest.find(',');
        const std::string one = rest.substr(0, comma);
        rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
        char name[64];
        int code = 999;
        unsigned long after = 0;
        if (std::sscanf(one.c_str(), "%63[^:]:%d:%lu", name, &code, &after) >= 2) {
            failures[name] = {static_cast<Result>(code), after};
        }
    }
}

Driver &driver() {
    static Driver *the = new Driver; // alive until the process ends, whoever calls last
    return *the;
}

void note(const char *format, ...) {
    FILE *log = driver().options.log;
    if (log == nullptr) return;
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(log, format, arguments);
    va_end(arguments);
    std::fputc('\n', log);
    std::fflush(log);
}

Call::Call(const char *function, Needs needs) : held(driver().lock) {
    Driver &d = driver();
    const auto failure = d.options.failures.find(function);
    if (failure != d.options.failures.end()) {
        if (failure->second.after == 0) {
            note("fail %s %d", function, failure->second.code);
            refused = failure->second.code;
            return;
        }
        --failure->second.after;
    }
    if (needs == Nothing) return;
    if (!d.initialised) {
        refused = NOT_INITIALIZED;
    } else if (needs == Context) {
        refused = current_context == nullptr || d.retained == 0 ? INVALID_CONTEXT : d.broken;
    }
}

void release_all() {
    Driver &d = driver();
    if (!d.memory.empty()) note("leaked %zu allocations of %zu bytes", d.memory.size(), d.used);
    for (const auto &one : d.memory) {
#ifdef EMULATOR_CHECKED
        emulator::check::forget(one.first);
#endif
        std::free(reinterpret_cast<void *>(one.first));
    }
    d.memory.clear();
    d.used = 0;
    d.broken = SUCCESS;
}

} // namespace mock

using namespace mock;

DRIVER cuInit(unsigned int flags) {
    BEGIN(Nothing);
    if (flags != 0) return INVALID_VALUE;
    if (driver().options.devices == 0) return NO_DEVICE;
    driver().initialised = true;
    return SUCCESS;
}

DRIVER cuDriverGetVersion(int *version) {
    BEGIN(Nothing);
    *version = driver().options.version;
    return SUCCESS;
}

DRIVER cuDeviceGetCount(int *count) {
    BEGIN(Initialised);
    *count = driver().options.devices;
    return SUCCESS;
}

DRIVER cuDeviceGet(int *device, int ordinal) {
    BEGIN(Initialised);
    if (ordinal < 0 || ordinal >= driver().options.devices) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

DRIVER cuDeviceGetName(char *name, int len, int) {
    BEGIN(Initialised);
    const Options &o = driver().options;
    std::snprintf(name, static_cast<std::size_t>(len), "Emulated (sm_%d%d)", o.major, o.minor);
    return SUCCESS;
}

DRIVER cuDeviceGetAttribute(int *value, int attribute, int) {
    BEGIN(Initialised);
    const Options &o = driver().options;
    // Attributes from 115 on came with CUDA 11.2.
    if (attribute < 1 || (attribute >= 115 && o.version < 11020)) return INVALID_VALUE;
    *value = attribute_of(attribute, o);
    return SUCCESS;
}

DRIVER cuDeviceTotalMem_v2(std::size_t *bytes, int) {
    BEGIN(Initialised);
    *bytes = driver().options.memory;
    return SUCCESS;
}

DRIVER cuDeviceGetUuid(char *uuid, int device) {
    BEGIN(Initialised);
    std::memset(uuid, device + 1, 16);
    return SUCCESS;
}

DRIVER cuDeviceGetUuid_v2(char *uuid, int device) {
    BEGIN(Initialised);
    std::memset(uuid, device + 1, 16);
    return SUCCESS;
}

DRIVER cuDevicePrimaryCtxRetain(void **context, int) {
    BEGIN(Initialised);
    ++driver().retained;
    *context = &primary_context;
    return SUCCESS;
}

DRIVER cuDevicePrimaryCtxRelease_v2(int) {
    BEGIN(Initialised);
    Driver &d = driver();
    if (d.retained == 0) return INVALID_CONTEXT;
    if (--d.retained == 0) release_all();
    return SUCCESS;
}

DRIVER cuDevicePrimaryCtxGetState(int, unsigned int *flags, int *active) {
    BEGIN(Initialised);
    *flags = 0;
    *active = driver().retained > 0;
    return SUCCESS;
}

DRIVER cuDevicePrimaryCtxSetFlags_v2(int, unsigned int) {
    BEGIN(Initialised);
    return SUCCESS;
}

DRIVER cuCtxGetCurrent(void **context) {
    BEGIN(Initialised);
    *context = current_context;
    return SUCCESS;
}

DRIVER cuCtxSetCurrent(void *context) {
    BEGIN(Initialised);
    if (context != nullptr && context != &primary_context) return INVALID_CONTEXT;
    current_context = context;
    return SUCCESS;
}

DRIVER cuCtxGetDevice(int *device) {
    BEGIN(Context);
    *device = 0;
    return SUCCESS;
}

DRIVER cuCtxSetFlags(unsigned int) {
    BEGIN(Context);
    return SUCCESS;
}

DRIVER cuCtxSynchronize() {
    BEGIN(Context);
    note("synchronise");
    return forbid_while_capturing();
}

DRIVER cuGetErrorName(int code, const char **name) {
    const Meaning *meaning = meaning_of(code);
    *name = meaning == nullptr ? nullptr : meaning->name;
    return meaning == nullptr ? INVALID_VALUE : SUCCESS;
}

DRIVER cuGetErrorString(int code, const char **text) {
    const Meaning *meaning = meaning_of(code);
    *text = meaning == nullptr ? nullptr : meaning->text;
    return meaning == nullptr ? INVALID_VALUE : SUCCESS;
}

// NVRTC asks for it and can do without.
DRIVER cuGetExportTable(const void **table, const void *) {
    *table = nullptr;
    return NOT_FOUND;
}
