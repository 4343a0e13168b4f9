#include "cache/edge/purge_book.h"

#include <algorithm>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kMaxFile = uint64_t{512} << 20;
constexpr uint64_t kSlack = uint64_t{1} << 20;  // of a file, beyond twice what is in it
constexpr uint64_t kRecordOverhead = 48;        // an upper bound of a record's bytes without its text
// That the clocks of two nodes may differ by, in microseconds.
constexpr uint64_t kClockMargin = uint64_t{60} * 1'000'000;

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
}

uint32_t random_salt() {
  uint32_t salt = 0;
  random_bytes(&salt, sizeof(salt));
  return salt;
}

void raise(uint64_t& number, uint64_t to) noexcept { number = std::max(number, to); }

const PurgeMark* find_mark(const std::vector<PurgeMark>& marks, uint64_t origin) noexcept {
  const auto at =
      std::find_if(marks.begin(), marks.end(), [&](const PurgeMark& mark) { return mark.origin == origin; });
  return at == marks.end() ? nullptr : &*at;
}

// One rule is one however often it was read: the newest number of it stays.
void sort_and_join(std::vector<PurgeRecord>& records) {
  std::sort(records.begin(), records.end(), [](const PurgeRecord& a, const PurgeRecord& b) {
    return std::tie(a.origin, a.origin_number, b.number) < std::tie(b.origin, b.origin_number, a.number);
  });
  const auto same = [](const PurgeRecord& a, const PurgeRecord& b) {
    return a.origin == b.origin && a.origin_number == b.origin_number;
  };
  records.erase(std::unique(records.begin(), records.end(), same), records.end());
  std::sort(records.begin(), records.end(),
            [](const PurgeRecord& a, const PurgeRecord& b) { return a.number < b.number; });
}

}  // namespace

PurgeBook::PurgeBook(PurgeBookOptions options)
    : options_(std::move(options)),
      disk_(options_.disk ? *options_.disk : system_disk()),
      clock_(options_.clock ? *options_.clock : system_clock()),
      doubt_(options_.doubt),
      index_(std::make_unique<PurgeIndex>()) {}

PurgeBook::~PurgeBook() = default;

Result<std::unique_ptr<PurgeBook>> PurgeBook::open(PurgeBookOptions options) {
  std::unique_ptr<PurgeBook> book(new PurgeBook(std::move(options)));
  if (book->options_.path.empty()) {
    book->last_ = book->next_number();
    book->publish();
  } else {
    TRY_VOID(book->load());
  }
  book->opened_ = book->newest();
  return book;
}

Result<PurgeBook::Loaded> PurgeBook::read(const std::string& path) const {
  Loaded loaded;
  Result<std::unique_ptr<DiskFile>> file = disk_.open(path, Disk::Open::existing);
  if (!file && file.error().code() == Code::not_found) return loaded;
  if (!file) return fail(std::move(file).error());
  TRY(const uint64_t size, (*file)->size());
  loaded.found = true;
  if (size > kMaxFile) {
    loaded.contents.damaged = true;
    return loaded;
  }
  std::string bytes(size, '\0');
  TRY(const size_t got, (*file)->read(0, bytes));
  Result<PurgeFileContents> contents = read_purge_file(std::string_view(bytes).substr(0, got));
  if (!contents)
    return fail(Error(contents.error().code(), "the purges in " + path).because(std::move(contents).error()));
  loaded.contents = *std::move(contents);
  return loaded;
}

void PurgeBook::put_aside(const std::string& path) {
  const Result<void> moved = disk_.rename(path, path + ".damaged");
  log_error("a file of purges is damaged: everything cached before now counts as purged",
            {{"file", path}, {"kept", moved ? path + ".damaged" : "nowhere: " + moved.error().to_string()}});
}

