#include "cache/rules/advice.h"

#include <algorithm>
#include <array>

namespace trellis::cache {

namespace {

struct Row {
  std::string_view reason;
  Advice advice;
};

constexpr std::array<Row, 42> kRows = {{
    // not stored
    {"no-store",
     {"the origin says Cache-Control: no-store", "let it say max-age=..., or leave no-store out where all may see it"}},
    {"private",
     {"the origin says Cache-Control: private", "where all clients get the same, let it say public, max-age=..."}},
    {"authorization",
     {"the request had credentials, and the answer does not say that all may have it",
      "let the answer say public, s-maxage or must-revalidate"}},
    {"request-no-store",
     {"the client says Cache-Control: no-store", "ignore_request_directives: true lets the filter not heed it"}},
    {"request-body", {"the request has a body", "what is asked for with a body is never shared"}},
    {"method", {"only GET and HEAD are answered from the cache", ""}},
    {"status",
     {"answers with this status are stored only if they name a lifetime",
      "let the origin say max-age=..., or name the status in the filter's ttl"}},
    {"not-understood", {"must-understand, with a status that this cache does not know", ""}},
    {"vary", {"the answer says Vary: *, or names too many fields", "let it name the fields that it depends on"}},
    {"vary-star", {"the answer says Vary: *, or names too many fields", "let it name the fields that it depends on"}},
    {"set-cookie",
     {"the answer sets a cookie and names no lifetime, so it is most likely one client's own",
      "let it set no cookie or say max-age=...; store_set_cookie: true keeps the cookie for everybody"}},
    {"no-cache",
     {"no-cache without ETag or Last-Modified: there is nothing to validate it by", "let the answer have an ETag"}},
    {"no-lifetime",
     {"the answer names a lifetime of 0 and has nothing to validate it by", "let it say max-age=..., or have an ETag"}},
    {"no-lifetime-named",
     {"the answer names no lifetime and no date of change",
      "let it say max-age=..., or give the route a default: ttl: { 200: 60s }"}},
    {"stale-on-arrival",
     {"the answer was older than its lifetime when it came", "look at its Age and Date, and at caches behind"}},
    {"too-large", {"the body is larger than max_object", "raise max_object of the cache, or use slice"}},
    {"no-room", {"too much is being fetched and sent for one more body", "raise memory of the cache, or use slice"}},
    {"part", {"the range that came is not the one that was asked for", ""}},
    {"range", {"the range lies behind the end", ""}},
    {"not-modified", {"304 says nothing that could be stored", ""}},
    {"local-file", {"files of this machine are sent from where they are", ""}},
    {"own-refusal", {"the node refused the request itself", "trellis ctl explain tells which limit"}},
    {"invalidated", {"the URI was written to while the answer was on its way", "the next one is stored"}},
    // passed by
    {"upgrade", {"the request is for another protocol", ""}},
    {"precondition", {"If-Match and If-Unmodified-Since are for the origin to decide", ""}},
    {"target-override",
     {"a field such as X-Original-URL may make the origin answer for another page", "let clients not send it"}},
    // not used as it is
    {"fresh", {"it is fresh", ""}},
    {"stale", {"its lifetime is over", ""}},
    {"always-validated",
     {"the origin says Cache-Control: no-cache, so it is validated at each use",
      "where it may be used for a while without asking, let the origin say max-age=..."}},
    {"request-no-cache",
     {"the client says Cache-Control: no-cache, as browsers do on a reload",
      "ignore_request_directives: true lets the filter not heed it"}},
    {"request-max-age", {"it is older than the client's max-age allows", ""}},
    {"request-min-fresh", {"it ends sooner than the client's min-fresh allows", ""}},
    {"request-max-stale", {"its lifetime is over, and the client's max-stale allows that", ""}},
    {"must-revalidate", {"its lifetime is over, and must-revalidate allows nothing else than to validate it", ""}},
    {"stale-while-revalidate", {"its lifetime is over; it is given once more and fetched anew behind", ""}},
    {"stale-if-error", {"the origin failed, so what had expired is given", "look at the origin"}},
    {"purged", {"a soft purge met it", ""}},
    {"only-if-cached", {"the client wants a stored answer only, and there is none", ""}},
    // came from
    {"disk", {"it came from the disk", ""}},
    {"slice", {"it was made of slices", ""}},
    {"stored", {"it was stored", ""}},
    {"validated", {"the origin confirmed what was stored", ""}},
}};

}  // namespace

Advice advice_for(std::string_view reason) noexcept {
  const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& each) { return each.reason == reason; });
  return row == kRows.end() ? Advice{} : row->advice;
}

}  // namespace trellis::cache
