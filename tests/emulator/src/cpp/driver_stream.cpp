// Modules, launches, streams, events and graphs.
#include <cstring>

#include "driver.h"
#ifdef EMULATOR_CHECKED
#include "check.h"
#endif

namespace mock {
namespace {

Result run(const Work &work, const char *prefix) {
#ifdef EMULATOR_CHECKED
    const std::lock_guard<std::recursive_mutex> one_at_a_time(emulator::check::lock());
#endif
    note("%slaunch %s %u %u %u", prefix, work.kernel->entry, work.grid.x, work.grid.y, work.grid.z);
    emulator::launch(*work.kernel, work.grid, work.argument.data(), driver().options.order);
    const std::vector<emulator::Finding> &found = emulator::findings();
    if (found.empty()) return SUCCESS;
    Result result = LAUNCH_FAILED;
    for (const emulator::Finding &finding : found) {
        const std::string text = emulator::describe(finding);
        note("fault %s", text.c_str());
        std::fprintf(stderr, "emulator: %s\n", text.c_str());
        if (finding.kind == emulator::Kind::OutOfBounds) result = ILLEGAL_ADDRESS;
        if (finding.kind == emulator::Kind::Misaligned) result = MISALIGNED_ADDRESS;
    }
    driver().broken = result;
    return result;
}

// Spoils the captures in progress that `which` is true of.
template <class F> Result spoil(F which) {
    Result result = SUCCESS;
    for (const auto &weak : driver().captures) {
        const auto capture = weak.lock();
        if (!capture || capture->ended || !which(*capture)) continue;
        capture->valid = false;
        result = STREAM_CAPTURE_UNSUPPORTED;
    }
    return result;
}

// CU_STREAM_NON_BLOCKING is 1.
Result make_stream(void **handle, unsigned int flags) {
    if (flags > 1) return INVALID_VALUE;
    Stream *stream = made(new Stream);
    stream->blocking = flags == 0;
    *handle = stream;
    return SUCCESS;
}

Result wait_for_event(void *handle) {
    const Event *event = known<Event>(handle);
    if (event == nullptr) return INVALID_HANDLE;
    return event->capture ? STREAM_CAPTURE_UNSUPPORTED : SUCCESS;
}

Result time_between(float *milliseconds, void *from, void *to) {
    const Event *a = known<Event>(from), *b = known<Event>(to);
    if (a == nullptr || b == nullptr || !a->recorded || !b->recorded) return INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(b->when - a->when).count();
    return SUCCESS;
}

Result instantiate(void **handle, void *from) {
    const Graph *graph = known<Graph>(from);
    if (graph == nullptr) return INVALID_HANDLE;
    *handle = made(new Executable{graph->work});
    return SUCCESS;
}

} // namespace

Stream *stream_of(void *handle) {
    // No handle and CU_STREAM_LEGACY are the default stream, CU_STREAM_PER_THREAD is the thread's.
    const auto number = reinterpret_cast<std::uintptr_t>(handle);
    if (number <= 1) return &driver().default_stream;
    if (number == 2) return &driver().thread_stream;
    return known<Stream>(handle);
}

Result forbid_while_capturing() {
    return spoil([](const Capture &capture) {
        return capture.mode == 0 || (capture.mode == 1 && capture.thread == std::this_thread::get_id());
    });
}

Result forbid_on_default_stream() {
    return spoil([](const Capture &capture) { return capture.blocking; });
}

Result perform(const Work &work, bool replayed) {
    const char *prefix = replayed ? "replay " : "";
    switch (work.kind) {
    case Work::Launch: return run(work, prefix);
    case Work::Copy:
        note("%scopy %s %zu", prefix, work.direction, work.bytes);
        std::memmove(work.to, work.from, work.bytes);
#ifdef EMULATOR_CHECKED
        emulator::check::copied(reinterpret_cast<Address>(work.to), reinterpret_cast<Address>(work.from), work.bytes);
#endif
        return SUCCESS;
    case Work::Set:
        note("%sset %u %zu", prefix, work.value, work.bytes);
        std::memset(work.to, work.value, work.bytes);
#ifdef EMULATOR_CHECKED
        emulator::check::initialise(reinterpret_cast<Address>(work.to), work.bytes);
#endif
        return SUCCESS;
    case Work::Call: work.function(work.data); return SUCCESS;
    }
    return INVALID_VALUE;
}

Result submit(void *handle, Work &&work) {
    Stream *stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (!stream->capture) {
        if (stream == &driver().default_stream) {
            if (const Result no = forbid_on_default_stream()) return no;
        }
        return perform(work, false);
    }
    if (!stream->capture->valid) return STREAM_CAPTURE_INVALIDATED;
    stream->capture->graph.work.push_back(std::move(work));
    return SUCCESS;
}

} // namespace mock

using namespace mock;

DRIVER cuModuleLoadData(void **handle, const void *image) {
    BEGIN(Context);
    auto module = std::make_unique<Module>();
    const Result result = read_image(image, driver().options, *module);
    if (result == SUCCESS) *handle = made(module.release());
    return result;
}

