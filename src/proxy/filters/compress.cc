#include "proxy/filters/compress.h"

#include <algorithm>
#include <charconv>

#include "http/explain.h"
#include "http/field_text.h"
#include "proxy/cache/member_mark.h"
#include "proxy/compressed_body.h"
#include "proxy/encoder.h"

namespace trellis::proxy {

namespace {

using http::FieldId;

// Text in all its forms. text/event-stream is not among them: what is sent event by event gains little and must not
// wait.
constexpr std::string_view kTypes[] = {
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "text/xml",
    "text/csv",
    "text/markdown",
    "text/calendar",
    "text/vtt",
    "text/tab-separated-values",
    "application/json",
    "application/ld+json",
    "application/geo+json",
    "application/problem+json",
    "application/manifest+json",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/yaml",
    "application/toml",
    "application/wasm",
    "application/graphql-response+json",
    "application/vnd.api+json",
    "application/vnd.ms-fontobject",
    "image/svg+xml",
    "font/ttf",
    "font/otf",
};
constexpr std::string_view kEventStream = "text/event-stream";

// Whether two spellings of the ETag are meant as one representation: If-None-Match held the weak one that this filter
// made.
bool asked_by_weak(std::string_view if_none_match, std::string_view etag) noexcept {
  while (const auto element = http::next_element(if_none_match)) {
    if (element->starts_with("W/") && element->substr(2) == etag) return true;
  }
  return false;
}

void add_vary(http::Fields& fields) {
  const std::string_view vary = fields.joined(FieldId::vary);
  if (!http::list_has(vary, "*") && !http::list_has(vary, "Accept-Encoding"))
    fields.add(FieldId::vary, "Accept-Encoding");
}

void weaken_etag(http::Fields& fields, Arena& arena) {
  const auto etag = fields.find(FieldId::etag);
  if (etag && !etag->starts_with("W/")) fields.set(FieldId::etag, arena.concat({"W/", *etag}));
}

// An encoded body on its way that is kept for those who come next, once it has come to its end.
class KeptForm final : public http::BodyReader {
 public:
  KeptForm(std::unique_ptr<http::BodyReader> body, std::unique_ptr<http::StoredForms> forms) noexcept
      : body_(std::move(body)), forms_(std::move(forms)) {}
  Task<Result<Chunk>> read(Deadline deadline) override {
    Result<Chunk> chunk = co_await body_->read(deadline);
    if (!chunk || !forms_) co_return chunk;
    if (chunk->empty()) {
      forms_->keep(std::move(made_));
      forms_.reset();
    } else {
      made_ += chunk->view();
    }
    co_return chunk;
  }
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

