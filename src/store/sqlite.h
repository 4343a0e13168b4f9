// A store in one SQLite file. All writes go through one thread with one connection, which gathers what waits, runs each
// operation in a savepoint of its own inside one transaction (one that is alone has the transaction), and answers all
// of them after one COMMIT: acknowledged means that the WAL is on disk (synchronous=FULL). An operation that fails
// takes nothing but itself back. Reads run on their own connections in the blocking pool and never wait for the writer.
// Usable from every core; a caller is resumed on its own. Owned by the app, which closes it after everybody who uses it
// and before the loops end.
//
// When the disk is full, writes fail and reads go on; the next write tries again. After an I/O error in a commit
// nothing is retried on that connection: what the kernel still holds is not known to be on disk. It is closed and
// opened anew, and writes are refused until a probe was committed. They are refused too while the file that was opened
// has lost its name: what is committed to it then is gone at the next start. Only the writer checkpoints.
#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "base/time.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/task.h"
#include "store/backup.h"
#include "store/migrations.h"
#include "store/sqlite_connection.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis

namespace trellis::store {

struct SqliteOptions {
  std::string name = "main";  // in metrics and errors
  std::string path;
  size_t max_batch = 256;  // operations a transaction
  size_t max_batch_bytes = 1 << 20;
  size_t max_queue = 100'000;                         // operations that wait; more are refused
  uint64_t checkpoint_bytes = uint64_t{4} << 20;      // of WAL: written back into the file
  uint64_t truncate_bytes = uint64_t{64} << 20;       // of WAL: the same among large transactions; cut when idle ...
  Duration truncate_after = std::chrono::seconds(1);  // ... for so long
  size_t max_readers = 16;
  std::string vfs;  // "": the default one; tests put a faulty disk here
  Clock* clock = &system_clock();
};

namespace detail {

// An operation on its way through the writer. Shared between the waiter, who may go first, and the writer.
class WriteOperation {
 public:
  virtual ~WriteOperation() = default;
  // On the writer's thread, inside its savepoint or, when it is alone, the transaction. False: take it back.
  virtual bool run(SqliteConnection& connection) = 0;
  // Instead of its own result.
  virtual void refuse(const Error& why) = 0;
  // On `home`'s thread, when the outcome is certain.
  virtual void finish() = 0;

  Loop* home = nullptr;
  Deadline deadline = kNever;
  Time queued;
  size_t bytes = 0;
};

struct DoNothing {
  template <class R>
  void operator()(const R&) const noexcept {}
};

template <class F, class R, class Then>
class WriteOperationOf final : public WriteOperation {
 public:
  WriteOperationOf(F fn, Then then) : fn_(std::move(fn)), then_(std::move(then)) {}
  bool run(SqliteConnection& connection) override {
    result.emplace(fn_(connection));
    return result->has_value();
  }
  void refuse(const Error& why) override { result.emplace(std::unexpected<Error>(why.clone())); }
  void finish() override {
    done = true;
    then_(std::as_const(*result));
    if (waiter) std::exchange(waiter, nullptr).resume();
  }

  std::optional<R> result;
  std::coroutine_handle<> waiter;  // touched on the home loop only
  bool done = false;               // likewise

 private:
  F fn_;
  Then then_;
};

template <class Operation>
class WriteAwaiter {
 public:
  explicit WriteAwaiter(Operation& operation) noexcept : operation_(operation) {}
  WriteAwaiter(const WriteAwaiter&) = delete;
  WriteAwaiter& operator=(const WriteAwaiter&) = delete;
  ~WriteAwaiter() { operation_.waiter = nullptr; }
  bool await_ready() const noexcept { return operation_.done; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { operation_.waiter = waiter; }
  void await_resume() const noexcept {}

 private:
  Operation& operation_;
};

}  // namespace detail

class SqliteStore {
 public:
  // Blocks: opens the file (making it), takes its lock so that no second process does, starts the writer.
  static Result<std::unique_ptr<SqliteStore>> open(SqliteOptions options, Metrics& metrics);
  ~SqliteStore();  // close()
  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;

