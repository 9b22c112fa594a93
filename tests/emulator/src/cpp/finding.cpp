#include "finding.h"

#include <cstdio>
#include <cstring>

namespace emulator {

std::vector<Finding> &findings() {
    thread_local std::vector<Finding> all;
    return all;
}

std::string describe(const Finding &finding) {
    static const char *const KINDS[] = {"launch",     "barrier divergence", "exited threads",    "deadlock", "warp operation",
                                        "misaligned", "out of bounds",      "uninitialised read", "race"};
    char line[512], where[96] = "";
    if (finding.file != nullptr) {
        const char *slash = std::strrchr(finding.file, '/');
        std::snprintf(where, sizeof where, " at %s:%u", slash == nullptr ? finding.file : slash + 1, finding.line);
    } else if (finding.pc != 0) {
        std::snprintf(where, sizeof where, " at @%#llx", static_cast<unsigned long long>(finding.pc));
    }
    std::snprintf(line, sizeof line, "%s: %s: block %u,%u,%u thread %u%s: %s", finding.kernel,
                  KINDS[static_cast<unsigned int>(finding.kind)], finding.block[0], finding.block[1], finding.block[2],
                  finding.thread, where, finding.text);
    std::string text = line;
    if (finding.other_pc != 0) {
        std::snprintf(line, sizeof line, "; before: block %u,%u,%u thread %u at @%#llx", finding.other_block[0],
                      finding.other_block[1], finding.other_block[2], finding.other_thread,
                      static_cast<unsigned long long>(finding.other_pc));
        text += line;
    }
    return text;
}

} // namespace emulator