DRIVER cuModuleLoadDataEx(void **handle, const void *image, unsigned int, const int *, void **) {
    return cuModuleLoadData(handle, image);
}

DRIVER cuModuleUnload(void *handle) {
    BEGIN(Context);
    const Module *module = known<Module>(handle);
    if (module == nullptr) return INVALID_HANDLE;
    for (const auto &function : module->functions) driver().handles.erase(function.second.get());
    return destroy<Module>(handle);
}

DRIVER cuModuleGetFunction(void **handle, void *from, const char *name) {
    BEGIN(Context);
    Module *module = known<Module>(from);
    if (module == nullptr || name == nullptr) return INVALID_HANDLE;
    const auto entry = module->entries.find(name);
    if (entry == module->entries.end()) return NOT_FOUND;
    const emulator::Kernel *kernel = emulator::find_kernel(name);
    if (kernel == nullptr) {
        note("fault %s is in the module but was not compiled for the CPU", name);
        return NOT_FOUND;
    }
    // A cubin may not say.
    if (entry->second != 0 && entry->second != kernel->argument) {
        note("fault %s takes %zu bytes in the module, %u on the CPU", name, entry->second, kernel->argument);
        return INVALID_IMAGE;
    }
    auto &function = module->functions[name];
    if (!function) function.reset(made(new Function{kernel}));
    *handle = function.get();
    return SUCCESS;
}

// CUfunction_attribute.
DRIVER cuFuncGetAttribute(int *value, int attribute, void *handle) {
    BEGIN(Context);
    const Function *function = known<Function>(handle);
    if (function == nullptr) return INVALID_HANDLE;
    const Options &o = driver().options;
    switch (attribute) {
    case 0: *value = static_cast<int>(function->kernel->threads); return SUCCESS;
    case 4: *value = 32; return SUCCESS; // registers
    case 5: case 6: *value = 10 * o.major + o.minor; return SUCCESS;
    default: *value = 0; return attribute < 16 ? SUCCESS : INVALID_VALUE;
    }
}

DRIVER cuFuncSetAttribute(void *handle, int, int) {
    BEGIN(Context);
    return known<Function>(handle) != nullptr ? SUCCESS : INVALID_HANDLE;
}

DRIVER cuFuncSetCacheConfig(void *handle, int) {
    BEGIN(Context);
    return known<Function>(handle) != nullptr ? SUCCESS : INVALID_HANDLE;
}

DRIVER cuLaunchKernel(void *handle, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x,
                      unsigned int block_y, unsigned int block_z, unsigned int shared, void *stream, void **arguments,
                      void **extra) {
    BEGIN(Context);
    const Function *function = known<Function>(handle);
    if (function == nullptr) return INVALID_HANDLE;
    const emulator::Kernel *kernel = function->kernel;
    if (extra != nullptr) return NOT_SUPPORTED;
    if (grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535) {
        return INVALID_VALUE;
    }
    if (block_x != kernel->threads || block_y != 1 || block_z != 1) {
        note("fault %s has blocks of %u threads, not of %u x %u x %u", kernel->entry, kernel->threads, block_x, block_y,
             block_z);
        return INVALID_VALUE;
    }
    if (shared > 49152 || arguments == nullptr || arguments[0] == nullptr) return INVALID_VALUE;
    Work work;
    work.kernel = kernel;
    work.grid = {grid_x, grid_y, grid_z};
    const auto *bytes = static_cast<const unsigned char *>(arguments[0]);
    work.argument.assign(bytes, bytes + kernel->argument);
    return submit(stream, std::move(work));
}

DRIVER cuLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    BEGIN(Context);
    if (function == nullptr) return INVALID_VALUE;
    Work work;
    work.kind = Work::Call;
    work.function = function;
    work.data = data;
    return submit(stream, std::move(work));
}

DRIVER cuStreamCreate(void **handle, unsigned int flags) {
    BEGIN(Context);
    return make_stream(handle, flags);
}

DRIVER cuStreamCreateWithPriority(void **handle, unsigned int flags, int) {
    BEGIN(Context);
    return make_stream(handle, flags);
}

DRIVER cuStreamDestroy_v2(void *handle) {
    BEGIN(Context);
    return destroy<Stream>(handle);
}

DRIVER cuStreamSynchronize(void *handle) {
    BEGIN(Context);
    Stream *stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (stream->capture) {
        stream->capture->valid = false;
        return STREAM_CAPTURE_UNSUPPORTED;
    }
    note("synchronise");
    return stream == &driver().default_stream ? forbid_on_default_stream() : SUCCESS;
}

DRIVER cuStreamQuery(void *handle) {
    BEGIN(Context);
    Stream *stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    return stream->capture ? STREAM_CAPTURE_UNSUPPORTED : SUCCESS;
}

