/* monet.h: quantized nets on slices, and CT and MR volumes segmented by them, from C and C++.
 *
 * Two layers. A program that uses one does not link the other.
 *
 *   net     A plan for one slice size, run on one slice, on hosts and on boards without an
 *           operating system. The library allocates nothing and keeps nothing: all memory is the
 *           caller's. Functions monet_net_*.
 *   volume  Volumes in memory and in files, on hosts. A model is a package, which threads share; a
 *           session works on one volume at a time. Functions monet_model_*, monet_session_* and
 *           monet_segment*.
 *
 * - Functions return a status. Where one takes `detail`, the text in it says what was found, what
 *   was expected and what to do; it may be NULL.
 * - Texts are UTF-8, paths are bytes. Sizes are in elements, and stand behind the pointers that
 *   they belong to. Buffers of one call do not overlap.
 * - Nothing is printed, no signal is handled, and the process is never ended.
 *
 * On boards: the floating-point unit is enabled, and rounds to nearest. A net is opened in
 * privileged mode, as the core's ID registers are looked at. The program has a function
 * monet_panic, which the library calls where it contradicts itself.
 *
 * cbindgen makes this header of crates/monet-c: change the items there. */

#ifndef MONET_H
#define MONET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The program's own, on boards: ends it, as the library has contradicted itself.
#ifdef __GNUC__
__attribute__((noreturn))
#endif
void monet_panic(void);

#ifdef __cplusplus
}
#endif

// Version of the functions and structures of this header. Whatever opens something compares it
// with the library's own.
#define MONET_ABI 1

// Images, and what holds them, begin at a multiple of this.
#define MONET_ALIGN 64

// Most planes of an input.
#define MONET_MAX_PLANES 16

// How a function ended.
typedef enum monet_status {
  // Done.
  MONET_STATUS_OK = 0,
  // The header is of another version than the library.
  MONET_STATUS_ABI_MISMATCH = 1,
  // A pointer is NULL, or a net was set to 0 and never opened.
  MONET_STATUS_NULL = 2,
  // The image, a plane or the probabilities are not aligned.
  MONET_STATUS_UNALIGNED = 3,
  // The bytes do not begin as an image does.
  MONET_STATUS_NO_IMAGE = 4,
  // The image has a version that the library does not know.
  MONET_STATUS_IMAGE_VERSION = 5,
  // The image is cut short, or something follows.
  MONET_STATUS_IMAGE_LENGTH = 6,
  // The image says what cannot be, or was changed since it was opened.
  MONET_STATUS_IMAGE_DAMAGED = 7,
  // The library knows no such kernel.
  MONET_STATUS_KERNEL_UNKNOWN = 8,
  // This CPU cannot run the kernel, or the library was built without it.
  MONET_STATUS_KERNEL_LACKING = 9,
  // A buffer is shorter or longer than is needed.
  MONET_STATUS_BUFFER = 10,
  // A model or session was freed before, or never made.
  MONET_STATUS_HANDLE = 11,
  // The session is at work on another volume.
  MONET_STATUS_BUSY = 12,
  // A value has no meaning.
  MONET_STATUS_ARGUMENT = 13,
  // The package cannot be read or run.
  MONET_STATUS_MODEL = 14,
  // The volume cannot be read or understood.
  MONET_STATUS_VOLUME = 15,
  // The package was not made for the volume.
  MONET_STATUS_NOT_ACCEPTED = 16,
  // An output exists or cannot be written.
  MONET_STATUS_OUTPUT = 17,
  // The progress function asked for an end.
  MONET_STATUS_CANCELLED = 18,
  // A fault in the library: please report it.
  MONET_STATUS_INTERNAL = 19,
} monet_status;

// The type of a voxel, in the byte order of the machine.
typedef enum monet_type {
  MONET_TYPE_U8 = 0,
  MONET_TYPE_I8 = 1,
  MONET_TYPE_U16 = 2,
  MONET_TYPE_I16 = 3,
  MONET_TYPE_U32 = 4,
  MONET_TYPE_I32 = 5,
  MONET_TYPE_U64 = 6,
  MONET_TYPE_I64 = 7,
  MONET_TYPE_F32 = 8,
  MONET_TYPE_F64 = 9,
} monet_type;

// A package: a net, and what its labels mean. It never changes, and threads may share it. The
// pointer is a number that is never used again, so that the library tells one that was freed.
typedef struct monet_model monet_model;

