/* Each function of the volume layer with what it must not be given: it says so, and nothing else
 * happens.
 *
 *   misuse VOLUME LABELS
 *
 * VOLUME is an uncompressed NIfTI-1 file, LABELS the command's label volume of it.
 */
#include <signal.h>

#include "common.h"

static monet_volume sample;
static const unsigned char *expected;
static size_t count;
static monet_model *model;
static char detail[256];

#define DETAIL detail, sizeof detail

static void statuses(void) {
  EXPECT(monet_abi() == MONET_ABI);
  EXPECT(strlen(monet_version()) > 0);
  for (int i = MONET_STATUS_OK; i <= MONET_STATUS_INTERNAL; i++)
    EXPECT(strcmp(monet_status_text(i), monet_status_text(-1)) != 0);
  EXPECT(strcmp(monet_status_text(MONET_STATUS_INTERNAL + 1), "an unknown status") == 0);
  EXPECT(strcmp(monet_status_text(-1), "an unknown status") == 0);
}

static void models(const char *not_a_plan) {
  monet_model *none = (monet_model *)1;
  EXPECT(monet_model_open(MONET_ABI, NULL, NULL, DETAIL) == MONET_STATUS_NULL);
  EXPECT(strstr(detail, "model is NULL"));
  EXPECT(monet_model_open(MONET_ABI + 1, NULL, &none, DETAIL) == MONET_STATUS_ABI_MISMATCH);
  EXPECT(none == NULL && strstr(detail, "compile the program again"));
  EXPECT(monet_model_open(MONET_ABI, not_a_plan, &none, DETAIL) == MONET_STATUS_MODEL);
  EXPECT(monet_model_open(MONET_ABI, "/nowhere.plan", &none, DETAIL) == MONET_STATUS_MODEL);
  EXPECT(none == NULL && strstr(detail, "/nowhere.plan"));
  /* Room for a text that is too small, of one byte, of none, and NULL. */
  memset(detail, 'x', sizeof detail);
  EXPECT(monet_model_open(MONET_ABI, "/nowhere.plan", &none, detail, 4) == MONET_STATUS_MODEL);
  EXPECT(strlen(detail) == 3 && detail[4] == 'x');
  EXPECT(monet_model_open(MONET_ABI, "/nowhere.plan", &none, detail, 1) == MONET_STATUS_MODEL);
  EXPECT(detail[0] == 0);
  EXPECT(monet_model_open(MONET_ABI, "/nowhere.plan", &none, detail, 0) == MONET_STATUS_MODEL);
  EXPECT(monet_model_open(MONET_ABI, "/nowhere.plan", &none, NULL, 9) == MONET_STATUS_MODEL);

  uint8_t value = 0;
  EXPECT(monet_model_label(NULL, 0, &value) == NULL && monet_model_labels(NULL) == 0);
  EXPECT(monet_model_label(model, monet_model_labels(model), NULL) == NULL);
  EXPECT(strlen(monet_model_label(model, 0, NULL)) > 0);
  EXPECT(monet_model_label(model, 0, &value) != NULL && value == 1);

  /* Freed twice, used when freed, never made, of the other kind. */
  EXPECT(monet_model_free(NULL) == MONET_STATUS_OK);
  EXPECT(monet_model_open(MONET_ABI, NULL, &none, DETAIL) == MONET_STATUS_OK && detail[0] == 0);
  EXPECT(monet_session_free((monet_session *)none) == MONET_STATUS_HANDLE);
  EXPECT(monet_model_free(none) == MONET_STATUS_OK);
  EXPECT(monet_model_free(none) == MONET_STATUS_HANDLE);
  EXPECT(monet_model_free((monet_model *)&value) == MONET_STATUS_HANDLE);
  EXPECT(monet_model_labels(none) == 0 && monet_model_label(none, 0, NULL) == NULL);
  monet_session *session;
  EXPECT(monet_session_new(none, 1, NULL, &session, DETAIL) == MONET_STATUS_HANDLE);
  EXPECT(session == NULL && strstr(detail, "freed"));
}

