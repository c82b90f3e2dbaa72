/* Segments a NIfTI file, from C.
 *
 *   cc segment.c -o segment $(pkg-config --cflags --libs monet)
 *   ./segment scan.nii.gz mask.nii.gz [model.plan]
 */
#include <monet.h>
#include <stdio.h>

/* Is called after each slice. Anything but 0 would end the segmentation. */
static int tell(void *user, size_t done, size_t slices) {
  (void)user;
  fprintf(stderr, "\r%zu of %zu slices%s", done, slices, done == slices ? "\n" : "");
  return 0;
}

int main(int count, char **given) {
  if (count < 3) {
    fprintf(stderr, "usage: %s INPUT OUTPUT [MODEL]\n", given[0]);
    return 2;
  }
  char detail[512] = "";
  monet_model *model = NULL;
  monet_session *session = NULL;
  const char *path = count > 3 ? given[3] : NULL; /* NULL: the package in the library */
  monet_status status = monet_model_open(MONET_ABI, path, &model, detail, sizeof detail);
  if (status == MONET_STATUS_OK)
    status = monet_session_new(model, 1, NULL, &session, detail, sizeof detail);
  if (status == MONET_STATUS_OK) {
    monet_options options = {.progress = tell};
    status = monet_segment_file(session, given[1], given[2], &options, detail, sizeof detail);
  }
  if (status != MONET_STATUS_OK)
    fprintf(stderr, "%s: %s\n", monet_status_text(status), detail);
  for (size_t i = 0; i < monet_session_labels(session); i++) {
    monet_label label;
    if (monet_session_label(session, i, &label) == MONET_STATUS_OK)
      printf("%s: %.3f ml\n", monet_model_label(model, i, NULL), label.ml);
  }
  monet_session_free(session);
  monet_model_free(model);
  return status != MONET_STATUS_OK;
}
