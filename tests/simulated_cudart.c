/* A CUDA runtime without a GPU, for tests: device memory is host memory, streams run at once, and a
 * captured graph is a list of copies and calls that a launch repeats. It has the entry points that
 * export/cuda_runtime.py calls, so the calls themselves are real; nothing is computed on a GPU.
 *
 * SIMULATED_GPU_ERROR    code that cudaGetDeviceCount returns
 * SIMULATED_GPU_COUNT    number of GPUs, 1 without
 * SIMULATED_GPU_NAME     name of the GPU
 * SIMULATED_GPU_NO_GRAPH capturing fails when it ends
 */
#include <stdlib.h>
#include <string.h>

typedef struct Work {
  void *target;
  const void *source;
  size_t size;
  void (*call)(long);
  long argument;
  struct Work *next;
} Work;

typedef struct {
  Work *first, **last;
  int capturing;
} Stream;

static long live_allocations = 0, launches = 0;
static int last_error = 0;

static int fail(int code) { return last_error = code; }

static void run(const Work *work) {
  if (work->call)
    work->call(work->argument);
  else
    memcpy(work->target, work->source, work->size);
}

static int enqueue(Stream *stream, Work work) {
  if (!stream->capturing) {
    run(&work);
    return 0;
  }
  Work *kept = malloc(sizeof *kept);
  *kept = work;
  kept->next = NULL;
  *stream->last = kept;
  stream->last = &kept->next;
  return 0;
}

static void drop(Work *work) {
  while (work) {
    Work *next = work->next;
    free(work);
    work = next;
  }
}

/* What a test looks at, and how its engine gets into a stream. */
long simulated_live_allocations(void) { return live_allocations; }
long simulated_launches(void) { return launches; }
int simulated_call(void *stream, void (*call)(long), long argument) {
  Work work = {0};
  work.call = call;
  work.argument = argument;
  return enqueue(stream, work);
}

int cudaGetDeviceCount(int *count) {
  const char *error = getenv("SIMULATED_GPU_ERROR"), *number = getenv("SIMULATED_GPU_COUNT");
  if (error) return fail(atoi(error));
  *count = number ? atoi(number) : 1;
  return 0;
}
int cudaSetDevice(int device) { return device ? fail(101) : 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  *value = attribute == 75 ? 8 : attribute == 76 ? 6 : 0;
  return 0;
}
int cudaGetDeviceProperties(char *properties, int device) {
  const char *name = getenv("SIMULATED_GPU_NAME");
  (void)device;
  strcpy(properties, name ? name : "simulated GPU");
  return 0;
}
static int allocate(void **pointer, size_t size) {
  *pointer = malloc(size);
  live_allocations++;
  return *pointer ? 0 : fail(2);
}
int cudaMalloc(void **pointer, size_t size) { return allocate(pointer, size); }
int cudaMallocHost(void **pointer, size_t size) { return allocate(pointer, size); }
int cudaFree(void *pointer) {
  free(pointer);
  live_allocations--;
  return 0;
}
int cudaFreeHost(void *pointer) { return cudaFree(pointer); }
int cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, void *stream) {
  Work work = {0};
  (void)kind;
  work.target = target;
  work.source = source;
  work.size = size;
  return enqueue(stream, work);
}
int cudaStreamCreateWithFlags(void **stream, unsigned flags) {
  Stream *made = calloc(1, sizeof *made);
  (void)flags;
  *stream = made;
  live_allocations++;
  return 0;
}
int cudaStreamSynchronize(void *stream) { return ((Stream *)stream)->capturing ? fail(900) : 0; }
int cudaStreamDestroy(void *stream) { return cudaFree(stream); }
int cudaStreamBeginCapture(void *stream, int mode) {
  Stream *s = stream;
  (void)mode;
  s->first = NULL;
  s->last = &s->first;
  s->capturing = 1;
  return 0;
}
int cudaStreamEndCapture(void *stream, void **graph) {
  Stream *s = stream;
  s->capturing = 0;
  *graph = NULL;
  if (getenv("SIMULATED_GPU_NO_GRAPH")) {
    drop(s->first);
    return fail(901);
  }
  Work **made = malloc(sizeof *made);
  *made = s->first;
  *graph = made;
  live_allocations++;
  return 0;
}
int cudaGraphInstantiateWithFlags(void **ready, void *graph, unsigned long long flags) {
  Work **made = malloc(sizeof *made);
  (void)flags;
  *made = *(Work **)graph;
  *(Work **)graph = NULL;
  *ready = made;
  live_allocations++;
  return 0;
}
int cudaGraphLaunch(void *ready, void *stream) {
  (void)stream;
  launches++;
  for (const Work *work = *(Work **)ready; work; work = work->next) run(work);
  return 0;
}
int cudaGraphDestroy(void *graph) {
  drop(*(Work **)graph);
  return cudaFree(graph);
}
int cudaGraphExecDestroy(void *ready) { return cudaGraphDestroy(ready); }
int cudaGetLastError(void) {
  int code = last_error;
  last_error = 0;
  return code;
}
const char *cudaGetErrorString(int code) {
  switch (code) {
    case 35: return "CUDA driver version is insufficient for CUDA runtime version";
    case 100: return "no CUDA-capable device is detected";
    case 901: return "operation failed due to a previous error during capture";
    default: return "simulated error";
  }
}
