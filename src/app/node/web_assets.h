#pragma once

// The page that the binary carries: the files of web/, embedded by tools/embed_web.py, so that one program is all
// there is to install. index.html is "/" and must be revalidated; everything else lies under /_trellis/ with a hash of
// its content in its name and never changes. Constant data, sorted by path, readable from every core without care.

#include <span>
#include <string_view>

namespace trellis::app {

struct WebAsset {
  std::string_view path;           // "/" or "/_trellis/app.<hash>.js"
  std::string_view content_type;   // with its charset
  std::string_view etag;           // quoted and weak: one tag names the plain and the packed body
  std::string_view cache_control;  // "no-cache" or a year and immutable
  std::string_view body;
  std::string_view gzip;  // empty where packing does not make it smaller
};

// All of them, sorted by path.
std::span<const WebAsset> web_assets();

// What the page needs and nothing else: no inline script or style, no other host, no frame around it.
inline constexpr std::string_view kWebPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'";

}  // namespace trellis::app
