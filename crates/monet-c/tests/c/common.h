/* What the tests in C share: a count of what is not so, files, and a NIfTI-1 file as a volume. */
#ifndef COMMON_H
#define COMMON_H

#include <monet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define EXPECT(what)                                             \
  do {                                                           \
    if (!(what)) {                                               \
      failures++;                                                \
      fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what); \
    }                                                            \
  } while (0)

/* A file's bytes, at a multiple of MONET_ALIGN; free(*block) frees them. */
static inline unsigned char *file_bytes(const char *path, size_t *len, void **block) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) {
    perror(path);
    exit(3);
  }
  *len = (size_t)ftell(file);
  rewind(file);
  *block = malloc(*len + MONET_ALIGN);
  unsigned char *at = *block;
  at += (MONET_ALIGN - (uintptr_t)at % MONET_ALIGN) % MONET_ALIGN;
  if (fread(at, 1, *len, file) != *len) exit(3);
  fclose(file);
  return at;
}

/* The volume in an uncompressed NIfTI-1 file of int16 or uint8 with an sform and without scaling. */
static inline monet_volume nifti(const char *path, void **block) {
  size_t len;
  const unsigned char *bytes = file_bytes(path, &len, block);
  int16_t dim[8], type, sform;
  float offset, rows[3][4];
  memcpy(dim, bytes + 40, sizeof dim);
  memcpy(&type, bytes + 70, sizeof type);
  memcpy(&offset, bytes + 108, sizeof offset);
  memcpy(&sform, bytes + 254, sizeof sform);
  memcpy(rows, bytes + 280, sizeof rows);
  if ((type != 4 && type != 2) || sform <= 0) exit(3);
  monet_volume volume = {.voxels = bytes + (size_t)offset, .bytes = len - (size_t)offset};
  volume.voxel_type = type == 4 ? MONET_TYPE_I16 : MONET_TYPE_U8;
  volume.channels = 1;
  for (int i = 0; i < 3; i++) {
    volume.size[i] = (size_t)dim[i + 1];
    for (int j = 0; j < 4; j++) volume.affine[i][j] = rows[i][j];
  }
  return volume;
}

#endif
