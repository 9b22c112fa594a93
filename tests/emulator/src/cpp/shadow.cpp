#ifdef EMULATOR_CHECKED
#include "shadow.h"

#include <cstdio>

namespace emulator {
namespace check {

void Region::set_initialised(std::size_t from, std::size_t to) {
    for (std::size_t at = from; at < to;) {
        const std::size_t end = at / 4 * 4 + 4 < to ? at / 4 * 4 + 4 : to;
        word(at).initialised |= static_cast<std::uint8_t>((1u << (end - at)) - 1) << at % 4;
        at = end;
    }
}

Region *Regions::find(std::uint64_t address) {
    if (last != nullptr && last->holds(address)) return last;
    auto after = all.upper_bound(address);
    if (after == all.begin()) return nullptr;
    --after;
    if (!after->second->holds(address)) return nullptr;
    return last = after->second.get();
}

Region &Regions::add(std::uint64_t address, std::size_t bytes, std::string name, bool shared, bool initialised) {
    last = nullptr;
    auto first = all.lower_bound(address);
    while (first != all.begin()) {
        auto before = std::prev(first);
        if (!before->second->holds(address)) break;
        first = before;
    }
    while (first != all.end() && first->first < address + bytes) first = all.erase(first);
    auto &slot = all[address];
    slot = std::make_unique<Region>(address, bytes, std::move(name), shared, initialised);
    return *slot;
}

void Regions::remove(std::uint64_t address) {
    last = nullptr;
    all.erase(address);
}

std::string Regions::nearest(std::uint64_t address) const {
    constexpr std::uint64_t NEAR = 1 << 15;
    char text[128];
    const auto after = all.upper_bound(address);
    if (after != all.begin()) {
        const Region &region = *std::prev(after)->second;
        const std::uint64_t past = address - region.address - region.bytes;
        if (past < NEAR) {
            std::snprintf(text, sizeof text, "%s (%zu bytes), %zu bytes behind its end", region.name.c_str(), region.bytes,
                          static_cast<std::size_t>(past));
            return text;
        }
    }
    if (after != all.end() && after->first - address < NEAR) {
        const Region &region = *after->second;
        std::snprintf(text, sizeof text, "%s (%zu bytes), %zu bytes before its start", region.name.c_str(), region.bytes,
                      static_cast<std::size_t>(region.address - address));
        return text;
    }
    return {};
}

} // namespace check
} // namespace emulator
#endif
