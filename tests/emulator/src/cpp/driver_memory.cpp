// Memory: of the device, managed, pinned. All of it is the host's.
#include <cstdlib>
#include <cstring>

#include "driver.h"
#ifdef EMULATOR_CHECKED
#include "check.h"
#endif

namespace mock {
namespace {

// Fresh memory holds floats that aren't numbers.
constexpr int POISON = 0xff;

// Bytes behind every allocation that nobody may write.
constexpr std::size_t CANARY = 256;
constexpr unsigned char CANARY_VALUE = 0xc5;

bool written_behind(Address address, std::size_t bytes) {
    const auto *canary = reinterpret_cast<const unsigned char *>(address) + bytes;
    for (std::size_t i = 0; i < CANARY; ++i) {
        if (canary[i] != CANARY_VALUE) return true;
    }
    return false;
}

Result allocate(Address *address, std::size_t bytes, Allocation::Kind kind) {
    Driver &d = driver();
    if (address == nullptr || bytes == 0) return INVALID_VALUE;
    if (const Result no = forbid_while_capturing()) return no;
    const bool counts = kind != Allocation::Host || d.options.integrated;
    if (counts && bytes > d.options.memory - d.used) {
        note("out of memory: %zu bytes", bytes);
        return OUT_OF_MEMORY;
    }
    void *block = std::aligned_alloc(256, (bytes + CANARY + 255) / 256 * 256);
    if (block == nullptr) return OUT_OF_MEMORY;
    std::memset(block, POISON, bytes);
    std::memset(static_cast<char *>(block) + bytes, CANARY_VALUE, CANARY);
    *address = reinterpret_cast<Address>(block);
    d.memory[*address] = {kind, bytes};
    if (counts) d.used += bytes;
    static const char *const NAMES[] = {"device", "managed", "pinned"};
    note("alloc %s %zu", NAMES[kind], bytes);
#ifdef EMULATOR_CHECKED
    // What the host writes to memory that it shares isn't seen.
    emulator::check::add(*address, bytes, NAMES[kind], kind != Allocation::Device);
#endif
    return SUCCESS;
}

Result release(Address address, bool host) {
    Driver &d = driver();
    if (address == 0 && !host) return SUCCESS;
    const auto found = d.memory.find(address);
    if (found == d.memory.end() || (found->second.kind == Allocation::Host) != host) return INVALID_VALUE;
    if (const Result no = forbid_while_capturing()) return no;
    note("free %zu", found->second.bytes);
    if (written_behind(address, found->second.bytes)) {
        note("fault something wrote behind an allocation of %zu bytes", found->second.bytes);
        d.broken = ILLEGAL_ADDRESS;
    }
    if (!host || d.options.integrated) d.used -= found->second.bytes;
    d.memory.erase(found);
#ifdef EMULATOR_CHECKED
    emulator::check::forget(address);
#endif
    std::free(reinterpret_cast<void *>(address));
    return SUCCESS;
}

Work copy(void *to, const void *from, std::size_t bytes, const char *direction) {
    Work work;
    work.kind = Work::Copy;
    work.to = to;
    work.from = from;
    work.bytes = bytes;
    work.direction = direction;
    return work;
}

void *pointer(Address address) { return reinterpret_cast<void *>(address); }

Result to_device(Address to, const void *from, std::size_t bytes, void *stream) {
    if (holding(to, bytes) == nullptr || from == nullptr) return INVALID_VALUE;
    return submit(stream, copy(pointer(to), from, bytes, "host-to-device"));
}

Result to_host(void *to, Address from, std::size_t bytes, void *stream) {
    if (holding(from, bytes) == nullptr || to == nullptr) return INVALID_VALUE;
    return submit(stream, copy(to, pointer(from), bytes, "device-to-host"));
}

Result within_device(Address to, Address from, std::size_t bytes, void *stream) {
    if (holding(to, bytes) == nullptr || holding(from, bytes) == nullptr) return INVALID_VALUE;
    return submit(stream, copy(pointer(to), pointer(from), bytes, "device-to-device"));
}

Result set(Address to, unsigned char value, std::size_t bytes, void *stream) {
    if (holding(to, bytes) == nullptr) return INVALID_VALUE;
    Work work;
    work.kind = Work::Set;
    work.to = pointer(to);
    work.value = value;
    work.bytes = bytes;
    return submit(stream, std::move(work));
}

} // namespace

const Allocation *holding(Address address, std::size_t bytes) {
    Driver &d = driver();
    auto after = d.memory.upper_bound(address);
    if (after == d.memory.begin()) return nullptr;
    --after;
    const std::size_t offset = address - after->first;
    return offset <= after->second.bytes && bytes <= after->second.bytes - offset ? &after->second : nullptr;
}

} // namespace mock

using namespace mock;

DRIVER cuMemGetInfo_v2(std::size_t *free, std::size_t *total) {
    BEGIN(Context);
    *total = driver().options.memory;
    *free = *total - driver().used;
    return SUCCESS;
}

DRIVER cuMemAlloc_v2(Address *address, std::size_t bytes) {
    BEGIN(Context);
    return allocate(address, bytes, Allocation::Device);
}