static void sessions(void) {
  monet_session *session = (monet_session *)1;
  EXPECT(monet_session_new(NULL, 1, NULL, &session, DETAIL) == MONET_STATUS_NULL);
  EXPECT(session == NULL);
  EXPECT(monet_session_new(model, 1, NULL, NULL, DETAIL) == MONET_STATUS_NULL);
  EXPECT(monet_session_new(model, 0, NULL, &session, DETAIL) == MONET_STATUS_ARGUMENT);
  EXPECT(monet_session_new(model, 257, NULL, &session, DETAIL) == MONET_STATUS_ARGUMENT);
  EXPECT(monet_session_new(model, 1, "none", &session, DETAIL) == MONET_STATUS_KERNEL_UNKNOWN);
  EXPECT(strstr(detail, "scalar"));
  EXPECT(monet_session_new(model, 1, "cortex-m-dsp", &session, DETAIL) ==
         MONET_STATUS_KERNEL_LACKING);
  EXPECT(monet_session_new(model, 1, "\xff", &session, DETAIL) == MONET_STATUS_ARGUMENT);

  monet_label label;
  EXPECT(monet_session_free(NULL) == MONET_STATUS_OK);
  EXPECT(monet_session_labels(NULL) == 0);
  EXPECT(monet_session_label(NULL, 0, &label) == MONET_STATUS_NULL);
  EXPECT(monet_session_report(NULL, DETAIL) == 0);
  EXPECT(monet_session_new(model, 1, NULL, &session, DETAIL) == MONET_STATUS_OK);
  EXPECT(monet_session_labels(session) == 0 && monet_session_report(session, DETAIL) == 0);
  EXPECT(monet_session_label(session, 0, &label) == MONET_STATUS_ARGUMENT);
  EXPECT(monet_session_free(session) == MONET_STATUS_OK);
  EXPECT(monet_session_free(session) == MONET_STATUS_HANDLE);
  EXPECT(monet_session_labels(session) == 0 && monet_session_report(session, DETAIL) == 0);
  EXPECT(monet_session_label(session, 0, &label) == MONET_STATUS_HANDLE);
  uint8_t one;
  EXPECT(monet_segment(session, &sample, &one, 1, NULL, DETAIL) == MONET_STATUS_HANDLE);
  EXPECT(monet_segment_file(session, "i", "o", NULL, DETAIL) == MONET_STATUS_HANDLE);
}

/* Arguments that are refused leave the labels as they are. */
static void memory(monet_session *session, uint8_t *labels) {
#define SEGMENT(volume, len) monet_segment(session, volume, labels, len, NULL, DETAIL)
  memset(labels, 0xee, count);
  EXPECT(monet_segment(NULL, &sample, labels, count, NULL, DETAIL) == MONET_STATUS_NULL);
  EXPECT(SEGMENT(NULL, count) == MONET_STATUS_NULL);
  EXPECT(monet_segment(session, &sample, NULL, count, NULL, DETAIL) == MONET_STATUS_NULL);
  EXPECT(SEGMENT(&sample, count - 1) == MONET_STATUS_BUFFER && strstr(detail, "expected"));
  EXPECT(SEGMENT(&sample, count + 1) == MONET_STATUS_BUFFER);
  monet_volume odd = sample;
  odd.bytes--;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_BUFFER);
  odd = sample, odd.voxels = NULL;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_NULL);
  odd = sample, odd.voxels = labels - 1;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_BUFFER && strstr(detail, "lie where"));
  odd = sample, odd.voxel_type = -1;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_ARGUMENT);
  odd = sample, odd.voxel_type = MONET_TYPE_F64 + 1;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_ARGUMENT);
  odd = sample, odd.size[2] = 0;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_VOLUME);
  odd = sample, odd.size[2] = (size_t)-1;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_VOLUME);
  odd = sample, odd.channels = 0;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_VOLUME);
  odd = sample, memset(odd.affine, 0, sizeof odd.affine);
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_VOLUME);
  for (size_t i = 0; i < count; i++)
    if (labels[i] != 0xee) EXPECT(!"labels are untouched");
  odd = sample, odd.affine[0][0] = 100;
  EXPECT(SEGMENT(&odd, count) == MONET_STATUS_NOT_ACCEPTED && labels[0] == 0);
  EXPECT(monet_session_labels(session) == 0 && monet_session_report(session, NULL, 0) == 0);
}

struct watched {
  monet_session *session;
  size_t done;
};

/* Asks for an end, and tries meanwhile what a session at work refuses. */
static int cancel(void *user, size_t done, size_t slices) {
  struct watched *watched = user;
  watched->done = done;
  uint8_t label;
  monet_label found;
  EXPECT(done <= slices);
  EXPECT(monet_segment(watched->session, &sample, &label, 1, NULL, NULL, 0) == MONET_STATUS_BUSY);
  EXPECT(monet_segment_file(watched->session, "i", "o", NULL, NULL, 0) == MONET_STATUS_BUSY);
  EXPECT(monet_session_label(watched->session, 0, &found) == MONET_STATUS_BUSY);
  EXPECT(monet_session_labels(watched->session) == 0);
  EXPECT(monet_session_report(watched->session, NULL, 0) == 0);
  return done == 5;
}

