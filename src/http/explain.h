// The decisions taken for one request, for who asks why it was answered as it was (docs/explain.md). Whoever decides
// adds a line where RequestContext::explain is not null, which is so only for requests that bring the node's key:
// nobody else pays more than the comparison. One core; lives in the frame that handles the request.
//
// They leave as fields of the answer, each a member of a structured List (RFC 9651): a token for the step, the
// milliseconds since the request's first byte, and what was decided, in words:
//
//   X-Trellis-Explain: route;t=0.021;d="api: path /v1/**; leads to upstream.api"
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "http/fields.h"

namespace trellis {
inline namespace runtime {
class Loop;
}
}  // namespace trellis

namespace trellis::http {

class Explain {
 public:
  static constexpr size_t kMaxDetail = 600;      // bytes of one decision; what is longer is cut
  static constexpr size_t kMaxText = 10 * 1024;  // of all: many clients take no more than 16 KiB of fields

  Explain(const Loop& loop, Time started) noexcept : loop_(loop), started_(started) {}
  Explain(const Explain&) = delete;
  Explain& operator=(const Explain&) = delete;

  // `step`: a token, static text. `detail`: any bytes; line feeds show as " | ", what else is not printable ASCII as
  // '?'.
  void add(std::string_view step, std::string_view detail);
  // Takes over what another has gathered.
  void append(const Explain& other);
  // Adds the lines to an answer, and keeps it out of every cache.
  void write(Fields& fields) const;
  size_t decisions() const noexcept { return lines_.size() + left_out_; }

  // How deep in the chain of filters the request came: who asks for an answer further in makes it more.
  size_t reached = 0;
  size_t decisions_before = 0;  // when the filter got it that has it now

 private:
  const Loop& loop_;
  Time started_;
  std::vector<std::string> lines_;
  size_t size_ = 0;
  size_t left_out_ = 0;
};

}  // namespace trellis::http