// Engines of a package. A session works on one volume at a time: make one a thread. The pointer is
// a number that is never used again, so that the library tells one that was freed.
typedef struct monet_session monet_session;

// A net that is open. Its members are the library's. The caller owns its memory and that of the
// image; nothing is to be closed. It never changes, and threads and interrupts may share it.
typedef struct monet_net {
  void *private_[5];
} monet_net;

// Sizes of a net.
typedef struct monet_shape {
  // Of the input: one a channel.
  size_t planes;
  // Rows of a plane.
  size_t height;
  // Values of a row.
  size_t width;
  // Of the probabilities.
  size_t classes;
  // Rows of the labels.
  size_t out_height;
  // Labels of a row.
  size_t out_width;
  // Bytes of working memory.
  size_t arena;
} monet_shape;

// A label of the last volume.
typedef struct monet_label {
  // Its value in volumes.
  uint8_t value;
  // Its voxels.
  uint64_t voxels;
  // Its volume in millilitres.
  double ml;
  // Its centroid in millimetres to the right, anterior and superior; NaN where it has no voxels.
  double centroid_mm[3];
} monet_label;

// A volume in memory.
typedef struct monet_volume {
  // Voxels, the first axis fastest, then the second, the third, and the channels; any alignment.
  // They are read until the function returns.
  const void *voxels;
  // Bytes of the voxels.
  size_t bytes;
  // Their type: one of monet_type.
  int32_t voxel_type;
  // Voxels along each axis.
  size_t size[3];
  // Channels; 1 for most.
  size_t channels;
  // The rows of the affine, which takes indices to millimetres to the right, anterior and
  // superior: as sform in NIfTI.
  double affine[3][4];
} monet_volume;

// Is told after each slice how many of how many are done, on the thread that called. What is not 0
// ends the segmentation, with MONET_STATUS_CANCELLED. No exception may leave it.
typedef int (*monet_progress)(void *user, size_t done, size_t slices);

// How a volume is segmented. Zeros are the usual.
typedef struct monet_options {
  // Not 0: segments a volume that the package was not made for.
  int accept_any;
  // Not 0: replaces files that exist.
  int overwrite;
  // Is told of progress; may be NULL.
  monet_progress progress;
  // Is given to the progress function.
  void *user;
  // Of files: where the preview goes, a PNG; NULL for none.
  const char *preview;
  // Of files: where the report goes, as JSON; NULL for nowhere.
  const char *stats;
} monet_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What a status means, in English. The text stays. Any number may be given; one that is no status
// is "an unknown status".
const char *monet_status_text(int32_t status);

// MONET_ABI of the library.
uint32_t monet_abi(void);

// The library's version, such as "0.1.0". The text stays.
const char *monet_version(void);

// Proves an image.
//
// - `abi`: MONET_ABI.
// - `net`: gets the open net.
// - `image`: `len` bytes at a multiple of MONET_ALIGN, as `monet compile --for` makes them. They
//   are read where they lie, for example in flash memory.
//
// The caller's part:
// `net` is NULL or may be written; `image` is NULL or so many bytes that nobody changes for as
// long as the net is used.
enum monet_status monet_net_open(uint32_t abi,
                                 struct monet_net *net,
                                 const void *image,
                                 size_t len);

// The sizes of an open net.
//
// The caller's part:
// `net` is NULL, all 0, or was opened, and its image is unchanged; `shape` is NULL or may be
// written.
enum monet_status monet_net_shape(const struct monet_net *net, struct monet_shape *shape);

// Labels of one slice. The library writes to `arena` and `labels` alone; two runs at a time take
// two arenas.
//
// - `arena`: working memory, any content, any alignment; one of 16 is faster.
// - `planes`: the input: pointers to as many planes as the shape says, each height * width values,
//   row by row.
// - `labels`: out_height * out_width.
//
// The caller's part:
// `net` is NULL, all 0, or was opened, and its image is unchanged; the other pointers are NULL, or
// to as many elements as is said, and the planes to as many values as a plane of the net has.
// Buffers do not overlap.
enum monet_status monet_net_run(const struct monet_net *net,
                                void *arena,
                                size_t arena_len,
                                const float *const *planes,
                                size_t planes_len,
                                uint8_t *labels,
                                size_t labels_len);

// Probabilities of one slice, classes * out_height * out_width, plane by plane; else as
// monet_net_run.
//
// The caller's part:
// As for monet_net_run.
enum monet_status monet_net_run_probabilities(const struct monet_net *net,
                                              void *arena,
                                              size_t arena_len,
                                              const float *const *planes,
                                              size_t planes_len,
                                              float *probabilities,
                                              size_t probabilities_len);

