/* Segments the embedded sample on a Cortex-M7, the mps2-an500 machine, by the library for C. */

#include "monet.h"

/* From reset to main: see memory.ld for the places. */
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

void monet_panic(void) {
  semihosting(4, "panicked\n");
  finish(1);
  for (;;) {
  }
}

void reset(void) {
  *(volatile uint32_t *)0xe000ed88 |= 0xf00000; /* the floating-point unit: CPACR */
  __asm__ volatile("dsb\n isb");
  for (uint32_t *to = &__data, *from = &__data_source; to < &__data_end;) *to++ = *from++;
  for (uint32_t *to = &__bss; to < &__bss_end;) *to++ = 0;
  finish(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &__stack_top,        (void *)reset,       (void *)monet_panic, (void *)monet_panic,
    (void *)monet_panic, (void *)monet_panic, (void *)monet_panic,
};

/* The plan and the slices, as tools/firmware makes them. */
__asm__(".section .rodata.plan, \"a\"\n .balign 64\n plan: .incbin \"" PLAN "\"\n plan_end:\n"
        ".section .rodata.slices, \"a\"\n .balign 4\n slices: .incbin \"" SLICES "\"\n .text");
extern const uint8_t plan[], plan_end[];
extern const uint32_t slices[]; /* count, planes of a slice, values of a plane, planes; then both */

static uint8_t arena[ARENA] __attribute__((aligned(64)));
static uint8_t labels[48 * 48];

/* Writes a line: words, and a number in hexadecimal. */
static void say(const char *words, uint64_t number) {
  char line[80];
  size_t n = 0;
  while (*words != 0 && n < 60) line[n++] = *words++;
  for (int i = 60; i >= 0; i -= 4) line[n++] = "0123456789abcdef"[number >> i & 15];
  line[n++] = '\n';
  line[n] = 0;
  semihosting(4, line);
}

int main(void) {
  monet_net net;
  monet_shape shape;
  const size_t len = (size_t)(plan_end - plan);
  if (monet_net_open(MONET_ABI, &net, plan + 1, len - 1) != MONET_STATUS_UNALIGNED) return 2;
  if (monet_net_open(MONET_ABI, &net, plan, len - 1) != MONET_STATUS_IMAGE_LENGTH) return 3;
  if (monet_net_open(MONET_ABI, &net, plan, len) != MONET_STATUS_OK) return 4;
  if (monet_net_shape(&net, &shape) != MONET_STATUS_OK || shape.arena > sizeof arena) return 5;
  const uint32_t count = slices[0], per_slice = slices[1], values = slices[2];
  if (per_slice != shape.planes || per_slice > MONET_MAX_PLANES) return 6;
  const uint32_t *numbers = slices + 4;
  const float *all = (const float *)(numbers + count * per_slice);
  uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, as tools/board-files */
  for (uint32_t slice = 0; slice < count; slice++) {
    const float *planes[MONET_MAX_PLANES];
    for (uint32_t i = 0; i < per_slice; i++) planes[i] = all + *numbers++ * values;
    if (slice == 0 && monet_net_run(&net, arena, shape.arena - 1, planes, per_slice, labels,
                                    sizeof labels) != MONET_STATUS_BUFFER) return 7;
    if (monet_net_run(&net, arena, shape.arena, planes, per_slice, labels, sizeof labels)) return 8;
    for (size_t i = 0; i < sizeof labels; i++) hash = (hash ^ labels[i]) * 0x100000001b3u;
  }
  say("slices 0x", count);
  say("labels ", hash);
  return 0;
}
