#include "app/control/control_area.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "app/node/node.h"
#include "app/node/open_store.h"
#include "base/log.h"
#include "http/target.h"

namespace trellis::app {

using http::FieldId;

http::Response control_answer(http::RequestContext& context, int status, std::string_view type, std::string text) {
  http::Response response(context.arena, status);
  response.fields.add(FieldId::content_type, type);
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(text));
  return response;
}

http::Response json_answer(http::RequestContext& context, int status, std::string text) {
  return control_answer(context, status, "application/json", std::move(text));
}

Error refused(Code code, std::string text) { return Error(code, std::move(text)).from(Side::client); }

Result<std::optional<std::string>> text_parameter(http::Request& request, http::RequestContext& context,
                                                  std::string_view name) {
  std::string_view rest = request.query;
  bool there = false;
  while (const auto parameter = http::next_parameter(rest)) there = there || parameter->key == name;
  if (!there) return std::optional<std::string>();
  const auto value = http::query_value(request.query, name, context.arena);
  if (!value) return fail(refused(Code::invalid_argument, std::string(name) + " cannot be decoded"));
  return std::optional<std::string>(*value);
}

Result<> no_other_parameters(const http::Request& request, std::initializer_list<std::string_view> known) {
  std::string_view rest = request.query;
  std::vector<std::string_view> said;
  while (const auto parameter = http::next_parameter(rest)) {
    if (std::ranges::find(known, parameter->key) == known.end()) {
      std::string names;
      for (const std::string_view name : known) names += (names.empty() ? "" : ", ") + std::string(name);
      return fail(refused(Code::invalid_argument,
                          "there is no parameter \"" + std::string(parameter->key) + "\"; there are: " + names));
    }
    if (std::ranges::find(said, parameter->key) != said.end())
      return fail(refused(Code::invalid_argument, std::string(parameter->key) + " is said twice"));
    said.push_back(parameter->key);
  }
  return {};
}

Result<std::optional<bool>> flag_parameter(http::Request& request, http::RequestContext& context,
                                           std::string_view name) {
  TRY(const std::optional<std::string> text, text_parameter(request, context, name));
  if (!text) return std::optional<bool>();
  if (*text != "true" && *text != "false")
    return fail(refused(Code::invalid_argument, std::string(name) + " must be true or false"));
  return std::optional<bool>(*text == "true");
}

Result<std::optional<int64_t>> number_parameter(http::Request& request, http::RequestContext& context,
                                                std::string_view name, int64_t low, int64_t high) {
  TRY(const std::optional<std::string> text, text_parameter(request, context, name));
  if (!text) return std::optional<int64_t>();
  int64_t number = 0;
  const char* const end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, number);
  if (error != std::errc() || stop != end || number < low || number > high) {
    return fail(refused(Code::invalid_argument, std::string(name) + " must be a number from " + std::to_string(low) +
                                                    " to " + std::to_string(high)));
  }
  return std::optional<int64_t>(number);
}

Result<std::shared_ptr<OpenStore>> store_parameter(Node& node, http::Request& request, http::RequestContext& context) {
  TRY(const std::optional<std::string> name, text_parameter(request, context, "store"));
  const auto stores = node.stores();
  std::string known;
  for (const auto& [one, store] : stores) known += (known.empty() ? "" : ", ") + one;
  if (stores.empty()) return fail(refused(Code::not_found, "this node has no store"));
  if (!name) {
    if (stores.size() == 1) return stores.begin()->second;
    return fail(refused(Code::invalid_argument, "there are several stores, name one of them: " + known));
  }
  const auto found = stores.find(*name);
  if (found == stores.end())
    return fail(refused(Code::not_found, "there is no store \"" + *name + "\"; there are: " + known));
  return found->second;
}

std::string time_text(WallTime time) {
  std::string text(kRfc3339Size, ' ');
  write_rfc3339(text.data(), time);
  return text;
}

}  // namespace trellis::app
