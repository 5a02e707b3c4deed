/* A stand-in for NVIDIA's driver, libcuda.so.1: one device, whose kernels run on the CPU.

   As many of the driver's functions as Numba's CUDA target calls, with what a real device does to
   whoever is careless: work of a stream waits until somebody waits for it, new and freed memory is
   garbage, device memory cannot be read by the host, kernels that leave what is allocated fail, and
   after that everything fails. Meaning of each function: NVIDIA, "CUDA Driver API", 13.0, 2025. */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "simt.h"

enum { GARBAGE = 0xA5, GRANULE = 256, MAJOR = 9, MINOR = 0, PROCESSORS = 132 };
static const uint64_t ARENA_BYTES = 2ull << 30; /* all of the device's memory */

/* -- state ------------------------------------------------------------------------------------ */

struct block { /* of the arena, allocated or free; in order */
    uint64_t at, n_bytes;
    int used;
    struct block *next;
};
struct range { void *at; uint64_t n_bytes; struct range *next; };

struct CUevent_st { int recorded; double when; };
enum kind { COPY, FILL, LAUNCH, RECORD, CALL };
struct work {
    enum kind kind;
    void *to; const void *from; void *owned; uint64_t n_bytes; int value;
    struct entry *entry; unsigned grid[3], threads[3], shared_bytes; char parameters[16][16];
    CUevent event;
    CUhostFn call; CUstreamCallback callback; void *data;
    struct work *next;
};
struct CUstream_st { struct work *first, *last; struct CUstream_st *next; };

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static uint64_t arena;
static uint8_t *pages;
static struct block *blocks;
static struct range *pinned;
static struct CUstream_st legacy, per_thread = {.next = &legacy}, *streams = &per_thread;
static CUresult broken;
static __thread CUcontext current[16];
static __thread int n_current;
static int the_context;
#define CONTEXT ((CUcontext)&the_context)

static int set_up(void)
{
    if (arena)
        return 1;
    void *place = mmap(0, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED)
        return 0;
    arena = (uint64_t)place;
    pages = calloc(ARENA_BYTES / GRANULE, 1);
    blocks = calloc(1, sizeof *blocks);
    *blocks = (struct block){arena, ARENA_BYTES, 0, 0};
    return 1;
}

/* Every function of the interface begins and ends so. */
#define ENTER pthread_mutex_lock(&lock); CUresult result = broken; if (!result) do
#define LEAVE while (0); pthread_mutex_unlock(&lock); return result;
#define FAIL(code) { result = (code); break; }

static void reach(int open) { mprotect((void *)arena, ARENA_BYTES, open ? PROT_READ | PROT_WRITE : PROT_NONE); }
static int on_device(const void *p) { return (uint64_t)p - arena < ARENA_BYTES; }
static int is_pinned(const void *p)
{
    for (struct range *r = pinned; r; r = r->next)
        if ((char *)p >= (char *)r->at && (char *)p < (char *)r->at + r->n_bytes)
            return 1;
    return 0;
}
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
}

/* -- work ------------------------------------------------------------------------------------- */

static void run_kernel(struct work *k)
{
    uint64_t n_threads = (uint64_t)k->threads[0] * k->threads[1] * k->threads[2];
    void *parameters[16];
    for (int i = 0; i < 16; i++)
        parameters[i] = k->parameters[i];
    unsigned n_shared = k->entry->shared_bytes + k->shared_bytes;
    char *shared = aligned_alloc(16, n_shared / 16 * 16 + 16);
    struct warp w = {
        .n_blocks = {k->grid[0], k->grid[1], k->grid[2]}, .n_threads = n_threads,
        .parameters = parameters, .shared = shared, .shared_bytes = n_shared, .pages = pages, .arena = arena,
        .arena_bytes = ARENA_BYTES,
    };
    uint64_t n_blocks = (uint64_t)k->grid[0] * k->grid[1] * k->grid[2];
    for (uint64_t block = 0; block < n_blocks && !w.error; block++) {
        w.block[0] = block % k->grid[0];
        w.block[1] = block / k->grid[0] % k->grid[1];
        w.block[2] = block / k->grid[0] / k->grid[1];
        memset(shared, GARBAGE, n_shared);
        for (uint64_t first = 0; first < n_threads && !w.error; first += 32) {
            uint64_t n = n_threads - first;
            w.first_thread = first;
            w.alive = n >= 32 ? ~0u : (1u << n) - 1;
            k->entry->run(&w);
        }
    }
    if (w.error) {
        fprintf(stderr, "emulated CUDA device: %s stopped at block (%u, %u): error %d, address %llx\n",
                k->entry->name, w.block[0], w.block[1], w.error, (unsigned long long)w.bad_address);
        broken = w.error;
    }
    free(shared);
}

