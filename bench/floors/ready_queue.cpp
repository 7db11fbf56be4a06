// The floor of the ready queue: std::priority_queue of (key, arrival, handle), pop and push in batches.
//
// Usage: ready_queue ENTRIES PAIRS BATCH SEED. Prints nanoseconds per pop+push pair, then a checksum of what was popped.
// The workload is bench/ready_queue.py's: the i-th push has key i + uniform[0, 2 * ENTRIES), so that the queue stays at
// ENTRIES and keys advance as virtual time does. Items come back from pop_many as the batch door's do: into an array.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <queue>
#include <random>
#include <vector>

struct Entry {
    std::int64_t key;
    std::uint64_t arrival;
    std::uint64_t handle;
    bool operator<(const Entry& other) const {  // priority_queue puts the greatest first
        return key != other.key ? key > other.key : arrival > other.arrival;
    }
};

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: %s ENTRIES PAIRS BATCH SEED\n", argv[0]);
        return 2;
    }
    const std::int64_t entries = std::atoll(argv[1]), batch = std::atoll(argv[3]);
    const std::int64_t pairs = std::atoll(argv[2]) / batch * batch;
    std::mt19937_64 random(std::atoll(argv[4]));
    std::uniform_int_distribution<std::int64_t> ahead(0, 2 * entries - 1);
    std::vector<std::int64_t> keys(pairs);
    for (std::int64_t i = 0; i < pairs; ++i) keys[i] = i + ahead(random);

    std::priority_queue<Entry> queue;
    std::uint64_t arrival = 0;
    for (std::int64_t i = 0; i < entries; ++i, ++arrival) queue.push({ahead(random), arrival, arrival});

    std::vector<std::uint64_t> items(batch);
    std::uint64_t checksum = 0;
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < pairs; i += batch) {
        for (std::int64_t j = 0; j < batch; ++j) {
            items[j] = queue.top().handle;
            queue.pop();
        }
        for (std::int64_t j = 0; j < batch; ++j) queue.push({keys[i + j], arrival++, items[j]});
        checksum = checksum * 31 + items[0];
    }
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    std::printf("%.3f %llu\n", spent.count() / pairs, static_cast<unsigned long long>(checksum));
}
