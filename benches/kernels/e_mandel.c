/* (e) scalar double: mandelbrot (mul/add/compare/branch) */
#include "bench.h"
int main(int argc, char **argv) {
    long n = work(argc, argv, 7000);
    uint32_t h = 0;
    int W = 256;
    for (long k = 0; k < n; k++) {
        int y = (int)((k * 37) % 256);
        for (int x = 0; x < W; x++) {
            double cr = (x - 180) / 90.0, ci = (y - 128) / 100.0, r = 0, i = 0;
            int it = 0;
            while (it < 1000) {
                double r2 = r * r, i2 = i * i;
                if (r2 + i2 > 4.0)
                    break;
                i = 2 * r * i + ci;
                r = r2 - i2 + cr;
                it++;
            }
            h += (uint32_t)it;
        }
    }
    printf("mandel %u\n", h / 1000);
    return 0;
}
