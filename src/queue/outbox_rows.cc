#include "queue/outbox_rows.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/varint.h"
#include "store/sqlite_connection.h"

namespace trellis::queue {

namespace {

using store::Blob;
using store::Query;
using store::SqliteConnection;

// outbox.last: the number of the row's last event. outbox_topics.moved: the log has all up to this one, and goes on at
// `next`; both change together. Rows that are not above `moved` only wait to be removed.
constexpr std::array<store::Migration, 2> kMigrations = {{{1, "outbox", R"sql(
CREATE TABLE outbox_topics(
  id INTEGER PRIMARY KEY,
  topic TEXT NOT NULL UNIQUE,
  name INTEGER NOT NULL,
  moved INTEGER NOT NULL,
  next INTEGER NOT NULL
) STRICT;
CREATE TABLE outbox(
  topic INTEGER NOT NULL,
  last INTEGER NOT NULL,
  count INTEGER NOT NULL,
  events BLOB NOT NULL,
  put_at INTEGER NOT NULL,
  PRIMARY KEY(topic, last)
) STRICT, WITHOUT ROWID;
)sql"},
                                                          {2, "packed", R"sql(
-- Bytes of the events before they were packed with zstd; 0: they are not packed.
ALTER TABLE outbox ADD COLUMN unpacked INTEGER NOT NULL DEFAULT 0;
)sql"}}};

constexpr size_t kEventsARow = 1000;
constexpr size_t kBytesARow = size_t{256} << 10;
constexpr size_t kPackedFrom = size_t{4} << 10;  // bytes
// WHY the fastest that still packs well: mostly it is the store's one writer that packs.
constexpr int kPackingLevel = -3;
// What a row can have: its last event, and what came before it, with the lengths of all.
constexpr size_t kMostUnpacked = kBytesARow + kMaxOutboxKey + kMaxOutboxPayload + kEventsARow * 8;

Error wrong(const char* what) { return Error(Code::invalid_argument, what).from(Side::self); }

Result<void> check(const OutboxEvent& event) {
  if (event.key.size() > kMaxOutboxKey) return fail(wrong("the key of an event is longer than 1 KiB"));
  if (event.payload.size() > kMaxOutboxPayload) return fail(wrong("an event is larger than 1 MiB"));
  if (event.payload.size() < 2 || event.payload.front() != '{' || event.payload.back() != '}')
    return fail(wrong("an event is a JSON object"));
  return {};
}

// Numbers are given by the statement itself, so that those of an operation that is taken back are given again.
Result<void> put_row(SqliteConnection& db, std::string_view topic, const OutboxRow& row, int64_t max_waiting,
                     WallTime wall) {
  TRY_VOID(db.execute(
      "INSERT INTO outbox(topic, last, count, events, put_at, unpacked) SELECT t.id, "
      "max(coalesce((SELECT max(last) FROM outbox o WHERE o.topic = t.id), 0), t.moved) + ?2, ?2, ?3, ?4, ?6 "
      "FROM outbox_topics t WHERE t.topic = ?1 AND "
      "max(coalesce((SELECT max(last) FROM outbox o WHERE o.topic = t.id), 0), t.moved) - t.moved + ?2 <= ?5",
      topic, row.count, Blob{row.bytes}, unix_millis(wall), max_waiting, row.unpacked));
  if (db.changes() == 1) return {};
  return fail(Error(Code::resource_exhausted, "too many events of " + std::string(topic) +
                                                  " wait for the log, which does not take them (limit " +
                                                  std::to_string(max_waiting) + ")")
                  .from(Side::self));
}

OutboxRow row_of(std::span<const OutboxEvent> events) {
  OutboxRow row{.count = events.size()};
  for (const OutboxEvent& event : events) {
    append_varint(row.bytes, event.key.size());
    row.bytes += event.key;
    append_varint(row.bytes, event.payload.size());
    row.bytes += event.payload;
  }
  if (row.bytes.size() < kPackedFrom) return row;
  std::string packed;
  packed.resize_and_overwrite(ZSTD_compressBound(row.bytes.size()), [&](char* into, size_t room) {
    const size_t size = ZSTD_compress(into, room, row.bytes.data(), row.bytes.size(), kPackingLevel);
    return ZSTD_isError(size) ? size_t{0} : size;
  });
  if (packed.empty() || packed.size() >= row.bytes.size()) return row;
  return {row.count, std::move(packed), row.bytes.size()};
}

}  // namespace

std::span<const store::Migration> outbox_migrations() noexcept { return kMigrations; }

Result<uint32_t> open_outbox(SqliteConnection& db, std::string_view topic, uint32_t fresh) {
  TRY_VOID(db.execute("INSERT INTO outbox_topics(topic, name, moved, next) VALUES(?1, ?2, 0, 0) ON CONFLICT DO NOTHING",
                      topic, fresh));
  TRY(Query row, db.query("SELECT name FROM outbox_topics WHERE topic = ?1", topic));
  TRY(const bool there, row.next());
  return there ? static_cast<uint32_t>(row.integer(0)) : 0;
}

Result<void> outbox_put(SqliteConnection& db, std::string_view topic, std::span<const OutboxRow> rows,
                        int64_t max_waiting, WallTime wall) {
  for (const OutboxRow& row : rows) {
    TRY_VOID(put_row(db, topic, row, max_waiting, wall));
  }
  return {};
}

// --- For the relay ---

Result<OutboxState> outbox_state(SqliteConnection& db, std::string_view topic) {
  TRY(Query row, db.query("SELECT moved, next, "
                          "max(coalesce((SELECT max(last) FROM outbox o WHERE o.topic = t.id), 0), moved) - moved, "
                          "coalesce((SELECT put_at FROM outbox o WHERE o.topic = t.id AND last > moved "
                          "ORDER BY last LIMIT 1), 0) "
                          "FROM outbox_topics t WHERE topic = ?1",
                          topic));
  TRY(const bool there, row.next());
  if (!there) return fail(Code::not_found, "there is no outbox of the topic " + std::string(topic));
  OutboxState state;
  state.moved = row.integer(0);
  state.next = static_cast<uint64_t>(row.integer(1));
  state.waiting = row.integer(2);
  state.oldest_ms = row.integer(3);
  return state;
}

Result<std::vector<WaitingEvent>> outbox_waiting(SqliteConnection& db, std::string_view topic, int64_t after,
                                                 size_t max, size_t max_bytes) {
  std::vector<WaitingEvent> waiting;
  size_t bytes = 0;
  TRY(Query rows, db.query("SELECT last, count, events, unpacked FROM outbox WHERE topic = "
                           "(SELECT id FROM outbox_topics WHERE topic = ?1) AND last > ?2 ORDER BY last",
                           topic, after));
  while (waiting.size() < max && bytes < max_bytes) {
    TRY(const bool row, rows.next());
    if (!row) break;
    const auto unpacked = static_cast<size_t>(rows.integer(3));
    bytes += std::max(rows.blob(2).size(), unpacked);
    TRY(std::vector<OutboxEvent> events, read_outbox_row(rows.blob(2), unpacked));
    if (events.size() != static_cast<size_t>(rows.integer(1)))
      return fail(Code::data_loss, "a row of the outbox has another number of events than it says");
    int64_t number = rows.integer(0) - rows.integer(1);
    for (OutboxEvent& event : events) {
      if (++number > after) waiting.push_back({number, std::move(event)});
    }
  }
  return waiting;
}

Result<Forgotten> outbox_forget(SqliteConnection& db, std::string_view topic, int64_t number, uint64_t next,
                                size_t rows) {
  Forgotten forgotten;
  TRY_VOID(
      db.execute("DELETE FROM outbox WHERE (topic, last) IN (SELECT topic, last FROM outbox WHERE topic = "
                 "(SELECT id FROM outbox_topics WHERE topic = ?1) AND last <= ?2 ORDER BY last LIMIT ?3)",
                 topic, number, rows));
  forgotten.rows = static_cast<size_t>(db.changes());
  // Whatever rows are left: a relay that begins anew reads the log from `next`, and finds nothing before it.
  TRY_VOID(
      db.execute("UPDATE outbox_topics SET moved = max(moved, ?2), next = ?3 WHERE topic = ?1", topic, number, next));
  TRY(forgotten.state, outbox_state(db, topic));
  return forgotten;
}

// --- Forms ---

std::string outbox_record(uint32_t name, int64_t number, std::string_view payload) {
  std::string record = fmt::format("{{\"id\":\"{:08x}-{}\"", name, number);
  if (payload.size() > 2) record += ',';
  record += payload.substr(1);
  return record;
}

std::optional<int64_t> outbox_number(uint32_t name, std::string_view record) {
  const std::string prefix = fmt::format("{{\"id\":\"{:08x}-", name);
  if (!record.starts_with(prefix)) return std::nullopt;
  record.remove_prefix(prefix.size());
  int64_t number = 0;
  const auto [end, error] = std::from_chars(record.data(), record.data() + record.size(), number);
  if (error != std::errc() || number < 1) return std::nullopt;
  if (end == record.data() + record.size() || *end != '"') return std::nullopt;
  return number;
}

Result<std::vector<OutboxRow>> outbox_rows(std::span<const OutboxEvent> events) {
  std::vector<OutboxRow> rows;
  size_t from = 0;
  while (from < events.size()) {
    size_t to = from;
    size_t bytes = 0;
    while (to < events.size() && to - from < kEventsARow && bytes < kBytesARow) {
      TRY_VOID(check(events[to]));
      bytes += events[to].key.size() + events[to].payload.size();
      ++to;
    }
    rows.push_back(row_of(events.subspan(from, to - from)));
    from = to;
  }
  return rows;
}

Result<std::vector<OutboxEvent>> read_outbox_row(std::string_view bytes, size_t unpacked) {
  const auto damaged = [] { return fail(Code::data_loss, "a row of the outbox is damaged"); };
  std::string plain;
  if (unpacked > 0) {
    if (unpacked > kMostUnpacked) return damaged();
    size_t size = 0;
    plain.resize_and_overwrite(unpacked, [&](char* into, size_t room) {
      size = ZSTD_decompress(into, room, bytes.data(), bytes.size());
      return ZSTD_isError(size) ? size_t{0} : size;
    });
    if (ZSTD_isError(size) || size != unpacked) return damaged();
    bytes = plain;
  }
  ByteReader reader(bytes);
  std::vector<OutboxEvent> events;
  while (!reader.at_end() && !reader.failed()) {
    OutboxEvent event;
    event.key = reader.bytes(reader.varint());
    event.payload = reader.bytes(reader.varint());
    if (!reader.failed() && !check(event)) return fail(Code::data_loss, "an event of the outbox is no event");
    events.push_back(std::move(event));
  }
  if (reader.failed()) return damaged();
  return events;
}

}  // namespace trellis::queue
