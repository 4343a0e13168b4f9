#include "proxy/text_template.h"

#include <algorithm>
#include <utility>

#include "base/ids.h"
#include "http/handler.h"
#include "proxy/field_rules.h"
#include "upstream/hash_key.h"

namespace trellis::proxy {

namespace {

constexpr size_t kMaxParts = 16;

bool splits_a_field(char c) noexcept { return static_cast<uint8_t>(c) < 0x20 ? c != '\t' : c == 0x7f; }

}  // namespace

std::string_view host_without_port(std::string_view authority) noexcept {
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    return end == std::string_view::npos ? authority : authority.substr(0, end + 1);
  }
  const size_t colon = authority.rfind(':');
  return colon == std::string_view::npos ? authority : authority.substr(0, colon);
}

Result<TextTemplate> TextTemplate::parse(std::string_view text) {
  static constexpr std::pair<std::string_view, Variable> kNames[] = {
      {"client.address", Variable::client_address},
      {"client.port", Variable::client_port},
      {"request_id", Variable::request_id},
      {"host", Variable::host},
      {"path", Variable::path},
      {"query", Variable::query},
      {"uri", Variable::uri},
      {"method", Variable::method},
      {"route", Variable::route},
      {"scheme", Variable::scheme},
      {"listener", Variable::listener},
      {"trace_id", Variable::trace_id},
      {"upstream", Variable::upstream},
      {"upstream.host", Variable::upstream_host},
      {"way", Variable::way},
  };
  static constexpr std::pair<std::string_view, Variable> kNamed[] = {{"header.", Variable::header},
                                                                     {"cookie.", Variable::cookie}};
  TextTemplate out;
  out.source_ = text;
  if (std::any_of(text.begin(), text.end(), splits_a_field))
    return fail(Code::invalid_argument, "control characters are not allowed");
  std::string constant;
  const auto flush = [&] {
    if (!constant.empty()) out.parts_.push_back({Variable::none, std::move(constant)});
    constant.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("$${")) {
      constant += "${";
      at += 3;
    } else if (rest.starts_with("${")) {
      const size_t end = rest.find('}');
      if (end == std::string_view::npos) return fail(Code::invalid_argument, "'${' without its '}'");
      const std::string_view name = rest.substr(2, end - 2);
      const auto* found =
          std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& each) { return each.first == name; });
      const auto* named = std::find_if(std::begin(kNamed), std::end(kNamed),
                                       [&](const auto& each) { return name.starts_with(each.first); });
      if (found == std::end(kNames) &&
          (named == std::end(kNamed) || !is_field_name(name.substr(named->first.size())))) {
        return fail(Code::invalid_argument,
                    "no variable '" + std::string(name) +
                        "'; there are client.address, client.port, request_id, host, path, query, uri, method, route, "
                        "scheme, listener, trace_id, header.NAME, cookie.NAME, upstream, upstream.host, way");
      }
      flush();
      out.parts_.push_back(found != std::end(kNames)
                               ? Part{found->second, {}}
                               : Part{named->second, std::string(name.substr(named->first.size()))});
      at += end + 1;
    } else {
      constant.push_back(text[at++]);
    }
  }
  flush();
  if (out.parts_.size() > kMaxParts) return fail(Code::invalid_argument, "more than 16 parts");
  return out;
}

bool TextTemplate::begins_with_variable() const noexcept {
  return !parts_.empty() && parts_[0].variable != Variable::none;
}

namespace {
// "*" of OPTIONS is no path: behind a host it would become a part of its name.
std::string_view path_of(const http::Request& request) noexcept {
  return request.path == "*" ? std::string_view("/") : request.path;
}
}  // namespace

std::string_view TextTemplate::value_of(const Part& part, const http::Request& request,
                                        const http::RequestContext& context) {
  switch (part.variable) {
    case Variable::none: return part.text;
    case Variable::client_address: return context.client_address;
    case Variable::request_id: return context.request_id;
    case Variable::host: return host_without_port(request.authority);
    case Variable::path: return path_of(request);
    case Variable::query: return request.query;
    case Variable::uri:
      return request.query.empty() ? path_of(request) : context.arena.concat({request.path, "?", request.query});
    case Variable::method: return request.method_text;
    case Variable::route: return context.route;
    case Variable::scheme: return request.scheme;
    case Variable::listener: return context.listener;
    case Variable::client_port: return context.arena.copy(std::to_string(context.client_port));
    case Variable::trace_id: {
      char* const hex = context.arena.alloc(32);
      write_hex64(hex, context.trace.trace_id_high);
      write_hex64(hex + 16, context.trace.trace_id_low);
      return {hex, 32};
    }
    case Variable::header: return request.fields.find(part.text).value_or(std::string_view());
    case Variable::cookie: return upstream::cookie_of(request, part.text).value_or(std::string_view());
    case Variable::upstream: return context.upstream;
    case Variable::upstream_host: return context.upstream_host;
    case Variable::way: return context.way;
  }
  return {};
}

std::string_view TextTemplate::write(const http::Request& request, const http::RequestContext& context) const {
  if (parts_.empty()) return {};
  if (parts_.size() == 1 && parts_[0].variable == Variable::none) return parts_[0].text;
  std::string_view values[kMaxParts];
  size_t size = 0;
  const size_t count = parts_.size();
  for (size_t i = 0; i < count; ++i) {
    values[i] = value_of(parts_[i], request, context);
    size += values[i].size();
  }
  if (size == 0) return {};
  char* const to = context.arena.alloc(size);
  char* at = to;
  for (size_t i = 0; i < count; ++i) at = std::copy(values[i].begin(), values[i].end(), at);
  std::replace_if(to, at, splits_a_field, '?');
  return {to, size};
}

}  // namespace trellis::proxy
