#include "services/links/bulk/import.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "http/problem.h"
#include "runtime/loop.h"
#include "services/links/link_json.h"
#include "services/links/rules/rules.h"
#include "services/links/url.h"

namespace trellis::services::links {

namespace {
constexpr Duration kPieceTimeout = std::chrono::seconds(60);  // of what is received or written at once
}

ImportBody::ImportBody(LinkBook& book, Loop& loop, std::unique_ptr<http::BodyReader> source, ImportOptions options)
    : book_(book),
      loop_(loop),
      source_(std::move(source)),
      options_(options),
      began_(loop.now()),
      told_(began_),
      progress_told_(began_) {
  if (options_.shape) reader_.emplace(*options_.shape);
}

ImportBody::~ImportBody() = default;

// The deadline is that of an answer of known length: here each piece has its own, and however many may follow.
Task<Result<Chunk>> ImportBody::read(Deadline) {
  while (!ended_ && out_.size() < kTold) {
    const bool waits = receiving_ && !receiving_.done() && !is_writing_ && piece_.rows.empty();
    if (!out_.empty() && (waits || loop_.now() - told_ >= kTellEvery)) break;
    Result<void> stepped = co_await step(after(loop_.now(), kPieceTimeout));
    if (!stepped) co_return fail(std::move(stepped).error());
  }
  if (out_.empty()) co_return Chunk();
  told_ = loop_.now();
  co_return Chunk::from_string(std::exchange(out_, {}));
}

// Fills a piece, then hands it to the writer when the one before is written.
Task<Result<void>> ImportBody::step(Deadline deadline) {
  if (!reader_ended_ && !full()) {
    Result<void> filled = co_await fill(deadline);
    if (!filled) co_return filled;
  }
  if (is_writing_) {
    Result<void> settled = co_await settle();
    if (!settled) {
      tell_counts("total", &settled.error());
      ended_ = true;
      co_return Result<void>();
    }
  }
  if (written_.rows.empty()) written_ = std::exchange(piece_, {});
  if (!written_.rows.empty()) {
    begin_writing(deadline);
  } else if (reader_ended_) {
    tell_counts("total", nullptr);
    ended_ = true;
  }
  co_return Result<void>();
}

Task<Result<void>> ImportBody::fill(Deadline deadline) {
  bool yielded = false;
  size_t in_a_row = 0;
  while (!full() && !reader_ended_) {
    if (rest_.empty() && !source_ended_) {
      if (!source_) {
        source_ended_ = true;
        continue;
      }
      if (!receiving_) {
        receiving_ = source_->read(deadline);
        receiving_.start();
      }
      // What is there is written before more is waited for; what came in the same turn of the loop is behind us in
      // line.
      if (!receiving_.done() && (is_writing_ || !piece_.rows.empty() || !out_.empty())) {
        if (yielded) co_return Result<void>();
        yielded = true;
        co_await yield();
        continue;
      }
      Result<Chunk> received = co_await receiving_.join();
      receiving_ = {};
      if (!received) co_return fail(std::move(received).error());
      source_ended_ = received->empty();
      text_.assign(received->view());  // the chunk is of the receive buffers and must not wait for the writer
      rest_ = text_;
      bytes_ += text_.size();
      yielded = false;
      if (!reader_ && !source_ended_) {
        const size_t first = rest_.find_first_not_of(" \t\r\n\xef\xbb\xbf");
        const bool is_json = first != std::string_view::npos && (rest_[first] == '{' || rest_[first] == '[');
        reader_.emplace(is_json ? ImportShape::ndjson : ImportShape::csv);
      }
    }
    while (!full() && take_next(rest_.empty() && source_ended_)) {
      if (++in_a_row % kRowsBeforeYield == 0) co_await yield();
    }
    if (!full() && rest_.empty() && source_ended_) reader_ended_ = true;
    if (reader_ && reader_->failed()) reader_ended_ = true;
  }
  co_return Result<void>();
}

bool ImportBody::take_next(bool at_end) {
  if (!reader_) return false;
  auto read = at_end ? reader_->finish() : reader_->next(rest_);
  if (!read) {
    take_problem(std::move(read).error());
    return !reader_->failed();
  }
  if (*read == LinkReader::Step::more) return false;
  take_row(reader_->link(), reader_->line());
  return true;
}

void ImportBody::take_problem(ImportProblem problem) {
  const uint64_t line = problem.line;
  piece_.rows.push_back({line, false, std::move(problem)});
  piece_.bytes += 256;
}

void ImportBody::take_row(const LinkImport& row, uint64_t line) {
  const auto wrong = [&](const char* field, const char* reason) { take_problem({line, 1, field, reason}); };
  const DomainTablePointer domains = book_.domain_table();
  if (const Result<UrlHost> host = check_url(row.url); host && domains->own().has(*host))
    return wrong("url", "the URL leads to this service itself; such a link could run in a circle");
  if (!row.rules.empty() || book_.blocklist().find(row.url)) {
    LinkPatch leads;
    leads.url = row.url;
    leads.rules = row.rules;
    if (auto blocked = book_.refuse_blocked(leads))
      return take_problem({line, 1, std::move(blocked->field), std::move(blocked->detail), std::move(blocked->code)});
  }
  const Domain* domain = options_.domain.empty() ? &domains->default_domain() : domains->find(options_.domain);
  if (!domain) return wrong("domain", "the domain of the import was removed");
  if (!row.domain.empty()) {
    const Domain* named = domains->find(row.domain);
    if (reader_->says_domain()) {
      if (!named) return wrong("domain", "there is no such domain here");
      if (!options_.domain.empty() && named != domain) return wrong("domain", "the import is into another domain");
      domain = named;
    } else if (named && options_.domain.empty()) {
      domain = named;
    }
  }
  if (row.max_visits && *row.max_visits > static_cast<uint64_t>(kMostVisits))
    return wrong("max_visits", "the number of visits is from 1 to 1,000,000,000");
  std::string rules;
  if (!row.rules.empty()) {
    const auto read = Rules::read(row.rules, domains->own());
    if (!read) return wrong("rules", read.error().front().detail.c_str());
    if (!read->empty()) read->append_json(rules);
  }
  const int64_t now = unix_millis(loop_.wall());
  BulkLink& made = piece_.links->emplace_back();
  made.find_existing = options_.find_existing;
  Link& link = made.link;
  link.code = domain->name_of(row.code);
  link.url = row.url;
  link.title = row.title;
  link.tags = row.tags;
  link.status = row.status.value_or(book_.status_of(*domain));
  link.created_at = link.updated_at = row.created_at.value_or(now);
  link.not_before = row.not_before;
  link.expires_at = row.expires_at;
  link.forward_query = row.forward_query;
  link.rules = std::move(rules);
  link.password = row.password_hash;
  link.clicks = static_cast<int64_t>(row.clicks);
  if (row.max_visits) link.max_visits = static_cast<int64_t>(*row.max_visits);
  // They may be more than the maximum, which was lowered or taken away: whoever sets another counts on from them.
  link.visits = static_cast<int64_t>(row.visits.value_or(row.max_visits ? row.clicks : 0));
  piece_.rows.push_back({line, true, std::nullopt});
  piece_.bytes += bytes_of(link);
}

void ImportBody::begin_writing(Deadline deadline) {
  is_writing_ = true;
  if (written_.links->empty()) return;
  BulkOptions options;
  options.same_code_exists = true;
  options.gives_way = true;
  const int64_t now = unix_millis(loop_.wall());
  writing_ = options_.dry_run ? try_links(book_, written_.links, std::move(options), now, deadline)
                              : put_links(book_, written_.links, std::move(options), now, deadline);
  writing_.start();
}

Task<Result<void>> ImportBody::settle() {
  is_writing_ = false;
  if (written_.links->empty()) {
    co_await tell_rows(written_, nullptr);
    co_return Result<void>();
  }
  Result<BulkResult> done = co_await writing_.join();
  writing_ = {};
  if (!done) co_return fail(std::move(done).error());
  co_await tell_rows(written_, done->get());
  co_return Result<void>();
}

void ImportBody::tell_problem(uint64_t line, uint64_t column, std::string_view code, std::string_view field,
                              std::string_view detail) {
  JsonWriter json(out_);
  json.begin_object().member("line", line).member("column", column).member("result", "problem").member("code", code);
  if (!field.empty()) json.member("field", field);
  json.member("detail", detail).end_object();
  out_ += '\n';
}

// And takes them away: what is left gave way to others.
Task<> ImportBody::tell_rows(Piece& piece, const BulkDone* done) {
  const size_t links = done ? done->outcomes.size() : 0;
  size_t next = 0;
  auto end = piece.rows.begin();
  for (; end != piece.rows.end() && (!end->is_link || next < links); ++end) {
    const Row& row = *end;
    if (++rows_ % kRowsBeforeYield == 0) co_await yield();
    if (!row.is_link) {
      ++failed_;
      tell_problem(row.line, row.problem->column, row.problem->code, row.problem->field, row.problem->reason);
      continue;
    }
    const BulkOutcome& outcome = done->outcomes[next++];
    bool taken = outcome.kind == BulkOutcome::Kind::taken;
    const bool made = outcome.kind == BulkOutcome::Kind::made;
    if (options_.dry_run && made && !lacks_code(outcome.code)) taken = !seen_.add(outcome.code);
    if (taken && !options_.skip_conflicts) {
      ++failed_;
      tell_problem(row.line, 1, "already_exists", "code",
                   "the code " + std::string(split_name(outcome.code).code) + " is taken");
      continue;
    }
    ++(taken ? skipped_ : made ? made_ : exists_);
    if (options_.only_problems) continue;
    JsonWriter json(out_);
    json.begin_object().member("line", row.line).member("result", taken ? "skipped" : made ? "made" : "exists");
    const LinkName name = split_name(outcome.code);
    if (!name.code.empty()) json.member("code", name.code);
    if (!name.host.empty()) json.member("domain", name.host);
    json.end_object();
    out_ += '\n';
  }
  piece.rows.erase(piece.rows.begin(), end);
  piece.links->erase(piece.links->begin(), piece.links->begin() + static_cast<ptrdiff_t>(links));
  if (loop_.now() - progress_told_ >= kProgressEvery) {
    progress_told_ = loop_.now();
    tell_counts("progress", nullptr);
  }
}

void ImportBody::tell_counts(const char* name, const Error* error) {
  JsonWriter json(out_);
  json.begin_object().key(name).begin_object();
  json.member("rows", rows_).member("made", made_).member("exists", exists_).member("skipped", skipped_);
  json.member("failed", failed_).member("bytes", bytes_);
  json.member("seconds", seconds(loop_.now() - began_));
  if (std::string_view(name) == "total") {
    json.member("dry_run", options_.dry_run).member("complete", !error && !(reader_ && reader_->failed()));
    if (reader_ && reader_->format()) json.member("format", to_string(*reader_->format()));
    if (error) {
      json.key("problem").begin_object().member("code", http::code_for(*error));
      json.member("detail", "The store took no more; the rows told before are done. Send the file again to go on.");
      json.end_object();
    }
  }
  json.end_object().end_object();
  out_ += '\n';
}

}  // namespace trellis::services::links
