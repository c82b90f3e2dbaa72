/* Counts the instructions that CMSIS-NN takes for one convolution after the other, on an emulated
   board: `run` here builds and runs it. A layer is a line of layers.h. */

#include <stdint.h>

#include "arm_nnfunctions.h"

struct layer {
  const char *name;
  int32_t size, in, out, kernel, stride, dilation, pad, transposed;
};

static const struct layer layers[] = {
#include "layers.h"
};

/* Counts, weights, scratch memory: as large as the largest layer needs. Values do not matter. */
static int8_t input[48 * 48 * 96], output[48 * 48 * 96], weights[96 * 96 * 16];
static int8_t scratch[1 << 17] __attribute__((aligned(16)));
static int8_t reverse[1 << 17] __attribute__((aligned(16)));
static int32_t bias[96], multiplier[96], shift[96];

extern uint32_t __data, __data_end, __data_source, __bss, __bss_end, __stack_top;
int main(void);
void reset(void);

static void semihosting(int operation, const void *argument) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void finish(int code) {
  const uint32_t block[2] = {0x20026, (uint32_t)code};
  semihosting(0x20, block);
  for (;;) {
  }
}

static void fault(void) {
  semihosting(4, "fault\n");
  finish(1);
}

void reset(void) {
  *(volatile uint32_t *)0xe000ed88 |= 0xf00000; /* floating point and vectors: CPACR */
  __asm__ volatile("dsb\n isb");
  for (uint32_t *to = &__data, *from = &__data_source; to < &__data_end;) *to++ = *from++;
  for (uint32_t *to = &__bss; to < &__bss_end;) *to++ = 0;
  finish(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &__stack_top, (void *)reset, (void *)fault, (void *)fault,
    (void *)fault, (void *)fault, (void *)fault,
};

static void say(const char *words, uint64_t number) {
  char line[96], digits[20];
  int n = 0, count = 0;
  while (*words != 0 && n < 60) line[n++] = *words++;
  line[n++] = ' ';
  do digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) line[n++] = digits[--count];
  line[n++] = '\n';
  line[n] = 0;
  semihosting(4, line);
}

/* Runs a layer: 0 where the library took it. */
static int run(const struct layer *l) {
  const int32_t out = l->transposed != 0 ? l->size * l->stride : l->size / l->stride;
  const cmsis_nn_dims in_dims = {1, l->size, l->size, l->in};
  const cmsis_nn_dims filter = {l->out, l->kernel, l->kernel, l->in};
  const cmsis_nn_dims bias_dims = {1, 1, 1, l->out}, out_dims = {1, out, out, l->out};
  const cmsis_nn_per_channel_quant_params quant = {multiplier, shift};
  const cmsis_nn_tile stride = {l->stride, l->stride}, pad = {l->pad, l->pad};
  const cmsis_nn_tile dilation = {l->dilation, l->dilation}, none = {0, 0};
  const cmsis_nn_activation all = {-128, 127};
  cmsis_nn_context context = {scratch, sizeof scratch};
  if (l->transposed != 0) {
    const cmsis_nn_transpose_conv_params params = {85, -85, stride, pad, none, dilation, all};
    const cmsis_nn_context turned = {reverse, sizeof reverse};
    const int32_t need = arm_transpose_conv_s8_get_buffer_size(&params, &in_dims, &filter, &out_dims);
    const int32_t more = arm_transpose_conv_s8_get_reverse_conv_buffer_size(&params, &in_dims, &filter);
    if (need > (int32_t)sizeof scratch || more > (int32_t)sizeof reverse) return 1;
    return arm_transpose_conv_wrapper_s8(&context, &turned, &params, &quant, &in_dims, input, &filter,
                                         weights, &bias_dims, bias, &out_dims, output);
  }
  const cmsis_nn_conv_params params = {85, -85, stride, pad, dilation, all};
  if (arm_convolve_wrapper_s8_get_buffer_size(&params, &in_dims, &filter, &out_dims) >
      (int32_t)sizeof scratch) return 1;
  return arm_convolve_wrapper_s8(&context, &params, &quant, &in_dims, input, &filter, weights,
                                 &bias_dims, bias, &out_dims, output);
}

int main(void) {
  for (int i = 0; i < 96; i++) {
    multiplier[i] = 1 << 30;
    shift[i] = -6;
  }
  for (unsigned i = 0; i < sizeof input; i++) input[i] = (int8_t)(i * 37u);
  for (unsigned i = 0; i < sizeof weights; i++) weights[i] = (int8_t)(i * 91u);
  for (unsigned i = 0; i < sizeof layers / sizeof *layers; i++) {
    const volatile uint32_t *const counter = (const volatile uint32_t *)COUNTER;
    const uint32_t before = *counter;
    if (run(&layers[i]) != 0) return 2;
    say(layers[i].name, (uint64_t)(*counter - before) * TICK);
  }
  return 0;
}
