#include "store/sqlite.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/metrics.h"
#include "store/file_lock.h"

namespace trellis::store {

namespace {

using Operation = std::shared_ptr<detail::WriteOperation>;

constexpr Duration kProbeEvery = std::chrono::milliseconds(100);
constexpr Duration kMaxLinger = std::chrono::milliseconds(1);
// WHY more than a reader's: pages that a transaction changed and that no longer fit are written and read again.
constexpr uint64_t kWriterCache = uint64_t{64} << 20;

uint64_t size_of(const std::string& path) noexcept {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 ? static_cast<uint64_t>(about.st_size) : 0;
}

// Which file a path names at the moment; none where it names none, or one that is not on a disk.
struct FileId {
  dev_t device;
  ino_t inode;
  bool operator==(const FileId&) const = default;
};
std::optional<FileId> file_at(const std::string& path) noexcept {
  struct stat about{};
  if (::stat(path.c_str(), &about) != 0) return std::nullopt;
  return FileId{about.st_dev, about.st_ino};
}

class BlockingOperation final : public detail::WriteOperation {
 public:
  explicit BlockingOperation(const std::function<Result<void>(SqliteConnection&)>& fn) : fn_(fn) {}
  bool run(SqliteConnection& connection) override {
    result_.emplace(fn_(connection));
    return result_->has_value();
  }
  void refuse(const Error& why) override { result_.emplace(std::unexpected<Error>(why.clone())); }
  void finish() override { promise.set_value(std::move(*result_)); }

  std::promise<Result<void>> promise;

 private:
  const std::function<Result<void>(SqliteConnection&)>& fn_;
  std::optional<Result<void>> result_;
};

Error refused(Code code, std::string what) { return Error(code, std::move(what)).from(Side::self); }

// SQLite says "readonly database" of any of the three, and not which.
Result<void> must_be_writable(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const std::string name = path + suffix;
    if (::faccessat(AT_FDCWD, name.c_str(), W_OK, AT_EACCESS) != 0 && errno != ENOENT)
      return fail(errno_error(name + " may not be written", errno).from(Side::self));
  }
  return {};
}

// A database that has tables, but none of ours. What cannot be read here the writer will tell.
bool is_of_others(const std::string& path, const std::string& vfs) {
  if (size_of(path) == 0) return false;
  SqliteConnection::Options how;
  how.path = path;
  how.read_only = true;
  how.vfs = vfs;
  const auto connection = SqliteConnection::open(how);
  if (!connection) return false;
  auto tables = (*connection)
                    ->query(
                        "SELECT count(*), coalesce(sum(name = 'schema_migrations'), 0) FROM sqlite_schema WHERE type = "
                        "'table' AND name "
                        "NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'store_probe'");
  if (!tables || !tables->next().value_or(false)) return false;
  return tables->integer(0) > 0 && tables->integer(1) == 0;
}

}  // namespace

struct SqliteStore::Impl {
  Impl(SqliteOptions opts, Metrics& metrics)
      : options(std::move(opts)),
        write_seconds(seconds_of(metrics, "write", "primary")),
        commit_seconds(seconds_of(metrics, "commit", "primary")),
        checkpoint_seconds(seconds_of(metrics, "checkpoint", "primary")),
        read_seconds(seconds_of(metrics, "read", "replica")),
        backup_seconds(seconds_of(metrics, "backup", "replica")),
        commit_count(metrics.counter("trellis_store_commits_total",
                                     "Transactions that were made durable, one fsync each.",
                                     {{"store", options.name}})),
        operation_count(metrics.counter("trellis_store_writes_total",
                                        "Write operations; over the commits: the size of a batch.",
                                        {{"store", options.name}})),
        refused_count(metrics.counter("trellis_store_refused_total",
                                      "Write operations that were refused unrun or not committed.",
                                      {{"store", options.name}})),
        bytes(metrics.computed(
            "trellis_store_bytes", "Size of the store's files.", {{"store", options.name}},
            [path = options.path] { return static_cast<double>(size_of(path) + size_of(path + "-wal")); })),
        waiting(metrics.computed("trellis_store_waiting", "Write operations that wait for the writer.",
                                 {{"store", options.name}},
                                 [this] { return static_cast<double>(queue_size.load(std::memory_order_relaxed)); })) {}

