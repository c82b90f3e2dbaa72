/* Each function of the net layer with what it must not be given, and a run that reads and writes
 * only where it may.
 *
 *   net IMAGE
 *
 * IMAGE is made by `monet compile --for` for a kernel of this CPU.
 */
#include <math.h>

#include "common.h"

static monet_net net;
static monet_shape shape;

static void opening(unsigned char *image, size_t len) {
  monet_net other = {{0}};
  EXPECT(monet_net_open(MONET_ABI + 1, &other, image, len) == MONET_STATUS_ABI_MISMATCH);
  EXPECT(monet_net_open(MONET_ABI, NULL, image, len) == MONET_STATUS_NULL);
  EXPECT(monet_net_open(MONET_ABI, &other, NULL, len) == MONET_STATUS_NULL);
  EXPECT(monet_net_open(MONET_ABI, &other, image + 1, len - 1) == MONET_STATUS_UNALIGNED);
  EXPECT(monet_net_open(MONET_ABI, &other, image, len - 1) == MONET_STATUS_IMAGE_LENGTH);
  EXPECT(monet_net_open(MONET_ABI, &other, image, 0) != MONET_STATUS_OK);
  image[0] ^= 1;
  EXPECT(monet_net_open(MONET_ABI, &other, image, len) == MONET_STATUS_NO_IMAGE);
  image[0] ^= 1;
  EXPECT(monet_net_shape(&other, &shape) == MONET_STATUS_NULL); /* never opened */
  EXPECT(monet_net_shape(NULL, &shape) == MONET_STATUS_NULL);
  EXPECT(monet_net_open(MONET_ABI, &net, image, len) == MONET_STATUS_OK);
  EXPECT(monet_net_shape(&net, NULL) == MONET_STATUS_NULL);
  EXPECT(monet_net_shape(&net, &shape) == MONET_STATUS_OK);
}

static void runs(void) {
  const monet_net never = {{0}};
  const size_t area = shape.height * shape.width, out = shape.out_height * shape.out_width;
  const size_t all = shape.classes * out, n = shape.planes;
  /* Each in a block of its own and of its exact length, for a watcher of memory. */
  unsigned char *arena = malloc(shape.arena);
  float *values = malloc(area * sizeof *values);
  float *chances = malloc(all * sizeof *chances), *others = malloc(all * sizeof *others);
  const float *planes[MONET_MAX_PLANES + 1];
  uint8_t *labels = malloc(out);
  for (size_t i = 0; i < area; i++) values[i] = (float)(i % 97) / 48 - 1;
  for (size_t i = 0; i < n; i++) planes[i] = values;

#define RUN(planes, n, labels, out) \
  monet_net_run(&net, arena, shape.arena, planes, n, labels, out)
#define CHANCES(chances, all) \
  monet_net_run_probabilities(&net, arena, shape.arena, planes, n, chances, all)
  EXPECT(monet_net_run(NULL, arena, shape.arena, planes, n, labels, out) == MONET_STATUS_NULL);
  EXPECT(monet_net_run(&never, arena, shape.arena, planes, n, labels, out) == MONET_STATUS_NULL);
  EXPECT(monet_net_run(&net, NULL, shape.arena, planes, n, labels, out) == MONET_STATUS_NULL);
  EXPECT(monet_net_run(&net, arena, shape.arena - 1, planes, n, labels, out) ==
         MONET_STATUS_BUFFER);
  EXPECT(RUN(NULL, n, labels, out) == MONET_STATUS_NULL);
  EXPECT(RUN(planes, n - 1, labels, out) == MONET_STATUS_BUFFER);
  EXPECT(RUN(planes, MONET_MAX_PLANES + 1, labels, out) == MONET_STATUS_BUFFER);
  EXPECT(RUN(planes, n, NULL, out) == MONET_STATUS_NULL);
  EXPECT(RUN(planes, n, labels, out - 1) == MONET_STATUS_BUFFER);
  EXPECT(RUN(planes, n, labels, out + 1) == MONET_STATUS_BUFFER);
  planes[0] = NULL;
  EXPECT(RUN(planes, n, labels, out) == MONET_STATUS_NULL);
  planes[0] = (const float *)(const void *)((const char *)values + 1);
  EXPECT(RUN(planes, n, labels, out) == MONET_STATUS_UNALIGNED);
  planes[0] = values;
  EXPECT(CHANCES(NULL, all) == MONET_STATUS_NULL);
  EXPECT(CHANCES((float *)(void *)((char *)chances + 1), all) == MONET_STATUS_UNALIGNED);
  EXPECT(CHANCES(chances, all - 1) == MONET_STATUS_BUFFER);

  memset(labels, 0xee, out);
  memset(arena, 0x5a, shape.arena);
  EXPECT(RUN(planes, n, labels, out) == MONET_STATUS_OK);
  EXPECT(CHANCES(chances, all) == MONET_STATUS_OK);
  /* Whatever the arena held: where channels are padded, weights of 0 meet it. */
  memset(arena, 0xa5, shape.arena);
  EXPECT(CHANCES(others, all) == MONET_STATUS_OK);
  EXPECT(memcmp(chances, others, all * sizeof *chances) == 0);
  /* A pixel's label is its likeliest class. */
  for (size_t i = 0; i < out; i++) {
    float sum = 0, most = 0;
    for (size_t class = 0; class < shape.classes; class++) {
      const float chance = chances[class * out + i];
      sum += chance;
      if (chance > most) most = chance;
    }
    EXPECT(fabsf(sum - 1) < 1e-5f);
    EXPECT(labels[i] < shape.classes && chances[labels[i] * out + i] == most);
  }
  free(arena);
  free(values);
  free(chances);
  free(others);
  free(labels);
}

int main(int count, char **given) {
  if (count != 2) return 2;
  void *block;
  size_t len;
  unsigned char *image = file_bytes(given[1], &len, &block);
  opening(image, len);
  runs();
  free(block);
  return failures != 0;
}