static void run(struct work *k)
{
    reach(1);
    if (!broken)
        switch (k->kind) {
        case COPY: memmove(k->to, k->from, k->n_bytes); break;
        case FILL: memset(k->to, k->value, k->n_bytes); break;
        case LAUNCH: run_kernel(k); break;
        case RECORD: k->event->when = now(); break;
        case CALL: if (k->call) k->call(k->data); else k->callback(0, broken, k->data);
        }
    if (k->kind == RECORD)
        k->event->recorded--;
    reach(0);
    free(k->owned);
}

static void drain(struct CUstream_st *stream)
{
    while (stream->first) {
        struct work *k = stream->first;
        if (!(stream->first = k->next))
            stream->last = 0;
        run(k);
        free(k);
    }
}
static void drain_all(void)
{
    for (struct CUstream_st *s = streams; s; s = s->next)
        drain(s);
}

static struct CUstream_st *stream_of(CUstream given)
{
    return !given || given == CU_STREAM_LEGACY ? &legacy : given == CU_STREAM_PER_THREAD ? &per_thread : given;
}

/* The legacy stream waits for all others, and they for it. */
static void put(CUstream given, struct work work)
{
    struct CUstream_st *stream = stream_of(given);
    struct work *k = malloc(sizeof *k);
    *k = work;
    if (stream == &legacy)
        drain_all();
    if (stream->last)
        stream->last->next = k;
    else
        stream->first = k;
    stream->last = k;
    if (stream == &legacy)
        drain(stream);
}

/* -- finding functions, errors, device, context ------------------------------------------------ */

CUresult CUDAAPI cuGetProcAddress_v2(
    const char *name, void **function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *status)
{
    Dl_info self;
    dladdr(&legacy, &self);
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *function = 0;
    for (int v = 4; v >= 1 && !*function; v--) {
        char full[200];
        snprintf(full, sizeof full, v > 1 ? "%s_v%d" : "%s", name, v);
        *function = dlsym(library, full);
    }
    dlclose(library);
    if (status)
        *status = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

static const struct { CUresult code; const char *name, *text; } ERRORS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};
static CUresult told(CUresult code, const char **text, int name)
{
    for (unsigned i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) {
            *text = name ? ERRORS[i].name : ERRORS[i].text;
            return CUDA_SUCCESS;
        }
    *text = 0;
    return CUDA_ERROR_INVALID_VALUE;
}
CUresult CUDAAPI cuGetErrorName(CUresult code, const char **text) { return told(code, text, 1); }
CUresult CUDAAPI cuGetErrorString(CUresult code, const char **text) { return told(code, text, 0); }

CUresult CUDAAPI cuInit(unsigned flags) { ENTER { if (!set_up()) FAIL(CUDA_ERROR_OUT_OF_MEMORY) } LEAVE }
CUresult CUDAAPI cuDriverGetVersion(int *version) { *version = 13000; return CUDA_SUCCESS; }
CUresult CUDAAPI cuDeviceGetCount(int *n) { *n = 1; return CUDA_SUCCESS; }
CUresult CUDAAPI cuDeviceGet(CUdevice *device, int i)
{
    *device = 0;
    return i ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetName(char *name, int n, CUdevice device)
{
    snprintf(name, n, "CPU in a GPU's place");
    return CUDA_SUCCESS;
}
CUresult CUDAAPI cuDeviceGetUuid(CUuuid *uuid, CUdevice device) { memset(uuid, 7, 16); return CUDA_SUCCESS; }
CUresult CUDAAPI cuDeviceTotalMem(size_t *n, CUdevice device) { *n = ARENA_BYTES; return CUDA_SUCCESS; }
CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device)
{
    switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = MAJOR; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = MINOR; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 2147483647; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 49152; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *value = 65536; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = PROCESSORS; break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 1; break;
    default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) { *context = CONTEXT; return broken; }
CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) { return broken; }
CUresult CUDAAPI cuDevicePrimaryCtxReset(CUdevice device) { return CUDA_SUCCESS; }
CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    *flags = 0, *active = 1;
    return CUDA_SUCCESS;
}
CUresult CUDAAPI cuCtxGetCurrent(CUcontext *context) { *context = n_current ? current[n_current - 1] : 0; return CUDA_SUCCESS; }
CUresult CUDAAPI cuCtxSetCurrent(CUcontext context)
{
    n_current = n_current ? n_current : 1;
    current[n_current - 1] = context;
    return CUDA_SUCCESS;
}
CUresult CUDAAPI cuCtxPushCurrent(CUcontext context)
{
    if (n_current == 16)
        return CUDA_ERROR_OUT_OF_MEMORY;
    current[n_current++] = context;
    return CUDA_SUCCESS;
}
CUresult CUDAAPI cuCtxPopCurrent(CUcontext *context)
{
    if (!n_current)
        return CUDA_ERROR_INVALID_CONTEXT;
    CUcontext popped = current[--n_current];
    if (context)
        *context = popped;
    return CUDA_SUCCESS;
}
CUresult CUDAAPI cuCtxGetDevice(CUdevice *device) { *device = 0; return n_current ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT; }
CUresult CUDAAPI cuCtxSynchronize(void) { ENTER { drain_all(); result = broken; } LEAVE }

/* -- memory ----------------------------------------------------------------------------------- */

CUresult CUDAAPI cuMemGetInfo(size_t *free_, size_t *total)
{
    ENTER {
        *free_ = 0, *total = ARENA_BYTES;
        for (struct block *b = blocks; b; b = b->next)
            *free_ += b->used ? 0 : b->n_bytes;
    } LEAVE
}
CUresult CUDAAPI cuMemAlloc(CUdeviceptr *address, size_t n_bytes)
{
    ENTER {
        if (!n_bytes) FAIL(CUDA_ERROR_INVALID_VALUE)
        if (n_bytes > ARENA_BYTES) FAIL(CUDA_ERROR_OUT_OF_MEMORY)
        /* Something that is nobody's follows. */
        uint64_t n = (n_bytes + GRANULE - 1) / GRANULE * GRANULE, whole = n + GRANULE;
        struct block *b = blocks;
        while (b && (b->used || b->n_bytes < whole))
            b = b->next;
        if (!b) FAIL(CUDA_ERROR_OUT_OF_MEMORY)
        if (b->n_bytes > whole) {
            struct block *rest = malloc(sizeof *rest);
            *rest = (struct block){b->at + whole, b->n_bytes - whole, 0, b->next};
            b->next = rest, b->n_bytes = whole;
        }
        b->used = 1;
        reach(1);
        memset((void *)b->at, GARBAGE, n);
        reach(0);
        memset(pages + (b->at - arena) / GRANULE, 1, n / GRANULE);
        *address = b->at;
    } LEAVE
}
CUresult CUDAAPI cuMemFree(CUdeviceptr address)
{
    ENTER {
        if (!address) break;
        drain_all();
        struct block *b = blocks;
        while (b && (!b->used || b->at != address))
            b = b->next;
        if (!b) FAIL(CUDA_ERROR_INVALID_VALUE)
        b->used = 0;
        memset(pages + (b->at - arena) / GRANULE, 0, b->n_bytes / GRANULE);
        reach(1);
        memset((void *)b->at, GARBAGE, b->n_bytes);
        reach(0);
        for (b = blocks; b; b = b->next)
            while (!b->used && b->next && !b->next->used) {
                struct block *gone = b->next;
                b->n_bytes += gone->n_bytes, b->next = gone->next;
                free(gone);
            }
    } LEAVE
}
CUresult CUDAAPI cuMemGetAddressRange(CUdeviceptr *base, size_t *n_bytes, CUdeviceptr address)
{
    ENTER {
        struct block *b = blocks;
        while (b && !(b->used && address - b->at < b->n_bytes - GRANULE))
            b = b->next;
        if (!b) FAIL(CUDA_ERROR_NOT_FOUND)
        if (base) *base = b->at;
        if (n_bytes) *n_bytes = b->n_bytes - GRANULE;
    } LEAVE
}
CUresult CUDAAPI cuMemHostAlloc(void **place, size_t n_bytes, unsigned flags)
{
    ENTER {
        *place = aligned_alloc(4096, (n_bytes + 4095) / 4096 * 4096);
        if (!*place) FAIL(CUDA_ERROR_OUT_OF_MEMORY)
        memset(*place, GARBAGE, n_bytes);
        struct range *r = malloc(sizeof *r);
        *r = (struct range){*place, n_bytes, pinned};
        pinned = r;
    } LEAVE
}
CUresult CUDAAPI cuMemFreeHost(void *place)
{
    ENTER {
        drain_all();
        struct range **r = &pinned;
        while (*r && (*r)->at != place)
            r = &(*r)->next;
        if (!*r) FAIL(CUDA_ERROR_INVALID_VALUE)
        struct range *gone = *r;
        *r = gone->next;
        memset(place, GARBAGE, gone->n_bytes);
        free(place), free(gone);
    } LEAVE
}
CUresult CUDAAPI cuMemHostGetDevicePointer(CUdeviceptr *address, void *place, unsigned flags) { *address = (CUdeviceptr)place; return CUDA_SUCCESS; }
CUresult CUDAAPI cuPointerGetAttribute(void *data, CUpointer_attribute which, CUdeviceptr address)
{
    switch (which) {
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)data = address; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = CONTEXT; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)data = on_device((void *)address) ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST; return CUDA_SUCCESS;
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

