// The C API from C++17: explainers that close themselves, threads of one's own, and several explainers at once on one model.
//
//     example MODEL.elucid WIDTH HEIGHT FRAME.rgb
//
// Prints the map's sum and the number of the explained class; fails unless all explainers (three, or ELUCID_EXPLAINERS), each with another
// count of threads, give the same bits.

#include <elucid.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

void check(elucid_status status, const char *what) {
    if (status != ELUCID_OK) throw std::runtime_error(std::string(what) + ": " + elucid_strerror(status));
}

std::vector<char> load(const char *path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string(path) + ": can't be read");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Threads that are started for each piece of work: the shortest pool there is, not the fastest.
class Threads {
public:
    explicit Threads(unsigned count) : pool_{this, &Threads::broadcast, count, 0} {}
    const elucid_pool *pool() const { return &pool_; }

private:
    static void broadcast(void *context, elucid_work work, void *data) {
        const auto count = static_cast<Threads *>(context)->pool_.threads;
        std::vector<std::thread> others;
        for (unsigned i = 1; i < count; ++i) others.emplace_back(work, data);
        work(data);
        for (auto &other : others) other.join();
    }

    elucid_pool pool_;
};

class Explainer {
public:
    Explainer(const std::vector<char> &model, unsigned threads) : threads_(threads) {
        elucid_options options{};
        options.threads = threads;
        check(elucid_measure(model.data(), model.size(), &options, nullptr, 0, &info_), "measure");
        memory_ = std::make_unique<std::byte[]>(info_.memory_bytes);
        elucid *opened = nullptr;
        check(elucid_open(model.data(), model.size(), &options, memory_.get(), info_.memory_bytes, &opened), "open");
        explainer_.reset(opened);
        check(elucid_set_pool(opened, threads_.pool()), "pool");
    }

    std::vector<float> explain(const elucid_frame &frame, elucid_result &result) {
        check(elucid_explain(explainer_.get(), &frame, ELUCID_PREDICTED, &result), "explain");
        std::vector<float> map(std::size_t{info_.width} * info_.height);
        elucid_picture picture{};
        picture.data = map.data();
        picture.bytes = map.size() * sizeof(float);
        picture.width = info_.width;
        picture.height = info_.height;
        picture.format = ELUCID_HEAT_F32;
        check(elucid_heat(explainer_.get(), nullptr, &picture), "heat");
        return map;
    }

private:
    struct Close {
        void operator()(elucid *explainer) const { elucid_close(explainer); }
    };

    Threads threads_;
    elucid_info info_{};
    std::unique_ptr<std::byte[]> memory_;
    std::unique_ptr<elucid, Close> explainer_;
};

}  // namespace

int main(int argc, char **argv) try {
    if (argc != 5) {
        std::cerr << "usage: " << argv[0] << " MODEL.elucid WIDTH HEIGHT FRAME.rgb\n";
        return 2;
    }
    const auto model = load(argv[1]), pixels = load(argv[4]);
    elucid_frame frame{};
    frame.data = pixels.data();
    frame.bytes = pixels.size();
    frame.width = static_cast<std::uint32_t>(std::stoul(argv[2]));
    frame.height = static_cast<std::uint32_t>(std::stoul(argv[3]));

    const char *count = std::getenv("ELUCID_EXPLAINERS");
    std::vector<std::vector<float>> maps(count ? std::stoul(count) : 3);
    std::vector<elucid_result> results(maps.size());
    std::vector<std::thread> workers;
    for (unsigned i = 0; i < maps.size(); ++i) {
        workers.emplace_back([&, i] {
            try {
                Explainer explainer(model, i + 1);
                for (int turn = 0; turn < 2; ++turn) maps[i] = explainer.explain(frame, results[i]);
            } catch (const std::exception &error) {
                std::cerr << error.what() << '\n';
                std::exit(1);
            }
        });
    }
    for (auto &worker : workers) worker.join();
    for (const auto &map : maps)
        if (map != maps[0]) throw std::runtime_error("explainers disagree");

    double sum = 0;
    for (const float value : maps[0]) sum += value;
    std::cout << "class " << results[0].target << " sum " << sum << " relevance " << results[0].relevance << '\n';
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
