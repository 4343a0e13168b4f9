#include "app/import/import.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <tuple>

#include "app/config.h"
#include "app/import/draft.h"
#include "app/import/haproxy/haproxy.h"
#include "app/import/haproxy/syntax.h"
#include "app/import/nginx/http.h"
#include "app/version.h"
#include "config/load.h"

namespace trellis::app {

namespace {

// "routes[12].to" -> 12
std::optional<size_t> index_in(std::string_view path, std::string_view list) {
  if (!path.starts_with(list) || !path.substr(list.size()).starts_with('[')) return std::nullopt;
  path.remove_prefix(list.size() + 1);
  size_t index = 0;
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), index);
  if (error != std::errc()) return std::nullopt;
  return index;
}
std::string_view name_in(std::string_view path, std::string_view map) {
  if (!path.starts_with(map)) return {};
  path.remove_prefix(map.size());
  if (path.starts_with("[\"")) return path.substr(2, path.find("\"]") - 2);
  if (!path.starts_with('.')) return {};
  path.remove_prefix(1);
  return path.substr(0, path.find_first_of(".["));
}

std::vector<config::Problem> problems_of(const ConfigDraft& draft) {
  config::Problems problems;
  const config::Node tree = config::parse(draft_yaml(draft, ""), "import", config::LoadOptions{}, problems);
  std::ignore = config::read<NodeConfig>(tree, problems);
  return problems.sorted();
}

// "upstreams.app.retry.attempts" behind its map and name: "retry"
std::string_view option_in(std::string_view path, std::string_view map) {
  const std::string_view name = name_in(path, map);
  const size_t end = path.find(name, map.size()) + name.size();
  std::string_view rest = path.substr(end);
  if (rest.starts_with("\"]")) rest.remove_prefix(2);
  if (!rest.starts_with('.')) return {};
  rest.remove_prefix(1);
  return rest.substr(0, rest.find_first_of(".["));
}

// Takes out of the draft what the check refuses, and tells it: an option, else the whole upstream or listener; a route
// answers 501 instead, unless it is its match that is refused. A few rounds, because one fault may hide another.
class Settling {
 public:
  Settling(ConfigDraft& draft, Remarks& remarks) : draft_(draft), remarks_(remarks) {}

  bool run() {
    constexpr int kRounds = 8;
    for (int round = 0; round < kRounds; ++round) {
      if (draft_.listeners.empty()) return false;
      const std::vector<config::Problem> problems = problems_of(draft_);
      if (problems.empty()) return true;
      known_ = false;
      routes_.clear();
      listeners_.clear();
      upstreams_.clear();
      for (const config::Problem& problem : problems) {
        if (const auto index = index_in(problem.path, "routes"); index && *index < draft_.routes.size()) {
          route(*index, problem);
        } else if (problem.path.starts_with("listeners")) {
          part(draft_.listeners, "listeners", "listener", listeners_, problem);
        } else if (problem.path.starts_with("upstreams")) {
          part(draft_.upstreams, "upstreams", "upstream", upstreams_, problem);
        }
      }
      if (!known_) return false;
      for (auto it = routes_.rbegin(); it != routes_.rend(); ++it)
        draft_.routes.erase(draft_.routes.begin() + static_cast<ptrdiff_t>(*it));
      std::erase_if(draft_.listeners, [&](const ListenerDraft& one) { return listeners_.contains(one.name); });
      std::erase_if(draft_.upstreams, [&](const UpstreamDraft& one) { return upstreams_.contains(one.name); });
    }
    return problems_of(draft_).empty();
  }

 private:
  void tell(const ImportPlace& at, std::string what, const config::Problem& problem, std::string instead) {
    remarks_.left_out(at, std::move(what), problem.reason, std::move(instead));
    known_ = true;
  }

  void route(size_t index, const config::Problem& problem) {
    RouteDraft& one = draft_.routes[index];
    if (one.refused || problem.path.find(".match") != std::string::npos) {
      routes_.insert(index);
      tell(one.at, one.directive, problem, "write the route by hand");
      return;
    }
    tell(one.at, one.directive, problem, "its requests are answered by 501 until you decide");
    one = refused_route(one, problem.reason);
  }

