// Reads every int8 weight once and multiplies it by an unsigned byte: what a decoded token costs at the least.
// Plain loops; with -march=native compilers make them VNNI (vpdpbusd) or the like where the processor has it.
#include <stdint.h>

static void gemv(const int8_t *restrict weights, const uint8_t *restrict x, int32_t *restrict y, long rows, long columns) {
    for (long row = 0; row + 4 <= rows; row += 4) {
        const int8_t *w0 = weights + row * columns, *w1 = w0 + columns, *w2 = w1 + columns, *w3 = w2 + columns;
        int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
        for (long k = 0; k < columns; k++) {
            sum0 += (int32_t)w0[k] * x[k];
            sum1 += (int32_t)w1[k] * x[k];
            sum2 += (int32_t)w2[k] * x[k];
            sum3 += (int32_t)w3[k] * x[k];
        }
        y[row] = sum0, y[row + 1] = sum1, y[row + 2] = sum2, y[row + 3] = sum3;
    }
}

// sizes: rows and columns of each matrix in turn; the matrices lie one after the other.
void gemv_all(const int8_t *weights, const uint8_t *x, int32_t *y, const int64_t *sizes, long matrices) {
    for (long i = 0; i < matrices; i++) {
        gemv(weights, x, y, sizes[2 * i], sizes[2 * i + 1]);
        weights += sizes[2 * i] * sizes[2 * i + 1];
    }
}
