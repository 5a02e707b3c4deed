// The algorithm of raydepth/cuda/beams.py (a thread's part), trace.py, exact.py and threads.py in
// CUDA C++, written to be compared with: same layout, same job table, same tests in the same order,
// compiled by nvcc. Beams are set up by raydepth's kernel.
//
// benchmarks/gpu.py has nvcc compile it, passes its kernels the address of a job table, and compares
// speed and bits. Not part of raydepth.

#include <cuda_runtime.h>
#include <math_constants.h>
#include <stdint.h>

namespace {

constexpr int WORDS = 51;
constexpr int NODES = 0, TRIANGLES = 1, VERTICES = 2, FACES = 3, TRIANGLE_ID = 4, Z = 5, RAY = 6;
constexpr int SIZE = 7, TO_WORLD = 9, MISS = 10, BASIS = 12, PROJECTION = 30, BEAMS = 44;
constexpr int ROWS = 8, AXIS_BIT = 2, MOVED_BIT = 4, FLOAT32 = 1, FLOAT64 = 2;
constexpr int COUNT_BITS = 4, COUNT_MASK = 15, STACK = 97;
constexpr int DONE = INT32_MIN, NO_FACE = -1;
constexpr float FAR_COLUMN = 3.5f, FAR_ROW = 1.5f, LEAST_SLOPE = 0x1p-40f;
constexpr float EDGE_M = 0.75f * 0x1p-24f, LEAST_PER_SLACK = 4.0f / 1.5625f;
constexpr float SOUND = 12.0f, WEIGHT_ERROR = 5.0f, ROUNDED = 0x1p-20f;
constexpr float DISTANCE_ERROR = 0x1.6a09e6p-19f;  // 2^-18.5
constexpr double BELOW = 1.0 - 1e-10, ABOVE = 1.0 + 1e-10;

struct Ray {
    double ox, oy, oz, dx, dy, dz;
};

__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ double sub(double a, double b) { return __dsub_rn(a, b); }
__device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }

__device__ __forceinline__ double pick(int k, double x, double y, double z) {
    return k == 0 ? x : (k == 1 ? y : z);
}

__device__ __forceinline__ double affine(const double *at, double x, double y) {
    return add(add(__ldg(at), mul(x, __ldg(at + 3))), mul(y, __ldg(at + 6)));
}

__device__ __forceinline__ Ray pixel_ray(const double *job, int column, int row) {
    const double *basis = job + BASIS;
    double x = column + 0.5, y = row + 0.5;
    return {affine(basis, x, y),     affine(basis + 1, x, y),  affine(basis + 2, x, y),
            affine(basis + 9, x, y), affine(basis + 10, x, y), affine(basis + 11, x, y)};
}

__device__ __forceinline__ int largest_axis(double x, double y, double z) {
    int axis = 0;
    double largest = fabs(x);
    if (fabs(y) > largest) axis = 1, largest = fabs(y);
    if (fabs(z) > largest) axis = 2;
    return axis;
}

struct Edges {
    double u, v, w, weighted, along;
};

__device__ __forceinline__ void sheared(const double *v, const Ray &r, int kx, int ky, int kz,
                                        double sx, double sy, double &x, double &y, double &z) {
    z = sub(__ldg(v + kz), pick(kz, r.ox, r.oy, r.oz));
    x = sub(sub(__ldg(v + kx), pick(kx, r.ox, r.oy, r.oz)), mul(sx, z));
    y = sub(sub(__ldg(v + ky), pick(ky, r.ox, r.oy, r.oz)), mul(sy, z));
}

