#include "services/links/access/password_page.h"

#include <openssl/evp.h>

#include "services/links/preview.h"
#include "services/links/secrets.h"

namespace trellis::services::links {

namespace {

// The colours are those of the built-in page.
constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--paper:#f5f4ee;--card:#fffefb;--ink:#1b2520;--soft:#56635b;--line:#dbdbcf;--strong-line:#8a958d;
--leaf:#23694a;--leaf-deep:#17503a;--on-leaf:#fff;--clay:#a23e22;--clay-tint:#f7e6df}
@media (prefers-color-scheme:dark){:root{--paper:#0f1412;--card:#161d19;--ink:#e6ebe5;--soft:#9caaa1;--line:#28332d;
--strong-line:#66746c;--leaf:#7ccb9d;--leaf-deep:#9adbb5;--on-leaf:#0c1a13;--clay:#f29376;--clay-tint:#33201a}}
*{box-sizing:border-box;margin:0}
body{min-height:100vh;display:grid;place-items:center;padding:24px 16px;background:var(--paper);color:var(--ink);
font:16px/1.5 -apple-system,"Segoe UI",Roboto,Cantarell,"Noto Sans",Ubuntu,"DejaVu Sans",system-ui,sans-serif}
main{width:100%;max-width:26rem;padding:28px;background:var(--card);border:1px solid var(--line);border-radius:16px}
h1{margin-bottom:6px;font-size:1.4rem;line-height:1.25;font-weight:650}
p{color:var(--soft)}
.note{margin-top:12px;padding:8px 14px;border-radius:10px;background:var(--clay-tint);color:var(--clay)}
label{display:block;margin:18px 0 6px;font-weight:600}
input,button{width:100%;padding:11px 14px;border-radius:10px;font:inherit}
input{border:1px solid var(--strong-line);background:var(--paper);color:var(--ink)}
button{margin-top:14px;border:0;background:var(--leaf);color:var(--on-leaf);font-weight:600;cursor:pointer}
button:hover{background:var(--leaf-deep)}
:focus-visible{outline:3px solid var(--leaf);outline-offset:2px}
)css";

}  // namespace

std::string_view password_page_policy() {
  static const std::string policy = [] {
    const Digest digest = sha256(kStyle);
    char hash[48] = "";
    EVP_EncodeBlock(reinterpret_cast<uint8_t*>(hash), digest.data(), static_cast<int>(digest.size()));
    // Browsers hold the form's redirect to form-action as well, and links lead anywhere.
    return "default-src 'none'; style-src 'sha256-" + std::string(hash) +
           "'; base-uri 'none'; form-action 'self' http: https:; frame-ancestors 'none'";
  }();
  return policy;
}

std::string password_page(std::string_view sentence) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<meta name=\"robots\" "
      "content=\"noindex\">\n"
      "<title>This link asks for a password</title>\n<style>";
  out += kStyle;
  out +=
      "</style>\n</head>\n<body>\n<main>\n<h1>This link asks for a password</h1>\n"
      "<p>Whoever gave you the link can tell you.</p>\n";
  if (!sentence.empty()) {
    out += "<p class=\"note\" id=\"note\" role=\"alert\">";
    append_html(out, sentence);
    out += "</p>\n";
  }
  out +=
      "<form method=\"post\">\n<label for=\"password\">Password</label>\n"
      "<input id=\"password\" name=\"password\" type=\"password\" required maxlength=\"128\" "
      "autocomplete=\"current-password\" autofocus";
  if (!sentence.empty()) out += " aria-invalid=\"true\" aria-describedby=\"note\"";
  out += ">\n<button>Continue</button>\n</form>\n</main>\n</body>\n</html>\n";
  return out;
}

}  // namespace trellis::services::links
