#include "base/metrics.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <variant>

#include "base/error.h"

namespace trellis {
inline namespace base {
namespace {

constexpr size_t kSharedSlot = kMaxSlots - 1;
thread_local size_t metrics_slot = kSharedSlot;

// A loop is the only writer of its cell, so that a load and a store are enough; the shared cell needs the locked add.
void add_to(std::atomic<uint64_t>& cell, uint64_t n, size_t slot) noexcept {
  if (slot != kSharedSlot) {
    cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  } else {
    cell.fetch_add(n, std::memory_order_relaxed);
  }
}

template <class Cell>
Cell& make_cell(std::atomic<Cell*>& place) noexcept {
  Cell* made = new Cell;
  Cell* found = nullptr;
  if (place.compare_exchange_strong(found, made, std::memory_order_acq_rel, std::memory_order_acquire)) return *made;
  delete made;
  return *found;
}

template <class Cell>
Cell& cell_at(std::atomic<Cell*>* cells, size_t slot) noexcept {
  Cell* cell = cells[slot].load(std::memory_order_acquire);
  if (cell == nullptr) [[unlikely]]
    return make_cell(cells[slot]);
  return *cell;
}

template <class Cell>
void delete_cells(std::atomic<Cell*>* cells) noexcept {
  for (size_t i = 0; i < kMaxSlots; ++i) delete cells[i].load(std::memory_order_acquire);
}

// Buckets: one below 2^10 ns, then kParts equal parts of each of kOctaves octaves, one above. 2^42 ns is 73 minutes.
constexpr int kFirstOctave = 10;
constexpr int kOctaves = 32;
constexpr size_t kParts = 20;
constexpr size_t kBuckets = 1 + kOctaves * kParts + 1;

double lower_bound_of(size_t bucket) noexcept { return bucket == 0 ? 0 : Histogram::upper_bound(bucket - 1); }

// What /metrics prints, in seconds: enough for graphs and alerts without 642 lines a series.
struct Bound {
  double seconds;
  std::string_view text;
};
constexpr Bound kBounds[] = {
    {50e-6, "5e-05"},   {75e-6, "7.5e-05"}, {100e-6, "0.0001"}, {150e-6, "0.00015"},
    {200e-6, "0.0002"}, {300e-6, "0.0003"}, {500e-6, "0.0005"}, {750e-6, "0.00075"},
    {1e-3, "0.001"},    {1.5e-3, "0.0015"}, {2e-3, "0.002"},    {3e-3, "0.003"},
    {5e-3, "0.005"},    {7.5e-3, "0.0075"}, {10e-3, "0.01"},    {15e-3, "0.015"},
    {20e-3, "0.02"},    {30e-3, "0.03"},    {50e-3, "0.05"},    {75e-3, "0.075"},
    {100e-3, "0.1"},    {150e-3, "0.15"},   {200e-3, "0.2"},    {300e-3, "0.3"},
    {500e-3, "0.5"},    {750e-3, "0.75"},   {1, "1"},           {1.5, "1.5"},
    {2, "2"},           {3, "3"},           {5, "5"},           {7.5, "7.5"},
    {10, "10"},         {30, "30"},         {60, "60"},
};

// How many internal buckets belong below a printed bound: those whose middle lies below it, so a bound is off by 2.5 %
// at most.
size_t buckets_below(double bound) noexcept {
  size_t count = 0;
  while (count < kBuckets - 1 && (lower_bound_of(count) + Histogram::upper_bound(count)) / 2 <= bound) ++count;
  return count;
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    char text[32];
    const auto done = std::to_chars(text, text + sizeof(text), value);
    out.append(text, done.ptr);
  }
}

void append_number(std::string& out, uint64_t value) {
  char text[24];
  const auto done = std::to_chars(text, text + sizeof(text), value);
  out.append(text, done.ptr);
}

void append_escaped(std::string& out, std::string_view text, bool quote) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quote) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

// a="1",b="2"
std::string render_labels(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    if (!text.empty()) text += ',';
    text += name;
    text += "=\"";
    append_escaped(text, value, true);
    text += '"';
  }
  return text;
}