/* Copies from and to memory that is not pinned are done, or read from, before the call returns. */
static CUresult copy(void *to, const void *from, uint64_t n_bytes, CUstream stream)
{
    struct work k = {.kind = COPY, .to = to, .from = from, .n_bytes = n_bytes};
    for (int end = 0; end < 2; end++) {
        uint64_t at = (uint64_t)(end ? from : to);
        if (on_device((void *)at))
            for (uint64_t i = (at - arena) / GRANULE; n_bytes && i <= (at - arena + n_bytes - 1) / GRANULE; i++)
                if (!pages[i])
                    return CUDA_ERROR_INVALID_VALUE;
    }
    if (!on_device(from) && !is_pinned(from)) {
        k.owned = malloc(n_bytes + 1);
        memcpy(k.owned, from, n_bytes);
        k.from = k.owned;
    }
    put(stream, k);
    if (!on_device(to) && !is_pinned(to))
        drain(stream_of(stream));
    return broken;
}
CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t n, CUstream s) { ENTER { result = copy((void *)to, from, n, s); } LEAVE }
CUresult CUDAAPI cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t n, CUstream s) { ENTER { result = copy(to, (void *)from, n, s); } LEAVE }
CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) { ENTER { result = copy((void *)to, (void *)from, n, s); } LEAVE }
CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t n) { return cuMemcpyHtoDAsync(to, from, n, 0); }
CUresult CUDAAPI cuMemcpyDtoH(void *to, CUdeviceptr from, size_t n) { return cuMemcpyDtoHAsync(to, from, n, 0); }
CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t n) { return cuMemcpyDtoDAsync(to, from, n, 0); }
CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream s)
{
    ENTER { put(s, (struct work){.kind = FILL, .to = (void *)to, .value = value, .n_bytes = n}); result = broken; } LEAVE
}
CUresult CUDAAPI cuMemsetD8(CUdeviceptr to, unsigned char value, size_t n) { return cuMemsetD8Async(to, value, n, 0); }

