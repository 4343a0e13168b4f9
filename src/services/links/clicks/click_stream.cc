#include "services/links/clicks/click_stream.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "services/links/link_json.h"
#include "services/links/link_name.h"

namespace trellis::services::links {

namespace {

constexpr size_t kMostWaiting = size_t{256} << 10;  // bytes that a watcher may be behind
// A silent connection looks like a dead one to what stands in between.
constexpr Duration kHeartbeat = std::chrono::seconds(15);

void append_event(std::string& out, const LiveClick& live, const std::string& default_host) {
  const Click& click = live.click;
  const LinkName name = split_name(live.name);
  out += "event: click\ndata: ";
  JsonWriter json(out);
  json.begin_object().member("at", format_time(click.at)).member("code", name.code);
  json.member("domain", name.host.empty() ? std::string_view(default_host) : name.host);
  json.member("country", click.country_code()).member("referrer", click.referrer);
  json.member("device", to_string(click.agent.device)).member("os", to_string(click.agent.os));
  json.member("browser", to_string(click.agent.browser)).member("language", click.language);
  json.member("bot", click.agent.is_bot())
      .member("source", click.scan ? "qr" : "link")
      .member("rule", click.rule.number);
  json.member("target", click.rule.target);
  json.end_object();
  out += "\n\n";
}

}  // namespace

struct ClickStream::Watcher {
  Watcher(Wish wanted, std::string host)
      : wish(std::move(wanted)), default_host(std::move(host)), home(Loop::current()) {}

  const Wish wish;
  const std::string default_host;
  Loop& home;
  Event wake;  // of its loop
  // WHY a lock: the worker's thread writes what the connection's core sends; each for some microseconds.
  std::mutex mutex;
  std::string waiting;
  size_t left_out = 0;
  bool over = false;
  bool gone = false;  // touched on its loop only
};

struct ClickStream::Shared {
  std::mutex mutex;  // of the list: watchers come on every core
  std::vector<std::shared_ptr<Watcher>> watchers;
  ClickStream* stream = nullptr;  // null: it is gone
};

class ClickStream::Reader final : public http::BodyReader {
 public:
  Reader(std::shared_ptr<Shared> shared, std::shared_ptr<Watcher> watcher)
      : shared_(std::move(shared)), watcher_(std::move(watcher)) {}
  ~Reader() override {
    watcher_->gone = true;
    const std::lock_guard lock(shared_->mutex);
    std::erase(shared_->watchers, watcher_);
    if (shared_->stream) shared_->stream->watched_ = !shared_->watchers.empty();
  }
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

  // The deadline is that of an answer with an end.
  Task<Result<Chunk>> read(Deadline) override {
    if (!begun_) {
      begun_ = true;
      co_return Chunk::from_string("retry: 2000\n\n");
    }
    const Deadline beat = after(watcher_->home.now(), kHeartbeat);
    while (true) {
      {
        const std::lock_guard lock(watcher_->mutex);
        if (watcher_->over) co_return Chunk();
        if (watcher_->left_out > 0) {
          watcher_->waiting +=
              "event: left_out\ndata: {\"clicks\":" + std::to_string(std::exchange(watcher_->left_out, 0)) + "}\n\n";
        }
        if (!watcher_->waiting.empty()) co_return Chunk::from_string(std::exchange(watcher_->waiting, {}));
      }
      watcher_->wake.reset();
      const bool woken = co_await watcher_->wake.wait(beat);
      if (woken) continue;
      co_return Chunk::from_string(": still here\n\n");
    }
  }

 private:
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<Watcher> watcher_;
  bool begun_ = false;
};

ClickStream::ClickStream() : shared_(std::make_shared<Shared>()) { shared_->stream = this; }

ClickStream::~ClickStream() { end(); }

void ClickStream::end() {
  const std::lock_guard lock(shared_->mutex);
  shared_->stream = nullptr;
  for (const auto& watcher : shared_->watchers) {
    const std::lock_guard own(watcher->mutex);
    watcher->over = true;
    watcher->home.post([watcher] {
      if (!watcher->gone) watcher->wake.set();
    });
  }
}

void ClickStream::publish(const std::vector<LiveClick>& clicks, size_t left_out) {
  const std::lock_guard lock(shared_->mutex);
  for (const auto& watcher : shared_->watchers) {
    bool news = false;
    {
      const std::lock_guard own(watcher->mutex);
      for (const LiveClick& live : clicks) {
        if (!watcher->wish.fits(live.name)) continue;
        news = true;
        if (watcher->waiting.size() >= kMostWaiting) {
          ++watcher->left_out;
        } else {
          append_event(watcher->waiting, live, watcher->default_host);
        }
      }
      if (watcher->wish.all() && left_out > 0) {
        watcher->left_out += left_out;
        news = true;
      }
    }
    if (!news) continue;
    watcher->home.post([watcher] {
      if (!watcher->gone) watcher->wake.set();
    });
  }
}

bool ClickStream::Wish::fits(std::string_view name) const noexcept {
  const LinkName parts = split_name(name);
  return (!domain || parts.host == *domain) && (code.empty() || parts.code == code);
}

std::unique_ptr<http::BodyReader> ClickStream::watch(Wish wish, std::string default_host) {
  auto watcher = std::make_shared<Watcher>(std::move(wish), std::move(default_host));
  const std::lock_guard lock(shared_->mutex);
  if (!shared_->stream || shared_->watchers.size() >= kMostWatchers) return nullptr;
  shared_->watchers.push_back(watcher);
  watched_ = true;
  return std::make_unique<Reader>(shared_, std::move(watcher));
}

}  // namespace trellis::services::links