void append_series(std::string& out, std::string_view name, std::string_view suffix, std::string_view labels,
                   std::string_view bound = {}) {
  out += name;
  out += suffix;
  if (!labels.empty() || !bound.empty()) {
    out += '{';
    out += labels;
    if (!bound.empty()) {
      if (!labels.empty()) out += ',';
      out += "le=\"";
      out += bound;
      out += '"';
    }
    out += '}';
  }
  out += ' ';
}

void append_histogram(std::string& out, std::string_view name, std::string_view labels, const Histogram& histogram) {
  static const std::vector<size_t> below = [] {
    std::vector<size_t> counts;
    for (const Bound& bound : kBounds) counts.push_back(buckets_below(bound.seconds));
    return counts;
  }();
  const Histogram::Snapshot snapshot = histogram.snapshot();
  uint64_t cumulative = 0;
  size_t bucket = 0;
  for (size_t i = 0; i < std::size(kBounds); ++i) {
    for (; bucket < below[i]; ++bucket) cumulative += snapshot.counts[bucket];
    append_series(out, name, "_bucket", labels, kBounds[i].text);
    append_number(out, cumulative);
    out += '\n';
  }
  append_series(out, name, "_bucket", labels, "+Inf");
  append_number(out, snapshot.count);
  out += '\n';
  append_series(out, name, "_sum", labels);
  append_number(out, snapshot.sum_seconds);
  out += '\n';
  append_series(out, name, "_count", labels);
  append_number(out, snapshot.count);
  out += '\n';
}

}  // namespace

void set_metrics_slot(size_t slot) noexcept { metrics_slot = std::min(slot, kSharedSlot); }

Counter::Counter() : cells_(new std::atomic<Cell*>[kMaxSlots]()) {}
Counter::~Counter() { delete_cells(cells_.get()); }

void Counter::add(uint64_t n) noexcept {
  const size_t slot = metrics_slot;
  add_to(cell_at(cells_.get(), slot).count, n, slot);
}

uint64_t Counter::value() const noexcept {
  uint64_t sum = 0;
  for (size_t i = 0; i < kMaxSlots; ++i) {
    if (const Cell* cell = cells_[i].load(std::memory_order_acquire))
      sum += cell->count.load(std::memory_order_relaxed);
  }
  return sum;
}

struct alignas(64) Histogram::Cell {
  std::atomic<uint64_t> sum_nanos{0};
  std::atomic<uint64_t> counts[kBuckets]{};
};

Histogram::Histogram() : cells_(new std::atomic<Cell*>[kMaxSlots]()) {}
Histogram::~Histogram() { delete_cells(cells_.get()); }

size_t Histogram::buckets() noexcept { return kBuckets; }

size_t Histogram::bucket_of(Duration span) noexcept {
  if (span.count() < (int64_t{1} << kFirstOctave)) return 0;
  const auto nanos = static_cast<uint64_t>(span.count());
  const int octave = std::bit_width(nanos) - 1;
  if (octave >= kFirstOctave + kOctaves) return kBuckets - 1;
  // The bits below the leading one as a fraction of 2^64, times kParts.
  const uint64_t fraction = nanos << (63 - octave) << 1;
  const auto part = static_cast<size_t>(static_cast<unsigned __int128>(fraction) * kParts >> 64);
  return 1 + static_cast<size_t>(octave - kFirstOctave) * kParts + part;
}

double Histogram::upper_bound(size_t bucket) noexcept {
  if (bucket >= kBuckets - 1) return std::numeric_limits<double>::infinity();
  if (bucket == 0) return std::ldexp(1e-9, kFirstOctave);
  const auto octave = static_cast<int>((bucket - 1) / kParts);
  const auto part = static_cast<double>((bucket - 1) % kParts + 1);
  return std::ldexp(1e-9 * (1 + part / kParts), kFirstOctave + octave);
}

void Histogram::record(Duration span) noexcept {
  const size_t slot = metrics_slot;
  Cell& cell = cell_at(cells_.get(), slot);
  add_to(cell.counts[bucket_of(span)], 1, slot);
  if (span.count() > 0) add_to(cell.sum_nanos, static_cast<uint64_t>(span.count()), slot);
}

