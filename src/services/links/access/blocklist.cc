#include "services/links/access/blocklist.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "base/rng.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "services/links/access/block_set.h"
#include "services/links/rules/rules.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

Error unreadable(const std::string& path, int number) {
  return Error(number == ENOENT ? Code::not_found : Code::unavailable, path + ": " + std::strerror(number));
}

Fault fault_of(std::string field, std::string_view entry) {
  return {std::move(field), "Where it leads may not be linked: it falls under " + std::string(entry) + ".", "blocked",
          422};
}

}  // namespace

Blocklist::Blocklist(std::string file, store::SqliteStore& store) : file_(std::move(file)), store_(store) {
  state_->seed = random_seed();
}

Blocklist::~Blocklist() = default;

// --- The sets ---

std::shared_ptr<const BlockSet> Blocklist::State::set() const {
  const std::lock_guard guard(lock_);
  return made_.set;
}

void Blocklist::State::take(const Made& made) {
  const std::lock_guard guard(lock_);
  if (made.changes <= made_.changes) return;
  made_ = made;
  version.fetch_add(1, std::memory_order_release);
}

Result<Blocklist::Made> Blocklist::read_made(store::SqliteConnection& db, uint64_t seed) {
  TRY(const BlockedPatterns all, blocked_patterns(db));
  auto set = std::make_shared<BlockSet>(seed);
  for (const std::string& pattern : all.patterns) {
    if (const auto entry = read_block_entry(pattern)) set->add(*entry);
  }
  return Made{all.changes, std::move(set)};
}

Blocklist::FileStamp Blocklist::stamp_of(const struct ::stat& status) noexcept {
  return {status.st_dev, status.st_ino, status.st_size,
          int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

Result<Blocklist::FileRead> Blocklist::read_file(const std::string& path, uint64_t seed) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(unreadable(path, errno));
  struct Close {
    int file;
    ~Close() { ::close(file); }
  } const close{file};
  struct ::stat status{};
  if (::fstat(file, &status) != 0) return fail(unreadable(path, errno));
  if (!S_ISREG(status.st_mode)) return fail(Code::failed_precondition, path + ": this is no file");
  std::string text;
  std::string piece(size_t{1} << 20, '\0');
  while (text.size() <= kMaxBlockFile) {
    const ssize_t got = ::read(file, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(unreadable(path, errno));
    if (got == 0) break;
    text.append(piece, 0, static_cast<size_t>(got));
  }
  auto set = read_block_file(text, seed);
  if (!set) {
    const std::string line = set.error().line > 0 ? ":" + std::to_string(set.error().line) : "";
    return fail(Code::failed_precondition, path + line + ": " + set.error().reason);
  }
  return FileRead{stamp_of(status), std::make_shared<const BlockSet>(*std::move(set))};
}

Task<Result<void>> Blocklist::start() {
  if (!file_.empty()) {
    auto reading = blocking([path = file_, seed = state_->seed] { return read_file(path, seed); });
    Result<FileRead> read = co_await reading;
    if (!read) co_return fail(Error(read.error().code(), "blocklist").because(std::move(read).error()));
    stamp_ = read->stamp;
    in_file_ = std::move(read->set);
    log_info("the blocklist was read",
             {{"file", file_}, {"entries", in_file_->size()}, {"memory", in_file_->memory()}});
  }
  auto reading = store_.read([seed = state_->seed](store::SqliteConnection& db) { return read_made(db, seed); });
  const Result<Made> made = co_await reading;
  if (!made) co_return fail(made.error().clone());
  state_->take(*made);
  co_return Result<void>();
}

bool Blocklist::file_changed() const {
  if (file_.empty()) return false;
  struct ::stat status{};
  return ::stat(file_.c_str(), &status) != 0 || stamp_of(status) != stamp_;
}

// --- Asking ---

std::optional<std::string> Blocklist::find(std::string_view url) const {
  if (in_file_) {
    if (auto entry = in_file_->find(url)) return entry;
  }
  const std::shared_ptr<const BlockSet> made = state_->set();
  return made ? made->find(url) : std::nullopt;
}

std::optional<std::string> Blocklist::find_in_rules(std::string_view rules, const OwnHosts& own) const {
  if (rules.empty()) return std::nullopt;
  const auto read = Rules::read(rules, own);
  if (!read) return std::nullopt;
  for (const std::string_view url : read->urls()) {
    if (auto entry = find(url)) return entry;
  }
  return std::nullopt;
}

std::optional<Fault> Blocklist::refuse(const LinkPatch& set, const OwnHosts& own) const {
  if (set.url) {
    if (const auto entry = find(*set.url)) return fault_of("url", *entry);
  }
  if (set.rules) {
    if (const auto entry = find_in_rules(*set.rules, own)) return fault_of("rules", *entry);
  }
  return std::nullopt;
}

bool Blocklist::blocks(const Link& link, const OwnHosts& own) const {
  return find(link.url).has_value() || find_in_rules(link.rules, own).has_value();
}

// --- Changing ---

Task<Result<Blocking>> Blocklist::add(Blocked blocked, Deadline deadline) {
  using Done = Written<Blocking>;
  auto insert = [blocked = std::move(blocked), seed = state_->seed](store::SqliteConnection& db) -> Result<Done> {
    TRY(const Blocking value, insert_blocked(db, blocked));
    TRY(Made made, read_made(db, seed));
    return Done{value, std::move(made)};
  };
  auto take = [state = state_](const Result<Done>& done) {
    if (done) state->take(done->made);
  };
  auto writing = store_.write(std::move(insert), deadline, 1024, std::move(take));
  Result<Done> done = co_await writing;
  if (!done) co_return fail(std::move(done).error());
  co_return done->value;
}

Task<Result<bool>> Blocklist::remove(int64_t id, Deadline deadline) {
  using Done = Written<bool>;
  auto drop = [id, seed = state_->seed](store::SqliteConnection& db) -> Result<Done> {
    TRY(const bool value, remove_blocked(db, id));
    TRY(Made made, read_made(db, seed));
    return Done{value, std::move(made)};
  };
  auto take = [state = state_](const Result<Done>& done) {
    if (done) state->take(done->made);
  };
  auto writing = store_.write(std::move(drop), deadline, 1024, std::move(take));
  Result<Done> done = co_await writing;
  if (!done) co_return fail(std::move(done).error());
  co_return done->value;
}

Task<Result<std::vector<Blocked>>> Blocklist::list(int64_t after, size_t limit, Deadline deadline) {
  auto reading =
      store_.read([after, limit](store::SqliteConnection& db) { return blocked_after(db, after, limit); }, deadline);
  Result<std::vector<Blocked>> blocked = co_await reading;
  co_return blocked;
}

Task<Result<std::optional<Blocked>>> Blocklist::find(int64_t id, Deadline deadline) {
  auto reading = store_.read([id](store::SqliteConnection& db) { return find_blocked(db, id); }, deadline);
  Result<std::optional<Blocked>> blocked = co_await reading;
  co_return blocked;
}

}  // namespace trellis::services::links
