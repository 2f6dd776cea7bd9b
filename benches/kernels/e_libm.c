/* (e) libm: sin cos exp log pow atan2 floor + float<->int conversion */
#include "bench.h"
#include <math.h>
int main(int argc, char **argv) {
    long n = work(argc, argv, 18000);
    double s = 0;
    for (long k = 0; k < n; k++)
        for (int i = 1; i < 1000; i++) {
            double x = i * 0.013 + (double)(k & 15);
            s += sin(x) * cos(x * .5) + exp(-x * .1) + log(x + 1) + pow(x, .3) + atan2(x, 3.0) + floor(x * 7.3) * 1e-3 +
                 (double)(int)(x * 3);
            s *= .999;
        }
    printf("libm %.6f\n", s);
    return 0;
}
