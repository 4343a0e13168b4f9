#include "services/links/preview.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "base/encoding.h"
#include "base/json.h"
#include "http/field_text.h"
#include "http/problem.h"
#include "http/routes.h"
#include "services/links/answers.h"
#include "services/links/link_book.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

// The colours are those of the built-in page.
constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--paper:#f5f4ee;--card:#fffefb;--sunk:#eeede4;--ink:#1b2520;--soft:#56635b;--line:#dbdbcf;
--leaf:#23694a;--leaf-deep:#17503a;--on-leaf:#fff;--clay:#a23e22;--clay-tint:#f7e6df}
@media (prefers-color-scheme:dark){:root{--paper:#0f1412;--card:#161d19;--sunk:#1c2520;--ink:#e6ebe5;--soft:#9caaa1;
--line:#28332d;--leaf:#7ccb9d;--leaf-deep:#9adbb5;--on-leaf:#0c1a13;--clay:#f29376;--clay-tint:#33201a}}
*{box-sizing:border-box;margin:0}
body{min-height:100vh;display:grid;place-items:center;padding:24px 16px;background:var(--paper);color:var(--ink);
font:16px/1.5 -apple-system,"Segoe UI",Roboto,Cantarell,"Noto Sans",Ubuntu,"DejaVu Sans",system-ui,sans-serif}
main{width:100%;max-width:40rem;padding:28px;background:var(--card);border:1px solid var(--line);border-radius:16px}
.code{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
h1{margin:2px 0 14px;font-size:1.5rem;line-height:1.25;font-weight:650;overflow-wrap:anywhere}
.url{padding:12px 14px;max-height:12rem;overflow:auto;background:var(--sunk);border-radius:10px;overflow-wrap:anywhere;
color:var(--soft);font:.9rem/1.55 ui-monospace,"SF Mono","Cascadia Mono","DejaVu Sans Mono",monospace}
.url b{color:var(--ink);font-weight:700}
.note{margin-top:12px;padding:8px 14px;border-radius:10px;background:var(--clay-tint);color:var(--clay);font-size:.9rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:4px 14px;margin-top:16px;font-size:.9rem}
dt{color:var(--soft)}dd{overflow-wrap:anywhere}
.go{display:inline-block;margin-top:20px;padding:10px 18px;border-radius:10px;background:var(--leaf);color:var(--on-leaf);
font-weight:600;text-decoration:none;overflow-wrap:anywhere}
.go:hover{background:var(--leaf-deep)}
.go:focus-visible,.url:focus-visible{outline:3px solid var(--leaf);outline-offset:3px}
)css";

std::string begin_page(std::string_view title) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta name=\"robots\" content=\"noindex\">\n<title>";
  append_html(out, title);
  out += "</title>\n<style>";
  out += kStyle;
  out += "</style>\n</head>\n<body>\n<main>\n";
  return out;
}

constexpr std::string_view kEndPage = "</main>\n</body>\n</html>\n";

std::string day_of(int64_t millis) {
  static constexpr std::array<const char*, 12> kMonths = {"January",   "February", "March",    "April",
                                                          "May",       "June",     "July",     "August",
                                                          "September", "October",  "November", "December"};
  const std::string time = format_time(millis);
  int month = 0;
  std::from_chars(time.data() + 5, time.data() + 7, month);
  if (month < 1 || month > 12) return time;
  const std::string_view day(time.data() + 8, 2);
  return fmt::format("{} {} {}, {} UTC", day.starts_with('0') ? day.substr(1) : day,
                     kMonths[static_cast<size_t>(month - 1)], time.substr(0, 4), time.substr(11, 5));
}

void append_time(std::string& out, std::string_view name, int64_t millis) {
  out +=
      fmt::format("<dt>{}</dt><dd><time datetime=\"{}\">{}</time></dd>\n", name, format_time(millis), day_of(millis));
}

// Scheme, host and the rest of a URL that check_url() accepted.
struct UrlParts {
  std::string_view before;
  std::string_view host;
  std::string_view after;
};
UrlParts parts_of(std::string_view url) noexcept {
  const size_t begin = url.find("//") == std::string_view::npos ? 0 : url.find("//") + 2;
  const size_t end = std::min(url.find_first_of("/?#\\", begin), url.size());
  return {url.substr(0, begin), url.substr(begin, end - begin), url.substr(end)};
}

Preview preview_of(const Link& link, const LinkBook& book) {
  Preview preview;
  preview.code = split_name(link.code).code;
  preview.short_url = book.domain_table()->short_url(link.code);
  if (link.password.empty()) {
    preview.url = location_of(link.url);
    preview.title = link.title;
    preview.varies = !link.rules.empty();
    preview.created_at = link.created_at;
    preview.expires_at = link.expires_at.value_or(INT64_MAX);
  }
  return preview;
}

// Of these pages: not framed, not indexed, and nothing is loaded.
void add_protection(Response& page) {
  page.fields.add(FieldId::content_security_policy, preview_policy());
  page.fields.add(FieldId::x_content_type_options, "nosniff");
  page.fields.add("X-Robots-Tag", "noindex, nofollow");
  page.fields.add("Referrer-Policy", "no-referrer");
}

}  // namespace