__device__ __forceinline__ Edges edge_functions(const double *vertices, const int *faces, int face,
                                                const Ray &r) {
    int kz = largest_axis(r.dx, r.dy, r.dz);
    int kx = kz < 2 ? kz + 1 : 0, ky = kx < 2 ? kx + 1 : 0;
    double along = pick(kz, r.dx, r.dy, r.dz);
    double sx = pick(kx, r.dx, r.dy, r.dz) / along, sy = pick(ky, r.dx, r.dy, r.dz) / along;
    const int *corner = faces + 3 * (int64_t)face;
    double ax, ay, az, bx, by, bz, cx, cy, cz;
    sheared(vertices + 3 * (int64_t)__ldg(corner), r, kx, ky, kz, sx, sy, ax, ay, az);
    sheared(vertices + 3 * (int64_t)__ldg(corner + 1), r, kx, ky, kz, sx, sy, bx, by, bz);
    sheared(vertices + 3 * (int64_t)__ldg(corner + 2), r, kx, ky, kz, sx, sy, cx, cy, cz);
    Edges e;
    e.u = sub(mul(cx, by), mul(cy, bx));
    e.v = sub(mul(ax, cy), mul(ay, cx));
    e.w = sub(mul(bx, ay), mul(by, ax));
    e.weighted = add(add(mul(e.u, az), mul(e.v, bz)), mul(e.w, cz));
    e.along = along;
    return e;
}

__device__ __forceinline__ double hit_distance(const double *vertices, const int *faces, int face,
                                               const Ray &r) {
    Edges e = edge_functions(vertices, faces, face, r);
    if ((e.u < 0 || e.v < 0 || e.w < 0) && (e.u > 0 || e.v > 0 || e.w > 0)) return CUDART_INF;
    double area = add(add(e.u, e.v), e.w);
    if (area == 0) return CUDART_INF;
    double t = e.weighted / mul(area, e.along);
    return t > 0 ? t : CUDART_INF;
}

__device__ __forceinline__ float slope(float g) { return fabsf(g) < LEAST_SLOPE ? LEAST_SLOPE : g; }

__device__ __forceinline__ float linear(float a, float per_column, float per_row, float x, float y) {
    return fmaf(x, per_column, fmaf(y, per_row, a));
}

__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ void enter(float4 c, float4 h, float ix, float iy, float iz, float nx,
                                      float ny, float nz, int best, int &enters, int &leaves) {
    float ax = fabsf(ix), ay = fabsf(iy), az = fabsf(iz);
    float tx = fmaf(c.x, ix, nx), ty = fmaf(c.y, iy, ny), tz = fmaf(c.z, iz, nz);
    enters = max(__float_as_int(fmaf(-h.x, ax, tx)), __float_as_int(fmaf(-h.y, ay, ty)));
    enters = max(max(enters, __float_as_int(fmaf(-h.z, az, tz))), 0);
    leaves = min(__float_as_int(fmaf(h.x, ax, tx)), __float_as_int(fmaf(h.y, ay, ty)));
    leaves = min(min(leaves, __float_as_int(fmaf(h.z, az, tz))), best);
}

__device__ __forceinline__ void pop(const int2 *stack, int &top, float best_far, int &link) {
    int2 entry;
    do entry = stack[top--];
    while (entry.y > __float_as_int(best_far));
    link = entry.x;
}

__device__ __forceinline__ float dot3(float4 v, float x, float y, float z, float w) {
    return fmaf(v.x, x, fmaf(v.y, y, fmaf(v.z, z, w)));
}