  Histogram& seconds_of(Metrics& metrics, const char* op, const char* role) const {
    return metrics.histogram("trellis_store_seconds", "Time of an operation of the store, waiting included.",
                             {{"store", options.name}, {"op", op}, {"role", role}});
  }

  // The file that was opened still has its name. What is written to one that has not is lost at the next start, and
  // who opened the name now would have another file, or make an empty one.
  bool in_place() const noexcept { return !file || file_at(options.path) == file; }
  Error moved_error() const {
    return refused(Code::unavailable, options.path + " was moved away or replaced while the store " + options.name +
                                          " is open: put it back, or restart the node");
  }

  Result<std::unique_ptr<SqliteConnection>> open_connection(bool read_only) const {
    if (!in_place()) return fail(moved_error());
    SqliteConnection::Options how;
    how.path = options.path;
    how.read_only = read_only;
    how.vfs = options.vfs;
    if (!read_only) how.cache_bytes = kWriterCache;
    return SqliteConnection::open(how);
  }
  Result<void> open_writer();

  Result<uint64_t> backup(const std::string& path, CopyOptions how);

  void work();
  std::vector<Operation> gather(std::unique_lock<std::mutex>& lock);
  void run_batch(std::vector<Operation>& batch);
  Result<void> run_operations(std::vector<Operation>& batch, std::vector<bool>& ran);
  void answer(std::vector<Operation>& batch);
  void refuse_all(std::vector<Operation>& batch, const Error& why);
  void stop_writes(const Error& why);
  void lose_connection(const Error& why);
  void try_to_recover();
  void checkpoint_if_due();
  void checkpoint(int mode);

  SqliteOptions options;
  FileLock file_lock;
  std::optional<FileId> file;  // that was opened
  Histogram& write_seconds;
  Histogram& commit_seconds;
  Histogram& checkpoint_seconds;
  Histogram& read_seconds;
  Histogram& backup_seconds;
  Counter& commit_count;
  Counter& operation_count;
  Counter& refused_count;

  // WHY a lock: every core hands operations to the one thread that may block.
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Operation> queue;
  bool closing = false;
  std::atomic<size_t> queue_size{0};
  std::thread thread;

  // WHY a lock: readers are borrowed by threads of the blocking pool, which are about to block anyway.
  std::mutex reader_mutex;
  std::condition_variable reader_free;
  std::vector<std::unique_ptr<SqliteConnection>> readers;
  size_t reader_count = 0;

  // The writer's own.
  std::unique_ptr<SqliteConnection> writer;
  Time next_probe;
  std::atomic<bool> healthy{true};
  std::string trouble;  // why it is not
  size_t last_batch = 0;
  Duration last_commit{0};
  uint64_t wal_bytes = 0;          // written since the WAL began anew
  uint64_t transaction_bytes = 0;  // of it, by the last one
  uint64_t held_back_at = 0;       // its size when it could not be written back in full

  std::atomic<uint64_t> commits{0};

  std::shared_ptr<void> bytes;  // last: what they read lives longer
  std::shared_ptr<void> waiting;
};

// --- Opening and closing ---

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(SqliteOptions options, Metrics& metrics) {
  options.path = behind_links(options.path);
  auto impl = std::make_shared<Impl>(std::move(options), metrics);
  TRY_VOID(impl->file_lock.take(impl->options.path + ".lock"));
  const auto at_path = [&](Result<void> result) -> Result<void> {
    if (result) return result;
    return fail(Error(result.error().code(), impl->options.path).because(std::move(result).error()));
  };
  // Before anything is changed.
  TRY_VOID(must_be_writable(impl->options.path));
  if (is_of_others(impl->options.path, impl->options.vfs)) {
    return fail(refused(Code::failed_precondition,
                        impl->options.path + " is a database of another program: it has tables, but none of a store"));
  }
  TRY_VOID(at_path(impl->open_writer()));
  impl->file = file_at(impl->options.path);
  // What a crash left in the WAL goes into the file before anyone reads.
  impl->checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
  // One reader from the start: the last connection to close takes the shared memory of the WAL with it, and on a disk
  // that has turned read-only no reader could make it again.
  auto reader = impl->open_connection(true);
  if (!reader) return fail(Error(reader.error().code(), impl->options.path).because(std::move(reader).error()));
  impl->readers.push_back(*std::move(reader));
  ++impl->reader_count;
  impl->thread = std::thread([raw = impl.get()] {
    pthread_setname_np(pthread_self(), "store-writer");
    // A batch of counts is a burst of milliseconds: on a full machine it must not stand before the loops.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 10);
    raw->work();
  });
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(impl)));
}