void append_html(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += "\xef\xbf\xbd";
        } else {
          out += c;
        }
    }
  }
}

std::string_view preview_policy() {
  static const std::string policy = [] {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_Digest(kStyle.data(), kStyle.size(), digest.data(), &size, EVP_sha256(), nullptr);
    return "default-src 'none'; style-src 'sha256-" + to_base64({reinterpret_cast<const char*>(digest.data()), size}) +
           "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  }();
  return policy;
}

std::string preview_page(const Preview& preview) {
  const UrlParts parts = parts_of(preview.url);
  std::string out = begin_page(preview.url.empty() ? "A protected link" : "Where this link leads");
  out += "<p class=\"code\">";
  append_html(out, preview.short_url);
  if (preview.url.empty()) {
    out +=
        "</p>\n<h1>This link is protected by a password</h1>\n<p>Where it leads is shown to those who know it.</p>\n";
  } else {
    out += " leads to</p>\n<h1>";
    append_html(out, parts.host);
    // A region that scrolls can be reached by the keyboard.
    out += "</h1>\n<p class=\"url\" tabindex=\"0\" aria-label=\"The whole address\">";
    append_html(out, parts.before);
    out += "<b>";
    append_html(out, parts.host);
    out += "</b>";
    append_html(out, parts.after);
    out += "</p>\n";
    if (preview.varies)
      out += "<p class=\"note\">Some visitors are sent elsewhere, depending on device, language, place or time.</p>\n";
    if (parts.before == "http://")
      out += "<p class=\"note\">The way there is not encrypted: others on it can read along.</p>\n";
    out += "<dl>\n";
    if (!preview.title.empty()) {
      out += "<dt>Title</dt><dd><bdi>";
      append_html(out, preview.title);
      out += "</bdi></dd>\n";
    }
    append_time(out, "Made", preview.created_at);
    if (preview.expires_at != INT64_MAX) append_time(out, "Ends", preview.expires_at);
    out += "</dl>\n";
  }
  out += "<a class=\"go\" rel=\"nofollow noreferrer\" href=\"/";
  append_html(out, preview.code);
  out += "\">Continue";
  if (!preview.url.empty()) {
    out += " to ";
    append_html(out, parts.host);
  }
  out += "</a>\n";
  out += kEndPage;
  return out;
}

std::string preview_json(const Preview& preview) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().member("code", preview.code).member("short_url", preview.short_url);
  json.member("protected", preview.url.empty()).key("url");
  if (preview.url.empty()) {
    json.null();
  } else {
    json.value(preview.url);
  }
  json.member("varies", preview.varies).member("title", preview.title).key("created_at");
  if (preview.url.empty()) {
    json.null();
  } else {
    json.value(format_time(preview.created_at));
  }
  json.key("expires_at");
  if (preview.expires_at == INT64_MAX) {
    json.null();
  } else {
    json.value(format_time(preview.expires_at));
  }
  json.end_object();
  return out;
}