 private:
  std::unique_ptr<http::BodyReader> body_;
  std::unique_ptr<http::StoredForms> forms_;  // null: kept
  std::string made_;
};

}  // namespace

config::Fields<CompressLevels> CompressLevels::fields() {
  return {{"zstd", "1 (fast) to 19 (small)", &CompressLevels::zstd, config::range(1, 19)},
          {"br", "0 (fast) to 11 (small)", &CompressLevels::br, config::range(0, 11)},
          {"gzip", "1 (fast) to 9 (small)", &CompressLevels::gzip, config::range(1, 9)}};
}

config::Fields<CompressConfig> CompressConfig::fields() {
  return {{"encodings", "offered, best first; the client's weights come before this order", &CompressConfig::encodings,
           config::one_of<Encoding>({{"zstd", Encoding::zstd}, {"br", Encoding::br}, {"gzip", Encoding::gzip}})},
          {"min_size", "smaller answers go out as they are", &CompressConfig::min_size, config::size()},
          {"types", "media types, with * as in text/*", &CompressConfig::types,
           config::default_is("text, JSON, XML, SVG, WebAssembly and fonts")},
          {"levels", "how hard each encoding tries", &CompressConfig::levels}};
}

void CompressConfig::check(config::Checker& at) const {
  if (encodings.empty()) at.problem("encodings", "names none", "leave the filter out instead");
  for (size_t i = 0; i < types.size(); ++i) {
    const size_t slash = types[i].find('/');
    const size_t star = types[i].find('*');
    const bool good = slash != std::string::npos && slash > 0 && slash + 1 < types[i].size() &&
                      (star == std::string::npos || (star == slash + 1 && star + 1 == types[i].size()));
    if (!good) at.problem("types[" + std::to_string(i) + "]", "is no media type such as text/html or text/*");
  }
}

CompressFilter::CompressFilter(const CompressConfig& config)
    : encodings_(config.encodings), min_size_(config.min_size), types_(config.types), levels_(config.levels) {
  if (types_.empty()) types_.assign(std::begin(kTypes), std::end(kTypes));
  for (std::string& type : types_) {
    for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
}

bool CompressFilter::takes_type(std::string_view content_type) const {
  const std::string_view type = http::media_type(content_type);
  if (type.empty()) return false;
  return std::any_of(types_.begin(), types_.end(), [type](std::string_view want) {
    if (!want.ends_with("/*")) return http::iequal(want, type);
    // A whole family does not mean the event stream: it must be named.
    return type.size() >= want.size() &&
           http::iequal(want.substr(0, want.size() - 1), type.substr(0, want.size() - 1)) &&
           !http::iequal(type, kEventStream);
  });
}

int CompressFilter::level_of(Encoding encoding) const noexcept {
  switch (encoding) {
    case Encoding::zstd: return levels_.zstd;
    case Encoding::br: return levels_.br;
    default: return levels_.gzip;
  }
}

std::string_view CompressFilter::reason_to_leave(const http::Fields& fields) const {
  if (fields.has(FieldId::content_encoding)) return "encoded already";
  if (!takes_type(fields.value(FieldId::content_type))) return "not for this Content-Type";
  if (fields.has(FieldId::cache_control) && http::list_has(fields.joined(FieldId::cache_control), "no-transform"))
    return "no-transform";
  if (fields.find(kMemberField)) return "for the cache of another edge, which encodes it itself";
  return "";
}

std::string_view CompressFilter::reason_to_leave(const http::Response& response, bool head) const {
  const http::Fields& fields = response.fields;
  if (response.status < 200 || response.status == 204 || response.status == 206 || response.status == 304)
    return "not for this status";
  if (fields.has(FieldId::content_range)) return "a part";
  if (const std::string_view reason = reason_to_leave(fields); !reason.empty()) return reason;
  std::optional<uint64_t> length = response.body.length();
  if (head) {
    // What GET would have is said by the field; without it GET's body is a stream.
    length.reset();
    if (const auto text = fields.find(FieldId::content_length)) {
      uint64_t value = 0;
      const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
      if (error == std::errc() && end == text->data() + text->size()) length = value;
    }
  }
  return !length || *length >= std::max<uint64_t>(min_size_, 1) ? "" : "smaller than min_size";
}

Task<Result<http::Response>> CompressFilter::handle(http::Request& request, http::RequestContext& context, Next next) {
  // Read before the chain goes on, which may change the fields; the views stay in the arena.
  const bool as_it_is = http::list_has(request.fields.joined(FieldId::cache_control), "no-transform");
  const Encoding encoding =
      as_it_is ? Encoding::identity : choose_encoding(request.fields.joined(FieldId::accept_encoding), encodings_);
  const std::string_view if_none_match = request.fields.joined(FieldId::if_none_match);
  const bool head = request.method == http::Method::head;
  const auto tell = [&](std::string_view what) {
    if (context.explain) [[unlikely]]
      context.explain->add("filter", "compress: " + std::string(what));
  };
  CO_TRY(http::Response response, co_await next(request, context));

  http::Fields& fields = response.fields;
  // The client holds what was encoded here, under the weak tag; with the strong one it would find nothing to refresh.
  const bool confirms_encoded = response.status == 304 && encoding != Encoding::identity &&
                                asked_by_weak(if_none_match, fields.value(FieldId::etag));
  if (confirms_encoded) weaken_etag(fields, context.arena);
  // Parts and confirmations say what the whole answer would (RFC 9110 §15.3.7 and §15.4.5).
  const bool of_whole = response.status == 206 || response.status == 304;
  if (confirms_encoded || (of_whole && reason_to_leave(fields).empty())) add_vary(fields);
  if (const std::string_view reason = reason_to_leave(response, head); !reason.empty()) {
    tell(reason);
    co_return response;
  }
  add_vary(fields);
  if (encoding == Encoding::identity) {
    tell(as_it_is ? "the client says no-transform" : "the client accepts no encoding that is offered");
    co_return response;
  }

  const std::optional<uint64_t> length = response.body.length();
  const std::string_view coding = to_string(encoding);
  std::optional<http::Body> made;
  if (!head && response.forms) made = response.forms->find(coding);
  if (made) {
    response.body = *std::move(made);
    tell("was encoded before");
  } else if (!head) {
    std::unique_ptr<Encoder> encoder = make_encoder(encoding, level_of(encoding), length);
    if (!encoder) co_return response;
    if (response.body.kind() == http::Body::Kind::bytes && *length <= kAtOnce) {
      std::string out;
      if (!encoder->run(response.body.bytes().view(), Encoder::Op::finish, out)) co_return response;
      if (response.forms && response.forms->begin(coding)) response.forms->keep(out);
      response.body = http::Body(std::move(out));
    } else {
      auto body = std::make_unique<CompressedBody>(std::move(response.body), std::move(encoder));
      if (response.forms && response.forms->begin(coding)) {
        response.body = http::Body(std::make_unique<KeptForm>(std::move(body), std::move(response.forms)));
      } else {
        response.body = http::Body(std::move(body));
      }
    }
  }
  fields.remove(FieldId::content_length);
  fields.remove(FieldId::accept_ranges);
  // Digests of the bytes as they were.
  for (const std::string_view digest : {"Content-Digest", "Repr-Digest", "Digest", "Content-MD5"})
    fields.remove(digest);
  weaken_etag(fields, context.arena);
  fields.set(FieldId::content_encoding, to_string(encoding));
  tell(to_string(encoding));
  co_return response;
}

}  // namespace trellis::proxy
