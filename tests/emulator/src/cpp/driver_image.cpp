// What is in a module: entries of PTX text and of cubins.
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <elf.h>

#include "driver.h"

namespace mock {
namespace {

// The version of PTX that came with a version of CUDA (1000 * major + 10 * minor), as 10 * major + minor.
int newest_ptx(int cuda) {
    const int major = cuda / 1000, minor = cuda % 1000 / 10;
    switch (major) {
    case 10: return 63 + minor;
    case 11: return 70 + minor;
    case 12: return minor < 6 ? 80 + minor : 79 + minor;
    default: return major < 10 ? 60 : 90 + 10 * (major - 13) + minor;
    }
}

// The number after `directive`, with its decimals but without its point, or -1.
int number_after(const char *text, const char *directive) {
    const char *at = std::strstr(text, directive);
    if (at == nullptr) return -1;
    at += std::strlen(directive);
    while (*at != '\0' && !std::isdigit(static_cast<unsigned char>(*at)) && *at != '\n') ++at;
    int number = -1;
    for (; std::isdigit(static_cast<unsigned char>(*at)) || *at == '.'; ++at) {
        if (*at != '.') number = (number < 0 ? 0 : 10 * number) + (*at - '0');
    }
    return number;
}

// Bytes of the parameters between `from` and `to`: `.param .align 8 .b8 name[56]` or `.param .u32 name`.
std::size_t parameter_bytes(const char *from, const char *to) {
    std::size_t bytes = 0;
    for (const char *at = from; (at = std::strstr(at, ".param")) != nullptr && at < to;) {
        at += 6;
        const char *end = at;
        while (end < to && *end != ',') ++end;
        const std::string declaration(at, end);
        const std::size_t array = declaration.find('[');
        if (array != std::string::npos) {
            bytes += std::strtoul(declaration.c_str() + array + 1, nullptr, 10);
        } else {
            std::size_t type = declaration.find_first_of("usfb", declaration.find('.'));
            bytes += type == std::string::npos ? 0 : std::strtoul(declaration.c_str() + type + 1, nullptr, 10) / 8;
        }
        at = end;
    }
    return bytes;
}

Result read_ptx(const char *text, const Options &options, Module &module) {
    const int version = number_after(text, ".version"), target = number_after(text, ".target");
    if (version < 0 || target < 0) return INVALID_IMAGE;
    if (version > newest_ptx(options.version)) {
        note("refused PTX %d.%d, newer than CUDA %d", version / 10, version % 10, options.version);
        return UNSUPPORTED_PTX_VERSION;
    }
    if (target > 10 * options.major + options.minor) return NO_BINARY_FOR_GPU;
    for (const char *at = text; (at = std::strstr(at, ".entry")) != nullptr;) {
        at += 6;
        while (std::isspace(static_cast<unsigned char>(*at))) ++at;
        const char *end = at;
        while (std::isalnum(static_cast<unsigned char>(*end)) || *end == '_' || *end == '$') ++end;
        const char *open = std::strchr(end, '('), *close = std::strchr(end, ')');
        if (open == nullptr || close == nullptr) return INVALID_IMAGE;
        module.entries[std::string(at, end)] = parameter_bytes(open, close);
        at = close;
    }
    return SUCCESS;
}

// Bytes of an entry's argument: EIATTR_CBANK_PARAM_SIZE of its section .nv.info.NAME.
std::size_t argument_of(const unsigned char *info, std::size_t bytes) {
    for (std::size_t at = 0; at + 4 <= bytes;) {
        const unsigned int value = info[at + 2] | info[at + 3] << 8;
        if (info[at + 1] == 0x19) return value;
        at += 4 + (info[at] == 4 ? value : 0); // of format 4 the value is the length of what follows
    }
    return 0;
}

Result read_cubin(const unsigned char *image, const Options &options, Module &module) {
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(image);
    constexpr Elf64_Half EM_OF_CUDA = 190;
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_OF_CUDA) return INVALID_IMAGE;
    // Since ABI version 8 the architecture is the second byte of the flags.
    const unsigned int flags = header->e_flags;
    const int sm = static_cast<int>(header->e_ident[EI_ABIVERSION] >= 8 ? flags >> 8 & 0xff : flags & 0xff);
    if (sm / 10 != options.major || sm % 10 > options.minor) {
        note("refused a cubin for sm_%d", sm);
        return NO_BINARY_FOR_GPU;
    }
    const auto *sections = reinterpret_cast<const Elf64_Shdr *>(image + header->e_shoff);
    const auto *names = reinterpret_cast<const char *>(image + sections[header->e_shstrndx].sh_offset);
    for (unsigned int i = 0; i < header->e_shnum; ++i) {
        const char *name = names + sections[i].sh_name;
        if (std::strncmp(name, ".text.", 6) == 0) {
            module.entries.emplace(name + 6, 0);
        } else if (std::strncmp(name, ".nv.info.", 9) == 0) {
            module.entries[name + 9] = argument_of(image + sections[i].sh_offset, sections[i].sh_size);
        }
    }
    return SUCCESS;
}

} // namespace

Result read_image(const void *image, const Options &options, Module &module) {
    const auto *bytes = static_cast<const unsigned char *>(image);
    if (bytes == nullptr) return INVALID_VALUE;
    const bool elf = std::memcmp(bytes, ELFMAG, 1) == 0 && std::memcmp(bytes, ELFMAG, SELFMAG) == 0;
    const Result result = elf ? read_cubin(bytes, options, module)
                              : read_ptx(static_cast<const char *>(image), options, module);
    if (result != SUCCESS) return result;
    std::string entries;
    for (const auto &entry : module.entries) entries += " " + entry.first;
    note("module %s%s", elf ? "cubin" : "ptx", entries.c_str());
    return SUCCESS;
}

} // namespace mock
