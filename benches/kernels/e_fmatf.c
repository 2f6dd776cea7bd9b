/* (e) scalar single precision: matrix multiply with strided access + polynomial, vectoriser off */
#include "bench.h"
#define N 64
static float A[N][N], B[N][N], C[N][N];
__attribute__((optimize("no-tree-vectorize"))) int main(int argc, char **argv) {
    fp_warm();
    long n = work(argc, argv, 10400);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            A[i][j] = (float)((i * j) % 7);
            B[i][j] = (float)((i + j) % 5);
        }
    uint32_t h = 0;
    for (long k = 0; k < n; k++) {
        A[k & 63][k % 61] = (float)(k & 3);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                float t = 0;
                for (int l = 0; l < N; l++)
                    t += A[i][l] * B[l][j];
                C[i][j] = t;
            }
        h = fold(h, (uint32_t)C[k & 63][(k * 7) & 63]);
        float p = 1.0f, x = 0.5f;
        for (int i = 0; i < 200; i++)
            p = p * x + 0.25f;
        h = fold(h, (uint32_t)(p * 1000.0f));
    }
    printf("fmatf %08x\n", h);
    return 0;
}
