// monet for C++: owners of what monet.h makes, and exceptions in place of statuses. C++17, header
// only.

#ifndef MONET_HPP
#define MONET_HPP

#include "monet.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace monet {

/// A status that is not MONET_STATUS_OK; `what()` says why.
class Error : public std::runtime_error {
 public:
  Error(monet_status status, const char *detail)
      : std::runtime_error(*detail ? detail : monet_status_text(status)), status_(status) {}
  monet_status status() const { return status_; }

 private:
  monet_status status_;
};

namespace detail {

/// Calls a function that takes room for a text.
template <typename Call>
void check(Call call) {
  std::array<char, 1024> text{};
  const monet_status status = call(text.data(), text.size());
  if (status != MONET_STATUS_OK) throw Error(status, text.data());
}

/// What the functions for a volume are given: options of the caller's progress function, and its
/// exception, which must not cross the library.
class Watch {
 public:
  explicit Watch(const std::function<bool(std::size_t, std::size_t)> &progress)
      : progress_(progress) {
    if (!progress_) return;
    options.user = this;
    options.progress = [](void *user, std::size_t done, std::size_t slices) noexcept -> int {
      auto &self = *static_cast<Watch *>(user);
      try {
        return !self.progress_(done, slices);
      } catch (...) {
        self.thrown_ = std::current_exception();
        return 1;
      }
    };
  }
  Watch(const Watch &) = delete;
  Watch &operator=(const Watch &) = delete;

  template <typename Call>
  void check(Call call) {
    try {
      detail::check(call);
    } catch (...) {
      if (thrown_) std::rethrow_exception(thrown_);
      throw;
    }
  }

  monet_options options{};

 private:
  const std::function<bool(std::size_t, std::size_t)> &progress_;
  std::exception_ptr thrown_;
};

}  // namespace detail

/// A package. Copies share it, and threads may.
class Model {
 public:
  /// Opens a plan; without a path the package in the library.
  explicit Model(const char *path = nullptr) {
    monet_model *made = nullptr;
    detail::check([&](char *text, std::size_t len) {
      return monet_model_open(MONET_ABI, path, &made, text, len);
    });
    owner_ = std::shared_ptr<monet_model>(made, monet_model_free);
  }

  /// Names of the labels, in the order of a session's labels.
  std::vector<std::string> labels() const {
    std::vector<std::string> names(monet_model_labels(get()));
    for (std::size_t i = 0; i < names.size(); i++) names[i] = monet_model_label(get(), i, nullptr);
    return names;
  }

  monet_model *get() const { return owner_.get(); }

 private:
  std::shared_ptr<monet_model> owner_;
};

/// Is told of slices; false ends the segmentation with MONET_STATUS_CANCELLED, an exception ends
/// it and reaches the caller.
using Progress = std::function<bool(std::size_t done, std::size_t slices)>;

/// Engines of a package, for one thread at a time.
class Session {
 public:
  explicit Session(const Model &model, unsigned threads = 1, const char *kernel = nullptr)
      : owner_(nullptr, monet_session_free) {
    monet_session *made = nullptr;
    detail::check([&](char *text, std::size_t len) {
      return monet_session_new(model.get(), threads, kernel, &made, text, len);
    });
    owner_.reset(made);
  }

  /// Labels of a volume in memory, a byte a voxel, in the volume's order of axes.
  std::vector<std::uint8_t> segment(const monet_volume &volume, bool accept_any = false,
                                    const Progress &progress = {}) {
    std::vector<std::uint8_t> labels(volume.size[0] * volume.size[1] * volume.size[2]);
    detail::Watch watch(progress);
    watch.options.accept_any = accept_any;
    watch.check([&](char *text, std::size_t len) {
      return monet_segment(owner_.get(), &volume, labels.data(), labels.size(), &watch.options,
                           text, len);
    });
    return labels;
  }

  /// A file into a file.
  void segment(const std::string &input, const std::string &output, bool overwrite = false,
               const Progress &progress = {}) {
    detail::Watch watch(progress);
    watch.options.overwrite = overwrite;
    watch.check([&](char *text, std::size_t len) {
      return monet_segment_file(owner_.get(), input.c_str(), output.c_str(), &watch.options, text,
                                len);
    });
  }

  /// The last volume's labels.
  std::vector<monet_label> labels() const {
    std::vector<monet_label> all(monet_session_labels(owner_.get()));
    for (std::size_t i = 0; i < all.size(); i++) monet_session_label(owner_.get(), i, &all[i]);
    return all;
  }

  /// The last volume's report, as JSON.
  std::string report() const {
    std::string text(monet_session_report(owner_.get(), nullptr, 0), '\0');
    monet_session_report(owner_.get(), text.data(), text.size());
    if (!text.empty()) text.pop_back();
    return text;
  }

 private:
  std::unique_ptr<monet_session, decltype(&monet_session_free)> owner_;
};

}  // namespace monet

#endif  // MONET_HPP