DRIVER cuMemFree_v2(Address address) {
    BEGIN(Context);
    return release(address, false);
}

DRIVER cuMemAllocAsync(Address *address, std::size_t bytes, void *) {
    BEGIN(Context);
    return driver().options.pools ? allocate(address, bytes, Allocation::Device) : NOT_SUPPORTED;
}

DRIVER cuMemFreeAsync(Address address, void *) {
    BEGIN(Context);
    return driver().options.pools ? release(address, false) : NOT_SUPPORTED;
}

DRIVER cuMemAllocManaged(Address *address, std::size_t bytes, unsigned int flags) {
    BEGIN(Context);
    if (flags == 0 || flags > 2) return INVALID_VALUE;
    return allocate(address, bytes, Allocation::Managed);
}

DRIVER cuMemHostAlloc(void **host, std::size_t bytes, unsigned int flags) {
    BEGIN(Context);
    if (host == nullptr || flags > 7) return INVALID_VALUE;
    Address address = 0;
    const Result result = allocate(&address, bytes, Allocation::Host);
    *host = pointer(address);
    return result;
}

DRIVER cuMemAllocHost_v2(void **host, std::size_t bytes) {
    BEGIN(Context);
    Address address = 0;
    const Result result = allocate(&address, bytes, Allocation::Host);
    *host = pointer(address);
    return result;
}

DRIVER cuMemFreeHost(void *host) {
    BEGIN(Context);
    return release(reinterpret_cast<Address>(host), true);
}

DRIVER cuMemHostGetDevicePointer_v2(Address *address, void *host, unsigned int flags) {
    BEGIN(Context);
    *address = reinterpret_cast<Address>(host);
    return flags == 0 && holding(*address, 1) != nullptr ? SUCCESS : INVALID_VALUE;
}

DRIVER cuMemHostGetFlags(unsigned int *flags, void *host) {
    BEGIN(Context);
    *flags = 3; // portable, mapped
    return holding(reinterpret_cast<Address>(host), 1) != nullptr ? SUCCESS : INVALID_VALUE;
}

DRIVER cuMemcpyHtoD_v2(Address to, const void *from, std::size_t bytes) {
    BEGIN(Context);
    if (const Result no = forbid_while_capturing()) return no;
    return to_device(to, from, bytes, nullptr);
}

DRIVER cuMemcpyHtoDAsync_v2(Address to, const void *from, std::size_t bytes, void *stream) {
    BEGIN(Context);
    return to_device(to, from, bytes, stream);
}

DRIVER cuMemcpyDtoH_v2(void *to, Address from, std::size_t bytes) {
    BEGIN(Context);
    if (const Result no = forbid_while_capturing()) return no;
    return to_host(to, from, bytes, nullptr);
}

DRIVER cuMemcpyDtoHAsync_v2(void *to, Address from, std::size_t bytes, void *stream) {
    BEGIN(Context);
    return to_host(to, from, bytes, stream);
}

DRIVER cuMemcpyDtoD_v2(Address to, Address from, std::size_t bytes) {
    BEGIN(Context);
    if (const Result no = forbid_while_capturing()) return no;
    return within_device(to, from, bytes, nullptr);
}

DRIVER cuMemcpyDtoDAsync_v2(Address to, Address from, std::size_t bytes, void *stream) {
    BEGIN(Context);
    return within_device(to, from, bytes, stream);
}

DRIVER cuMemsetD8_v2(Address to, unsigned char value, std::size_t bytes) {
    BEGIN(Context);
    if (const Result no = forbid_while_capturing()) return no;
    return set(to, value, bytes, nullptr);
}

DRIVER cuMemsetD8Async(Address to, unsigned char value, std::size_t bytes, void *stream) {
    BEGIN(Context);
    return set(to, value, bytes, stream);
}

DRIVER cuMemPrefetchAsync(Address address, std::size_t bytes, int, void *) {
    BEGIN(Context);
    return holding(address, bytes) != nullptr ? SUCCESS : INVALID_VALUE;
}

DRIVER cuStreamAttachMemAsync(void *stream, Address address, std::size_t, unsigned int) {
    BEGIN(Context);
    return stream_of(stream) != nullptr && holding(address, 1) != nullptr ? SUCCESS : INVALID_VALUE;
}

// CU_POINTER_ATTRIBUTE_CONTEXT, MEMORY_TYPE, DEVICE_POINTER, HOST_POINTER and IS_MANAGED.
DRIVER cuPointerGetAttribute(void *value, int attribute, Address address) {
    BEGIN(Context);
    const Allocation *allocation = holding(address, 1);
    if (allocation == nullptr) return INVALID_VALUE;
    switch (attribute) {
    case 2: *static_cast<unsigned int *>(value) = allocation->kind == Allocation::Host ? 1 : 2; return SUCCESS;
    case 3: case 4: *static_cast<Address *>(value) = address; return SUCCESS;
    case 8: *static_cast<unsigned int *>(value) = allocation->kind == Allocation::Managed; return SUCCESS;
    default: return NOT_SUPPORTED;
    }
}
