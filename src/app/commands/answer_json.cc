#include "app/commands/answer_json.h"

#include <nlohmann/json.hpp>
#include <string>

namespace trellis::app {

using nlohmann::json;

bool is_good(const Result<CallAnswer>& answer) {
  if (!answer) {
    failed(answer.error().to_string());
    return false;
  }
  if (answer->status < 400) return true;
  const json body = json::parse(answer->body, nullptr, false);
  std::string text = "the node answered " + std::to_string(answer->status);
  if (const std::string detail = text_of(body, "detail"); !detail.empty()) text = detail;
  if (const std::string field = text_of(body, "field"); !field.empty()) text += " (" + field + ")";
  failed(text);
  return false;
}

json answer_of(const Result<CallAnswer>& answer, bool& good) {
  good = false;
  if (!is_good(answer)) return {};
  json body = json::parse(answer->body, nullptr, false);
  if (!body.is_object()) {
    failed("what answers there is no Trellis node: its answer is no JSON object");
    return {};
  }
  good = true;
  return body;
}

}  // namespace trellis::app
