/* Threads with one model, a session each: each segments a volume in memory several times, and finds
 * the command's labels to the bit.
 *
 *   threads VOLUME LABELS [THREADS [TIMES]]
 *
 * VOLUME is an uncompressed NIfTI-1 file, LABELS the command's label volume of it.
 */
#include <pthread.h>

#include "common.h"

static monet_volume sample, told;
static monet_model *model;
static int times;

/* Returns its argument where something is not so. */
static void *segments(void *wrong) {
  monet_session *session = NULL;
  if (monet_session_new(model, 1, NULL, &session, NULL, 0)) return wrong;
  uint8_t *labels = malloc(told.bytes);
  void *result = NULL;
  for (int i = 0; i < times; i++) {
    memset(labels, 0xee, told.bytes);
    if (monet_segment(session, &sample, labels, told.bytes, NULL, NULL, 0)) result = wrong;
    if (memcmp(labels, told.voxels, told.bytes)) result = wrong;
  }
  free(labels);
  return monet_session_free(session) ? wrong : result;
}

int main(int count, char **given) {
  if (count < 3) return 2;
  void *volume_block, *labels_block;
  sample = nifti(given[1], &volume_block);
  told = nifti(given[2], &labels_block);
  const int threads = count > 3 ? atoi(given[3]) : 8;
  times = count > 4 ? atoi(given[4]) : 3;
  if (threads < 1 || threads > 64) return 2;
  EXPECT(monet_model_open(MONET_ABI, NULL, &model, NULL, 0) == MONET_STATUS_OK);
  pthread_t all[64];
  for (int i = 0; i < threads; i++)
    if (pthread_create(&all[i], NULL, segments, &model)) return 3;
  for (int i = 0; i < threads; i++) {
    void *wrong;
    pthread_join(all[i], &wrong);
    EXPECT(!wrong);
  }
  EXPECT(monet_model_free(model) == MONET_STATUS_OK);
  free(volume_block);
  free(labels_block);
  return failures != 0;
}