Result<void> PurgeBook::load() {
  const std::string& path = options_.path;
  Result<std::shared_ptr<void>> lock = disk_.lock(path + ".lock");
  if (!lock && lock.error().code() == Code::failed_precondition) {
    waiting_ = true;
    lock = disk_.lock(path + ".next.lock");
  }
  if (!lock) return fail(std::move(lock).error());
  lock_ = *std::move(lock);

  bool whole = true;
  bool found = false;
  std::vector<PurgeRecord> records;
  for (const std::string& name : {path, path + ".next"}) {
    TRY(Loaded loaded, read(name));
    found = found || loaded.found;
    PurgeFileContents& contents = loaded.contents;
    if (contents.damaged) {
      whole = false;
      const bool mine = !waiting_ || name != path;
      if (mine) put_aside(name);
      continue;
    }
    if (contents.torn && name == file_path()) {
      log_warn("the last record of a file of purges is not whole, so it was never acknowledged; it is cut off",
               {{"file", name}, {"position", contents.end}});
    }
    records.insert(records.end(), std::make_move_iterator(contents.records.begin()),
                   std::make_move_iterator(contents.records.end()));
    for (const PurgeMark& mark : contents.marks) {
      PurgeMark& mine = mark_of(mark.origin);
      raise(mine.known, mark.known);
      raise(mine.let_go, mark.let_go);
    }
    floor_ = std::max(floor_.load(), contents.floor);
    raise(retiring_, contents.retired);
    raise(last_, contents.newest);
  }
  retired_ = retiring_;
  take_records(std::move(records));
  last_ = next_number();
  if (!whole || !found) floor_ = last_;
  publish();
  must_rewrite_ = true;
  std::unique_lock guard(mutex_);
  if (Result<void> kept = keep(guard); !kept) {
    log_error("purges cannot be kept on disk", {{"file", file_path()}, {"error", kept.error().to_string()}});
  }
  return {};
}

void PurgeBook::take_records(std::vector<PurgeRecord> records) {
  sort_and_join(records);
  for (PurgeRecord& record : records) {
    raise(mark_of(record.origin).known, record.origin == options_.node ? record.origin_number : 0);
    text_bytes_ += record.rule.text.size();
    index_->add(record.rule, record.number);
    records_.push_back(std::move(record));
  }
}

uint64_t PurgeBook::next_number() const {
  const int64_t micros =
      std::chrono::duration_cast<std::chrono::microseconds>(clock_.wall().time_since_epoch()).count();
  const PurgeMark* own = find_mark(marks_, options_.node);
  const uint64_t last = std::max(last_, own ? own->known : 0);
  return std::max(last + 1, static_cast<uint64_t>(std::max<int64_t>(micros, 0)));
}

PurgeMark& PurgeBook::mark_of(uint64_t origin) {
  const auto at =
      std::find_if(marks_.begin(), marks_.end(), [&](const PurgeMark& mark) { return mark.origin == origin; });
  if (at != marks_.end()) return *at;
  return marks_.emplace_back(PurgeMark{.origin = origin, .known = 0, .let_go = 0});
}

PurgeState PurgeBook::check(const PurgeSubject& subject, uint64_t since) const noexcept {
  if (subject.filled < floor_.load(std::memory_order_acquire)) return PurgeState::dead;
  PurgeState state;
  {
    const std::shared_lock lock(index_mutex_);
    if (since < retired_.load(std::memory_order_relaxed)) return PurgeState::dead;
    state = index_->check(subject, since);
  }
  const bool doubtful = doubt_.load(std::memory_order_acquire) && subject.filled < opened_;
  return doubtful && state == PurgeState::alive ? PurgeState::stale : state;
}

// After the rules are in the index, so that who reads the number and checks then meets them. Who begins a fill at that
// number tells of the marks that belong to it, so these are there before; and who says that it has what a mark stands
// for looks by that number, so for him they come after.
void PurgeBook::publish() {
  const auto marks = std::make_shared<const std::vector<PurgeMark>>(marks_);
  {
    const std::unique_lock lock(index_mutex_);
    marks_told_ = marks;
  }
  newest_.store(last_, std::memory_order_release);
  const std::unique_lock lock(index_mutex_);
  marks_kept_ = marks;
}