DRIVER cuStreamWaitEvent(void *handle, void *event_handle, unsigned int) {
    BEGIN(Context);
    Stream *stream = stream_of(handle);
    const Event *event = known<Event>(event_handle);
    if (stream == nullptr || event == nullptr) return INVALID_HANDLE;
    // To wait for an event of a capture is to join it. Work is recorded in the order of the calls, which respects every
    // event, so there is nothing else to do.
    if (event->capture && !event->capture->ended && !stream->capture) stream->capture = event->capture;
    return SUCCESS;
}

DRIVER cuEventCreate(void **handle, unsigned int flags) {
    BEGIN(Context);
    if (flags > 7) return INVALID_VALUE;
    *handle = made(new Event);
    return SUCCESS;
}

DRIVER cuEventDestroy_v2(void *handle) {
    BEGIN(Context);
    return destroy<Event>(handle);
}

DRIVER cuEventRecord(void *handle, void *stream_handle) {
    BEGIN(Context);
    const Stream *stream = stream_of(stream_handle);
    Event *event = known<Event>(handle);
    if (stream == nullptr || event == nullptr) return INVALID_HANDLE;
    event->capture = stream->capture;
    event->recorded = true;
    event->when = std::chrono::steady_clock::now();
    return SUCCESS;
}

DRIVER cuEventSynchronize(void *handle) {
    BEGIN(Context);
    return wait_for_event(handle);
}

DRIVER cuEventQuery(void *handle) {
    BEGIN(Context);
    return wait_for_event(handle);
}

DRIVER cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    BEGIN(Context);
    return time_between(milliseconds, from, to);
}

DRIVER cuEventElapsedTime_v2(float *milliseconds, void *from, void *to) {
    BEGIN(Context);
    return time_between(milliseconds, from, to);
}

DRIVER cuStreamBeginCapture_v2(void *handle, int mode) {
    BEGIN(Context);
    Driver &d = driver();
    Stream *stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (!d.options.graphs) return NOT_SUPPORTED;
    if (stream == &d.default_stream) return STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture || mode < 0 || mode > 2) return INVALID_VALUE;
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = handle;
    stream->capture->mode = mode;
    stream->capture->thread = std::this_thread::get_id();
    stream->capture->blocking = stream->blocking;
    d.captures.push_back(stream->capture);
    note("capture begins");
    return SUCCESS;
}

DRIVER cuStreamEndCapture(void *handle, void **graph) {
    BEGIN(Context);
    Driver &d = driver();
    Stream *stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (!stream->capture) return INVALID_VALUE;
    if (stream->capture->origin != handle) return STREAM_CAPTURE_UNMATCHED;
    const std::shared_ptr<Capture> capture = stream->capture;
    if (capture->mode == 1 && capture->thread != std::this_thread::get_id()) return STREAM_CAPTURE_WRONG_THREAD;
    capture->ended = true;
    // Streams that have joined it go back to what they were.
    if (d.thread_stream.capture == capture) d.thread_stream.capture.reset();
    for (const auto &one : d.handles) {
        Stream *joined = known<Stream>(one.first);
        if (joined != nullptr && joined->capture == capture) joined->capture.reset();
    }
    note("capture ends %zu", capture->graph.work.size());
    *graph = nullptr;
    if (!capture->valid) return STREAM_CAPTURE_INVALIDATED;
    *graph = made(new Graph(capture->graph));
    return SUCCESS;
}

// CUstreamCaptureStatus: none, active, invalidated.
DRIVER cuStreamIsCapturing(void *handle, int *status) {
    BEGIN(Context);
    Stream *stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    *status = !stream->capture ? 0 : stream->capture->valid ? 1 : 2;
    return SUCCESS;
}

DRIVER cuGraphGetNodes(void *handle, void **nodes, std::size_t *count) {
    BEGIN(Context);
    const Graph *graph = known<Graph>(handle);
    if (graph == nullptr) return INVALID_HANDLE;
    if (nodes != nullptr) return NOT_SUPPORTED;
    *count = graph->work.size();
    return SUCCESS;
}

DRIVER cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
    BEGIN(Context);
    return instantiate(executable, graph);
}

DRIVER cuGraphInstantiate_v2(void **executable, void *graph, void **, char *, std::size_t) {
    BEGIN(Context);
    return instantiate(executable, graph);
}

DRIVER cuGraphUpload(void *executable, void *stream) {
    BEGIN(Context);
    return known<Executable>(executable) != nullptr && stream_of(stream) != nullptr ? SUCCESS : INVALID_HANDLE;
}

DRIVER cuGraphLaunch(void *handle, void *stream_handle) {
    BEGIN(Context);
    const Stream *stream = stream_of(stream_handle);
    const Executable *executable = known<Executable>(handle);
    if (executable == nullptr || stream == nullptr) return INVALID_HANDLE;
    if (stream->capture) return NOT_SUPPORTED;
    note("graph launch %zu", executable->work.size());
    for (const Work &work : executable->work) {
        if (const Result result = perform(work, true)) return result;
    }
    return SUCCESS;
}

DRIVER cuGraphExecDestroy(void *executable) {
    BEGIN(Context);
    return destroy<Executable>(executable);
}

DRIVER cuGraphDestroy(void *graph) {
    BEGIN(Context);
    return destroy<Graph>(graph);
}