SqliteStore::SqliteStore(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

SqliteStore::~SqliteStore() { close(); }

void SqliteStore::close() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
  }
  impl_->wake.notify_one();
  if (impl_->thread.joinable()) impl_->thread.join();
}

Result<void> SqliteStore::Impl::open_writer() {
  TRY(writer, open_connection(false));
  TRY_VOID(writer->script("CREATE TABLE IF NOT EXISTS store_probe(id INTEGER PRIMARY KEY, at INTEGER NOT NULL)"));
  sqlite3_wal_hook(
      writer->handle(),
      [](void* self, sqlite3* db, const char*, int pages) {
        (void)db;
        auto& impl = *static_cast<Impl*>(self);
        const uint64_t written = static_cast<uint64_t>(pages) * 4096;
        impl.transaction_bytes = written - (impl.wal_bytes < written ? impl.wal_bytes : 0);
        impl.wal_bytes = written;
        return SQLITE_OK;
      },
      this);
  return {};
}

const std::string& SqliteStore::name() const noexcept { return impl_->options.name; }
size_t SqliteStore::queued() const { return impl_->queue_size.load(std::memory_order_relaxed); }
uint64_t SqliteStore::commits() const noexcept { return impl_->commits.load(std::memory_order_relaxed); }
bool SqliteStore::writable() const noexcept { return impl_->healthy.load(std::memory_order_relaxed); }
uint64_t SqliteStore::file_bytes() const {
  return size_of(impl_->options.path) + size_of(impl_->options.path + "-wal");
}

// --- Queue ---

Result<void> SqliteStore::enqueue(std::shared_ptr<detail::WriteOperation> operation) {
  Impl& impl = *impl_;
  operation->queued = impl.options.clock->now();
  bool was_empty = false;
  {
    const std::lock_guard lock(impl.mutex);
    if (impl.closing) return fail(refused(Code::unavailable, "the store " + impl.options.name + " is closed"));
    if (impl.queue.size() >= impl.options.max_queue) {
      impl.refused_count.add();
      return fail(refused(Code::resource_exhausted, "too many writes wait for the store " + impl.options.name));
    }
    was_empty = impl.queue.empty();
    impl.queue.push_back(std::move(operation));
    impl.queue_size.store(impl.queue.size(), std::memory_order_relaxed);
  }
  if (was_empty) impl.wake.notify_one();
  return {};
}

Result<void> SqliteStore::run_alone(const std::function<Result<void>(SqliteConnection&)>& fn) {
  auto operation = std::make_shared<BlockingOperation>(fn);
  std::future<Result<void>> done = operation->promise.get_future();
  TRY_VOID(enqueue(operation));
  return done.get();
}

Result<void> SqliteStore::migrate(std::string_view space, std::span<const Migration> migrations) {
  // On a connection of its own and not among the operations: a migration is a transaction, and may be long. The writer
  // waits for it, or it for the writer, as any two connections do.
  TRY(const std::unique_ptr<SqliteConnection> connection, impl_->open_connection(false));
  return store::migrate(*connection, space, migrations, unix_millis(impl_->options.clock->wall()));
}

// --- Backup ---

Result<uint64_t> SqliteStore::Impl::backup(const std::string& path, CopyOptions how) {
  const Time before = options.clock->now();
  // Of its own: the readers are for those who wait for an answer.
  TRY(const std::unique_ptr<SqliteConnection> source, open_connection(true));
  how.progress = [this, theirs = std::move(how.progress)](uint64_t done, uint64_t total) {
    {
      const std::lock_guard lock(mutex);
      if (closing) return false;
    }
    return !theirs || theirs(done, total);
  };
  TRY(const uint64_t copied, copy(*source, path, how));
  backup_seconds.record(options.clock->now() - before);
  return copied;
}

