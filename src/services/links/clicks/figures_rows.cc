#include "services/links/clicks/figures_rows.h"

#include <array>
#include <cstring>

#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Blob;
using store::Query;
using store::SqliteConnection;

// Minutes lie in the order of time, so that the old ones go at little cost; hours and days in the order of links, so
// that a question about one reads a few pages.
constexpr std::array<store::Migration, 2> kMigrations = {
    {{1, "figures", R"sql(
CREATE TABLE figures_minutes(
  number INTEGER NOT NULL,
  link INTEGER NOT NULL,
  figures BLOB NOT NULL,
  PRIMARY KEY(number, link)
) STRICT, WITHOUT ROWID;
CREATE TABLE figures_hours(
  link INTEGER NOT NULL,
  number INTEGER NOT NULL,
  figures BLOB NOT NULL,
  PRIMARY KEY(link, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX figures_hours_by_time ON figures_hours(number);
CREATE TABLE figures_days(
  link INTEGER NOT NULL,
  number INTEGER NOT NULL,
  figures BLOB NOT NULL,
  PRIMARY KEY(link, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE click_progress(
  counter TEXT PRIMARY KEY,
  counted INTEGER NOT NULL,
  upto INTEGER NOT NULL,
  rows INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE visitor_salt(one INTEGER PRIMARY KEY CHECK(one = 1), day INTEGER NOT NULL, salt BLOB NOT NULL) STRICT;
)sql"},
     // An earlier release must refuse the file.
     {2, "figures_with_visitors", "-- New rows say how many visitors they have."}}};

constexpr std::array<std::string_view, 3> kSpans = {"minute", "hour", "day"};
constexpr int64_t kDroppedAtOnce = 2000;

constexpr std::array<const char*, 3> kFind = {
    "SELECT figures FROM figures_minutes WHERE number = ?2 AND link = ?1",
    "SELECT figures FROM figures_hours WHERE link = ?1 AND number = ?2",
    "SELECT figures FROM figures_days WHERE link = ?1 AND number = ?2",
};
constexpr std::array<const char*, 3> kPut = {
    "INSERT OR REPLACE INTO figures_minutes(link, number, figures) VALUES(?1, ?2, ?3)",
    "INSERT OR REPLACE INTO figures_hours(link, number, figures) VALUES(?1, ?2, ?3)",
    "INSERT OR REPLACE INTO figures_days(link, number, figures) VALUES(?1, ?2, ?3)",
};
constexpr std::array<const char*, 3> kRange = {
    nullptr,  // they lie apart
    "SELECT number, figures FROM figures_hours WHERE link = ?1 AND number >= ?2 AND number < ?3 ORDER BY number",
    "SELECT number, figures FROM figures_days WHERE link = ?1 AND number >= ?2 AND number < ?3 ORDER BY number",
};

size_t index_of(Span span) noexcept { return static_cast<size_t>(span); }

Result<std::optional<Figures>> find_one(SqliteConnection& db, Span span, int64_t link, int64_t number) {
  TRY(Query row, db.query(kFind[index_of(span)], link, number));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Figures>();
  TRY(Figures figures, Figures::read(row.blob(0)));
  return std::optional<Figures>(std::move(figures));
}

}  // namespace

std::span<const store::Migration> figures_migrations() noexcept { return kMigrations; }

std::string_view to_string(Span span) noexcept { return kSpans[index_of(span)]; }

std::optional<Span> span_of(std::string_view name) noexcept {
  for (size_t i = 0; i < kSpans.size(); ++i) {
    if (kSpans[i] == name) return static_cast<Span>(i);
  }
  return std::nullopt;
}

Result<void> add_figures(SqliteConnection& db, std::span<const FiguresRow> rows) {
  std::string bytes;
  for (const FiguresRow& row : rows) {
    TRY(std::optional<Figures> before, find_one(db, row.span, row.link, row.number));
    bytes.clear();
    if (before) {
      before->merge(row.figures);
      before->append_to(bytes);
    } else {
      row.figures.append_to(bytes);
    }
    TRY_VOID(db.execute(kPut[index_of(row.span)], row.link, row.number, Blob{bytes}));
  }
  return {};
}

Result<void> each_figures(SqliteConnection& db, int64_t link, Span span, int64_t from, int64_t to,
                          const SeeFigures& see) {
  if (span == Span::minute) {  // one place in the table each
    for (int64_t number = from; number < to; ++number) {
      TRY(Query row, db.query(kFind[index_of(span)], link, number));
      TRY(const bool found, row.next());
      if (!found) continue;
      TRY_VOID(see(number, row.blob(0)));
    }
    return {};
  }
  TRY(Query rows, db.query(kRange[index_of(span)], link, from, to));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return {};
    TRY_VOID(see(rows.integer(0), rows.blob(1)));
  }
}

Result<std::vector<FiguresRow>> read_figures(SqliteConnection& db, int64_t link, Span span, int64_t from, int64_t to) {
  std::vector<FiguresRow> rows;
  const auto keep = [&](int64_t number, std::string_view stored) -> Result<void> {
    TRY(Figures figures, Figures::read(stored));
    rows.push_back({span, number, link, std::move(figures)});
    return {};
  };
  TRY_VOID(each_figures(db, link, span, from, to, keep));
  return rows;
}

Result<int64_t> drop_old_figures(SqliteConnection& db, int64_t now) {
  TRY_VOID(
      db.execute("DELETE FROM figures_minutes WHERE (number, link) IN "
                 "(SELECT number, link FROM figures_minutes WHERE number < ?1 LIMIT ?2)",
                 (now - kMinutesKept) / millis_of(Span::minute), kDroppedAtOnce));
  const int64_t minutes = db.changes();
  TRY_VOID(
      db.execute("DELETE FROM figures_hours WHERE (link, number) IN "
                 "(SELECT link, number FROM figures_hours WHERE number < ?1 LIMIT ?2)",
                 (now - kHoursKept) / millis_of(Span::hour), kDroppedAtOnce));
  return minutes + db.changes();
}

Result<void> drop_figures(SqliteConnection& db, int64_t link) {
  TRY_VOID(db.execute("DELETE FROM figures_hours WHERE link = ?1", link));
  return db.execute("DELETE FROM figures_days WHERE link = ?1", link);
}

Result<CountProgress> find_progress(SqliteConnection& db, std::string_view counter) {
  TRY(Query row, db.query("SELECT counted, upto, rows FROM click_progress WHERE counter = ?1", counter));
  TRY(const bool found, row.next());
  if (!found) return CountProgress();
  return CountProgress{static_cast<uint64_t>(row.integer(0)), static_cast<uint64_t>(row.integer(1)),
                       static_cast<uint64_t>(row.integer(2))};
}

Result<void> keep_progress(SqliteConnection& db, std::string_view counter, const CountProgress& progress) {
  return db.execute("INSERT OR REPLACE INTO click_progress(counter, counted, upto, rows) VALUES(?1, ?2, ?3, ?4)",
                    counter, progress.counted, progress.upto, progress.rows);
}

Result<DaySalt> salt_of_day(SqliteConnection& db, int64_t day, const DaySalt& fresh) {
  const std::string_view bytes(reinterpret_cast<const char*>(fresh.data()), fresh.size());
  TRY_VOID(
      db.execute("INSERT INTO visitor_salt(one, day, salt) VALUES(1, ?1, ?2) "
                 "ON CONFLICT(one) DO UPDATE SET day = ?1, salt = ?2 WHERE day <> ?1",
                 day, Blob{bytes}));
  TRY(Query row, db.query("SELECT salt FROM visitor_salt"));
  TRY(const bool found, row.next());
  const std::string_view kept = found ? row.blob(0) : std::string_view();
  DaySalt salt{};
  if (kept.size() != salt.size())
    return fail(Error(Code::data_loss, "the salt of visitors is damaged").from(Side::self));
  std::memcpy(salt.data(), kept.data(), salt.size());
  return salt;
}

}  // namespace trellis::services::links
