/* (f) auto-vectorised f32: saxpy, dot, 3-point stencil, max, on values that stay exact small integers/fractions */
#include "bench.h"
#define N 4096
static float x[N + 4] __attribute__((aligned(64))), y[N + 4] __attribute__((aligned(64))),
    z[N + 4] __attribute__((aligned(64)));
static NOINLINE void saxpy(float a) {
    for (int i = 0; i < N; i++)
        y[i] = a * x[i] + y[i] * 0.5f;
}
static NOINLINE float dot(void) {
    float s = 0;
    for (int i = 0; i < N; i++)
        s += x[i] * z[i];
    return s;
}
static NOINLINE void sten(void) {
    for (int i = 1; i < N - 1; i++)
        z[i] = (x[i - 1] + x[i + 1]) * 0.5f - x[i];
}
static NOINLINE void mx(float a) {
    for (int i = 0; i < N; i++) {
        float t = y[i];
        y[i] = t > a ? a : (t < -a ? -a : t);
    }
}
int main(int argc, char **argv) {
    fp_warm();
    long n = work(argc, argv, 300000);
    for (int i = 0; i < N; i++)
        x[i] = (float)(int)(rng() & 7);
    double h = 0;
    for (long k = 0; k < n; k++) {
        x[(k * 17) & (N - 1)] = (float)(k & 7);
        saxpy((float)(k & 3));
        mx(8.0f);
        sten();
        h += (double)dot();
    }
    printf("simdf32 %.1f\n", h);
    return 0;
}