Task<Result<uint64_t>> SqliteStore::backup(std::string path, CopyOptions how) {
  auto work = [impl = impl_, to = std::move(path), options = std::move(how)]() mutable -> Result<uint64_t> {
    return impl->backup(to, std::move(options));
  };
  Task<Result<uint64_t>> task = blocking(std::move(work));
  co_return co_await task;
}

// --- The writer ---

void SqliteStore::Impl::work() {
  std::unique_lock lock(mutex);
  while (true) {
    if (queue.empty()) {
      if (closing) break;
      const auto ready = [this] { return closing || !queue.empty(); };
      lock.unlock();
      const bool is_large =
          writer && (wal_bytes >= options.checkpoint_bytes || size_of(options.path + "-wal") > options.truncate_bytes);
      lock.lock();
      // Not in the moment between two operations of one import.
      if (is_large && !wake.wait_for(lock, options.truncate_after, ready)) {
        lock.unlock();
        checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
        sqlite3_db_release_memory(writer->handle());  // what was written was much, and is over
        lock.lock();
      }
      if (healthy.load(std::memory_order_relaxed)) {
        wake.wait(lock, ready);
      } else if (!wake.wait_for(lock, kProbeEvery, ready)) {
        lock.unlock();
        try_to_recover();
        lock.lock();
        continue;
      }
      if (queue.empty()) continue;
    }
    std::vector<Operation> batch = gather(lock);
    lock.unlock();
    run_batch(batch);
    batch.clear();
    checkpoint_if_due();
    lock.lock();
  }
  lock.unlock();
  if (writer) checkpoint(SQLITE_CHECKPOINT_TRUNCATE);
  {
    const std::lock_guard guard(reader_mutex);
    readers.clear();
  }
  writer.reset();
}

// Takes what waits. Only where the last batch showed that several clients write at once, and fewer are here now, a
// little is waited for the others: they were answered together and come back together. A single client never waits.
std::vector<Operation> SqliteStore::Impl::gather(std::unique_lock<std::mutex>& lock) {
  const size_t expected = std::min(last_batch, options.max_batch);
  if (expected >= 4 && queue.size() < expected / 2 && !closing) {
    const Duration linger = std::min(kMaxLinger, last_commit / 4);
    wake.wait_for(lock, linger, [&] { return closing || queue.size() >= expected; });
  }
  std::vector<Operation> batch;
  size_t batch_bytes = 0;
  while (!queue.empty() && batch.size() < options.max_batch && batch_bytes < options.max_batch_bytes) {
    batch_bytes += queue.front()->bytes;
    batch.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  queue_size.store(queue.size(), std::memory_order_relaxed);
  return batch;
}

void SqliteStore::Impl::run_batch(std::vector<Operation>& batch) {
  const Time now = options.clock->now();
  std::vector<Operation> live;
  std::vector<Operation> late;
  for (Operation& operation : batch) (operation->deadline <= now ? late : live).push_back(std::move(operation));
  if (!late.empty()) {
    refuse_all(late, refused(Code::deadline_exceeded, "the write waited too long for the store " + options.name));
  }
  last_batch = live.size();
  if (live.empty()) return;
  if (!healthy.load(std::memory_order_relaxed)) try_to_recover();
  if (!healthy.load(std::memory_order_relaxed)) {
    refuse_all(live, refused(Code::unavailable, "the store " + options.name + " takes no writes now: " + trouble));
    return;
  }

  std::vector<bool> ran(live.size());
  Result<void> done = run_operations(live, ran);
  if (done) {
    const Time before = options.clock->now();
    done = writer->execute("COMMIT");
    last_commit = options.clock->now() - before;
    commit_seconds.record(last_commit);
  }
  const bool moved = done && !in_place();
  if (moved) done = fail(moved_error());
  if (!done) {
    // Nothing of the batch is acknowledged, whatever the operations said.
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::error, "write to the store failed",
              {{"store", options.name}, {"error", done.error().to_string()}});
    const bool lost = !moved && writer->last_was_io_error();
    if (writer->in_transaction()) (void)writer->script("ROLLBACK");
    const Error why = std::move(done).error();
    if (lost || writer->in_transaction()) {
      lose_connection(why);
    } else if (moved) {
      // The connection stays: at the end it empties the WAL, which must not lie beside another file.
      stop_writes(why);
    }
    const Code code = why.code() == Code::resource_exhausted ? Code::resource_exhausted : Code::unavailable;
    std::vector<Operation> lost_operations;
    std::vector<Operation> failed_operations;
    for (size_t i = 0; i < live.size(); ++i)
      (ran[i] ? lost_operations : failed_operations).push_back(std::move(live[i]));
    answer(failed_operations);
    refuse_all(lost_operations, refused(code, "the store " + options.name + " could not write: " + why.what()));
    return;
  }
  commits.fetch_add(1, std::memory_order_relaxed);
  commit_count.add();
  operation_count.add(live.size());
  const Time after_commit = options.clock->now();
  for (const Operation& operation : live) write_seconds.record(after_commit - operation->queued);
  answer(live);
}

