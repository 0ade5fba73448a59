/* The vectors of a Cortex-M board that runs the benchmark under semihosting:
 * the C library's start code does the rest. */
extern char bench_stack_top[];
void _mainCRTStartup(void);

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const vector vectors[2] = {
    (vector)bench_stack_top, _mainCRTStartup
};