__device__ int nearest_face(const int64_t *job, const float4 *beam, int lane, int column, int row) {
    const float4 *nodes = (const float4 *)__ldg(job + NODES);
    const float4 *triangles = (const float4 *)__ldg(job + TRIANGLES);
    int best = NO_FACE;
    float best_near = CUDART_INF_F, best_far = CUDART_INF_F;
    int2 stack[STACK];
    stack[0] = {DONE, 0};
    stack[1] = {__float_as_int(__ldg(beam + 7).x), 0};
    int top = 1, slot = 0, end = 0;
    while (true) {
        int fresh = lane;
        asm volatile("" : "+r"(fresh));
        float x = (float)(fresh & 7) - FAR_COLUMN, y = (float)(fresh >> 3) - FAR_ROW;
        float4 g = __ldg(beam), a = __ldg(beam + 1), b = __ldg(beam + 2), o = __ldg(beam + 3);
        float gx = linear(g.x, a.x, b.x, x, y), gy = linear(g.y, a.y, b.y, x, y),
              gz = linear(g.z, a.z, b.z, x, y);
        float slack = a.w, least = slack * slack * LEAST_PER_SLACK;
        float4 c = __ldg(beam + 4), d = __ldg(beam + 5), e = __ldg(beam + 6);
        float ox = linear(o.x, c.x, d.x, x, y), oy = linear(o.y, c.y, d.y, x, y),
              oz = linear(o.z, c.z, d.z, x, y);
        float pc = linear(b.w, o.w, c.w, x, y), qc = linear(d.w, e.x, e.y, x, y);
        int code = __float_as_int(g.w), k = code >> AXIS_BIT & 3;
        float px, py, pz, qx, qy, qz, rx, ry, rz, rc, along;
        if (k == 0) {
            float sign = gx > 0 ? 1.0f : -1.0f;
            px = -gy, py = gx, pz = 0, qx = -gz, qy = 0, qz = gx;
            rx = sign, ry = 0, rz = 0, rc = -sign * ox, along = fabsf(gx);
        } else if (k == 1) {
            float sign = gy > 0 ? 1.0f : -1.0f;
            px = 0, py = -gz, pz = gy, qx = gy, qy = -gx, qz = 0;
            rx = 0, ry = sign, rz = 0, rc = -sign * oy, along = fabsf(gy);
        } else {
            float sign = gz > 0 ? 1.0f : -1.0f;
            px = gz, py = 0, pz = -gx, qx = 0, qy = gz, qz = -gy;
            rx = 0, ry = 0, rz = sign, rc = -sign * oz, along = fabsf(gz);
        }
        float ix = along * reciprocal(slope(gx)), iy = along * reciprocal(slope(gy)),
              iz = along * reciprocal(slope(gz));
        float nx = -ox * ix, ny = -oy * iy, nz = -oz * iz;
        float behind = code >> MOVED_BIT & 1 ? -1.0f : 0.0f;
        int doubt = NO_FACE;
        while (true) {
            while (slot < end) {
                float4 v0 = __ldg(triangles + 3 * (int64_t)slot);
                float4 v1 = __ldg(triangles + 3 * (int64_t)slot + 1);
                float4 v2 = __ldg(triangles + 3 * (int64_t)slot + 2);
                ++slot;
                float ax = dot3(v0, px, py, pz, pc), ay = dot3(v0, qx, qy, qz, qc);
                float bx = dot3(v1, px, py, pz, pc), by = dot3(v1, qx, qy, qz, qc);
                float cx = dot3(v2, px, py, pz, pc), cy = dot3(v2, qx, qy, qz, qc);
                float size = fabsf(ax) + fabsf(ay) + fabsf(bx) + fabsf(by) + fabsf(cx) + fabsf(cy);
                float bound = fmaf(size, fmaf(size, EDGE_M, slack), least);
                float u = fmaf(cx, by, -(cy * bx)), v = fmaf(ax, cy, -(ay * cx)),
                      w = fmaf(bx, ay, -(by * ax));
                int i = __float_as_int(u), j = __float_as_int(v), l = __float_as_int(w);
                int above = __float_as_int(bound);
                unsigned below = 0x80000000u | above;
                if (max(max(i, j), l) > above &&
                    max(max((unsigned)i, (unsigned)j), (unsigned)l) > below)
                    continue;
                bool met = min(min(i, j), l) > above ||
                           min(min((unsigned)i, (unsigned)j), (unsigned)l) > below;
                doubt = __float_as_int(v0.w);
                if (met) {
                    float s0 = dot3(v0, rx, ry, rz, rc), s1 = dot3(v1, rx, ry, rz, rc),
                          s2 = dot3(v2, rx, ry, rz, rc);
                    float area = u + v + w, inverse = reciprocal(area);
                    float along_b = s1 - s0, along_c = s2 - s0;
                    float distance = s0 + (v * along_b + w * along_c) * inverse;
                    float off = fmaf(WEIGHT_ERROR * bound * fabsf(inverse),
                                     fabsf(along_b) + fabsf(along_c), DISTANCE_ERROR);
                    float near = distance - off, far = distance + off;
                    bool known = fabsf(area) > SOUND * bound;
                    if (known && far < best_near && near > behind) {
                        best = doubt, best_near = near, best_far = far;
                        doubt = NO_FACE;
                    } else if (known && (near > best_far || far < behind)) {
                        doubt = NO_FACE;
                    }
                }
                if (doubt >= 0) break;
            }
            if (doubt >= 0) break;
            int link;
            pop(stack, top, best_far, link);
            while (link >= 0) {
                const float4 *node = nodes + 4 * (int64_t)link;
                float4 c0 = __ldg(node), h0 = __ldg(node + 1), c1 = __ldg(node + 2),
                       h1 = __ldg(node + 3);
                int enters_0, leaves_0, enters_1, leaves_1, limit = __float_as_int(best_far);
                enter(c0, h0, ix, iy, iz, nx, ny, nz, limit, enters_0, leaves_0);
                enter(c1, h1, ix, iy, iz, nx, ny, nz, limit, enters_1, leaves_1);
                bool meets_0 = enters_0 <= leaves_0, meets_1 = enters_1 <= leaves_1;
                bool swap = meets_1 && (!meets_0 || enters_1 < enters_0);
                int first = __float_as_int(c0.w), second = __float_as_int(c1.w);
                link = swap ? second : first;
                if (meets_0 && meets_1)
                    stack[++top] = {swap ? first : second, swap ? enters_0 : enters_1};
                else if (!(meets_0 || meets_1))
                    pop(stack, top, best_far, link);
            }
            if (link == DONE) break;
            slot = ~link >> COUNT_BITS;
            end = slot + (~link & COUNT_MASK);
        }
        if (doubt < 0) return best;

        fresh = column;
        asm volatile("" : "+r"(fresh));
        Ray ray = pixel_ray((const double *)job, fresh, row);
        const double *vertices = (const double *)__ldg(job + VERTICES);
        const int *faces = (const int *)__ldg(job + FACES);
        double t = hit_distance(vertices, faces, doubt, ray);
        if (t < CUDART_INF) {
            double t_best = best >= 0 ? hit_distance(vertices, faces, best, ray) : CUDART_INF;
            if (t < t_best || (t == t_best && doubt < best)) {
                best = doubt;
                double start = __ldg((const double *)beam + 13);
                float distance = (float)((t - start) * fabs(pick(k, ray.dx, ray.dy, ray.dz)));
                best_near = distance - ROUNDED, best_far = distance + ROUNDED;
            }
        }
    }
}

