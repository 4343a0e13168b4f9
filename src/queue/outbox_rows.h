// The outbox: events that a service writes in the transaction of the rows that they tell of, in a table of the same
// store. A relay (outbox_relay.h) moves them to the event log, so that the log has an event for each change that is on
// disk, and for no other. Plain functions over a connection, each called inside an operation of the store.
//
// Events of a topic are numbered from 1 without gaps. One write's events are one row, or some: a batch of ten thousand
// costs a few inserts. In the log an event carries its number with the name of its outbox ("id":"5f3a9c12-4711"), which
// makes a second copy recognisable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::queue {

struct OutboxEvent {
  std::string key;
  std::string payload;  // a JSON object without a member "id"
};

inline constexpr size_t kMaxOutboxKey = 1024;
inline constexpr size_t kMaxOutboxPayload = size_t{1} << 20;

// For SqliteStore::migrate("outbox", ...).
std::span<const store::Migration> outbox_migrations() noexcept;

// Once before the first event. Gives the outbox's name, a number: `fresh`, drawn at random, if it has none yet.
Result<uint32_t> open_outbox(store::SqliteConnection& db, std::string_view topic, uint32_t fresh);

// Some events as a row has them: as they are, or where they are more than a few KiB, packed with zstd (RFC 8878), for
// events of one kind resemble each other.
struct OutboxRow {
  size_t count = 0;  // of events
  std::string bytes;
  size_t unpacked = 0;  // bytes of the events before they were packed; 0: they are not
};
// On any thread: packing is work that the store's writer need not do. invalid_argument: a key or a payload beyond its
// limit.
Result<std::vector<OutboxRow>> outbox_rows(std::span<const OutboxEvent> events);
// data_loss: not what was written.
Result<std::vector<OutboxEvent>> read_outbox_row(std::string_view bytes, size_t unpacked);

// On the store's writer, with the rows that the events tell of. resource_exhausted: max_waiting events would wait for
// the log.
Result<void> outbox_put(store::SqliteConnection& db, std::string_view topic, std::span<const OutboxRow> rows,
                        int64_t max_waiting, WallTime wall);

// --- For the relay ---

struct OutboxState {
  int64_t moved = 0;      // all up to this one are in the log
  uint64_t next = 0;      // the offset of the log behind them
  int64_t waiting = 0;    // events behind `moved`
  int64_t oldest_ms = 0;  // when the first of them was put
};
Result<OutboxState> outbox_state(store::SqliteConnection& db, std::string_view topic);

struct WaitingEvent {
  int64_t number = 0;
  OutboxEvent event;
};
// In order, those behind `after`: of whole rows, until there are `max` or about `max_bytes`. data_loss: a row cannot be
// read.
Result<std::vector<WaitingEvent>> outbox_waiting(store::SqliteConnection& db, std::string_view topic, int64_t after,
                                                 size_t max, size_t max_bytes);
// All up to `number` are in the log, which goes on at `next`: at most `rows` rows go. An outbox that is younger than
// its log, as one from a backup, goes on above the numbers that the log has.
struct Forgotten {
  OutboxState state;  // afterwards
  size_t rows = 0;    // that went
};
Result<Forgotten> outbox_forget(store::SqliteConnection& db, std::string_view topic, int64_t number, uint64_t next,
                                size_t rows);

// The event as it stands in the log: the payload with its id in front.
std::string outbox_record(uint32_t name, int64_t number, std::string_view payload);
// The number of an event of the outbox `name`; none: it is another's.
std::optional<int64_t> outbox_number(uint32_t name, std::string_view record);

}  // namespace trellis::queue