/* -- streams and events ----------------------------------------------------------------------- */

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    ENTER {
        *stream = calloc(1, sizeof **stream);
        (*stream)->next = streams;
        streams = *stream;
    } LEAVE
}
CUresult CUDAAPI cuStreamCreate(CUstream *stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, 0); }
CUresult CUDAAPI cuStreamDestroy(CUstream stream)
{
    ENTER {
        drain(stream);
        struct CUstream_st **s = &streams;
        while (*s && *s != stream)
            s = &(*s)->next;
        if (!*s) FAIL(CUDA_ERROR_INVALID_VALUE)
        *s = stream->next;
        free(stream);
    } LEAVE
}
CUresult CUDAAPI cuStreamSynchronize(CUstream stream) { ENTER { drain(stream_of(stream)); result = broken; } LEAVE }
CUresult CUDAAPI cuStreamQuery(CUstream stream) { ENTER { result = stream_of(stream)->first ? CUDA_ERROR_NOT_READY : broken; } LEAVE }
CUresult CUDAAPI cuStreamGetCtx_v2(CUstream stream, CUcontext *context, CUgreenCtx *green)
{
    *context = CONTEXT;
    if (green) *green = 0;
    return broken;
}
CUresult CUDAAPI cuStreamGetFlags(CUstream stream, unsigned *flags) { *flags = 0; return broken; }
CUresult CUDAAPI cuStreamGetPriority(CUstream stream, int *priority) { *priority = 0; return broken; }
CUresult CUDAAPI cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) { *status = CU_STREAM_CAPTURE_STATUS_NONE; return broken; }
CUresult CUDAAPI cuStreamAddCallback(CUstream stream, CUstreamCallback call, void *data, unsigned flags)
{
    ENTER { put(stream, (struct work){.kind = CALL, .callback = call, .data = data}); result = broken; } LEAVE
}
CUresult CUDAAPI cuLaunchHostFunc(CUstream stream, CUhostFn call, void *data)
{
    ENTER { put(stream, (struct work){.kind = CALL, .call = call, .data = data}); result = broken; } LEAVE
}
CUresult CUDAAPI cuEventCreate(CUevent *event, unsigned flags) { ENTER { *event = calloc(1, sizeof **event); } LEAVE }
CUresult CUDAAPI cuEventDestroy(CUevent event) { ENTER { drain_all(); free(event); } LEAVE }
CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream)
{
    ENTER { event->recorded++; put(stream, (struct work){.kind = RECORD, .event = event}); result = broken; } LEAVE
}
/* Whoever waits for an event lets the streams go on in turn, one step each, until it has come. */
CUresult CUDAAPI cuEventSynchronize(CUevent event)
{
    ENTER {
        for (struct CUstream_st *s = streams; s && event->recorded; s = s->next) {
            int here = 0;
            for (struct work *k = s->first; k; k = k->next)
                here |= k->kind == RECORD && k->event == event;
            while (here && event->recorded && s->first) {
                struct work *k = s->first;
                if (!(s->first = k->next))
                    s->last = 0;
                run(k);
                free(k);
            }
        }
        result = broken;
    } LEAVE
}
CUresult CUDAAPI cuEventQuery(CUevent event) { ENTER { result = event->recorded ? CUDA_ERROR_NOT_READY : broken; } LEAVE }
CUresult CUDAAPI cuEventElapsedTime(float *ms, CUevent begin, CUevent end)
{
    ENTER {
        if (begin->recorded || end->recorded) FAIL(CUDA_ERROR_NOT_READY)
        *ms = end->when - begin->when;
    } LEAVE
}
CUresult CUDAAPI cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) { return cuEventSynchronize(event); }

/* -- programs --------------------------------------------------------------------------------- */

struct program { void *library; struct entry *entries; };

/* PTX, or where it begins in a fat binary that was not compressed. */
static const char *text_in(const void *code)
{
    static const uint32_t FAT = 0xba55ed50;
    if (memcmp(code, &FAT, 4))
        return strstr(code, ".version");
    uint16_t head = ((uint16_t *)code)[3];
    uint64_t n_bytes = ((uint64_t *)code)[1];
    return memmem((char *)code + head, n_bytes, ".version", 8);
}