Histogram::Snapshot Histogram::snapshot() const {
  Snapshot snapshot;
  snapshot.counts.resize(kBuckets);
  uint64_t nanos = 0;
  for (size_t i = 0; i < kMaxSlots; ++i) {
    const Cell* cell = cells_[i].load(std::memory_order_acquire);
    if (cell == nullptr) continue;
    nanos += cell->sum_nanos.load(std::memory_order_relaxed);
    for (size_t b = 0; b < kBuckets; ++b) snapshot.counts[b] += cell->counts[b].load(std::memory_order_relaxed);
  }
  for (const uint64_t count : snapshot.counts) snapshot.count += count;
  snapshot.sum_seconds = static_cast<double>(nanos) * 1e-9;
  return snapshot;
}

double Histogram::Snapshot::quantile(double q) const noexcept {
  if (count == 0) return 0;
  const double rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(count);
  double before = 0;
  for (size_t b = 0; b < counts.size(); ++b) {
    const auto here = static_cast<double>(counts[b]);
    if (here == 0 || before + here < rank) {
      before += here;
      continue;
    }
    const double low = lower_bound_of(b);
    if (b + 1 == counts.size()) return low;  // beyond the range: at least this
    return low + (upper_bound(b) - low) * (rank - before) / here;
  }
  return lower_bound_of(kBuckets - 1);
}

Histogram::Snapshot Histogram::Snapshot::minus(const Snapshot& earlier) const {
  Snapshot difference = *this;
  difference.count = 0;
  for (size_t b = 0; b < difference.counts.size(); ++b) {
    const uint64_t then = b < earlier.counts.size() ? earlier.counts[b] : 0;
    // Cells are read while they are written, so a difference is held at zero rather than trusted.
    difference.counts[b] -= std::min(then, difference.counts[b]);
    difference.count += difference.counts[b];
  }
  difference.sum_seconds = std::max(0.0, sum_seconds - earlier.sum_seconds);
  return difference;
}

struct Metrics::Impl {
  struct Computed {
    std::function<double()> read;
    uint64_t registration = 0;
  };
  struct Series {
    std::string labels;  // as given, rendered
    std::variant<std::monostate, std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>, Computed>
        what;
    size_t holders = 0;  // who was given it for ever lets go never
  };
  struct Family {
    std::string_view type;
    std::string help;
    std::map<std::string, Series> series;  // by the labels in the order of their names
  };
  struct Token {
    std::weak_ptr<Impl> registry;
    std::string name;
    std::string key;
    uint64_t registration;  // of what is computed; 0: held

    ~Token() {
      if (const std::shared_ptr<Impl> impl = registry.lock()) impl->remove(*this);
    }
  };

  // WHY: a lock; registration and scraping are rare and may come from any thread, the cells themselves are not under
  // it.
  std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;
  uint64_t registrations = 0;
  uint64_t left_out = 0;

  static std::string key_of(Labels labels) {
    std::sort(labels.begin(), labels.end());
    return render_labels(labels);
  }

  Series& find(std::string_view name, std::string_view help, std::string_view type, const Labels& labels,
               const std::string& key) {
    auto family = families.find(name);
    if (family == families.end()) {
      family = families.emplace(std::string(name), Family{type, std::string(help), {}}).first;
    }
    TRELLIS_ASSERT(family->second.type == type);  // one name, one type
    const auto [series, made] = family->second.series.try_emplace(key);
    if (made) series->second.labels = render_labels(labels);
    return series->second;
  }

  template <class T>
  T& find_or_make(std::string_view name, std::string_view help, std::string_view type, const Labels& labels) {
    const std::string key = key_of(labels);
    const std::lock_guard lock(mutex);
    return hold<T>(name, help, type, labels, key);
  }

  template <class T>
  T& hold(std::string_view name, std::string_view help, std::string_view type, const Labels& labels,
          const std::string& key) {
    Series& series = find(name, help, type, labels, key);
    if (std::holds_alternative<std::monostate>(series.what)) series.what = std::make_unique<T>();
    auto* found = std::get_if<std::unique_ptr<T>>(&series.what);
    TRELLIS_ASSERT(found != nullptr);
    ++series.holders;
    return **found;
  }

  bool is_full(std::string_view name, const std::string& key) const {
    const auto family = families.find(name);
    return family != families.end() && family->second.series.size() >= kMostSeries &&
           !family->second.series.contains(key);
  }

