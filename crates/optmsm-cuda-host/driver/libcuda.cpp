// A stand-in for NVIDIA's driver, for tests of the backend's calls: memory is the host's, kernels are run by a function that the test gives.
//
// It is stricter than a driver. Streams are queues: nothing runs before somebody waits for it, and then streams take turns at random as
// far as events allow; the nodes of a graph run in a random order that its edges allow. So a missing event, a host buffer that is written
// too early and a missing edge give wrong results. Freed memory is filled with garbage and kept. Every call is counted, and can be made
// to fail. Only what the backend calls is here; enums are integers, with the values of the CUDA 12 headers.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500 };

typedef int (*Run)(const char* name, const unsigned* grid, unsigned block, unsigned shared, void** args);
typedef unsigned (*Sizes)(const char* name, unsigned* sizes, unsigned room);

struct Event {
  uint64_t recorded = 0, done = 0;
};

struct Op {
  std::function<bool()> ready;
  std::function<void()> run;
};

struct Stream {
  std::deque<Op> queue;
};

struct Function {
  std::string name;
  unsigned shared = 48 << 10;
};

struct Module {
  std::string text;
  std::map<std::string, std::unique_ptr<Function>> functions;
};

struct KernelParams {  // CUDA_KERNEL_NODE_PARAMS_v2
  Function* function;
  unsigned grid[3], block[3], shared;
  void** params;
  void** extra;
  void* kernel;
  void* context;
};

struct Node {
  Function* function;
  unsigned grid[3], block, shared;
  std::vector<std::vector<unsigned char>> args;
  std::vector<Node*> before;
};

struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;
};

// Nodes are found by the graph's, as in the driver.
struct Exec {
  std::vector<Node> nodes;
  std::map<Node*, size_t> at;
};

std::mutex lock;
Run run_kernel;
Sizes sizes_of;
uint64_t seed = 1;
int devices = 1, version = 12080, major_ = 9, minor_ = 0;
size_t total = (size_t)1 << 34, used = 0;
int failed_kernel = 0;
std::map<std::string, unsigned long> counts;
std::map<std::string, std::pair<int, long>> failures;
std::set<Stream*> streams;
std::set<Event*> events;
std::set<Graph*> graphs;
std::set<Exec*> execs;
std::map<uint64_t, size_t> memory;
std::map<void*, size_t> pinned;
int context_object;
thread_local void* current;

unsigned below(size_t n) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (seed >> 33) % n;
}

// Counts a call; what it is to fail with, or 0.
int enter(const char* name, bool needs_context = true) {
  counts[name]++;
  auto found = failures.find(name);
  if (found != failures.end() && found->second.second-- <= 0) return found->second.first;
  if (needs_context && current != &context_object) return INVALID_CONTEXT;
  return SUCCESS;
}
#define ENTER(...)                                  \
  std::lock_guard<std::mutex> guard(lock);          \
  if (int code = enter(__func__ __VA_OPT__(, ) __VA_ARGS__)) return code

void pump(const std::function<bool()>& enough) {
  while (!enough()) {
    std::vector<Stream*> able;
    for (Stream* s : streams)
      if (!s->queue.empty() && s->queue.front().ready()) able.push_back(s);
    if (able.empty()) {
      fprintf(stderr, "stand-in driver: every stream waits for an event that nobody records\n");
      abort();
    }
    Stream* s = able[below(able.size())];
    Op op = std::move(s->queue.front());
    s->queue.pop_front();
    op.run();
  }
}

void push(Stream* s, std::function<void()> run) {
  s->queue.push_back({[] { return true; }, std::move(run)});
}