__device__ __forceinline__ double dot(double x, double y, double z, double a, double b, double c) {
    return add(add(mul(x, a), mul(y, b)), mul(z, c));
}

__device__ __forceinline__ double dot_at(const double *at, double x, double y, double z) {
    return dot(x, y, z, __ldg(at), __ldg(at + 1), __ldg(at + 2));
}

__device__ __forceinline__ double along(const double *at, double x, double y) {
    return add(mul(x, __ldg(at + 3)), add(__ldg(at), mul(y, __ldg(at + 6))));
}

__device__ double distance_of(const int64_t *words, int face, int column, int row) {
    const double *job = (const double *)words, *basis = job + BASIS, *projection = job + PROJECTION;
    const double *vertices = (const double *)__ldg(words + VERTICES);
    const int *faces = (const int *)__ldg(words + FACES);
    const int *corner = faces + 3 * (int64_t)face;
    const double *a = vertices + 3 * (int64_t)__ldg(corner);
    const double *b = vertices + 3 * (int64_t)__ldg(corner + 1);
    const double *c = vertices + 3 * (int64_t)__ldg(corner + 2);
    double ax = __ldg(a), ay = __ldg(a + 1), az = __ldg(a + 2);
    double ux = sub(__ldg(b), ax), uy = sub(__ldg(b + 1), ay), uz = sub(__ldg(b + 2), az);
    double vx = sub(__ldg(c), ax), vy = sub(__ldg(c + 1), ay), vz = sub(__ldg(c + 2), az);
    double nx = sub(mul(uy, vz), mul(uz, vy)), ny = sub(mul(uz, vx), mul(ux, vz)),
           nz = sub(mul(ux, vy), mul(uy, vx));
    double x = column + 0.5, y = row + 0.5;
    double above = dot(sub(ax, along(basis, x, y)), sub(ay, along(basis + 1, x, y)),
                       sub(az, along(basis + 2, x, y)), nx, ny, nz);
    double below = dot(along(basis + 9, x, y), along(basis + 10, x, y), along(basis + 11, x, y), nx,
                       ny, nz);
    double t = above / below;
    double p = dot_at(projection + 8, ax, ay, az);
    double q = add(p, dot_at(projection + 8, ux, uy, uz));
    double r = add(p, dot_at(projection + 8, vx, vy, vz));
    double offset = sub(__ldg(projection + 13), 4.0);
    double near = add(fmin(fmin(p, q), r), offset), far = add(fmax(fmax(p, q), r), offset);
    if (!(t > 0 && mul(near, BELOW) <= t && t <= mul(far, ABOVE))) {
        Edges e = edge_functions(vertices, faces, face, pixel_ray(job, column, row));
        t = e.weighted / mul(add(add(e.u, e.v), e.w), e.along);
    }
    return mul(t, __ldg(job + TO_WORLD));
}

