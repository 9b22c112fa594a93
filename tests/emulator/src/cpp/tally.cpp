#ifdef EMULATOR_CHECKED
#include "tally.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "grid.h"

namespace emulator {
namespace tally {
namespace {

// What the lanes of a warp ask for at once.
struct Request {
    std::uint32_t lanes = 0;
    std::uint64_t address[32];
};

// A site with what isn't settled yet.
struct Counter {
    Site site{};
    unsigned int bytes = 0; // of one lane
    bool touched = false;
    std::vector<std::uint32_t> turns;           // of each thread of the block
    std::vector<std::vector<Request>> requests; // of each warp
};

std::map<std::pair<const Kernel *, std::uint32_t>, Counter> counters;
std::vector<Counter *> touched;

std::size_t distinct(std::vector<std::uint64_t> &values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values.size();
}

void settle_global(Site &site, const Request &request, unsigned int bytes) {
    std::vector<std::uint64_t> sectors, addresses;
    for (unsigned int i = 0; i < 32; ++i) {
        if ((request.lanes >> i & 1) == 0) continue;
        const std::uint64_t first = request.address[i];
        addresses.push_back(first);
        for (std::uint64_t sector = first / 32; sector <= (first + bytes - 1) / 32; ++sector) sectors.push_back(sector);
    }
    site.sectors += distinct(sectors);
    site.ideal_sectors += (distinct(addresses) * bytes + 31) / 32;
}

// Wide accesses go in turns of as many lanes as fill the 32 banks of four bytes; within one, a bank gives one word to all
// who ask for it, and another word in another wavefront.
void settle_shared(Site &site, const Request &request, unsigned int bytes) {
    const unsigned int words = std::max(1u, bytes / 4), lanes = 32 / words;
    for (unsigned int turn = 0; turn < words; ++turn) {
        std::vector<std::uint64_t> asked;
        for (unsigned int i = turn * lanes; i < (turn + 1) * lanes; ++i) {
            if ((request.lanes >> i & 1) == 0) continue;
            for (unsigned int w = 0; w < words; ++w) asked.push_back(request.address[i] / 4 + w);
        }
        if (asked.empty()) continue;
        const std::size_t count = distinct(asked);
        unsigned int banks[32] = {}, most = 0;
        for (const std::uint64_t word : asked) most = std::max(most, ++banks[word % 32]);
        site.wavefronts += most;
        site.ideal_wavefronts += (count + 31) / 32;
    }
}

} // namespace

void count(std::uint32_t pc, std::uint64_t address, unsigned int bytes, bool shared, bool write) {
    Counter &counter = counters[{worker->kernel, pc}];
    if (!counter.touched) {
        counter.touched = true;
        counter.bytes = bytes;
        Site &site = counter.site;
        site.pc = pc;
        site.shared = shared;
        site.write = write;
        std::snprintf(site.kernel, sizeof site.kernel, "%s", worker->kernel->entry);
        counter.turns.assign(worker->fibers.size(), 0);
        counter.requests.assign(worker->fibers.size() / 32, {});
        touched.push_back(&counter);
    }
    const std::uint32_t turn = counter.turns[current->number]++;
    std::vector<Request> &requests = counter.requests[current->warp];
    if (requests.size() <= turn) requests.resize(turn + 1);
    requests[turn].lanes |= 1u << current->lane;
    requests[turn].address[current->lane] = address;
}

void settle() {
    for (Counter *counter : touched) {
        Site &site = counter->site;
        for (const std::vector<Request> &warp : counter->requests) {
            for (const Request &request : warp) {
                const auto lanes = static_cast<unsigned int>(__builtin_popcount(request.lanes));
                ++site.requests;
                site.lanes += lanes;
                site.bytes += lanes * counter->bytes;
                if (site.shared) {
                    settle_shared(site, request, counter->bytes);
                } else {
                    settle_global(site, request, counter->bytes);
                }
            }
        }
        counter->touched = false;
    }
    touched.clear();
}

std::size_t sites() { return counters.size(); }

void copy_sites(Site *to, std::size_t count) {
    for (const auto &one : counters) {
        if (count-- == 0) return;
        *to++ = one.second.site;
    }
}

void clear() {
    touched.clear();
    counters.clear();
}

} // namespace tally
} // namespace emulator
#endif
