/* (e) scalar double: 5-body integration (add/mul/div/sqrt), own layout */
#include "bench.h"
#include <math.h>
typedef struct {
    double x, y, z, u, v, w, m;
} B;
static B b[5] = {{0, 0, 0, 0, 0, 0, 39.5},
                 {4.8, -1.2, -.1, .6, 2.8, -.02, .0377},
                 {8.3, 4.1, -.4, -1.0, 1.8, .008, .0113},
                 {12.9, -15.1, -.2, 1.08, .87, -.01, .0017},
                 {15.4, -25.9, .2, .98, .59, -.03, .002}};
int main(int argc, char **argv) {
    long n = work(argc, argv, 8000000);
    for (long s = 0; s < n; s++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y, dz = b[i].z - b[j].z,
                       d = dx * dx + dy * dy + dz * dz, g = 0.001 / (d * sqrt(d));
                b[i].u -= dx * b[j].m * g;
                b[i].v -= dy * b[j].m * g;
                b[i].w -= dz * b[j].m * g;
                b[j].u += dx * b[i].m * g;
                b[j].v += dy * b[i].m * g;
                b[j].w += dz * b[i].m * g;
            }
        for (int i = 0; i < 5; i++) {
            b[i].x += .001 * b[i].u;
            b[i].y += .001 * b[i].v;
            b[i].z += .001 * b[i].w;
        }
    }
    double e = 0;
    for (int i = 0; i < 5; i++)
        e += b[i].m * (b[i].u * b[i].u + b[i].v * b[i].v + b[i].w * b[i].w) / 2;
    printf("nbody %.3g\n", e > 0 ? 1.0 : 0.0);
    fprintf(stderr, "%.17g\n", e);
    return 0;
}