void PurgeBook::insert(PurgeRecord record) {
  {
    const std::unique_lock lock(index_mutex_);
    index_->add(record.rule, record.number);
  }
  raise(last_, record.number);
  append_purge_record(pending_, record);
  text_bytes_ += record.rule.text.size();
  records_.push_back(std::move(record));
}

void PurgeBook::raise_floor(uint64_t number) {
  if (number <= floor_.load(std::memory_order_relaxed)) return;
  floor_.store(number, std::memory_order_release);
  last_ = next_number();  // what was checked already is checked again
  append_purge_floor(pending_, number);
}

PurgeBook::Added PurgeBook::add(std::vector<PurgeRule> rules) {
  std::unique_lock lock(mutex_);
  return add_now(lock, std::move(rules));
}

Result<PurgeBook::Added> PurgeBook::add_asked(std::vector<PurgeRule> rules) {
  std::unique_lock lock(mutex_);
  if (held_) return fail(Code::unavailable, "a new process is taking over");
  return add_now(lock, std::move(rules));
}

void PurgeBook::hold() {
  std::unique_lock lock(mutex_);
  held_ = true;
  written_.wait(lock, [&] { return !writing_ && !next_write_; });
}

void PurgeBook::resume() {
  const std::lock_guard lock(mutex_);
  held_ = false;
}

PurgeBook::Added PurgeBook::add_now(std::unique_lock<std::mutex>& lock, std::vector<PurgeRule> rules) {
  PurgeBatch batch;
  const uint64_t after = mark_of(options_.node).known;
  for (PurgeRule& rule : rules) {
    const uint64_t number = next_number();
    PurgeRecord record{.number = number,
                       .at_ms = unix_millis(clock_.wall()),
                       .origin = options_.node,
                       .origin_number = number,
                       .rule = std::move(rule)};
    batch.records.push_back(record);
    insert(std::move(record));
    mark_of(options_.node).known = number;
  }
  batch.extents.push_back({.origin = options_.node, .after = after, .known = mark_of(options_.node).known});
  publish();
  tidy();
  return {std::move(batch), keep(lock)};
}

PurgeBook::Merged PurgeBook::merge(const PurgeBatch& batch, bool is_all) {
  std::unique_lock lock(mutex_);
  Merged merged;
  for (const PurgeRecord& sent : batch.records) {
    if (sent.origin_number <= mark_of(sent.origin).known) continue;
    PurgeRecord record = sent;
    record.number = next_number();
    insert(std::move(record));
    ++merged.rules;
  }
  for (const PurgeExtent& extent : batch.extents) {
    PurgeMark& mark = mark_of(extent.origin);
    if (mark.known >= extent.known) continue;
    if (mark.known < extent.after) {
      if (!is_all) {
        merged.gap = true;
        wanted_.push_back(extent);
        continue;
      }
      raise(mark.let_go, extent.after);
      raise_floor(std::min(extent.after + kClockMargin, next_number()));
      log_warn("rules of a node were let go before they came here: what was cached before them counts as purged",
               {{"up_to_micros", extent.after}});
    }
    mark.known = extent.known;
    append_purge_mark(pending_, mark);
  }
  std::erase_if(wanted_, [&](const PurgeExtent& extent) { return mark_of(extent.origin).known >= extent.known; });
  // Before the number that is newer than the marks; and it goes after the marks came.
  if (!wanted_.empty()) gap_.store(true, std::memory_order_release);
  publish();
  if (wanted_.empty()) gap_.store(false, std::memory_order_release);
  tidy();
  merged.kept = keep(lock);
  return merged;
}

std::shared_ptr<const std::vector<PurgeMark>> PurgeBook::marks() const {
  const std::shared_lock lock(index_mutex_);
  return marks_told_;
}

