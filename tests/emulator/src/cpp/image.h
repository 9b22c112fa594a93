// The library as the checker sees it: where it lies, and its shared variables.
#ifndef ELUCID_EMULATOR_IMAGE_H
#define ELUCID_EMULATOR_IMAGE_H

#include <cstdint>
#include <string>
#include <vector>

namespace emulator {
namespace check {

struct Variable {
    std::uint64_t address;
    std::size_t bytes;
    std::string name; // kernel::variable
};

struct Image {
    std::uint64_t base = 0, end = 0;
    std::vector<Variable> shared;
};

// Read once, from the library's own file.
const Image &image();

} // namespace check
} // namespace emulator

#endif
