// Segments a volume in memory, from C++.
//
//   c++ -std=c++17 memory.cpp -o memory $(pkg-config --cflags --libs monet)
#include <monet.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

int main() {
  // 40 x 50 x 30 voxels of 1 mm; the axes run to the right, to anterior and to superior.
  std::vector<std::int16_t> voxels(40 * 50 * 30);
  for (std::size_t i = 0; i < voxels.size(); i++) voxels[i] = static_cast<std::int16_t>(i % 997);
  monet_volume volume{};
  volume.voxels = voxels.data();
  volume.bytes = voxels.size() * sizeof voxels[0];
  volume.voxel_type = MONET_TYPE_I16;
  volume.size[0] = 40, volume.size[1] = 50, volume.size[2] = 30;
  volume.channels = 1;
  for (int axis = 0; axis < 3; axis++) volume.affine[axis][axis] = 1.0;
  try {
    const monet::Model model;
    monet::Session session(model);
    const std::vector<std::uint8_t> labels = session.segment(volume);
    const std::vector<std::string> names = model.labels();
    const std::vector<monet_label> found = session.labels();
    for (std::size_t i = 0; i < found.size(); i++)
      std::printf("%s: %llu of %zu voxels\n", names[i].c_str(),
                  static_cast<unsigned long long>(found[i].voxels), labels.size());
  } catch (const monet::Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
