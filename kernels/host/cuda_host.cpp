// Runs a grid on the CPU: see cuda_host.h. Each .cu's library has its own copy of this file; launches are one at a time (the caller's lock).
#include "cuda_host.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "fiber.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

// The section of all `__shared__` variables; absent (null) when there are none.
extern char __start_optmsm_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_optmsm_shared[] __attribute__((weak, visibility("hidden")));

namespace optmsm_host {

char* dynamic_shared = nullptr;
Warp warps[32];

namespace {

constexpr unsigned MAX_THREADS = 1024;
constexpr size_t PAGE = 4096;
constexpr size_t STACK_BYTES = 128 * 1024;
// Room below a stack that faults when touched: more than a kernel's largest local array, so that no frame can step over it.
constexpr size_t STACK_GUARD = 64 * 1024;
constexpr size_t MAX_DYNAMIC_SHARED = 227 * 1024;
// Written around dynamic shared memory where no page's end guards it.
constexpr unsigned char CANARY = 0xC5;
constexpr size_t CANARY_BYTES = 256;

struct Stack {
    char* bottom;
    char* top;
};

struct Thread {
    Context context;
    Place place;
    Wait wait;
    bool started;
    bool returned;
};

Thread threads[MAX_THREADS];
Context main_context;
std::vector<Stack> free_stacks;
Stack starting_stack;

const Kernel* running = nullptr;
void* const* arguments = nullptr;
unsigned thread_count = 0;
unsigned live = 0;
unsigned at_barrier = 0;
Place barrier_place;

// Threads that can run, in this order; each is in it at most once, so twice the largest block is room at both ends.
constexpr unsigned QUEUE = 2 * MAX_THREADS;
uint16_t queue[QUEUE];
unsigned queue_head = 0;
unsigned queue_length = 0;

uint64_t random_state = 1;

// xorshift64*
inline uint64_t next_random() {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Dull;
}

// Uniform enough in 0..below for a shuffle.
inline unsigned random_below(unsigned below) { return static_cast<unsigned>((next_random() >> 32) * below >> 32); }

inline void push_back(unsigned thread) {
    queue[(queue_head + queue_length) % QUEUE] = static_cast<uint16_t>(thread);
    ++queue_length;
}

inline void push_front(unsigned thread) {
    queue_head = (queue_head + QUEUE - 1) % QUEUE;
    queue[queue_head] = static_cast<uint16_t>(thread);
    ++queue_length;
}

const char* wait_name(Wait wait) {
    switch (wait) {
        case Wait::nothing: return "nothing";
        case Wait::block_barrier: return "__syncthreads";
        case Wait::sync_warp: return "__syncwarp";
        case Wait::shuffle: return "__shfl_sync";
        case Wait::shuffle_xor: return "__shfl_xor_sync";
        case Wait::shuffle_down: return "__shfl_down_sync";
        case Wait::shuffle_up: return "__shfl_up_sync";
        case Wait::ballot: return "__ballot_sync";
        case Wait::any: return "__any_sync";
        case Wait::all: return "__all_sync";
        case Wait::mma_tf32: return "mma_tf32";
        case Wait::mma_bf16: return "mma_bf16";
    }
    return "?";
}

bool same_state(const Thread& a, const Thread& b) {
    return a.returned == b.returned && (a.returned || (a.wait == b.wait && a.place.line == b.place.line));
}

[[noreturn]] void deadlock() {
    fflush(stdout);
    fprintf(stderr, "deadlock: kernel %s, block (%u, %u, %u): no thread can go on\n", running->name, blockIdx.x, blockIdx.y, blockIdx.z);
    unsigned lines = 0;
    for (unsigned first = 0, end; first < thread_count; first = end) {
        end = first + 1;
        while (end < thread_count && same_state(threads[first], threads[end])) ++end;
        if (++lines > 32) {
            fprintf(stderr, "  ...\n");
            break;
        }
        const Thread& thread = threads[first];
        if (thread.returned) {
            fprintf(stderr, "  threads %u..=%u have returned\n", first, end - 1);
        } else {
            fprintf(stderr, "  threads %u..=%u wait at %s, %s:%d\n", first, end - 1, wait_name(thread.wait), thread.place.file, thread.place.line);
        }
    }
    abort();
}

// All of the block's threads but `except`, in a new order: warp by warp or all mixed.
void queue_block(unsigned except) {
    queue_head = queue_length = 0;
    if (random_below(4) == 0) {
        for (unsigned thread = 0; thread < thread_count; ++thread) {
            if (thread == except || threads[thread].returned) continue;
            const unsigned other = random_below(queue_length + 1);
            queue[queue_length] = queue[other];
            queue[other] = static_cast<uint16_t>(thread);
            ++queue_length;
        }
        return;
    }
    unsigned char order[MAX_THREADS / 32];
    const unsigned warp_count = thread_count / 32;
    for (unsigned warp = 0; warp < warp_count; ++warp) {
        const unsigned other = random_below(warp + 1);
        order[warp] = order[other];
        order[other] = static_cast<unsigned char>(warp);
    }
    for (unsigned i = 0; i < warp_count; ++i) {
        const unsigned flip = random_below(32);
        for (unsigned lane = 0; lane < 32; ++lane) {
            const unsigned thread = order[i] * 32u + (lane ^ flip);
            if (thread != except && !threads[thread].returned) queue[queue_length++] = static_cast<uint16_t>(thread);
        }
    }
}

void release_barrier(unsigned except) {
    at_barrier = 0;
    queue_block(except);
}

inline unsigned take() {
    if (queue_length == 0) deadlock();
    const unsigned thread = queue[queue_head];
    queue_head = (queue_head + 1) % QUEUE;
    --queue_length;
    return thread;
}

Stack new_stack() {
    void* memory = mmap(nullptr, STACK_GUARD + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, STACK_GUARD, PROT_NONE) != 0) die("no memory for a thread's stack");
    // Tops at one distance would share few sets of the first-level cache.
    static unsigned made = 0;
    const size_t shift = made++ % 64 * 320;
    char* bottom = static_cast<char*>(memory) + STACK_GUARD;
    return {bottom, bottom + STACK_BYTES - shift};
}

// A stack's loop: runs threads that have not begun, one after the other, until only begun ones can run.
void run_threads() {
    const Stack stack = starting_stack;
    for (;;) {
        running->call(arguments);
        Thread& done = threads[threadIdx.x];
        done.returned = true;
        --live;
        if (live != 0 && at_barrier == live) release_barrier(MAX_THREADS);
        if (live == 0) {
            free_stacks.push_back(stack);
            switch_context(done.context, main_context);
        }
        const unsigned next = take();
        threadIdx.x = next;
        if (!threads[next].started) {
            threads[next].started = true;
            continue;
        }
        free_stacks.push_back(stack);
        switch_context(done.context, threads[next].context);
    }
}

inline void go_to_next(Context& from) {
    const unsigned next = take();
    threadIdx.x = next;
    Thread& thread = threads[next];
    if (!thread.started) {
        thread.started = true;
        if (free_stacks.empty()) free_stacks.push_back(new_stack());
        starting_stack = free_stacks.back();
        free_stacks.pop_back();
        make_context(thread.context, starting_stack.bottom, starting_stack.top, run_threads);
    }
    switch_context(from, thread.context);
}

// Copies under way, by thread.
struct Copy {
    void* shared;
    const void* global;
    unsigned bytes;
    unsigned group;
    bool valid;
};
struct Copies {
    std::vector<Copy> under_way;
    unsigned group = 0;
};
Copies copies[MAX_THREADS];
bool copies_used = false;

// Dynamic shared memory ends at a page that faults.
char* dynamic_end = nullptr;
size_t dynamic_bytes = 0;

void open_dynamic(size_t bytes) {
    if (bytes > MAX_DYNAMIC_SHARED) die("%zu bytes of dynamic shared memory; the most is %zu", bytes, MAX_DYNAMIC_SHARED);
    if (dynamic_end == nullptr) {
        const size_t size = (MAX_DYNAMIC_SHARED + CANARY_BYTES + PAGE - 1) / PAGE * PAGE;
        void* memory = mmap(nullptr, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) die("no memory for dynamic shared memory");
        dynamic_end = static_cast<char*>(memory) + size;
        if (mprotect(dynamic_end, PAGE, PROT_NONE) != 0) die("mprotect failed");
    }
    dynamic_bytes = bytes;
    // Not better aligned than CUDA promises.
    dynamic_shared = bytes == 0 ? nullptr : dynamic_end - (bytes + 15) / 16 * 16;
    if (bytes != 0) {
        memset(dynamic_shared - CANARY_BYTES, CANARY, CANARY_BYTES);
        memset(dynamic_shared + bytes, CANARY, static_cast<size_t>(dynamic_end - dynamic_shared) - bytes);
    }
}

void check_dynamic() {
    if (dynamic_bytes == 0) return;
    for (const char* at = dynamic_shared - CANARY_BYTES; at < dynamic_end; ++at) {
        if (at == dynamic_shared) at += dynamic_bytes;
        if (at < dynamic_end && static_cast<unsigned char>(*at) != CANARY) {
            die("a write beside dynamic shared memory (%zu bytes), at offset %td", dynamic_bytes, at - dynamic_shared);
        }
    }
}

bool is_shared(const char* address, size_t bytes) {
    const bool in_static = address >= __start_optmsm_shared && address + bytes <= __stop_optmsm_shared;
    const bool in_dynamic = dynamic_bytes != 0 && address >= dynamic_shared && address + bytes <= dynamic_shared + dynamic_bytes;
    return in_static || in_dynamic;
}

void run_block() {
    const size_t static_bytes = static_cast<size_t>(__stop_optmsm_shared - __start_optmsm_shared);
    if (static_bytes != 0) memset(__start_optmsm_shared, 0xFF, static_bytes);
    if (dynamic_bytes != 0) memset(dynamic_shared, 0xFF, dynamic_bytes);
    for (unsigned thread = 0; thread < thread_count; ++thread) threads[thread].started = threads[thread].returned = false;
    if (copies_used) {
        for (Copies& of_thread : copies) of_thread.under_way.clear();
        copies_used = false;
    }
    live = thread_count;
    at_barrier = 0;
    queue_block(MAX_THREADS);
    go_to_next(main_context);
}

struct sigaction previous_action;

// Says which thread's access faulted, then lets the signal do what it did before.
void on_fault(int number, siginfo_t* info, void*) {
    if (running != nullptr) {
        char text[256];
        const int length = snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread %u: no access to %p (past an array or the stack)\n",
                                    running->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, info->si_addr);
        if (write(STDERR_FILENO, text, static_cast<size_t>(length)) < 0) abort();
    }
    // The access runs again when this returns.
    sigaction(number, &previous_action, nullptr);
}