int fill(Node& node, const KernelParams& p) {
  if (!p.function || p.block[1] != 1 || p.block[2] != 1 || p.extra || p.shared > p.function->shared) return INVALID_VALUE;
  if (!p.grid[0] || !p.grid[1] || !p.grid[2] || p.grid[1] > 65535 || p.grid[2] > 65535) return INVALID_VALUE;
  if (!p.block[0] || p.block[0] > 1024) return INVALID_VALUE;
  node.function = p.function;
  memcpy(node.grid, p.grid, sizeof node.grid);
  node.block = p.block[0];
  node.shared = p.shared;
  unsigned sizes[64];
  const unsigned count = sizes_of(p.function->name.c_str(), sizes, 64);
  node.args.clear();
  for (unsigned i = 0; i < count; i++) {
    const unsigned char* at = (const unsigned char*)p.params[i];
    node.args.emplace_back(at, at + sizes[i]);
  }
  return SUCCESS;
}

void execute(Node& node) {
  std::vector<void*> args;
  for (auto& bytes : node.args) args.push_back(bytes.data());
  if (run_kernel(node.function->name.c_str(), node.grid, node.block, node.shared, args.data())) failed_kernel = 719;
}

}  // namespace

// ---- for the test

API void standin_kernels(Run run, Sizes sizes) {
  std::lock_guard<std::mutex> guard(lock);
  run_kernel = run;
  sizes_of = sizes;
}

API void standin_set(const char* what, long value) {
  std::lock_guard<std::mutex> guard(lock);
  const std::string key = what;
  if (key == "devices") devices = value;
  if (key == "version") version = value;
  if (key == "major") major_ = value;
  if (key == "minor") minor_ = value;
  if (key == "memory") total = value;
  if (key == "seed") seed = value;
}

API void standin_fail(const char* call, int code, long after) {
  std::lock_guard<std::mutex> guard(lock);
  if (code) failures[call] = {code, after};
  else failures.erase(call);
}

API unsigned long standin_count(const char* call) {
  std::lock_guard<std::mutex> guard(lock);
  return counts[call];
}

// Objects still held: allocations, pinned allocations, streams, events, graphs, executable graphs.
API void standin_held(unsigned long* held) {
  std::lock_guard<std::mutex> guard(lock);
  const unsigned long now[6] = {memory.size(), pinned.size(), streams.size(), events.size(), graphs.size(), execs.size()};
  memcpy(held, now, sizeof now);
}

// ---- the driver