// Marks in `ran` what must be refused if the commit fails: all but those that failed by themselves.
Result<void> SqliteStore::Impl::run_operations(std::vector<Operation>& batch, std::vector<bool>& ran) {
  std::fill(ran.begin(), ran.end(), true);
  TRY_VOID(writer->execute("BEGIN IMMEDIATE"));
  if (batch.size() == 1) {
    // The transaction is its savepoint: a real one would keep a copy of every page that it changes.
    if (batch.front()->run(*writer)) return {};
    if (!writer->in_transaction()) return fail(writer->error("an operation ended the transaction"));
    TRY_VOID(writer->execute("ROLLBACK"));
    TRY_VOID(writer->execute("BEGIN IMMEDIATE"));
    ran.front() = false;
    return {};
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    TRY_VOID(writer->execute("SAVEPOINT operation"));
    if (batch[i]->run(*writer)) {
      TRY_VOID(writer->execute("RELEASE operation"));
      continue;
    }
    // A full disk or a failed read may have ended the whole transaction.
    if (!writer->in_transaction()) return fail(writer->error("an operation ended the transaction"));
    TRY_VOID(writer->execute("ROLLBACK TO operation"));
    TRY_VOID(writer->execute("RELEASE operation"));
    ran[i] = false;
  }
  return {};
}

// One message a loop, however many of the batch wait on it.
void SqliteStore::Impl::answer(std::vector<Operation>& batch) {
  std::stable_sort(batch.begin(), batch.end(),
                   [](const Operation& a, const Operation& b) { return std::less<>()(a->home, b->home); });
  for (size_t from = 0; from < batch.size();) {
    size_t to = from + 1;
    while (to < batch.size() && batch[to]->home == batch[from]->home) ++to;
    Loop* home = batch[from]->home;
    if (home) {
      std::vector<Operation> mine(std::make_move_iterator(batch.begin() + static_cast<ptrdiff_t>(from)),
                                  std::make_move_iterator(batch.begin() + static_cast<ptrdiff_t>(to)));
      home->post([mine = std::move(mine)] {
        for (const Operation& operation : mine) operation->finish();
      });
    } else {
      for (size_t i = from; i < to; ++i) batch[i]->finish();
    }
    from = to;
  }
  batch.clear();
}

void SqliteStore::Impl::refuse_all(std::vector<Operation>& batch, const Error& why) {
  refused_count.add(batch.size());
  for (const Operation& operation : batch) operation->refuse(why);
  answer(batch);
}

// --- Faults ---

void SqliteStore::Impl::stop_writes(const Error& why) {
  log_error("the store refuses writes until it can be written again",
            {{"store", options.name}, {"error", why.to_string()}});
  healthy.store(false, std::memory_order_relaxed);
  trouble = why.what();
  next_probe = options.clock->now() + kProbeEvery;
}

void SqliteStore::Impl::lose_connection(const Error& why) {
  stop_writes(why);
  writer.reset();
}

