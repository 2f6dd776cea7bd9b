/* (i) long double (x87 on x86; built for x86 guests only): horner, sqrt, div, compare, int conversion, memory
 * load/store */
#include "bench.h"
#include <math.h>
int main(int argc, char **argv) {
    long n = work(argc, argv, 30000);
    long double s = 0, c[16];
    for (int i = 0; i < 16; i++)
        c[i] = 1.0L / (i + 1);
    for (long k = 0; k < n; k++)
        for (int i = 1; i < 400; i++) {
            volatile long double x = (long double)i / 400;
            long double p = 0;
            for (int j = 15; j >= 0; j--)
                p = p * x + c[j];
            if (p > 2)
                s += sqrtl(p);
            else
                s -= p / (x + 1);
            s += (long double)(int)(p * 3);
            s *= 0.5L;
        }
    printf("x87 %.9Lf\n", s);
    return 0;
}
