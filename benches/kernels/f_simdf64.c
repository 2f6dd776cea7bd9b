/* (f) auto-vectorised f64: daxpy, dot, small matmul (i-k-j order) */
#include "bench.h"
#define N 64
static double A[N][N], B[N][N], C[N][N], x[2048], y[2048];
int main(int argc, char **argv) {
    fp_warm();
    long n = work(argc, argv, 10500);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            A[i][j] = (i * j) % 5;
            B[i][j] = (i + 2 * j) % 7;
        }
    for (int i = 0; i < 2048; i++)
        x[i] = i & 7;
    double h = 0;
    for (long k = 0; k < n; k++) {
        A[k & 63][(k * 3) & 63] = (double)(k & 7);
        memset(C, 0, sizeof C);
        for (int i = 0; i < N; i++)
            for (int l = 0; l < N; l++) {
                double a = A[i][l];
                for (int j = 0; j < N; j++)
                    C[i][j] += a * B[l][j];
            }
        h += C[k & 63][(k * 5) & 63];
        for (int r = 0; r < 8; r++) {
            for (int i = 0; i < 2048; i++)
                y[i] = y[i] * 0.25 + x[i];
            double s = 0;
            for (int i = 0; i < 2048; i++)
                s += x[i] * x[i];
            h += s;
        }
    }
    printf("simdf64 %.1f %.6f\n", h, y[77]);
    return 0;
}
