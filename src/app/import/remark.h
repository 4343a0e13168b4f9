// What an import has to say about a line of the foreign configuration: what was left out, what behaves differently now.
// Collected in one list while a file is translated, told on standard error and at the top of what was written. Owned by
// the import; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::app {

struct ImportPlace {
  std::shared_ptr<const std::string> file;
  uint32_t line = 0;  // from 1; 0: the whole file
  std::string to_string() const;
};

struct Remark {
  enum class Kind : uint8_t {
    left_out,  // it did something that the result does not do
    differs,   // it was translated, and behaves differently in a case that is told
  };
  Kind kind;
  ImportPlace at;
  std::string directive;
  std::string why;
  std::string instead;  // what to do; may be empty

  std::string to_string() const;  // "nginx.conf:12: proxy_cache: why; instead"
};
std::string_view to_string(Remark::Kind kind) noexcept;

class Remarks {
 public:
  static constexpr size_t kKept = 1000;  // later ones are only counted

  // The same remark of the same line is kept once: an included file may be read many times.
  void add(Remark remark);
  void left_out(const ImportPlace& at, std::string directive, std::string why, std::string instead = {});
  void differs(const ImportPlace& at, std::string directive, std::string why, std::string instead = {});

  const std::vector<Remark>& kept() const noexcept { return kept_; }
  size_t left_out() const noexcept { return left_out_; }
  size_t total() const noexcept { return total_; }

 private:
  std::vector<Remark> kept_;
  size_t left_out_ = 0;
  size_t total_ = 0;
};

}  // namespace trellis::app
