// The floor of the KV-cache allocator: the same replay in plain C++, and the same decode step.
//
// Usage: kv_cache replay FILE BLOCK_SIZE CAPACITY BATCH
//          prints: nanoseconds of the replay, blocks touched, input tokens, input tokens that hit
//        kv_cache decode BLOCK_SIZE REQUESTS STEPS
//          prints: median nanoseconds of one step that extends every request by one token
//
// FILE: int32 each: number of requests; per request the input length in tokens, the number of whole
// 512-token blocks, and their content ids. An id stands for a block with its whole prefix, so it
// is cut into 512 / BLOCK_SIZE chained blocks by numbering alone: nothing is hashed or compared here.
// BATCH requests are admitted, then marked computed, then freed, as the allocator's doors do.
// No owners, quotas, pins, tiers, plans ahead, undo or checks.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

using Clock = std::chrono::steady_clock;

static int64_t nanoseconds(Clock::duration d) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
}

// Open addressing from content id to block, deletion by moving back.
class Prefixes {
public:
    explicit Prefixes(size_t capacity) {
        size_t size = 64;
        while (size < capacity * 2) size *= 2;
        slots_.assign(size, Slot{0, -1});
        mask_ = size - 1;
    }
    int32_t find(uint64_t id) const {
        for (size_t at = home(id); slots_[at].block >= 0; at = (at + 1) & mask_)
            if (slots_[at].id == id) return slots_[at].block;
        return -1;
    }
    bool insert(uint64_t id, int32_t block) {
        size_t at = home(id);
        for (; slots_[at].block >= 0; at = (at + 1) & mask_)
            if (slots_[at].id == id) return false;
        slots_[at] = {id, block};
        return true;
    }
    void erase(uint64_t id) {
        size_t hole = home(id);
        while (slots_[hole].id != id || slots_[hole].block < 0) hole = (hole + 1) & mask_;
        for (size_t at = (hole + 1) & mask_; slots_[at].block >= 0; at = (at + 1) & mask_)
            if (((at - home(slots_[at].id)) & mask_) >= ((at - hole) & mask_)) {
                slots_[hole] = slots_[at];
                hole = at;
            }
        slots_[hole].block = -1;
    }

private:
    struct Slot {
        uint64_t id;
        int32_t block;
    };
    size_t home(uint64_t id) const { return ((id * 0x9E3779B97F4A7C15ull) >> 24) & mask_; }
    std::vector<Slot> slots_;
    size_t mask_;
};

struct Block {
    uint64_t id;
    int32_t refs, prev, next, published;
};

class Pool {
public:
    explicit Pool(int32_t capacity) : prefixes(capacity), blocks(capacity + 1), head(capacity) {
        blocks[head] = {0, 0, head, head, 0};
        for (int32_t b = capacity; b-- > 0;) free_.push_back(b);
    }
    void hold(int32_t b) {
        if (blocks[b].refs++ == 0) unlink(b);
    }
    int32_t take() {
        int32_t b;
        if (!free_.empty()) {
            b = free_.back();
            free_.pop_back();
        } else {
            b = blocks[head].next;
            if (b == head) std::fprintf(stderr, "pool exhausted\n"), std::exit(1);
            unlink(b);
            prefixes.erase(blocks[b].id);
        }
        blocks[b].refs = 1;
        blocks[b].published = 0;
        return b;
    }
    void publish(int32_t b, uint64_t id) {
        if (!prefixes.insert(id, b)) return;
        blocks[b].id = id;
        blocks[b].published = 1;
    }
    void release(int32_t b) {
        if (--blocks[b].refs) return;
        if (!blocks[b].published) return free_.push_back(b);
        const int32_t last = blocks[head].prev;
        blocks[b].prev = last;
        blocks[b].next = head;
        blocks[last].next = blocks[head].prev = b;
    }
    Prefixes prefixes;

private:
    void unlink(int32_t b) {
        blocks[blocks[b].prev].next = blocks[b].next;
        blocks[blocks[b].next].prev = blocks[b].prev;
    }
    std::vector<Block> blocks;
    std::vector<int32_t> free_;
    int32_t head;
};

struct Request {
    int32_t length;
    std::vector<int32_t> ids;
    std::vector<int32_t> table;
    int32_t hits;
};

static std::vector<Request> read_requests(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) std::perror(path), std::exit(2);
    auto next = [file] {
        int32_t value;
        if (std::fread(&value, sizeof value, 1, file) != 1) std::exit(2);
        return value;
    };
    std::vector<Request> requests(next());
    for (Request& request : requests) {
        request.length = next();
        request.ids.resize(next());
        for (int32_t& id : request.ids) id = next();
    }
    std::fclose(file);
    return requests;
}

static int replay(const char* path, int32_t size, int32_t capacity, size_t batch) {
    std::vector<Request> requests = read_requests(path);
    const int32_t parts = 512 / size;
    Pool pool(capacity);
    int64_t blocks = 0, tokens = 0, hit = 0;
    auto content = [parts](const Request& r, int32_t i) {
        return uint64_t(r.ids[i / parts]) * parts + i % parts;
    };
    const auto start = Clock::now();
    for (size_t first = 0; first < requests.size(); first += batch) {
        const size_t end = std::min(first + batch, requests.size());
        for (size_t j = first; j < end; ++j) {
            Request& r = requests[j];
            const int32_t full = std::min<int32_t>(r.ids.size() * parts, (r.length - 1) / size);
            r.table.reserve((r.length + size - 1) / size);
            for (int32_t i = 0, b; i < full && (b = pool.prefixes.find(content(r, i))) >= 0; ++i) {
                pool.hold(b);
                r.table.push_back(b);
            }
            r.hits = r.table.size();
        }
        for (size_t j = first; j < end; ++j) {
            Request& r = requests[j];
            const size_t total = (r.length + size - 1) / size;
            while (r.table.size() < total) r.table.push_back(pool.take());
            hit += int64_t(r.hits) * size;
            tokens += r.length;
            blocks += total;
        }
        for (size_t j = first; j < end; ++j) {
            Request& r = requests[j];
            for (int32_t i = r.hits; i < int32_t(r.ids.size()) * parts; ++i)
                pool.publish(r.table[i], content(r, i));
        }
        for (size_t j = first; j < end; ++j) {
            std::vector<int32_t>& table = requests[j].table;
            for (size_t i = table.size(); i-- > 0;) pool.release(table[i]);
            std::vector<int32_t>().swap(table);
        }
    }
    std::printf("%lld %lld %lld %lld\n", (long long)nanoseconds(Clock::now() - start),
                (long long)blocks, (long long)tokens, (long long)hit);
    return 0;
}

static int decode(int32_t size, int32_t count, int32_t steps) {
    Pool pool(count * (steps / size + 2));
    std::vector<Request> requests(count);
    std::vector<int64_t> times;
    for (int32_t j = 0; j < count; ++j) requests[j].length = j % size;
    for (int32_t step = 0; step < steps; ++step) {
        const auto start = Clock::now();
        for (Request& r : requests) {
            if (size_t(++r.length + size - 1) / size > r.table.size()) r.table.push_back(pool.take());
        }
        times.push_back(nanoseconds(Clock::now() - start));
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    std::printf("%lld\n", (long long)times[times.size() / 2]);
    return 0;
}

int main(int argc, char** argv) {
    if (argc == 6 && !std::strcmp(argv[1], "replay"))
        return replay(argv[2], std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]));
    if (argc == 5 && !std::strcmp(argv[1], "decode"))
        return decode(std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4]));
    std::fprintf(stderr, "usage: see the head of bench/floors/kv_cache.cpp\n");
    return 2;
}