void SqliteStore::Impl::try_to_recover() {
  if (options.clock->now() < next_probe) return;
  next_probe = options.clock->now() + kProbeEvery;
  if (!in_place()) return;
  writer.reset();
  Result<void> works = open_writer();
  if (works) works = writer->script("BEGIN IMMEDIATE");
  if (works) {
    works =
        writer->execute("INSERT OR REPLACE INTO store_probe(id, at) VALUES(1, ?1)", unix_millis(options.clock->wall()));
    if (works) works = writer->script("COMMIT");
  }
  if (!works) {
    writer.reset();
    return;
  }
  healthy.store(true, std::memory_order_relaxed);
  log_info("the store can be written again", {{"store", options.name}});
}

// --- Checkpoints ---

void SqliteStore::Impl::checkpoint_if_due() {
  if (!writer) return;
  // WHY later among large ones, as those of an import: each changes many of the same pages, which are then written back
  // once for some of them. Who writes little waits for little.
  const bool is_large = transaction_bytes >= options.checkpoint_bytes;
  const uint64_t due = is_large ? std::max(options.truncate_bytes, options.checkpoint_bytes) : options.checkpoint_bytes;
  if (wal_bytes < options.checkpoint_bytes) held_back_at = 0;
  if (wal_bytes < due || (held_back_at > 0 && wal_bytes < held_back_at + options.checkpoint_bytes)) return;
  checkpoint(SQLITE_CHECKPOINT_PASSIVE);
  // By a reader: tried again when as much has been added, not after each commit.
  held_back_at = wal_bytes;
}

void SqliteStore::Impl::checkpoint(int mode) {
  const Time before = options.clock->now();
  // A truncating one waits for readers; briefly, since writers wait for it.
  sqlite3_busy_timeout(writer->handle(), mode == SQLITE_CHECKPOINT_PASSIVE ? 0 : 100);
  int frames = 0;
  int moved = 0;
  const int code = sqlite3_wal_checkpoint_v2(writer->handle(), nullptr, mode, &frames, &moved);
  sqlite3_busy_timeout(writer->handle(), 2000);
  checkpoint_seconds.record(options.clock->now() - before);
  if (code == SQLITE_OK && frames == moved) {
    wal_bytes = 0;
  } else if (code != SQLITE_OK && code != SQLITE_BUSY && code != SQLITE_LOCKED) {
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "checkpoint failed",
              {{"store", options.name}, {"error", writer->error("checkpoint").to_string()}});
  }
}

// --- Readers ---

SqliteStore::Reader::Reader(std::shared_ptr<Impl> owner, Deadline deadline) : impl(std::move(owner)) {
  started = impl->options.clock->now();
  if (deadline <= started) {
    error.emplace(refused(Code::deadline_exceeded, "the read waited too long for the store " + impl->options.name));
    return;
  }
  {
    std::unique_lock lock(impl->reader_mutex);
    impl->reader_free.wait(lock,
                           [&] { return !impl->readers.empty() || impl->reader_count < impl->options.max_readers; });
    if (!impl->readers.empty()) {
      connection = std::move(impl->readers.back());
      impl->readers.pop_back();
      return;
    }
    ++impl->reader_count;
  }
  Result<std::unique_ptr<SqliteConnection>> opened = impl->open_connection(true);
  if (opened) {
    connection = *std::move(opened);
    return;
  }
  const std::lock_guard lock(impl->reader_mutex);
  --impl->reader_count;
  error.emplace(std::move(opened).error());
}

SqliteStore::Reader::~Reader() {
  if (!connection) return;
  impl->read_seconds.record(impl->options.clock->now() - started);
  // A transaction left open would hold an old state for ever; a connection with an I/O error is not trusted again.
  if (connection->in_transaction()) (void)connection->script("ROLLBACK");
  const bool broken = connection->last_was_io_error() || connection->in_transaction();
  if (broken) connection.reset();
  {
    const std::lock_guard lock(impl->reader_mutex);
    if (broken) {
      --impl->reader_count;
    } else {
      impl->readers.push_back(std::move(connection));
    }
  }
  impl->reader_free.notify_one();
}

}  // namespace trellis::store
