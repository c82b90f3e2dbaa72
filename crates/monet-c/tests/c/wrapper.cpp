// monet.hpp: owners free what they own, failures and the caller's own exceptions arrive as such.
//
//   wrapper VOLUME LABELS FOLDER
//
// VOLUME is a NIfTI file, LABELS the command's label volume of it, FOLDER takes an output.
#include <monet.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

static int failures = 0;
#define EXPECT(what) \
  if (!(what)) failures++, std::fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what)

template <typename Call>
static monet_status status_of(Call call) {
  try {
    call();
    return MONET_STATUS_OK;
  } catch (const monet::Error &error) {
    EXPECT(error.what()[0] != 0);
    return error.status();
  }
}

static std::string content(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int count, char **given) {
  if (count != 4) return 2;
  EXPECT(status_of([] { monet::Model("/nowhere.plan"); }) == MONET_STATUS_MODEL);
  EXPECT(status_of([] { monet::Session(monet::Model(), 1, "none"); }) ==
         MONET_STATUS_KERNEL_UNKNOWN);
  const auto made = [] { return monet::Session(monet::Model()); };
  monet::Session session = made();  // It outlives its model, and can be moved.
  EXPECT(session.report().empty() && session.labels().empty());
  const std::string output = std::string(given[3]) + "/wrapper.nii";

  std::size_t seen = 0;
  const monet::Progress ends = [&](std::size_t done, std::size_t) { return (seen = done) < 3; };
  EXPECT(status_of([&] { session.segment(given[1], output, false, ends); }) ==
         MONET_STATUS_CANCELLED);
  EXPECT(seen >= 3 && content(output).empty());
  try {
    session.segment(given[1], output, false,
                    [](std::size_t, std::size_t) -> bool { throw std::out_of_range("mine"); });
    EXPECT(!"an exception");
  } catch (const std::out_of_range &error) {
    EXPECT(std::string(error.what()) == "mine");
  }
  std::ofstream(output) << "what stood there";
  EXPECT(status_of([&] { session.segment(given[1], output); }) == MONET_STATUS_OUTPUT);
  session.segment(given[1], output, true);
  EXPECT(content(output) == content(given[2]));
  EXPECT(session.labels().size() == monet::Model().labels().size());
  EXPECT(session.report().find("\"slices_per_s\"") != std::string::npos);
  return failures != 0;
}