// On the signal stack that Rust gives each of its threads: a fiber's own may be the one that is full.
void watch_faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_action);
}

unsigned greatest_common_divisor(unsigned a, unsigned b) {
    while (b != 0) {
        const unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

}  // namespace

void die(const char* format, ...) {
    fflush(stdout);
    if (running != nullptr) {
        fprintf(stderr, "kernel %s, block (%u, %u, %u), thread %u: ", running->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x);
    }
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    abort();
}

void barrier(Place place) {
    const unsigned self = threadIdx.x;
    if (at_barrier != 0 && barrier_place.line != place.line) {
        die("__syncthreads at %s:%d while other threads of the block wait at the one at %s:%d", place.file, place.line, barrier_place.file,
            barrier_place.line);
    }
    barrier_place = place;
    if (++at_barrier == live) {
        release_barrier(self);
        return;
    }
    threads[self].wait = Wait::block_barrier;
    threads[self].place = place;
    go_to_next(threads[self].context);
}

void meet(Wait wait, unsigned mask, Place place, void (*finish)(Warp& warp, unsigned slot)) {
    const unsigned self = threadIdx.x;
    Warp& warp = warps[self / 32];
    if (mask != 0xffffffffu) {
        die("%s at %s:%d with the mask 0x%08x; here all 32 lanes take part", wait_name(wait), place.file, place.line, mask);
    }
    if (warp.arrived == 0) {
        warp.wait = wait;
        warp.place = place;
    } else if (warp.wait != wait || warp.place.line != place.line) {
        die("%s at %s:%d while other lanes of the warp wait at %s, %s:%d", wait_name(wait), place.file, place.line, wait_name(warp.wait),
            warp.place.file, warp.place.line);
    }
    if (++warp.arrived < 32) {
        threads[self].wait = wait;
        threads[self].place = place;
        go_to_next(threads[self].context);
        return;
    }
    if (finish != nullptr) finish(warp, warp.collective % 2);
    warp.arrived = 0;
    ++warp.collective;
    // The warp goes on at once, or after the others.
    const unsigned random = random_below(64);
    const unsigned first = self / 32 * 32;
    for (unsigned lane = 0; lane < 32; ++lane) {
        const unsigned thread = first + (lane ^ (random / 2));
        if (thread == self) continue;
        if (random % 2 == 0) {
            push_front(thread);
        } else {
            push_back(thread);
        }
    }
}

void copy_async(void* shared, const void* global, unsigned bytes, bool valid) {
    if (reinterpret_cast<uintptr_t>(shared) % bytes != 0) die("copy_async_%u: the shared address %p is not aligned", bytes, shared);
    if (valid && reinterpret_cast<uintptr_t>(global) % bytes != 0) die("copy_async_%u: the global address %p is not aligned", bytes, global);
    if (!is_shared(static_cast<char*>(shared), bytes)) die("copy_async_%u: %p is not in shared memory", bytes, shared);
    memset(shared, 0xFF, bytes);
    Copies& own = copies[threadIdx.x];
    own.under_way.push_back({shared, global, bytes, own.group, valid});
    copies_used = true;
}

void commit_async() { ++copies[threadIdx.x].group; }

void wait_async(unsigned newest) {
    Copies& own = copies[threadIdx.x];
    size_t done = 0;
    for (; done < own.under_way.size(); ++done) {
        const Copy& copy = own.under_way[done];
        // A copy of the open group has own.group; the newest closed one is own.group - 1.
        if (own.group - copy.group <= newest) break;
        if (copy.valid) {
            memcpy(copy.shared, copy.global, copy.bytes);
        } else {
            memset(copy.shared, 0, copy.bytes);
        }
    }
    own.under_way.erase(own.under_way.begin(), own.under_way.begin() + static_cast<ptrdiff_t>(done));
}

}  // namespace optmsm_host

