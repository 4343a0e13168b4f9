#include "http/explain.h"

#include <cstdio>

#include "runtime/loop.h"

namespace trellis::http {

void Explain::add(std::string_view step, std::string_view detail) {
  char time[48];
  const double passed = seconds(loop_.exact_now() - started_) * 1e3;
  std::snprintf(time, sizeof time, ";t=%.3f;d=\"", passed > 0 ? passed : 0.0);
  std::string line(step);
  line += time;
  for (const char c : detail.substr(0, kMaxDetail)) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n') {
      line += " | ";
    } else {
      line += c >= 0x20 && c < 0x7F ? c : '?';
    }
  }
  if (detail.size() > kMaxDetail) line += " ...";
  line += '"';
  if (size_ + line.size() > kMaxText) {
    ++left_out_;
    return;
  }
  size_ += line.size();
  lines_.push_back(std::move(line));
}

void Explain::append(const Explain& other) {
  left_out_ += other.left_out_;
  for (const std::string& line : other.lines_) {
    if (size_ + line.size() > kMaxText) {
      ++left_out_;
      continue;
    }
    size_ += line.size();
    lines_.push_back(line);
  }
}

void Explain::write(Fields& fields) const {
  for (const std::string& line : lines_) fields.add_copy(FieldId::x_trellis_explain, line);
  if (left_out_ > 0) {
    fields.add_copy(FieldId::x_trellis_explain,
                    "more;d=\"" + std::to_string(left_out_) + " further decisions are not told\"");
  }
  fields.set(FieldId::cache_control, "no-store");
  for (const std::string_view before_it : {"CDN-Cache-Control", "Surrogate-Control"}) fields.remove(before_it);
}

}  // namespace trellis::http
