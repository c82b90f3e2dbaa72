/* libmonet and ONNX Runtime with the same net, each through its C API, in one program: start, memory
 * and time of a slice. `beside` builds it and says how it is run.
 *
 * A turn is a process of its own, forked before either library is loaded, so that memory is one
 * engine's alone. It has one thread, and loads its library, opens its net, and runs slices: until the
 * labels of the first one is its start. Turns go round the engines, so that what else the machine
 * does meets all alike. Times are the process's time on a CPU, which is the time that passes where
 * nobody else wants one.
 *
 * At last this process loads both, runs one slice by each, and says for how many pixels they agree.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <monet.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIDE = 256, PIXELS = SIDE * SIDE, ROUNDS = 7, SLICES = 10, MOST_ENGINES = 4 };

/* An engine: a library, a file with the net, and what opens both. */
typedef struct {
  const char *library, *net;
  void (*open)(const char *library, const char *net);
  void (*run)(uint8_t *labels);
} engine;

typedef struct {
  double start_ms, slice_ms, peak_mib;
} turn;

static float slice[PIXELS];

static void fail(const char *what, const char *why) {
  fprintf(stderr, "beside: %s: %s\n", what, why);
  exit(1);
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void *load(const char *library) {
  void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!loaded) fail(library, dlerror());
  return loaded;
}

static void *function(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (!found) fail(name, dlerror());
  return found;
}

/* --- libmonet: an image, and an arena of this program's. --- */

static monet_net net;
static void *arena;
static size_t arena_len;
static monet_status (*net_run)(const monet_net *, void *, size_t, const float *const *, size_t,
                               uint8_t *, size_t);

static void of_monet(monet_status status) {
  if (status != MONET_STATUS_OK) {
    char number[16];
    snprintf(number, sizeof number, "status %d", status);
    fail("libmonet", number);
  }
}

static void open_monet(const char *library, const char *path) {
  void *loaded = load(library);
  monet_status (*net_open)(uint32_t, monet_net *, const void *, size_t);
  monet_status (*net_shape)(const monet_net *, monet_shape *);
  *(void **)&net_open = function(loaded, "monet_net_open");
  *(void **)&net_shape = function(loaded, "monet_net_shape");
  *(void **)&net_run = function(loaded, "monet_net_run");

  FILE *file = fopen(path, "rb");
  if (!file) fail(path, "cannot be read");
  fseek(file, 0, SEEK_END);
  size_t len = (size_t)ftell(file);
  rewind(file);
  void *image = aligned_alloc(MONET_ALIGN, (len + MONET_ALIGN - 1) / MONET_ALIGN * MONET_ALIGN);
  if (!image || fread(image, 1, len, file) != len) fail(path, "cannot be read");
  fclose(file);

  monet_shape shape;
  of_monet(net_open(MONET_ABI, &net, image, len));
  of_monet(net_shape(&net, &shape));
  if (shape.planes != 1 || shape.out_height != SIDE || shape.out_width != SIDE)
    fail(path, "expected a net of one plane of 256x256");
  arena_len = shape.arena;
  arena = aligned_alloc(MONET_ALIGN, (arena_len + MONET_ALIGN - 1) / MONET_ALIGN * MONET_ALIGN);
}

static void run_monet(uint8_t *labels) {
  const float *planes[] = {slice};
  of_monet(net_run(&net, arena, arena_len, planes, 1, labels, PIXELS));
}

/* --- ONNX Runtime: a session of one thread. --- */

static const OrtApi *ort;
static OrtSession *session;
static OrtValue *input;
static char *names[2];

static void of_ort(OrtStatus *status) {
  if (status) fail("ONNX Runtime", ort->GetErrorMessage(status));
}

static void open_ort(const char *library, const char *path) {
  const OrtApiBase *(*base)(void);
  *(void **)&base = function(load(library), "OrtGetApiBase");
  ort = base()->GetApi(ORT_API_VERSION);
  if (!ort) fail(library, "is older than its header");
  OrtEnv *env;
  OrtSessionOptions *options;
  OrtMemoryInfo *memory;
  OrtAllocator *allocator;
  of_ort(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "beside", &env));
  of_ort(ort->CreateSessionOptions(&options));
  of_ort(ort->SetIntraOpNumThreads(options, 1));
  of_ort(ort->SetInterOpNumThreads(options, 1));
  of_ort(ort->CreateSession(env, path, options, &session));
  of_ort(ort->GetAllocatorWithDefaultOptions(&allocator));
  of_ort(ort->SessionGetInputName(session, 0, allocator, &names[0]));
  of_ort(ort->SessionGetOutputName(session, 0, allocator, &names[1]));
  const int64_t shape[] = {1, 1, SIDE, SIDE};
  of_ort(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  of_ort(ort->CreateTensorWithDataAsOrtValue(memory, slice, sizeof slice, shape, 4,
                                             ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
}

/* The net ends in a sigmoid, whose threshold is the package's. */
static void run_ort(uint8_t *labels) {
  OrtValue *output = NULL;
  float *probabilities;
  of_ort(ort->Run(session, NULL, (const char *const *)&names[0], (const OrtValue *const *)&input, 1,
                  (const char *const *)&names[1], 1, &output));
  of_ort(ort->GetTensorMutableData(output, (void **)&probabilities));
  for (size_t i = 0; i < PIXELS; i++) labels[i] = probabilities[i] > 0.5f;
  ort->ReleaseValue(output);
}

/* --- Measuring. --- */

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, by_size);
  return values[count / 2];
}