static int free_session(void *user, size_t done, size_t slices) {
  (void)slices;
  EXPECT(monet_session_free(user) == (done == 1 ? MONET_STATUS_OK : MONET_STATUS_HANDLE));
  return done == 3;
}

static void cancelled(monet_session *session, uint8_t *labels) {
  struct watched watched = {session, 0};
  monet_options options = {.progress = cancel, .user = &watched};
  memset(labels, 0xee, count);
  EXPECT(monet_segment(session, &sample, labels, count, &options, DETAIL) ==
         MONET_STATUS_CANCELLED);
  EXPECT(watched.done == 5 && labels[0] == 0 && labels[count - 1] == 0);
  /* Freed while it works: the call ends in its own time, the session is gone. */
  monet_session *other;
  EXPECT(monet_session_new(model, 1, NULL, &other, DETAIL) == MONET_STATUS_OK);
  options = (monet_options){.progress = free_session, .user = other};
  EXPECT(monet_segment(other, &sample, labels, count, &options, DETAIL) == MONET_STATUS_CANCELLED);
  EXPECT(monet_segment(other, &sample, labels, count, NULL, DETAIL) == MONET_STATUS_HANDLE);
  /* The session that was cancelled serves the next volume. */
  EXPECT(SEGMENT(&sample, count) == MONET_STATUS_OK && detail[0] == 0);
  EXPECT(memcmp(labels, expected, count) == 0);
}

static void figures(monet_session *session) {
  monet_label label;
  size_t count_of_1 = 0;
  EXPECT(monet_session_labels(session) == monet_model_labels(model));
  EXPECT(monet_session_label(session, 0, &label) == MONET_STATUS_OK && label.value == 1);
  for (size_t i = 0; i < count; i++) count_of_1 += expected[i] == 1;
  EXPECT(label.voxels == count_of_1 && label.ml > 0);
  EXPECT(monet_session_label(session, 0, NULL) == MONET_STATUS_NULL);
  EXPECT(monet_session_label(session, 99, &label) == MONET_STATUS_ARGUMENT);
  size_t len = monet_session_report(session, NULL, 0);
  char *report = malloc(len);
  EXPECT(monet_session_report(session, report, len) == len && strlen(report) == len - 1);
  EXPECT(strstr(report, "\"slices_per_s\""));
  EXPECT(monet_session_report(session, report, 2) == len && strlen(report) == 1);
  free(report);
}

static void files(monet_session *session, const char *input) {
#define FILES(in, out) monet_segment_file(session, in, out, NULL, DETAIL)
  EXPECT(monet_segment_file(NULL, input, "o.nii", NULL, DETAIL) == MONET_STATUS_NULL);
  EXPECT(FILES(NULL, "o.nii") == MONET_STATUS_NULL && strstr(detail, "input"));
  EXPECT(FILES(input, NULL) == MONET_STATUS_NULL && strstr(detail, "output"));
  EXPECT(FILES("/nowhere/i.nii", "o.nii") == MONET_STATUS_VOLUME);
  EXPECT(FILES(input, "/nowhere/o.nii") == MONET_STATUS_OUTPUT);
  EXPECT(FILES(input, input) == MONET_STATUS_OUTPUT);
  EXPECT(FILES(input, "\xff.wrong") == MONET_STATUS_OUTPUT);
}

int main(int given_count, char **given) {
  if (given_count != 3) return 2;
  /* What the program itself does on signals. */
  struct sigaction before[32], after;
  for (int i = 1; i < 32; i++) sigaction(i, NULL, &before[i]);

  void *volume_block, *labels_block;
  sample = nifti(given[1], &volume_block);
  monet_volume told = nifti(given[2], &labels_block);
  expected = told.voxels, count = told.bytes;
  statuses();
  EXPECT(monet_model_open(MONET_ABI, NULL, &model, DETAIL) == MONET_STATUS_OK);
  models(given[1]);
  sessions();
  monet_session *session;
  EXPECT(monet_session_new(model, 2, NULL, &session, DETAIL) == MONET_STATUS_OK);
  uint8_t *labels = malloc(count);
  memory(session, labels);
  cancelled(session, labels);
  figures(session);
  files(session, given[1]);
  /* A session works on without its model. */
  EXPECT(monet_model_free(model) == MONET_STATUS_OK);
  EXPECT(SEGMENT(&sample, count) == MONET_STATUS_OK && memcmp(labels, expected, count) == 0);
  EXPECT(monet_session_free(session) == MONET_STATUS_OK);

  for (int i = 1; i < 32; i++) {
    sigaction(i, NULL, &after);
    EXPECT(after.sa_handler == before[i].sa_handler && after.sa_flags == before[i].sa_flags);
  }
  free(labels);
  free(volume_block);
  free(labels_block);
  return failures != 0;
}