  template <class Part>
  void part(std::vector<Part>& parts, std::string_view map, const char* what, std::set<std::string>& dropped,
            const config::Problem& problem) {
    const std::string_view name = name_in(problem.path, map);
    const auto found = std::ranges::find(parts, name, &Part::name);
    if (found == parts.end()) return;
    const std::string option(option_in(problem.path, map));
    const auto given = std::ranges::find(found->options, option, &FieldLines::value_type::first);
    if (given != found->options.end()) {
      tell(found->at, what + (" " + found->name) + ": " + option, problem, "");
      found->options.erase(given);
      return;
    }
    dropped.insert(found->name);
    tell(found->at, what + (" " + found->name), problem, "write it by hand");
  }

  ConfigDraft& draft_;
  Remarks& remarks_;
  bool known_ = false;  // something could be done about the problems of this round
  std::set<size_t> routes_;
  std::set<std::string> listeners_;
  std::set<std::string> upstreams_;
};

std::string header_of(const std::string& path, ImportKind kind, const Remarks& remarks) {
  std::string text =
      "From " + path + " (" + std::string(to_string(kind)) + ") by trellis " + std::string(kVersion) + ".\n";
  for (const Remark::Kind part : {Remark::Kind::left_out, Remark::Kind::differs}) {
    bool first = true;
    for (const Remark& remark : remarks.kept()) {
      if (remark.kind != part) continue;
      if (first) text += part == Remark::Kind::left_out ? "\nLeft out:\n" : "\nBehaves differently:\n";
      first = false;
      text += "  " + remark.to_string() + "\n";
    }
  }
  if (remarks.total() > remarks.kept().size())
    text += "  and " + std::to_string(remarks.total() - remarks.kept().size()) + " more\n";
  if (remarks.total() == 0) text += "Nothing was left out.\n";
  return text;
}

}  // namespace

std::string_view to_string(ImportKind kind) noexcept { return kind == ImportKind::nginx ? "nginx" : "HAProxy"; }

// HAProxy's sections stand alone on unindented lines, and nothing ends with ';'.
ImportKind kind_of(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    for (const std::string_view section : {"global", "defaults", "frontend", "backend", "listen"}) {
      if (!line.starts_with(section)) continue;
      const std::string_view rest = line.substr(section.size());
      const bool ends = rest.empty() || rest.front() == ' ' || rest.front() == '\t' || rest.front() == '\r';
      if (ends && rest.find_first_of(";{") == std::string_view::npos) return ImportKind::haproxy;
    }
  }
  return ImportKind::nginx;
}

Result<Imported> import_config(const std::string& path, const ImportKind* kind, const ImportFiles& files) {
  TRY(std::string text, files.read(path));
  Imported out;
  out.kind = kind ? *kind : kind_of(text);
  ConfigDraft draft;
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "./" : path.substr(0, slash + 1);
  if (out.kind == ImportKind::haproxy) {
    TRY(std::vector<HaproxySection> sections, parse_haproxy(text, path));
    read_haproxy_lists(sections, files, folder, out.remarks);
    draft = translate_haproxy(sections, out.remarks);
  } else {
    TRY(const NginxTree tree, parse_nginx_text(std::move(text), path, files));
    draft = translate_nginx(tree, folder, out.remarks);
  }
  if (draft.listeners.empty())
    return fail(Code::invalid_argument, path + ": nothing in it listens where Trellis could");
  if (draft.has_too_many_routes())
    return fail(Code::resource_exhausted, path + ": more than 2,000 routes; import its servers from several files");
  constexpr size_t kLarge = 1 << 20;
  const bool good = Settling(draft, out.remarks).run();
  if (draft.listeners.empty()) return fail(Code::invalid_argument, path + ": nothing is left that listens");
  if (!good && draft_yaml(draft, "").size() > kLarge)
    return fail(Code::resource_exhausted, path + ": the result would be larger than a configuration may be");
  if (!good)
    return fail(Code::internal,
                path + ": the result would not pass `trellis check`: " + problems_of(draft).front().to_string());
  out.yaml = draft_yaml(draft, header_of(path, out.kind, out.remarks));
  out.listeners = draft.listeners.size();
  out.upstreams = draft.upstreams.size();
  out.routes = draft.routes.size();
  return out;
}

}  // namespace trellis::app