bool PurgeBook::covers(const std::vector<PurgeMark>& marks) const {
  std::shared_ptr<const std::vector<PurgeMark>> mine;
  {
    const std::shared_lock lock(index_mutex_);
    mine = marks_kept_;
  }
  return std::all_of(marks.begin(), marks.end(), [&](const PurgeMark& theirs) {
    const PurgeMark* own = find_mark(*mine, theirs.origin);
    return theirs.known <= (own ? own->known : 0);
  });
}

PurgeBatch PurgeBook::missing(const std::vector<PurgeMark>& marks, size_t max_records) const {
  PurgeBatch batch;
  const std::lock_guard lock(mutex_);
  for (const PurgeMark& mine : marks_) {
    const PurgeMark* theirs = find_mark(marks, mine.origin);
    const uint64_t known = theirs ? theirs->known : 0;
    if (known >= mine.known) continue;
    std::vector<const PurgeRecord*> lacking;
    for (const PurgeRecord& record : records_) {
      if (record.origin != mine.origin || record.origin_number <= known || record.origin_number > mine.known) continue;
      lacking.push_back(&record);
    }
    std::sort(lacking.begin(), lacking.end(),
              [](const PurgeRecord* a, const PurgeRecord* b) { return a->origin_number < b->origin_number; });
    const size_t room = max_records - batch.records.size();
    PurgeExtent extent{.origin = mine.origin, .after = std::max(known, mine.let_go), .known = mine.known};
    if (lacking.size() > room) {
      batch.more = true;
      if (room == 0) break;
      extent.known = lacking[room - 1]->origin_number;
      lacking.resize(room);
    }
    for (const PurgeRecord* record : lacking) batch.records.push_back(*record);
    batch.extents.push_back(extent);
    if (batch.more) break;
  }
  return batch;
}

// First what is too old to be of use, then what a later rule repeats, then the oldest of all: objects that were not
// checked against these count as purged.
void PurgeBook::tidy() {
  const int64_t old_ms = unix_millis(clock_.wall() - options_.keep);
  const uint64_t checked = checked_.load(std::memory_order_acquire);
  size_t unneeded = 0;
  while (unneeded < records_.size() && records_[unneeded].number <= checked && records_[unneeded].at_ms < old_ms) {
    ++unneeded;
  }
  // Not one by one: each time costs a new index.
  const bool worth_it = unneeded > records_.size() / 8;
  if (worth_it) let_go_first(unneeded);
  const auto too_many = [&](size_t rules, uint64_t bytes) { return records_.size() > rules || text_bytes_ > bytes; };
  if (too_many(options_.limit, options_.limit_bytes)) {
    drop_repeated();
    size_t count = 0;
    uint64_t bytes = text_bytes_;
    const size_t rules_to_keep = options_.limit - options_.limit / 4;
    const uint64_t bytes_to_keep = options_.limit_bytes - options_.limit_bytes / 4;
    while (count < records_.size() && (records_.size() - count > rules_to_keep || bytes > bytes_to_keep)) {
      bytes -= records_[count++].rule.text.size();
    }
    if (count > 0) {
      const uint64_t last = records_[count - 1].number;
      if (last > checked) {
        merged_ = last;
        log_warn(
            "a cache has more purges than its book keeps: what was not checked against the oldest counts as purged",
            {{"rules", options_.limit}, {"up_to_micros", last}});
      }
      let_go_first(count);
    }
  } else if (!worth_it) {
    return;
  }
  rebuild();
  must_rewrite_ = true;
}

bool PurgeBook::wants_check() const {
  if (doubt_.load(std::memory_order_acquire)) return false;
  const std::lock_guard lock(mutex_);
  if (waiting_ || let_go_) return false;
  const uint64_t checked = checked_.load(std::memory_order_acquire);
  const auto unchecked = std::upper_bound(records_.begin(), records_.end(), checked,
                                          [](uint64_t number, const PurgeRecord& one) { return number < one.number; });
  if (unchecked == records_.end()) return false;
  if (unchecked->at_ms < unix_millis(clock_.wall() - options_.keep)) return true;
  // Full to a half, and half of that would go.
  const auto count = static_cast<size_t>(records_.end() - unchecked);
  const bool full = records_.size() > options_.limit / 2 || text_bytes_ > options_.limit_bytes / 2;
  return full && count > records_.size() / 2;
}