/* The most memory that this process has had resident: exec resets it, fork does not. */
static double peak_mib(void) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  double kib = 0;
  while (file && fgets(line, sizeof line, file)) sscanf(line, "VmHWM: %lf", &kib);
  if (file) fclose(file);
  return kib / 1024;
}

static turn measure(const engine *engine) {
  static uint8_t labels[PIXELS];
  double times[SLICES], begin = now_ms();
  turn found;
  engine->open(engine->library, engine->net);
  engine->run(labels);
  found.start_ms = now_ms() - begin;
  for (int i = 0; i < SLICES; i++) {
    begin = now_ms();
    engine->run(labels);
    times[i] = now_ms() - begin;
  }
  found.slice_ms = median(times, SLICES);
  found.peak_mib = peak_mib();
  return found;
}

static turn measure_apart(const engine *engine) {
  int ends[2], status;
  turn found;
  if (pipe(ends)) fail("pipe", "none is left");
  pid_t child = fork();
  if (child == 0) {
    found = measure(engine);
    _exit(write(ends[1], &found, sizeof found) != sizeof found);
  }
  close(ends[1]);
  int complete = child > 0 && read(ends[0], &found, sizeof found) == sizeof found;
  close(ends[0]);
  if (!complete || waitpid(child, &status, 0) != child || status) fail(engine->net, "its turn failed");
  return found;
}

int main(int count, char **given) {
  if (count < 5 || count > 4 + MOST_ENGINES - 1) {
    fprintf(stderr, "usage: %s libmonet.so NET.image libonnxruntime.so NET.onnx...\n", given[0]);
    return 2;
  }
  for (int y = 0; y < SIDE; y++)
    for (int x = 0; x < SIDE; x++) /* as worker.py has it */
      slice[y * SIDE + x] = fminf(
          fmaxf(0.5f + 0.4f * sinf(y * 0.11f) * cosf(x * 0.07f + 1) + 0.1f * sinf(x * 0.9f), 0), 1);

  engine engines[MOST_ENGINES] = {{given[1], given[2], open_monet, run_monet}};
  int all = 1;
  for (int i = 4; i < count; i++)
    engines[all++] = (engine){given[3], given[i], open_ort, run_ort};

  double start[MOST_ENGINES][ROUNDS], each[MOST_ENGINES][ROUNDS], peak[MOST_ENGINES][ROUNDS];
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < all; i++) {
      turn found = measure_apart(&engines[i]);
      start[i][round] = found.start_ms;
      each[i][round] = found.slice_ms;
      peak[i][round] = found.peak_mib;
    }
  printf("Medians of %d rounds; of a round, the median of %d slices.\n\n", ROUNDS, SLICES);
  printf("| library | net | start ms | peak MiB | ms a slice |\n|---|---|---|---|---|\n");
  for (int i = 0; i < all; i++) {
    const char *library = strrchr(engines[i].library, '/'), *file = strrchr(engines[i].net, '/');
    printf("| %s | %s | %.1f | %.1f | %.1f |\n", library ? library + 1 : engines[i].library,
           file ? file + 1 : engines[i].net, median(start[i], ROUNDS), median(peak[i], ROUNDS),
           median(each[i], ROUNDS));
  }

  static uint8_t ours[PIXELS], theirs[PIXELS];
  int equal = 0;
  engines[0].open(engines[0].library, engines[0].net);
  engines[1].open(engines[1].library, engines[1].net);
  engines[0].run(ours);
  engines[1].run(theirs);
  for (int i = 0; i < PIXELS; i++) equal += ours[i] == theirs[i];
  printf("\nBoth in one process: %.2f %% of the labels are equal.\n", 100.0 * equal / PIXELS);
  return 0;
}