API int cuInit(unsigned) {
  ENTER(false);
  return devices ? SUCCESS : NO_DEVICE;
}
API int cuDriverGetVersion(int* out) {
  ENTER(false);
  *out = version;
  return SUCCESS;
}
API int cuGetErrorName(int code, const char** out) {
  static const std::map<int, const char*> names = {{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
      {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"}, {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
      {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"}, {218, "CUDA_ERROR_INVALID_PTX"}, {719, "CUDA_ERROR_LAUNCH_FAILED"}};
  auto found = names.find(code);
  *out = found == names.end() ? nullptr : found->second;
  return *out ? SUCCESS : INVALID_VALUE;
}
API int cuGetErrorString(int code, const char** out) {
  *out = code == OUT_OF_MEMORY ? "out of memory" : "an error of the stand-in";
  return SUCCESS;
}
API int cuDeviceGetCount(int* out) {
  ENTER(false);
  *out = devices;
  return SUCCESS;
}
API int cuDeviceGet(int* out, int ordinal) {
  ENTER(false);
  if (ordinal < 0 || ordinal >= devices) return INVALID_VALUE;
  *out = ordinal;
  return SUCCESS;
}
API int cuDeviceGetName(char* out, int room, int) {
  ENTER(false);
  snprintf(out, room, "stand-in");
  return SUCCESS;
}
API int cuDeviceGetAttribute(int* out, int attribute, int) {
  ENTER(false);
  if (attribute != 75 && attribute != 76) return INVALID_VALUE;
  *out = attribute == 75 ? major_ : minor_;
  return SUCCESS;
}
API int cuDeviceTotalMem_v2(size_t* out, int) {
  ENTER(false);
  *out = total;
  return SUCCESS;
}
API int cuDevicePrimaryCtxRetain(void** out, int) {
  ENTER(false);
  *out = &context_object;
  return SUCCESS;
}
API int cuDevicePrimaryCtxRelease_v2(int) {
  ENTER(false);
  return SUCCESS;
}
API int cuCtxSetCurrent(void* context) {
  ENTER(false);
  current = context;
  return SUCCESS;
}
API int cuMemGetInfo_v2(size_t* free_, size_t* all) {
  ENTER();
  *free_ = total - used;
  *all = total;
  return SUCCESS;
}
API int cuMemAlloc_v2(uint64_t* out, size_t bytes) {
  ENTER();
  if (!bytes) return INVALID_VALUE;
  if (bytes > total - used) return OUT_OF_MEMORY;
  void* at = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!at) return OUT_OF_MEMORY;
  memset(at, 0xFF, bytes);
  *out = (uint64_t)at;
  memory[*out] = bytes;
  used += bytes;
  return SUCCESS;
}
API int cuMemFree_v2(uint64_t at) {
  ENTER();
  auto found = memory.find(at);
  if (found == memory.end()) return INVALID_VALUE;
  memset((void*)at, 0xFF, found->second);  // and never used again: work that still runs reads garbage
  used -= found->second;
  memory.erase(found);
  return SUCCESS;
}
API int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  ENTER();
  *out = calloc(1, bytes);
  pinned[*out] = bytes;
  return *out ? SUCCESS : OUT_OF_MEMORY;
}
API int cuMemFreeHost(void* at) {
  ENTER();
  if (!pinned.erase(at)) return INVALID_VALUE;
  free(at);
  return SUCCESS;
}
API int cuStreamCreate(Stream** out, unsigned) {
  ENTER();
  streams.insert(*out = new Stream);
  return SUCCESS;
}
API int cuStreamDestroy_v2(Stream* s) {
  ENTER();
  if (!streams.count(s)) return INVALID_HANDLE;
  pump([&] { return s->queue.empty(); });
  streams.erase(s);
  delete s;
  return SUCCESS;
}
API int cuStreamSynchronize(Stream* s) {
  ENTER();
  if (!streams.count(s)) return INVALID_HANDLE;
  pump([&] { return s->queue.empty(); });
  return failed_kernel;
}
API int cuEventCreate(Event** out, unsigned) {
  ENTER();
  events.insert(*out = new Event);
  return SUCCESS;
}
API int cuEventDestroy_v2(Event* e) {
  ENTER();
  if (!events.erase(e)) return INVALID_HANDLE;
  delete e;
  return SUCCESS;
}
API int cuEventRecord(Event* e, Stream* s) {
  ENTER();
  if (!events.count(e) || !streams.count(s)) return INVALID_HANDLE;
  const uint64_t target = ++e->recorded;
  push(s, [e, target] { e->done = e->done > target ? e->done : target; });
  return SUCCESS;
}
API int cuEventSynchronize(Event* e) {
  ENTER();
  if (!events.count(e)) return INVALID_HANDLE;
  const uint64_t target = e->recorded;
  pump([&] { return e->done >= target; });
  return SUCCESS;
}
API int cuStreamWaitEvent(Stream* s, Event* e, unsigned) {
  ENTER();
  if (!events.count(e) || !streams.count(s)) return INVALID_HANDLE;
  const uint64_t target = e->recorded;
  s->queue.push_back({[e, target] { return e->done >= target; }, [] {}});
  return SUCCESS;
}
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* s) {
  ENTER();
  if (!streams.count(s)) return INVALID_HANDLE;
  push(s, [=] { memcpy((void*)to, from, bytes); });
  return SUCCESS;
}
API int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* s) {
  ENTER();
  if (!streams.count(s)) return INVALID_HANDLE;
  push(s, [=] { memcpy(to, (const void*)from, bytes); });
  return SUCCESS;
}
API int cuModuleLoadDataEx(Module** out, const void* image, unsigned count, int* options, void** values) {
  ENTER();
  std::string text = (const char*)image;
  if (text.find(".version") == std::string::npos || text.find(".target") == std::string::npos) {
    for (unsigned i = 0; i < count; i++)
      if (options[i] == 5) strcpy((char*)values[i], "ptxas application ptx input, line 1; fatal : Missing .version directive");
    return 218;
  }
  *out = new Module{text, {}};
  return SUCCESS;
}
API int cuModuleUnload(Module* m) {
  ENTER();
  delete m;
  return SUCCESS;
}
API int cuModuleGetFunction(Function** out, Module* m, const char* name) {
  ENTER();
  if (m->text.find(".entry " + std::string(name) + "(") == std::string::npos) return NOT_FOUND;
  auto& function = m->functions[name];
  if (!function) function.reset(new Function{name});
  *out = function.get();
  return SUCCESS;
}
API int cuFuncSetAttribute(Function* f, int attribute, int value) {
  ENTER();
  if (attribute != 8 || value < 0 || value > 227 << 10) return INVALID_VALUE;
  f->shared = value;
  return SUCCESS;
}
API int cuLaunchKernel(Function* f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                       Stream* s, void** params, void** extra) {
  ENTER();
  if (!streams.count(s)) return INVALID_HANDLE;
  auto node = std::make_shared<Node>();
  const KernelParams p = {f, {x, y, z}, {bx, by, bz}, shared, params, extra, nullptr, nullptr};
  if (int code = fill(*node, p)) return code;
  push(s, [node] { execute(*node); });
  return SUCCESS;
}
API int cuGraphCreate(Graph** out, unsigned) {
  ENTER();
  graphs.insert(*out = new Graph);
  return SUCCESS;
}
API int cuGraphDestroy(Graph* g) {
  ENTER();
  if (!graphs.erase(g)) return INVALID_HANDLE;
  delete g;
  return SUCCESS;
}
API int cuGraphAddKernelNode_v2(Node** out, Graph* g, Node* const* before, size_t count, const KernelParams* p) {
  ENTER();
  if (!graphs.count(g)) return INVALID_HANDLE;
  std::unique_ptr<Node> node(new Node);
  if (int code = fill(*node, *p)) return code;
  node->before.assign(before, before + count);
  for (Node* b : node->before) {
    bool known = false;
    for (auto& n : g->nodes) known |= n.get() == b;
    if (!known) return INVALID_VALUE;
  }
  *out = node.get();
  g->nodes.push_back(std::move(node));
  return SUCCESS;
}
API int cuGraphInstantiateWithFlags(Exec** out, Graph* g, unsigned long long) {
  ENTER();
  if (!graphs.count(g)) return INVALID_HANDLE;
  Exec* exec = new Exec;
  for (auto& node : g->nodes) {
    exec->at[node.get()] = exec->nodes.size();
    exec->nodes.push_back(*node);
  }
  execs.insert(*out = exec);
  return SUCCESS;
}
API int cuGraphExecKernelNodeSetParams_v2(Exec* e, Node* at, const KernelParams* p) {
  ENTER();
  if (!execs.count(e) || !e->at.count(at)) return INVALID_HANDLE;
  Node& node = e->nodes[e->at[at]];
  if (node.function != p->function) return INVALID_VALUE;
  return fill(node, *p);
}
API int cuGraphExecDestroy(Exec* e) {
  ENTER();
  if (!execs.erase(e)) return INVALID_HANDLE;
  delete e;
  return SUCCESS;
}
API int cuGraphLaunch(Exec* e, Stream* s) {
  ENTER();
  if (!execs.count(e) || !streams.count(s)) return INVALID_HANDLE;
  // As it is now: later changes are for later launches.
  auto exec = std::make_shared<Exec>(*e);
  push(s, [exec] {
    const size_t count = exec->nodes.size();
    std::vector<bool> done(count);
    for (size_t left = count; left; left--) {
      std::vector<size_t> able;
      for (size_t i = 0; i < count; i++) {
        bool ready = !done[i];
        for (Node* b : exec->nodes[i].before) ready = ready && done[exec->at[b]];
        if (ready) able.push_back(i);
      }
      const size_t next = able[below(able.size())];
      execute(exec->nodes[next]);
      done[next] = true;
    }
  });
  return SUCCESS;
}