  template <class T>
  static std::shared_ptr<T> held(const std::shared_ptr<Impl>& impl, std::string_view name, std::string_view help,
                                 std::string_view type, const Labels& labels) {
    const std::string key = key_of(labels);
    const std::lock_guard lock(impl->mutex);
    if (impl->is_full(name, key)) {
      ++impl->left_out;
      return std::make_shared<T>();
    }
    T& series = impl->hold<T>(name, help, type, labels, key);
    return {std::make_shared<Token>(impl, std::string(name), key, 0), &series};
  }

  void remove(const Token& token) {
    decltype(Series::what) gone;  // destroyed outside the lock
    const std::lock_guard lock(mutex);
    const auto family = families.find(token.name);
    if (family == families.end()) return;
    const auto series = family->second.series.find(token.key);
    if (series == family->second.series.end()) return;
    if (token.registration == 0) {
      if (--series->second.holders > 0) return;
    } else {
      const auto* computed = std::get_if<Computed>(&series->second.what);
      if (computed == nullptr || computed->registration != token.registration) return;
    }
    gone = std::move(series->second.what);
    family->second.series.erase(series);
    if (family->second.series.empty()) families.erase(family);
  }
};

Metrics::Metrics() : impl_(std::make_shared<Impl>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, Labels labels) {
  return impl_->find_or_make<Counter>(name, help, "counter", labels);
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, Labels labels) {
  return impl_->find_or_make<Gauge>(name, help, "gauge", labels);
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, Labels labels) {
  return impl_->find_or_make<Histogram>(name, help, "histogram", labels);
}

std::shared_ptr<Counter> Metrics::held_counter(std::string_view name, std::string_view help, Labels labels) {
  return Impl::held<Counter>(impl_, name, help, "counter", labels);
}

std::shared_ptr<Histogram> Metrics::held_histogram(std::string_view name, std::string_view help, Labels labels) {
  return Impl::held<Histogram>(impl_, name, help, "histogram", labels);
}

std::shared_ptr<void> Metrics::computed(std::string_view name, std::string_view help, Labels labels,
                                        std::function<double()> read, bool is_counter) {
  const std::string key = Impl::key_of(labels);
  std::function<double()> replaced;  // destroyed outside the lock
  const std::lock_guard lock(impl_->mutex);
  Impl::Series& series = impl_->find(name, help, is_counter ? "counter" : "gauge", labels, key);
  const uint64_t registration = ++impl_->registrations;
  if (auto* before = std::get_if<Impl::Computed>(&series.what)) replaced = std::move(before->read);
  TRELLIS_ASSERT(std::holds_alternative<std::monostate>(series.what) ||
                 std::holds_alternative<Impl::Computed>(series.what));
  series.what = Impl::Computed{std::move(read), registration};
  return std::make_shared<Impl::Token>(impl_, std::string(name), key, registration);
}

std::string Metrics::prometheus_text() const {
  std::string out;
  out.reserve(16 * 1024);
  const std::lock_guard lock(impl_->mutex);
  for (const auto& [name, family] : impl_->families) {
    out += "# HELP ";
    out += name;
    out += ' ';
    append_escaped(out, family.help, false);
    out += "\n# TYPE ";
    out += name;
    out += ' ';
    out += family.type;
    out += '\n';
    for (const auto& [key, series] : family.series) {
      if (const auto* histogram = std::get_if<std::unique_ptr<Histogram>>(&series.what)) {
        append_histogram(out, name, series.labels, **histogram);
        continue;
      }
      append_series(out, name, "", series.labels);
      if (const auto* counter = std::get_if<std::unique_ptr<Counter>>(&series.what)) {
        append_number(out, (*counter)->value());
      } else if (const auto* gauge = std::get_if<std::unique_ptr<Gauge>>(&series.what)) {
        append_number(out, (*gauge)->value());
      } else if (const auto* computed = std::get_if<Impl::Computed>(&series.what)) {
        append_number(out, computed->read());
      }
      out += '\n';
    }
  }
  if (impl_->left_out > 0) {
    out +=
        "# HELP trellis_metrics_left_out how often a series found no room\n# TYPE trellis_metrics_left_out counter\n";
    out += "trellis_metrics_left_out ";
    append_number(out, impl_->left_out);
    out += '\n';
  }
  return out;
}

}  // namespace base
}  // namespace trellis