__device__ __forceinline__ bool pixel_of(const int64_t *job, int &column, int &row, int64_t &pixel) {
    int64_t size = __ldg(job + SIZE);
    int width = (int)(size & 0xffffffff), height = (int)(size >> 32), per_row = (width + 15) / 16;
    int block_row = blockIdx.x / per_row, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    column = 16 * (blockIdx.x - block_row * per_row) + 8 * (warp & 1) + (lane & 7);
    row = 8 * block_row + 4 * (warp >> 1) + (lane >> 3);
    pixel = (int64_t)row * width + column;
    return column < width && row < height;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128, 8) find_visible(const int64_t *jobs) {
    const int64_t *job = jobs + WORDS * (int64_t)blockIdx.y;
    int column, row;
    int64_t pixel;
    if (!pixel_of(job, column, row, pixel)) return;
    const float4 *beam =
        (const float4 *)__ldg(job + BEAMS) + ROWS * (4 * (int64_t)blockIdx.x + (threadIdx.x >> 5));
    int kind = __float_as_int(__ldg(beam).w) & 3;
    if (kind == FLOAT64) return;
    ((int *)__ldg(job + TRIANGLE_ID))[pixel] =
        kind == FLOAT32 ? nearest_face(job, beam, threadIdx.x & 31, column, row) : NO_FACE;
}

extern "C" __global__ void __launch_bounds__(128, 6) resolve(const int64_t *jobs) {
    const int64_t *job = jobs + WORDS * (int64_t)blockIdx.y;
    int column, row;
    int64_t pixel;
    if (!pixel_of(job, column, row, pixel)) return;
    int face = ((const int *)__ldg(job + TRIANGLE_ID))[pixel];
    double t = face >= 0 ? distance_of(job, face, column, row)
                         : __ldg((const double *)job + MISS);
    float *z = (float *)__ldg(job + Z);
    if (z) z[pixel] = (float)t;
}