// Runs the kernel over the grid; `seed` chooses the order of blocks and threads. Ends the process when the kernel breaks a rule.
extern "C" __attribute__((visibility("default"))) void optmsm_host_launch(const optmsm_host::Kernel* kernel, const unsigned* grid, unsigned block,
                                                                          unsigned shared, void* const* kernel_arguments, uint64_t seed) {
    using namespace optmsm_host;
    running = kernel;
    arguments = kernel_arguments;
    blockDim = {block, 1, 1};
    gridDim = {grid[0], grid[1], grid[2]};
    threadIdx = {0, 0, 0};
    thread_count = block;
    random_state = (seed + 1) * 0x9E3779B97F4A7C15ull | 1;
    next_random();
    open_dynamic(shared);
    watch_faults();
    // A step that has no common divisor with the number of blocks visits each once.
    const uint64_t blocks = static_cast<uint64_t>(grid[0]) * grid[1] * grid[2];
    uint64_t at = blocks == 0 ? 0 : next_random() % blocks;
    const uint64_t step = [&] {
        if (blocks < 3) return uint64_t{1};
        for (;;) {
            const unsigned candidate = 1 + random_below(static_cast<unsigned>(blocks < 0x7fffffff ? blocks - 1 : 0x7fffffff));
            if (greatest_common_divisor(static_cast<unsigned>(blocks % candidate), candidate) == 1 || candidate == 1) return uint64_t{candidate};
        }
    }();
    for (uint64_t i = 0; i < blocks; ++i) {
        blockIdx = {static_cast<unsigned>(at % grid[0]), static_cast<unsigned>(at / grid[0] % grid[1]),
                    static_cast<unsigned>(at / grid[0] / grid[1])};
        run_block();
        at = (at + step) % blocks;
    }
    check_dynamic();
    running = nullptr;
    sigaction(SIGSEGV, &previous_action, nullptr);
}
