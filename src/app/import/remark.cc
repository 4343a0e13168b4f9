#include "app/import/remark.h"

#include <algorithm>

namespace trellis::app {

std::string ImportPlace::to_string() const {
  std::string text = file ? *file : std::string("?");
  if (line > 0) text += ":" + std::to_string(line);
  return text;
}

std::string_view to_string(Remark::Kind kind) noexcept {
  return kind == Remark::Kind::left_out ? "left out" : "differs";
}

std::string Remark::to_string() const {
  std::string text = at.to_string() + ": " + directive + ": " + why;
  if (!instead.empty()) text += "; " + instead;
  return text;
}

void Remarks::add(Remark remark) {
  const auto same = [&](const Remark& other) {
    return other.at.line == remark.at.line && other.directive == remark.directive && other.why == remark.why &&
           other.at.to_string() == remark.at.to_string();
  };
  if (std::ranges::any_of(kept_, same)) return;
  ++total_;
  if (remark.kind == Remark::Kind::left_out) ++left_out_;
  if (kept_.size() < kKept) kept_.push_back(std::move(remark));
}

void Remarks::left_out(const ImportPlace& at, std::string directive, std::string why, std::string instead) {
  add({Remark::Kind::left_out, at, std::move(directive), std::move(why), std::move(instead)});
}

void Remarks::differs(const ImportPlace& at, std::string directive, std::string why, std::string instead) {
  add({Remark::Kind::differs, at, std::move(directive), std::move(why), std::move(instead)});
}

}  // namespace trellis::app