std::string refusal_page(std::string_view headline, std::string_view sentence) {
  std::string out = begin_page(headline);
  out += "<h1>";
  append_html(out, headline);
  out += "</h1>\n<p>";
  append_html(out, sentence);
  out += "</p>\n";
  out += kEndPage;
  return out;
}

Wish wish_of(std::string_view accept) noexcept {
  double json = 0;
  double page = 0;
  while (const auto element = http::next_element(accept)) {
    const std::string_view type = http::media_type(*element);
    double q = 1;
    if (const size_t at = element->find("q="); at != std::string_view::npos)
      std::from_chars(element->data() + at + 2, element->data() + element->size(), q);
    if (http::iequal(type, "application/json") || http::iequal(type, "application/problem+json"))
      json = std::max(json, q);
    if (http::iequal(type, "text/html") || http::iequal(type, "application/xhtml+xml")) page = std::max(page, q);
  }
  return json > page ? Wish::json : page > json ? Wish::page : Wish::either;
}

void show_refusal(Response& refusal, const Request& request, std::string_view headline, std::string_view sentence) {
  refusal.fields.add(FieldId::vary, "Accept");
  if (wish_of(request.fields.joined(FieldId::accept)) != Wish::page) return;
  refusal.fields.set(FieldId::content_type, "text/html; charset=utf-8");
  add_protection(refusal);
  refusal.body = http::Body(refusal_page(headline, sentence));
}

Task<Result<Response>> answer_preview(LinkBook& book, Request& request, RequestContext& context, std::string code) {
  const bool json = wish_of(request.fields.joined(FieldId::accept)) == Wish::json;
  std::optional<Link> link;
  if (is_code_text(code)) {
    auto reading = book.find(book.domain_table()->of_authority(request.authority).name_of(code), context.deadline);
    Result<std::optional<Link>> found = co_await reading;
    if (!found) co_return http::response_for(found.error(), context);
    link = *std::move(found);
  }
  const int64_t now = unix_millis(context.loop.wall());
  const bool known = link && (link->deleted || link->not_before.value_or(INT64_MIN) <= now);
  const bool expired = known && !link->deleted && link->expires_at.value_or(INT64_MAX) <= now;
  const bool used_up = known && link->max_visits && link->visits >= *link->max_visits;

  const auto refuse_with = [&](int status, std::string_view outcome, std::string_view headline,
                               std::string_view sentence) {
    Response response = refuse(context, status, outcome, sentence);
    if (!json) {
      response.fields.set(FieldId::content_type, "text/html; charset=utf-8");
      response.body = http::Body(refusal_page(headline, sentence));
    }
    return response;
  };
  Response response(context.arena, 200);
  if (!known) {
    response = refuse_with(404, "not_found", "No such link", "There is no such link.");
  } else if (link->deleted) {
    response = refuse_with(410, "gone", "This link is gone", "This link was deleted.");
  } else if (book.blocklist().blocks(*link, OwnHosts())) {
    response = refuse_with(410, "blocked", "This link is blocked", "Where this link leads may not be linked.");
  } else if (expired) {
    response = refuse_with(410, "gone", "This link has ended", "This link has expired.");
  } else if (used_up) {
    response = refuse_with(410, "gone", "This link has ended", "This link has had all its visits.");
  } else {
    const Preview preview = preview_of(*link, book);
    response.fields.add(FieldId::content_type, json ? "application/json" : "text/html; charset=utf-8");
    response.fields.add(FieldId::cache_control, "no-store");
    response.body = http::Body(json ? preview_json(preview) : preview_page(preview));
  }
  response.fields.add(FieldId::vary, "Accept");
  add_protection(response);
  co_return response;
}

}  // namespace trellis::services::links
