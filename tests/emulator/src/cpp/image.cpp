#ifdef EMULATOR_CHECKED
#include "image.h"

#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fstream>
#include <iterator>

namespace emulator {
namespace check {
namespace {

// `kernel::variable` of a variable within a function.
std::string plain(const char *mangled) {
    int status = 0;
    char *name = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    std::string text = status == 0 ? name : mangled;
    std::free(name);
    // Of device functions the demangler also tells the parameters.
    const std::size_t open = text.find('('), last = text.rfind("::");
    if (open != std::string::npos && last != std::string::npos && last > open) text.erase(open, last - open);
    return text;
}

void read_symbols(Image &image, const std::string &file) {
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(file.data());
    const auto *sections = reinterpret_cast<const Elf64_Shdr *>(file.data() + header->e_shoff);
    const char *names = file.data() + sections[header->e_shstrndx].sh_offset;
    unsigned int wanted = 0;
    const Elf64_Shdr *symbols = nullptr;
    for (unsigned int i = 0; i < header->e_shnum; ++i) {
        if (std::strcmp(names + sections[i].sh_name, "elucid_shared") == 0) wanted = i;
        if (sections[i].sh_type == SHT_SYMTAB) symbols = &sections[i];
    }
    if (wanted == 0 || symbols == nullptr) return;
    const auto *first = reinterpret_cast<const Elf64_Sym *>(file.data() + symbols->sh_offset);
    const char *strings = file.data() + sections[symbols->sh_link].sh_offset;
    for (std::size_t i = 0; i < symbols->sh_size / sizeof(Elf64_Sym); ++i) {
        const Elf64_Sym &symbol = first[i];
        if (symbol.st_shndx != wanted || ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT) continue;
        image.shared.push_back({image.base + symbol.st_value, symbol.st_size, plain(strings + symbol.st_name)});
    }
}

Image read() {
    Image image;
    Dl_info info;
    if (dladdr(reinterpret_cast<void *>(&read_symbols), &info) == 0) return image;
    image.base = reinterpret_cast<std::uint64_t>(info.dli_fbase);
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(info.dli_fbase);
    const auto *segments = reinterpret_cast<const Elf64_Phdr *>(image.base + header->e_phoff);
    for (unsigned int i = 0; i < header->e_phnum; ++i) {
        const std::uint64_t end = image.base + segments[i].p_vaddr + segments[i].p_memsz;
        if (segments[i].p_type == PT_LOAD && end > image.end) image.end = end;
    }
    std::ifstream stream(info.dli_fname, std::ios::binary);
    const std::string file((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    if (file.size() > sizeof(Elf64_Ehdr)) read_symbols(image, file);
    return image;
}

} // namespace

const Image &image() {
    static const Image the = read();
    return the;
}

} // namespace check
} // namespace emulator
#endif