void PurgeBook::lost_objects() {
  std::unique_lock lock(mutex_);
  raise_floor(retired());
  publish();
  if (Result<void> kept = keep(lock); !kept) {
    log_error("purges cannot be kept on disk", {{"file", file_path()}, {"error", kept.error().to_string()}});
  }
}

void PurgeBook::let_go_first(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const PurgeRecord& record = records_.front();
    if (record.number <= checked_.load(std::memory_order_acquire)) raise(retiring_, record.number);
    raise(mark_of(record.origin).let_go, record.origin_number);
    text_bytes_ -= record.rule.text.size();
    records_.pop_front();
  }
}

// Of the same node only: another node may have one of two rules and lack the other.
void PurgeBook::drop_repeated() {
  std::unordered_set<std::string> later;
  const auto repeated = [&](const PurgeRecord& record, bool soft) {
    std::string text = std::to_string(record.origin) + (soft ? "s" : "h");
    text += static_cast<char>('0' + static_cast<int>(record.rule.kind));
    return text + record.rule.text;
  };
  std::deque<PurgeRecord> kept;
  for (size_t i = records_.size(); i-- > 0;) {
    PurgeRecord& record = records_[i];
    const bool covered =
        later.contains(repeated(record, false)) || (record.rule.soft && later.contains(repeated(record, true)));
    if (covered) {
      text_bytes_ -= record.rule.text.size();
      continue;
    }
    later.insert(repeated(record, record.rule.soft));
    kept.push_front(std::move(record));
  }
  records_ = std::move(kept);
}

void PurgeBook::rebuild() {
  auto fresh = std::make_unique<PurgeIndex>();
  fresh->add_all(merged_, false);
  for (const PurgeRecord& record : records_) fresh->add(record.rule, record.number);
  const std::unique_lock lock(index_mutex_);
  index_.swap(fresh);
  retired_.store(retiring_, std::memory_order_release);
}

std::string PurgeBook::everything() const {
  std::string payload;
  append_purge_newest(payload, last_);
  append_purge_floor(payload, std::max(floor_.load(), merged_));
  append_purge_retired(payload, retired());
  for (const PurgeMark& mark : marks_) append_purge_mark(payload, mark);
  for (const PurgeRecord& record : records_) append_purge_record(payload, record);
  return payload;
}

Result<void> PurgeBook::keep(std::unique_lock<std::mutex>& lock) {
  if (options_.path.empty()) {
    pending_.clear();
    must_rewrite_ = false;
    return {};
  }
  if (let_go_) return fail(Error(Code::failed_precondition, "another process has taken over").from(Side::self));
  if (pending_.empty() && !must_rewrite_) return {};
  if (!next_write_) next_write_ = std::make_shared<Write>();
  const std::shared_ptr<Write> mine = next_write_;
  while (!mine->done) {
    if (writing_) {
      written_.wait(lock);
    } else {
      write(lock);
    }
  }
  if (!mine->outcome) return fail(mine->outcome.error().clone());
  return {};
}

void PurgeBook::write(std::unique_lock<std::mutex>& lock) {
  writing_ = true;
  const std::shared_ptr<Write> mine = std::exchange(next_write_, nullptr);
  std::string payload = std::exchange(pending_, {});
  const uint64_t in_use = text_bytes_ + records_.size() * kRecordOverhead;
  const bool anew = must_rewrite_ || file_end_ > 2 * in_use + kSlack;
  if (anew) payload = everything();
  must_rewrite_ = false;
  const std::string path = file_path();
  lock.unlock();
  Result<void> outcome = anew ? rewrite(path, payload) : append(payload);
  lock.lock();
  // After a failed write or sync nobody knows what the file has: the next one begins a new file.
  if (!outcome) must_rewrite_ = true;
  failing_ = !outcome;
  if (mine) {
    mine->outcome = std::move(outcome);
    mine->done = true;
  }
  writing_ = false;
  written_.notify_all();
}

