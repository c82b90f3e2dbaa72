/* Runs a net on one slice with memory of this program's own, from C: as on a board without an
 * operating system, where the image lies in flash memory and the arena is a static array.
 *
 *   monet compile model.toml --for KERNEL --size 48x48 -o slice.image
 *   cc slice.c -o slice $(pkg-config --cflags --libs monet)
 *   ./slice slice.image
 */
#include <monet.h>
#include <stdio.h>

/* Room for the image, wherever a multiple of MONET_ALIGN lies in it, and for a run. */
static unsigned char memory[8 << 20], arena[8 << 20];
static float plane[512 * 512];
static uint8_t labels[512 * 512];

int main(int count, char **given) {
  FILE *file = count == 2 ? fopen(given[1], "rb") : NULL;
  if (!file) {
    fprintf(stderr, "usage: %s IMAGE\n", given[0]);
    return 2;
  }
  unsigned char *image = memory + (MONET_ALIGN - (uintptr_t)memory % MONET_ALIGN) % MONET_ALIGN;
  size_t len = fread(image, 1, sizeof memory - MONET_ALIGN, file);
  fclose(file);

  monet_net net;
  monet_shape shape;
  monet_status status = monet_net_open(MONET_ABI, &net, image, len);
  if (status == MONET_STATUS_OK) status = monet_net_shape(&net, &shape);
  if (status != MONET_STATUS_OK) {
    fprintf(stderr, "%s\n", monet_status_text(status));
    return 1;
  }
  size_t values = shape.height * shape.width, outputs = shape.out_height * shape.out_width;
  if (shape.arena > sizeof arena || values > 512 * 512 || outputs > sizeof labels ||
      shape.planes > MONET_MAX_PLANES) {
    fprintf(stderr, "the net needs more memory than this program has\n");
    return 1;
  }
  /* A blank slice, and the same for its neighbours: a program of its own has normalised values. */
  const float *planes[MONET_MAX_PLANES];
  for (size_t i = 0; i < shape.planes; i++) planes[i] = plane;
  status = monet_net_run(&net, arena, shape.arena, planes, shape.planes, labels, outputs);
  size_t found = 0;
  for (size_t i = 0; i < outputs; i++) found += labels[i] > 0;
  printf("%zu of %zu pixels have a label: %s\n", found, outputs, monet_status_text(status));
  return status != MONET_STATUS_OK;
}
