/* monet.h: runs plans of quantized convolutional nets, on hosts and on boards without an operating
 * system.
 *
 * A plan is an image: one file for one net, one slice size and one kernel, as `monet compile --for`
 * makes it. It is read where it lies, for example in flash memory.
 *
 * - The library allocates nothing, keeps nothing and prints nothing. All memory is the caller's.
 * - A net that is open never changes. Threads and interrupts may share it.
 * - A run writes to its arena and its results alone. Two runs at a time take two arenas.
 * - Sizes are in elements, and stand behind the pointers that they belong to.
 * - Buffers of one call do not overlap.
 *
 * On boards: the floating-point unit is enabled, and rounds to nearest. A net is opened in
 * privileged mode, as the core's ID registers are looked at. The program has a function
 * `monet_panic`, which the library calls where it contradicts itself, and which does not return. */

#ifndef MONET_H
#define MONET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header. monet_net_open compares it with the library's. */
#define MONET_ABI 1

/* Images, and what holds them, begin at a multiple of this. */
#define MONET_ALIGN 64

/* Most planes of an input. */
#define MONET_MAX_PLANES 16

typedef enum monet_status {
  MONET_OK = 0,
  MONET_ABI_MISMATCH = 1,     /* the header is of another version than the library */
  MONET_NULL = 2,             /* a pointer is NULL, or a net was set to 0 and never opened */
  MONET_UNALIGNED = 3,        /* the image, a plane or the probabilities are not aligned */
  MONET_NO_IMAGE = 4,         /* the bytes do not begin as an image does */
  MONET_IMAGE_VERSION = 5,    /* the image has a version that the library does not know */
  MONET_IMAGE_LENGTH = 6,     /* the image is cut short, or something follows */
  MONET_IMAGE_DAMAGED = 7,    /* the image says what cannot be */
  MONET_KERNEL_UNKNOWN = 8,   /* the image is for a kernel that the library does not know */
  MONET_KERNEL_LACKING = 9,   /* this CPU cannot run the image's kernel */
  MONET_BUFFER = 10           /* a buffer is shorter or longer than the net needs */
} monet_status;

/* A net that is open. Its members are the library's. The caller owns its memory and that of the
 * image; nothing is to be closed. */
typedef struct monet_net {
  void *private_[5];
} monet_net;

/* Sizes of a net. */
typedef struct monet_shape {
  size_t planes;        /* of the input: one a channel */
  size_t height, width; /* of a plane */
  size_t classes;       /* of the probabilities */
  size_t out_height, out_width; /* of the labels */
  size_t arena;         /* bytes of working memory */
} monet_shape;

/* MONET_ABI of the library. */
uint32_t monet_abi(void);

/* The library's version, such as "0.1.0"; static. */
const char *monet_version(void);

/* What a status means, in English; static. Never NULL. */
const char *monet_status_text(monet_status status);

/* Use monet_net_open. */
monet_status monet_net_open_abi(uint32_t abi, monet_net *net, const void *image, size_t len);

/* Proves an image of `len` bytes, which lies at a multiple of MONET_ALIGN and stays there unchanged
 * for as long as the net is used. */
#define monet_net_open(net, image, len) monet_net_open_abi(MONET_ABI, (net), (image), (len))

/* The sizes of an open net. */
monet_status monet_net_shape(const monet_net *net, monet_shape *shape);

/* Labels of one slice.
 *   arena   working memory, any content, any alignment; one of 16 is faster
 *   planes  the input: pointers to `shape.planes` planes of height * width values each, row by row
 *   labels  out_height * out_width */
monet_status monet_net_run(const monet_net *net, void *arena, size_t arena_len,
                           const float *const *planes, size_t planes_len,
                           uint8_t *labels, size_t labels_len);

/* As monet_net_run; probabilities are classes * out_height * out_width, plane by plane. */
monet_status monet_net_run_probabilities(const monet_net *net, void *arena, size_t arena_len,
                                         const float *const *planes, size_t planes_len,
                                         float *probabilities, size_t probabilities_len);

/* The program's own, on boards: ends it, as the library has contradicted itself. */
#ifdef __GNUC__
__attribute__((noreturn))
#endif
void monet_panic(void);

#ifdef __cplusplus
}
#endif

#endif