  // fn: Result<T>(SqliteConnection&), run once on the writer's thread with others in one transaction; it must own what
  // it uses, begin no transaction, and have no effect beside the store, for it may be taken back. Its value comes after
  // the commit. An operation whose deadline passes while it waits in the queue is not run (deadline_exceeded); once it
  // runs, its outcome is waited for. A waiter that is destroyed does not stop it, nor `then`:
  // void(const Result<T>&), run on the caller's loop when the outcome is certain, whether somebody still waits or not;
  // so it too owns what it uses. `bytes`: about how much the operation writes.
  template <class F, class Then = detail::DoNothing, class R = std::invoke_result_t<F&, SqliteConnection&>>
  Task<R> write(F fn, Deadline deadline = kNever, size_t bytes = 512, Then then = {}) {
    auto operation = std::make_shared<detail::WriteOperationOf<F, R, Then>>(std::move(fn), std::move(then));
    operation->home = &Loop::current();
    operation->deadline = deadline;
    operation->bytes = bytes;
    Result<void> queued = enqueue(operation);
    if (!queued) co_return fail(std::move(queued).error());
    detail::WriteAwaiter awaiter(*operation);
    co_await awaiter;
    co_return std::move(*operation->result);
  }

  // fn: Result<T>(SqliteConnection&), run in the blocking pool on a connection that cannot write. Several statements
  // see one state only inside a transaction of fn's own (BEGIN, COMMIT), which must be short: it keeps the WAL from
  // being reset.
  template <class F, class R = std::invoke_result_t<F&, SqliteConnection&>>
  Task<R> read(F fn, Deadline deadline = kNever) {
    auto work = [impl = impl_, f = std::move(fn), deadline]() mutable -> R {
      Reader reader(std::move(impl), deadline);
      if (reader.error) return fail(std::move(*reader.error));
      return f(*reader.connection);
    };
    Task<R> task = blocking(std::move(work));
    co_return co_await task;
  }

  // Copies the state of this moment into the file `path` in the blocking pool, while reads and writes go on: see
  // backup.h. The WAL grows until it is done. cancelled: the store was closed on the way. `how.progress` is called in
  // the pool.
  Task<Result<uint64_t>> backup(std::string path, CopyOptions how = {});

  // Migrations, and write() on this thread, for starting and stopping: blocks.
  Result<void> migrate(std::string_view space, std::span<const Migration> migrations);
  template <class F, class R = std::invoke_result_t<F&, SqliteConnection&>>
  R write_now(F fn) {
    std::optional<R> result;
    const Result<void> ran = run_alone([&](SqliteConnection& connection) -> Result<void> {
      R value = fn(connection);
      Result<void> told;
      if (!value) told = fail(value.error().clone());
      result.emplace(std::move(value));
      return told;
    });
    if (!ran) return fail(ran.error().clone());
    return std::move(*result);
  }

  // Refuses new operations, finishes those that wait, writes the WAL back, ends the thread. Blocks. Again: nothing.
  void close();

  const std::string& name() const noexcept;
  size_t queued() const;
  uint64_t commits() const noexcept;
  // Whether the last attempt to write was a success; false for as long as the file refuses writes.
  bool writable() const noexcept;
  uint64_t file_bytes() const;  // with the WAL

 private:
  struct Impl;
  // A read connection for the time of a call.
  struct Reader {
    Reader(std::shared_ptr<Impl> owner, Deadline deadline);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    std::shared_ptr<Impl> impl;
    std::unique_ptr<SqliteConnection> connection;
    std::optional<Error> error;
    Time started;
  };

  explicit SqliteStore(std::shared_ptr<Impl> impl) noexcept;
  Result<void> enqueue(std::shared_ptr<detail::WriteOperation> operation);
  Result<void> run_alone(const std::function<Result<void>(SqliteConnection&)>& fn);

  std::shared_ptr<Impl> impl_;  // shared with reads under way, whose caller may have gone
};

}  // namespace trellis::store
