// Links as other shorteners and this one write them, read into one struct: CSV with a header row and NDJSON (one object
// a line). Which format it is follows from the names in the header, or in the first object. A row that is wrong gives
// a problem with line, column and reason, and the rest is read on; a header that nobody knows ends the reading. It
// checks the form only: whether a code is free, a domain is served or a URL leads back here is for whoever creates the
// links. Pure; any core. Input is foreign: fuzz/services_links_import_fuzz.cc.
//
// Names are compared without case, spaces, - and _; * must be there; the rest may be missing, empty or null. Tags are
// an array, or text parted by commas (Shlink: by |). Times are RFC 3339, "2026-01-31 12:00:00" (UTC), a date (UTC) or
// seconds since 1970.
//
//   trellis  url*, code (or alias), domain, title, tags, status, created_at, expires_at, not_before, max_visits,
//            visits (of the maximum), forward_query (true or false), rules (as JSON, not checked), clicks,
//            password_hash (as an export has it). Objects of the API: visits_left counts as visits, and one with
//            has_password is a problem: imported it would be open to everybody.
//            id, short_url, updated_at and etag are passed over; any other name is a problem: it may be a typing error
//   shlink   longUrl*, shortCode* (its web client's CSV, its REST objects and its CSV importer's), shortUrl (for code
//            and domain where these are missing), domain, title, tags, createdAt or dateCreated, visits, visitsCount or
//            visitsSummary.total, validSince, validUntil, maxVisits (also inside meta), forwardQuery
//   yourls   keyword or shorturl*, url*, title, timestamp, clicks (the rows of its table, the objects of its API)
//   kutt     address*, target*, domain, description (the title), created_at, expire_in, visit_count. A link that is
//            banned or has a password is a problem: imported it would be open to everybody
//   bitly    link, bitlink or id*, long_url*, title, tags, created_at or date_created, clicks,
//            total_clicks or engagements; custom_bitlinks, further short URLs of it: each is a link by itself
//
// Names that a foreign format has beyond these are passed over, since exports grow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/links/bulk/csv.h"

namespace trellis::services::links {

inline constexpr size_t kMaxImportLine = 256 << 10;  // bytes of an NDJSON line
inline constexpr size_t kMaxImportDomain = 260;

enum class ImportFormat : uint8_t { trellis, shlink, yourls, kutt, bitly };
enum class ImportShape : uint8_t { csv, ndjson };

std::string_view to_string(ImportFormat format) noexcept;

struct LinkImport {
  std::string code;  // "": one is to be made
  std::string url;
  std::string domain;  // lower case, with a port if it has one; "": the default one
  std::string title;
  std::vector<std::string> tags;
  std::optional<int> status;
  std::optional<int64_t> created_at;  // milliseconds since 1970, as the next two
  std::optional<int64_t> expires_at;
  std::optional<int64_t> not_before;
  std::optional<uint64_t> max_visits;
  std::optional<uint64_t> visits;
  bool forward_query = false;
  std::string rules;  // JSON, as it came; "": none
  uint64_t clicks = 0;
  std::string password_hash;  // is_scrypt_text(); "": none

  friend bool operator==(const LinkImport&, const LinkImport&) = default;
};

// Column: the byte of the line where the field or the mistake begins, 1 when only the name of the field is known.
struct ImportProblem {
  uint64_t line = 0;
  uint64_t column = 0;
  std::string field;  // as the file names it; "" when it is about the whole row
  std::string reason;
  std::string code = "invalid_argument";
};

enum class ImportField : uint8_t {
  ignored,
  code,
  short_url,  // gives code and domain where these are missing
  further,    // short URLs beside it
  url,
  domain,
  title,
  tags,
  status,
  created_at,
  expires_at,
  not_before,
  max_visits,
  visits,
  visits_left,
  forward_query,
  rules,
  clicks,
  banned,
  password,
  password_hash,
};

class LinkReader {
 public:
  enum class Step : uint8_t {
    link,  // link() holds one; what follows it is still in `bytes`
    more,  // `bytes` is used up
  };

  explicit LinkReader(ImportShape shape) : shape_(shape) {}

  // Takes from the front of `bytes` until a link is complete. After a problem it may be called again as usual.
  std::expected<Step, ImportProblem> next(std::string_view& bytes);
  // Call when the input has ended, and again until it gives Step::more.
  std::expected<Step, ImportProblem> finish();

  const LinkImport& link() const noexcept { return link_; }  // valid until the next call
  uint64_t line() const noexcept { return line_; }           // where the link stands
  // Whether the file has a word of the domain; else it is that of a short URL, of wherever the link was before.
  bool says_domain() const noexcept { return says_domain_; }
  // nullopt before the header or the first object.
  std::optional<ImportFormat> format() const noexcept { return format_; }
  // Nobody knows the header: nothing more will come.
  bool failed() const noexcept { return failed_; }

 private:
  struct Column {
    ImportField field;
    std::string name;
  };
  using Outcome = std::expected<Step, ImportProblem>;

  Outcome next_csv(std::string_view& bytes);
  Outcome next_ndjson(std::string_view& bytes);
  Outcome read_header();
  Outcome read_row();
  Outcome read_object(std::string_view line);
  std::optional<ImportProblem> set(ImportField field, std::string_view name, std::string_view text, uint64_t column);
  void begin_row();
  Outcome complete_row();
  Outcome next_further();
  Outcome complete();
  std::unexpected<ImportProblem> problem(uint64_t column, std::string_view field, std::string reason) const;

  ImportShape shape_;
  CsvReader csv_{CsvLimits(), ",;\t"};  // spreadsheets write semicolons in many countries
  std::string partial_;                 // the NDJSON line so far
  bool too_long_ = false;               // and it is dropped to its end
  uint64_t lines_ = 0;                  // ended so far, of NDJSON
  std::vector<Column> columns_;
  std::optional<ImportFormat> format_;
  bool failed_ = false;
  LinkImport link_;
  std::string short_url_;
  std::vector<std::string> also_;     // short URLs of this row beside it
  std::vector<std::string> further_;  // of these, the ones to come, the next one last
  std::optional<uint64_t> visits_left_;
  bool says_domain_ = false;
  uint64_t line_ = 0;
};

// The trellis format, which reads back to the same link.
void append_import_header(std::string& csv);
void append_import_csv(std::string& csv, const LinkImport& link);
void append_import_ndjson(std::string& ndjson, const LinkImport& link);

}  // namespace trellis::services::links