CUresult CUDAAPI cuLibraryLoadData(
    CUlibrary *library, const void *code, CUjit_option *options, void **values, unsigned n,
    CUlibraryOption *library_options, void **library_values, unsigned n_library)
{
    ENTER {
        const char *translator = getenv("CUDA_EMULATOR_TRANSLATOR"), *folder = getenv("TMPDIR");
        code = text_in(code);
        if (!translator || !code) FAIL(CUDA_ERROR_INVALID_IMAGE)
        char source[200], command[1000], path[500] = "";
        snprintf(source, sizeof source, "%s/kernel-XXXXXX", folder ? folder : "/tmp");
        FILE *file = fdopen(mkstemp(source), "w");
        fputs(code, file);
        fclose(file);
        snprintf(command, sizeof command, "env -u LD_LIBRARY_PATH %s %s", translator, source);
        FILE *answer = popen(command, "r");
        int n_read = fscanf(answer, "%499s", path);
        pclose(answer);
        unlink(source);
        void *loaded = n_read == 1 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : 0;
        if (!loaded) FAIL(CUDA_ERROR_INVALID_IMAGE)
        struct program *made = malloc(sizeof *made);
        *made = (struct program){loaded, dlsym(loaded, "entries")};
        *library = (CUlibrary)made;
    } LEAVE
}
CUresult CUDAAPI cuLibraryUnload(CUlibrary library) { ENTER { drain_all(); dlclose(((struct program *)library)->library); free(library); } LEAVE }
CUresult CUDAAPI cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    ENTER {
        struct entry *e = ((struct program *)library)->entries;
        while (e->name && strcmp(e->name, name))
            e++;
        if (!e->name) FAIL(CUDA_ERROR_NOT_FOUND)
        *kernel = (CUkernel)e;
    } LEAVE
}
CUresult CUDAAPI cuLibraryGetGlobal(CUdeviceptr *address, size_t *n_bytes, CUlibrary library, const char *name) { return CUDA_ERROR_NOT_FOUND; }
CUresult CUDAAPI cuKernelGetFunction(CUfunction *function, CUkernel kernel) { *function = (CUfunction)kernel; return broken; }
CUresult CUDAAPI cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction function)
{
    struct entry *e = (struct entry *)function;
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 64; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = e->shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = e->local_bytes; break;
    default: *value = 0;
    }
    return broken;
}
CUresult CUDAAPI cuKernelGetAttribute(int *value, CUfunction_attribute which, CUkernel kernel, CUdevice device) { return cuFuncGetAttribute(value, which, (CUfunction)kernel); }
CUresult CUDAAPI cuKernelGetParamInfo(CUkernel kernel, size_t i, size_t *offset, size_t *n_bytes)
{
    struct entry *e = (struct entry *)kernel;
    if ((int)i >= e->n_parameters)
        return CUDA_ERROR_INVALID_VALUE;
    size_t at = 0;
    for (size_t k = 0; k <= i; k++) {
        size_t n = e->parameter_bytes[k];
        at = (at + n - 1) / n * n;
        *offset = at, *n_bytes = n;
        at += n;
    }
    return CUDA_SUCCESS;
}
CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig *how, CUfunction function, void **parameters, void **extra)
{
    ENTER {
        struct entry *e = (struct entry *)function;
        uint64_t n = (uint64_t)how->blockDimX * how->blockDimY * how->blockDimZ;
        if (!n || n > 1024 || !how->gridDimX || !how->gridDimY || !how->gridDimZ
            || how->gridDimY > 65535 || how->gridDimZ > 65535 || how->gridDimX > 2147483647)
            FAIL(CUDA_ERROR_INVALID_VALUE)
        struct work k = {
            .kind = LAUNCH, .entry = e, .shared_bytes = how->sharedMemBytes,
            .grid = {how->gridDimX, how->gridDimY, how->gridDimZ},
            .threads = {how->blockDimX, how->blockDimY, how->blockDimZ},
        };
        for (int i = 0; i < e->n_parameters; i++)
            memcpy(k.parameters[i], parameters[i], e->parameter_bytes[i]);
        put(how->hStream, k);
        result = broken;
    } LEAVE
}
CUresult CUDAAPI cuLaunchKernel(
    CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, CUstream stream, void **parameters, void **extra)
{
    CUlaunchConfig how = {gx, gy, gz, bx, by, bz, shared, stream};
    return cuLaunchKernelEx(&how, f, parameters, extra);
}
