/* What the C that ptx.py writes stands on: a warp, PTX's arithmetic, and checks of memory. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { ILLEGAL_ADDRESS = 700, MISALIGNED_ADDRESS = 716, LAUNCH_FAILED = 719 }; /* CUresult */

struct warp {
    uint32_t alive;          /* lanes that are threads of the block */
    int first_thread;
    uint32_t block[3], n_blocks[3], n_threads;
    void **parameters;
    char *shared;
    uint64_t shared_bytes;
    const uint8_t *pages;    /* of the arena: whether 256 bytes are allocated; null: all are */
    uint64_t arena, arena_bytes;
    int error;               /* a CUresult */
    uint64_t bad_address;
    uint64_t *issued, *lanes; /* by block of instructions: how often, for how many lanes; or null */
};

struct entry {
    const char *name;
    void (*run)(struct warp *);
    int n_parameters;
    int parameter_bytes[16];
    int shared_bytes, local_bytes, n_blocks;
};

#define LANES for (int l = 0; l < 32; l++)

static inline int check(struct warp *w, uint64_t address, uint64_t n_bytes)
{
    uint64_t at = address - w->arena;
    int error = 0;
    if (address % n_bytes)
        error = MISALIGNED_ADDRESS;
    else if (at >= w->arena_bytes || (w->pages && !w->pages[at >> 8]))
        error = ILLEGAL_ADDRESS;
    if (error && !w->error)
        w->error = error, w->bad_address = address;
    return !error;
}

/* Memory of a thread's or a block's own. */
static inline int within(
    struct warp *w, uint64_t address, uint64_t n_bytes, const char *memory, uint64_t size)
{
    int error = address % n_bytes ? MISALIGNED_ADDRESS : 0;
    if (address - (uint64_t)memory > size - n_bytes)
        error = ILLEGAL_ADDRESS;
    if (error && !w->error)
        w->error = error, w->bad_address = address;
    return !error;
}

/* The lanes that go on together: those least far; a block that all must reach waits for all. */
static inline uint32_t next_block(
    struct warp *w, const int *at, uint32_t alive, const uint8_t *waits, int *block)
{
    for (int tried = -1;;) {
        int least = 1 << 30;
        LANES if (alive >> l & 1 && at[l] > tried && at[l] < least) least = at[l];
        if (least == 1 << 30) {
            w->error = LAUNCH_FAILED; /* lanes wait for each other for ever */
            return 0;
        }
        uint32_t mask = 0;
        LANES if (alive >> l & 1 && at[l] == least) mask |= 1u << l;
        if (!waits[least] || mask == alive) {
            *block = least;
            return mask;
        }
        tried = least;
    }
}

static inline void count(struct warp *w, int block, int n, uint32_t mask)
{
    if (w->issued) {
        w->issued[block] += 1;
        w->lanes[block] += __builtin_popcount(mask);
    }
}

static inline float as_f32(uint64_t bits) { uint32_t b = bits; float x; memcpy(&x, &b, 4); return x; }
static inline double as_f64(uint64_t bits) { double x; memcpy(&x, &bits, 8); return x; }
static inline uint32_t as_b32(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
static inline uint64_t as_b64(double x) { uint64_t b; memcpy(&b, &x, 8); return b; }

#define SHIFTS(bits) \
static inline uint##bits##_t shl_b##bits(uint##bits##_t x, uint32_t n) { return n >= bits ? 0 : x << n; } \
static inline uint##bits##_t shr_u##bits(uint##bits##_t x, uint32_t n) { return n >= bits ? 0 : x >> n; } \
static inline uint##bits##_t shr_b##bits(uint##bits##_t x, uint32_t n) { return n >= bits ? 0 : x >> n; } \
static inline int##bits##_t shr_s##bits(int##bits##_t x, uint32_t n) { return x >> (n >= bits ? bits - 1 : n); } \
static inline uint##bits##_t bfi_b##bits(uint##bits##_t a, uint##bits##_t b, uint32_t at, uint32_t n) \
{ \
    at &= 255; n &= 255; \
    uint##bits##_t ones = n >= bits ? ~(uint##bits##_t)0 : ((uint##bits##_t)1 << n) - 1; \
    uint##bits##_t field = shl_b##bits(ones, at); \
    return (shl_b##bits(a, at) & field) | (b & ~field); \
}
SHIFTS(32)
SHIFTS(64)

#define WHOLE(name, type) \
static inline type min_##name(type a, type b) { return a < b ? a : b; } \
static inline type max_##name(type a, type b) { return a > b ? a : b; } \
static inline type div_##name(type a, type b) { return b ? a / b : (type)-1; } \
static inline type rem_##name(type a, type b) { return b ? a % b : a; }
WHOLE(s32, int32_t)
WHOLE(u32, uint32_t)
WHOLE(s64, int64_t)
WHOLE(u64, uint64_t)
static inline int32_t abs_s32(int32_t a) { return a < 0 ? -a : a; }
static inline int64_t abs_s64(int64_t a) { return a < 0 ? -a : a; }

/* NaN only if both are; +0 is larger than -0. */
#define REAL(name, type, fused, root, size) \
static inline type min_##name(type a, type b) \
{ return a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b; } \
static inline type max_##name(type a, type b) \
{ return a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b; } \
static inline type div_##name(type a, type b) { return a / b; } \
static inline type abs_##name(type a) { return size(a); } \
static inline type sqrt_##name(type a) { return root(a); } \
static inline type fma_##name(type a, type b, type c) { return fused(a, b, c); }
REAL(f32, float, fmaf, sqrtf, fabsf)
REAL(f64, double, fma, sqrt, fabs)

static inline double rcp_rn_f64(double x) { return 1.0 / x; }

/* Off by at most one unit in the last place: so here it is, or not, as the bits of x will have it. */
static inline float rcp_approx_ftz_f32(float x)
{
    if (fabsf(x) < 1.17549435e-38f)
        x = copysignf(0.0f, x);
    float y = 1.0f / x;
    if (fabsf(y) < 1.17549435e-38f)
        return copysignf(0.0f, y);
    uint32_t bits = as_b32(y);
    uint32_t mixed = (as_b32(x) * 2654435761u) >> 16;
    if (isfinite(y) && (as_b32(x) & 0x7fffff))
        bits += mixed % 3 - 1;
    return as_f32(bits);
}

static inline int64_t rzi_s64_f64(double x)
{
    if (x != x) return INT64_MIN;
    return x >= 0x1p63 ? INT64_MAX : x <= -0x1p63 ? INT64_MIN : (int64_t)x;
}
static inline uint16_t rzi_u16_f64(double x)
{
    if (x != x) return 1 << 15;
    return x <= 0 ? 0 : x >= 65535 ? 65535 : (uint16_t)x;
}

static inline uint32_t brev_b32(uint32_t x)
{
    uint32_t y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
static inline uint32_t bfind_shiftamt_u32(uint32_t x) { return x ? __builtin_clz(x) : ~0u; }
