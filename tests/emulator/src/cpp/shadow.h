// What the checker remembers of memory.
#ifndef ELUCID_EMULATOR_SHADOW_H
#define ELUCID_EMULATOR_SHADOW_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulator {
namespace check {

// An access of a word.
struct Mark {
    std::uint32_t block = 0; // number of the block among all blocks of all launches, from 1; 0: no access
    std::uint32_t barrier = 0; // barriers that its block had passed
    std::uint32_t warp = 0;    // synchronisations that its warp had passed
    std::uint32_t pc = 0;      // offset in the library
    std::uint16_t thread = 0;
    std::uint8_t bytes = 0; // of the word, a bit for each
    bool atomic = false;
};

// Four bytes of memory.
struct Word {
    Mark written;
    // The last read, the last by another thread of its warp, and the last by another warp or block.
    Mark read, neighbour, stranger;
    std::uint8_t initialised = 0; // a bit for each byte
};

// Memory that kernels may use: registered, or a shared variable.
class Region {
  public:
    Region(std::uint64_t address, std::size_t bytes, std::string name, bool shared, bool initialised)
        : address(address), bytes(bytes), name(std::move(name)), shared(shared), initialised(initialised),
          pages((bytes + PAGE_BYTES - 1) / PAGE_BYTES) {}

    bool holds(std::uint64_t at) const { return at - address < bytes; }
    Word &word(std::size_t offset) {
        std::unique_ptr<Page> &page = pages[offset / PAGE_BYTES];
        if (!page) page = std::make_unique<Page>(initialised);
        return page->words[offset % PAGE_BYTES / 4];
    }
    // Everything is as at the beginning.
    void reset() {
        for (auto &page : pages) page.reset();
    }
    void set_initialised(std::size_t from, std::size_t to);

    const std::uint64_t address;
    const std::size_t bytes;
    const std::string name;
    const bool shared;
    bool touched = false; // by the running block

  private:
    static constexpr std::size_t PAGE_BYTES = 4096;
    struct Page {
        Word words[PAGE_BYTES / 4];
        explicit Page(bool initialised) {
            if (!initialised) return;
            for (Word &word : words) word.initialised = 0xf;
        }
    };

    const bool initialised;
    std::vector<std::unique_ptr<Page>> pages; // those that were needed
};

// All of it, by address.
class Regions {
  public:
    Region *find(std::uint64_t address);
    Region &add(std::uint64_t address, std::size_t bytes, std::string name, bool shared, bool initialised);
    void remove(std::uint64_t address);
    // "to (64 bytes), 4 bytes behind its end", or nothing if none is near.
    std::string nearest(std::uint64_t address) const;

    std::map<std::uint64_t, std::unique_ptr<Region>> all;

  private:
    Region *last = nullptr;
};

} // namespace check
} // namespace emulator

#endif