Result<void> PurgeBook::rewrite(const std::string& path, std::string_view payload) {
  const uint32_t salt = random_salt();
  std::string bytes = purge_file_header(salt);
  append_purge_frame(bytes, payload, salt);
  const std::string beside = path + ".new";
  TRY(std::unique_ptr<DiskFile> file, disk_.open(beside, Disk::Open::create_empty));
  TRY_VOID(file->write(0, bytes));
  TRY_VOID(file->sync());
  TRY_VOID(disk_.rename(beside, path));
  TRY_VOID(disk_.sync_folder(folder_of(path)));
  if (path == options_.path) {
    TRY_VOID(disk_.remove(path + ".next"));
  }
  file_ = std::move(file);
  file_end_ = bytes.size();
  salt_ = salt;
  return {};
}

Result<void> PurgeBook::append(std::string_view payload) {
  std::string bytes;
  append_purge_frame(bytes, payload, salt_);
  TRY_VOID(file_->write(file_end_, bytes));
  TRY_VOID(file_->sync());
  file_end_ += bytes.size();
  return {};
}

void PurgeBook::tick() {
  std::unique_lock lock(mutex_);
  written_.wait(lock, [&] { return !writing_; });
  if (let_go_) return;
  if (waiting_) take_over();
  tidy();
  if (Result<void> kept = keep(lock); !kept) {
    log_error("purges cannot be kept on disk", {{"file", file_path()}, {"error", kept.error().to_string()}});
  }
}

void PurgeBook::let_go_of_file() {
  std::unique_lock lock(mutex_);
  written_.wait(lock, [&] { return !writing_ && !next_write_; });
  let_go_ = true;
  file_.reset();
  lock_.reset();
}

void PurgeBook::take_over() {
  Result<std::shared_ptr<void>> lock = disk_.lock(options_.path + ".lock");
  if (!lock) return;
  Result<Loaded> loaded = read(options_.path);
  if (!loaded) {
    log_error("the purges of the process before cannot be read",
              {{"file", options_.path}, {"error", loaded.error().to_string()}});
    return;
  }
  PurgeFileContents& contents = loaded->contents;
  if (contents.damaged) {
    put_aside(options_.path);
    raise_floor(next_number());
  }
  std::unordered_set<uint64_t> known;
  for (const PurgeRecord& record : records_) known.insert(record.origin ^ hash64("", record.origin_number));
  for (PurgeRecord& record : contents.records) {
    if (known.contains(record.origin ^ hash64("", record.origin_number))) continue;
    record.number = next_number();
    insert(std::move(record));
  }
  for (const PurgeMark& mark : contents.marks) {
    PurgeMark& mine = mark_of(mark.origin);
    raise(mine.known, mark.known);
    raise(mine.let_go, mark.let_go);
  }
  raise_floor(contents.floor);
  publish();
  lock_ = *std::move(lock);
  waiting_ = false;
  must_rewrite_ = true;
}

PurgeBook::Figures PurgeBook::figures() const {
  const std::lock_guard lock(mutex_);
  return {.rules = records_.size(),
          .newest = newest(),
          .floor = std::max(floor_.load(), merged_),
          .file_bytes = file_end_,
          .waiting = waiting_,
          .failing = failing_};
}

std::vector<PurgeRecord> PurgeBook::latest(size_t max) const {
  const std::lock_guard lock(mutex_);
  std::vector<PurgeRecord> records;
  for (auto at = records_.rbegin(); at != records_.rend() && records.size() < max; ++at) records.push_back(*at);
  return records;
}

}  // namespace trellis::cache
