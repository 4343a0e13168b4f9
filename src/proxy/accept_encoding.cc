#include "proxy/accept_encoding.h"

#include "http/fields.h"

namespace trellis::proxy {

namespace {

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "0.75" as 750; -1 for what is no weight.
int weight_of(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return -1;
  int value = (text[0] - '0') * 1000;
  if (text.size() == 1) return value;
  if (text[1] != '.') return -1;
  int unit = 100;
  for (const char c : text.substr(2)) {
    if (c < '0' || c > '9') return -1;
    value += (c - '0') * unit;
    unit /= 10;
  }
  return value > 1000 ? -1 : value;
}

constexpr int kUnset = -1;

}  // namespace

std::string_view to_string(Encoding encoding) noexcept {
  switch (encoding) {
    case Encoding::identity: return "identity";
    case Encoding::gzip: return "gzip";
    case Encoding::br: return "br";
    case Encoding::zstd: return "zstd";
  }
  return "identity";
}

Encoding choose_encoding(std::string_view accept_encoding, std::span<const Encoding> available) noexcept {
  int weights[4] = {kUnset, kUnset, kUnset, kUnset};
  int others = kUnset;
  while (const auto element = http::next_element(accept_encoding)) {
    const size_t semicolon = element->find(';');
    const std::string_view name = trimmed(element->substr(0, semicolon));
    int weight = 1000;
    if (semicolon != std::string_view::npos) {
      const std::string_view parameter = trimmed(element->substr(semicolon + 1));
      if (parameter.size() < 2 || (parameter[0] | 0x20) != 'q' || parameter[1] != '=') continue;
      weight = weight_of(parameter.substr(2));
      if (weight < 0) continue;  // what cannot be read is as if it were not said
    }
    if (name == "*") {
      others = weight;
      continue;
    }
    for (const Encoding each : {Encoding::identity, Encoding::gzip, Encoding::br, Encoding::zstd}) {
      if (http::iequal(name, to_string(each)) || (each == Encoding::gzip && http::iequal(name, "x-gzip")))
        weights[static_cast<size_t>(each)] = weight;
    }
  }
  Encoding best = Encoding::identity;
  int best_weight = 0;
  for (const Encoding each : available) {
    const int own = weights[static_cast<size_t>(each)];
    const int weight = own == kUnset ? others : own;
    if (weight > best_weight) {
      best = each;
      best_weight = weight;
    }
  }
  return weights[0] > best_weight ? Encoding::identity : best;
}

}  // namespace trellis::proxy
