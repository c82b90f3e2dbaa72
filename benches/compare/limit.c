/* Answers `cpuid` in place of the CPU, as one with AVX2 and without AVX-512, AVX-VNNI and AMX would. limit.py makes the instruction
   `ud2`, at which the kernel calls `answer`. Bits as in Intel's Software Developer's Manual, volume 2A, CPUID, leaf 7. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

static void answer(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)registers[REG_RIP];
  unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
  (void)number, (void)info;
  if (at[0] != 0x0f || at[1] != 0x0b) {
    signal(SIGILL, SIG_DFL); /* Another one's: it comes again, and ends the program. */
    return;
  }
  __cpuid_count(leaf, part, a, b, c, d);
  if (leaf == 7 && part == 0) {
    b &= ~0xdc230000u; /* AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL */
    c &= ~0x00005842u; /* AVX-512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
    d &= ~0x03c0010cu; /* AVX-512 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX */
  }
  if (leaf == 7 && part == 1) {
    a &= ~0x00a00030u; /* AVX-VNNI, AVX-512 BF16, AMX-FP16, AVX-IFMA */
    d &= ~0x00080530u; /* AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10 */
  }
  if (leaf == 0x1d || leaf == 0x1e || leaf == 0x24) a = b = c = d = 0; /* AMX and AVX10 */
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGILL, &action, 0);
}