// Opens a package.
//
// - `abi`: MONET_ABI.
// - `path`: a plan, as `monet compile` makes it; NULL for the package in the library, hippocampus
//   in T1 MRI.
// - `model`: gets the package, or NULL. Free it with monet_model_free.
// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
//
// The caller's part:
// `path` is NULL or ends in a zero byte, `model` is NULL or may be written, `detail` is NULL or
// has room for `detail_len` bytes.
enum monet_status monet_model_open(uint32_t abi,
                                   const char *path,
                                   struct monet_model **model,
                                   char *detail,
                                   size_t detail_len);

// Frees a package; NULL is nothing. Sessions that were made of it work on.
//
// Returns MONET_STATUS_HANDLE for one that was freed before.
enum monet_status monet_model_free(struct monet_model *model);

// How many labels a package has; 0 of one that is NULL or freed.
size_t monet_model_labels(const struct monet_model *model);

// The name of a label, counted from 0; NULL where there is none. The text stays until the package
// is freed. `value` gets the label's value in volumes; it may be NULL.
//
// The caller's part:
// `value` is NULL or may be written.
const char *monet_model_label(const struct monet_model *model, size_t index, uint8_t *value);

// Makes engines of a package.
//
// - `threads`: slices that are segmented at the same time, 1 to 256.
// - `kernel`: a name, as the command's --kernel takes; NULL for the fastest that the CPU has.
// - `session`: gets the session, or NULL. Free it with monet_session_free.
// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
//
// The caller's part:
// `kernel` is NULL or ends in a zero byte, `session` is NULL or may be written, `detail` is NULL
// or has room for `detail_len` bytes.
enum monet_status monet_session_new(const struct monet_model *model,
                                    uint32_t threads,
                                    const char *kernel,
                                    struct monet_session **session,
                                    char *detail,
                                    size_t detail_len);

// Frees a session; NULL is nothing.
//
// Returns MONET_STATUS_HANDLE for one that was freed before.
enum monet_status monet_session_free(struct monet_session *session);

// How many labels the last volume's figures have; 0 before the first, of a session that is NULL or
// freed, and while it is at work.
size_t monet_session_labels(const struct monet_session *session);

// A label of the last volume, counted from 0; MONET_STATUS_ARGUMENT where there is none.
//
// The caller's part:
// `label` is NULL or may be written.
enum monet_status monet_session_label(const struct monet_session *session,
                                      size_t index,
                                      struct monet_label *label);

// The last volume's report as JSON, as the command's --stats has it: returns its bytes with the
// zero, and writes as many as there is room for. 0 where monet_session_labels is 0.
//
// The caller's part:
// `buffer` is NULL or has room for `len` bytes.
size_t monet_session_report(const struct monet_session *session, char *buffer, size_t len);

// Segments a volume in memory into labels in memory: a byte a voxel, in the volume's order of
// axes. Where segmenting fails, the labels are zeros; where an argument is refused, they are not
// touched.
//
// - `labels_len`: bytes that `labels` has room for, size[0] * size[1] * size[2].
// - `options`: may be NULL.
// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
//
// The caller's part:
// `volume` is NULL or says what `voxels` points to, which nobody writes meanwhile; `labels` is
// NULL or has room for `labels_len` bytes, which nobody else reads or writes meanwhile; `options`
// is NULL or filled; `detail` is NULL or has room for `detail_len` bytes.
enum monet_status monet_segment(struct monet_session *session,
                                const struct monet_volume *volume,
                                uint8_t *labels,
                                size_t labels_len,
                                const struct monet_options *options,
                                char *detail,
                                size_t detail_len);

// Segments a NIfTI file into a NIfTI file, as the command does: outputs appear complete and
// together, or not at all, and memory does not depend on the number of slices.
//
// - `options`: may be NULL.
// - `detail`: gets why it failed, cut to `detail_len` bytes with the zero; may be NULL.
//
// The caller's part:
// `input` and `output` are NULL or end in a zero byte; `options` is NULL or filled, its texts NULL
// or ending in a zero byte; `detail` is NULL or has room for `detail_len` bytes.
enum monet_status monet_segment_file(struct monet_session *session,
                                     const char *input,
                                     const char *output,
                                     const struct monet_options *options,
                                     char *detail,
                                     size_t detail_len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MONET_H */
