#include "upstream/membership.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <numeric>
#include <unordered_set>

#include "base/log.h"
#include "net/dns.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "upstream/balancer.h"
#include "upstream/hosts_file.h"

namespace trellis::upstream {

namespace {

// What says that a file is another one than before, or was written.
struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = -1;
  timespec changed{};
  bool operator==(const FileStamp& other) const noexcept {
    return device == other.device && inode == other.inode && size == other.size &&
           changed.tv_sec == other.changed.tv_sec && changed.tv_nsec == other.changed.tv_nsec;
  }
};

struct FileLook {
  FileStamp stamp;
  // None: it is as it was.
  std::optional<Result<std::vector<FileHost>>> hosts;
};

FileStamp stamp_of(const struct stat& info) noexcept { return {info.st_dev, info.st_ino, info.st_size, info.st_mtim}; }

// In the blocking pool. A failure is the file's, and is tried again at the next look.
FileLook look_at(const std::string& path, const FileStamp& seen) {
  const auto failed = [&](int error) { return FileLook{{}, fail(errno_error(path, error))}; };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return failed(errno);
  struct Closing {
    int fd;
    ~Closing() { ::close(fd); }
  } closing{fd};
  struct stat info{};
  if (::fstat(fd, &info) != 0) return failed(errno);
  const FileStamp stamp = stamp_of(info);
  if (stamp == seen) return {stamp, std::nullopt};
  if (!S_ISREG(info.st_mode)) return failed(EINVAL);
  if (static_cast<uint64_t>(info.st_size) > kMaxHostsFile) return failed(EFBIG);
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::pread(fd, text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  text.resize(have);
  // Somebody is writing it: what is there may be a half. The next look finds the rest.
  if (::fstat(fd, &info) != 0 || !(stamp_of(info) == stamp)) return {seen, std::nullopt};
  return {stamp, read_hosts_file(text, path)};
}

std::string with_port(const std::string& host, uint16_t port) {
  const std::string text = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return text + ":" + std::to_string(port);
}

Duration with_jitter(Duration span) {
  const double more = 0.1 * Loop::current().rng().unit() * static_cast<double>(span.count());
  return span + Duration(static_cast<int64_t>(more));
}

bool same_facts(const HostFacts& a, const HostFacts& b) {
  return a.name == b.name && a.authority == b.authority && a.address.to_string() == b.address.to_string() &&
         a.weight == b.weight && a.zone == b.zone && a.priority == b.priority && a.backup == b.backup &&
         a.origin == b.origin;
}

}  // namespace

std::vector<ServiceShare> shares_of_services(const std::vector<std::pair<uint16_t, uint16_t>>& priority_and_weight,
                                             const std::vector<size_t>& addresses_of_target) {
  constexpr uint64_t kDivisible = 720'720;  // by 1 to 16: a target's weight is shared by its addresses without a rest
  std::vector<ServiceShare> shares(priority_and_weight.size());
  if (shares.empty()) return shares;
  // Weights count among the records of one priority only (RFC 2782).
  std::map<uint16_t, std::vector<size_t>> records;
  for (size_t i = 0; i < shares.size(); ++i) records[priority_and_weight[i].first].push_back(i);
  uint32_t place = 0;
  for (const auto& [priority, alike] : records) {
    const bool any = std::ranges::any_of(alike, [&](size_t i) { return priority_and_weight[i].second > 0; });
    const auto weight_of = [&](size_t i) {
      const uint64_t weight = any ? priority_and_weight[i].second : 1;
      return weight * kDivisible / std::max<size_t>(addresses_of_target[i], 1);
    };
    uint64_t divisor = 0;
    uint64_t most = 0;
    for (const size_t i : alike) {
      divisor = std::gcd(divisor, weight_of(i));
      most = std::max(most, weight_of(i));
    }
    most /= divisor;
    for (const size_t i : alike) {
      uint64_t weight = weight_of(i) / divisor;
      if (most > kMaxWeight) weight = weight * kMaxWeight / most;
      // Beside others, a weight of 0 is a small chance.
      shares[i] = {.weight = static_cast<uint32_t>(std::max<uint64_t>(weight, 1)), .place = place};
    }
    ++place;
  }
  return shares;
}

struct Membership::Source {
  enum class Kind : uint8_t { address, dns, srv, file };
  Kind kind = Kind::address;
  HostConfig config;
  HostOrigin origin = HostOrigin::config;
  config::HostPort at;  // of address and dns
  std::string text;     // what people know it by

  // The last good answer: of a name or a file.
  std::vector<net::DnsHost> found;
  std::vector<FileHost> lines;
  bool asked = false;
  Time next = Time::min();        // when it is asked again; min: it is being asked
  std::string trouble;            // of the last answer; "": it was good
  Time gone_since = Time::max();  // since when there is no such name
  TaskGroup watching;

  std::string_view kind_text() const noexcept {
    switch (kind) {
      case Kind::dns: return "dns";
      case Kind::srv: return "srv";
      case Kind::file: return "file";
      default: return "address";
    }
  }
  bool is_like(const Source& other) const noexcept { return kind == other.kind && text == other.text; }
  bool is_as(const Source& other) const noexcept {
    return is_like(other) && origin == other.origin && config.weight == other.config.weight &&
           config.zone == other.config.zone && config.priority == other.config.priority &&
           config.backup == other.config.backup;
  }
  size_t hosts() const noexcept { return found.size() + lines.size() + (kind == Kind::address ? 1 : 0); }

  void add_facts(std::vector<HostFacts>& out) const {
    HostFacts facts;
    facts.weight = config.weight;
    facts.zone = config.zone;
    facts.priority = config.priority;
    facts.backup = config.backup;
    facts.origin = origin;
    if (kind == Kind::address) {
      const auto address = net::make_address(at.host, at.port);
      if (!address) return;
      facts.name = facts.authority = at.to_text();
      facts.address = *address;
      out.push_back(std::move(facts));
    } else if (kind == Kind::file) {
      for (const FileHost& line : lines) {
        HostFacts one = facts;
        one.name = one.authority = line.address.to_string();
        one.address = line.address;
        one.weight = line.weight.value_or(facts.weight);
        if (!line.zone.empty()) one.zone = line.zone;
        one.priority = line.priority.value_or(facts.priority);
        one.backup = facts.backup || line.backup;
        out.push_back(std::move(one));
      }
    } else {
      std::vector<ServiceShare> shares;
      if (kind == Kind::srv) shares = service_shares();
      for (size_t i = 0; i < found.size(); ++i) {
        HostFacts one = facts;
        one.address = found[i].address;
        one.authority = kind == Kind::srv ? with_port(found[i].target, one.address.port()) : at.to_text();
        one.name = one.authority + "@" + one.address.host();
        if (kind == Kind::srv) {
          // Those that are not of the first priority are backups, each priority behind the one before.
          const uint32_t place = shares[i].place;
          one.weight = shares[i].weight;
          one.backup = facts.backup || place > 0;
          one.priority += place - (one.backup == facts.backup ? 0 : 1);
        }
        out.push_back(std::move(one));
      }
    }
  }
  std::vector<ServiceShare> service_shares() const {
    std::vector<std::pair<uint16_t, uint16_t>> records;
    std::vector<size_t> addresses;
    for (const net::DnsHost& host : found) {
      records.emplace_back(host.priority, host.weight);
      addresses.push_back(static_cast<size_t>(std::ranges::count_if(found, [&](const net::DnsHost& each) {
        return each.target == host.target && each.address.port() == host.address.port();
      })));
    }
    return shares_of_services(records, addresses);
  }
};

Membership::Membership(std::shared_ptr<Hosts> hosts, std::vector<HostConfig> configured, HostChanges changes,
                       std::shared_ptr<net::Lookups> lookups)
    : hosts_(std::move(hosts)),
      changes_(std::move(changes)),
      lookups_(std::move(lookups)),
      all_asked_(std::make_unique<Event>()) {
  for (const HostConfig& config : configured) sources_.push_back(make_source(config, HostOrigin::config));
  for (const AddedHost& added : changes_.added) sources_.push_back(make_source(added));
}

Membership::~Membership() = default;

std::shared_ptr<Membership> Membership::make(Loop& home, std::shared_ptr<Hosts> hosts,
                                             std::vector<HostConfig> configured, HostChanges changes,
                                             std::shared_ptr<net::Lookups> lookups) {
  auto made =
      std::make_unique<Membership>(std::move(hosts), std::move(configured), std::move(changes), std::move(lookups));
  return {made.release(), [&home](Membership* gone) {
            std::unique_ptr<Membership> owned(gone);
            if (Loop::current_or_null() == &home) return;
            home.post([last = std::move(owned)] {});
          }};
}

std::unique_ptr<Membership::Source> Membership::make_source(const HostConfig& config, HostOrigin origin) {
  auto source = std::make_unique<Source>();
  source->config = config;
  source->origin = origin;
  if (!config.file.empty()) {
    source->kind = Source::Kind::file;
    source->text = config.file;
    if (origin == HostOrigin::config) source->origin = HostOrigin::file;
  } else if (!config.srv.empty()) {
    source->kind = Source::Kind::srv;
    source->text = config.srv;
    if (origin == HostOrigin::config) source->origin = HostOrigin::dns;
  } else {
    source->at = config.dns ? *config.dns : config.address.value_or(config::HostPort());
    source->text = source->at.to_text();
    if (net::make_address(source->at.host, source->at.port)) return source;
    source->kind = Source::Kind::dns;
    if (origin == HostOrigin::config) source->origin = HostOrigin::dns;
  }
  return source;
}

std::unique_ptr<Membership::Source> Membership::make_source(const AddedHost& added) {
  HostConfig config;
  config.address = added.at;
  config.weight = added.weight;
  config.zone = added.zone;
  config.priority = added.priority;
  config.backup = added.backup;
  return make_source(config, HostOrigin::control);
}

// --- Asking ---

void Membership::begin(const Membership* before) {
  for (const auto& source : sources_) {
    if (before) {
      const auto old = std::ranges::find_if(
          before->sources_, [&](const std::unique_ptr<Source>& each) { return each->is_like(*source); });
      if (old != before->sources_.end()) {
        source->found = (*old)->found;
        source->lines = (*old)->lines;
      }
    }
    watch(*source);
  }
  was_asked();
}

Task<> Membership::first_answers(Deadline deadline) { co_await all_asked_->wait(deadline); }

void Membership::watch(Source& source) {
  switch (source.kind) {
    case Source::Kind::address: source.asked = true; return;
    case Source::Kind::file: source.watching.spawn(watch_file(source)); return;
    default: source.watching.spawn(watch_name(source)); return;
  }
}

void Membership::was_asked() {
  if (std::ranges::all_of(sources_, [](const auto& source) { return source->asked; })) all_asked_->set();
}

Task<> Membership::watch_name(Source& source) {
  Duration backoff = kFirstBackoff;
  while (true) {
    source.next = Time::min();
    const Deadline deadline = after(Loop::current().now(), kLookupTime);
    Task<Result<net::DnsAnswer>> asking = source.kind == Source::Kind::srv
                                              ? lookups_->services(source.config.srv, deadline)
                                              : lookups_->addresses(source.at.host, source.at.port, deadline);
    Result<net::DnsAnswer> answer = co_await asking;
    Duration pause = backoff;
    if (answer && answer->complete) {
      backoff = kFirstBackoff;
      const Duration refresh = source.config.refresh;
      pause = refresh > Duration::zero() ? std::max(refresh, kMinRefresh)
                                         : std::clamp(answer->ttl, kMinRefresh, kMaxRefresh);
    } else {
      backoff = std::min(2 * backoff, kMaxBackoff);
    }
    take_answer(source, std::move(answer));
    source.asked = true;
    was_asked();
    source.next = after(Loop::current().now(), with_jitter(pause));
    co_await sleep_until(source.next);
  }
}

void Membership::take_answer(Source& source, Result<net::DnsAnswer> answer) {
  const Time now = Loop::current().now();
  if (!answer) {
    const bool gone = answer.error().code() == Code::not_found;
    source.gone_since = gone ? std::min(source.gone_since, now) : Time::max();
    note_trouble(source, answer.error().to_string());
    if (gone && !source.found.empty() && now - source.gone_since >= kGoneAfter) {
      log_warn("a name of an upstream is gone, and its hosts with it",
               {{"upstream", hosts_->upstream()}, {"name", source.text}});
      source.found.clear();
      found_more();
    }
    return;
  }
  source.gone_since = Time::max();
  std::vector<net::DnsHost> before = std::exchange(source.found, std::move(answer->hosts));
  if (answer->complete) {
    note_good(source);
  } else {
    // What a part of the servers' answers did not tell stays as it was.
    const auto told = [&](const net::DnsHost& host) {
      return std::ranges::any_of(source.found, [&](const net::DnsHost& each) {
        return each.target == host.target && each.address.to_string() == host.address.to_string();
      });
    };
    for (net::DnsHost& host : before) {
      if (source.found.size() < 2 * net::kMaxDnsHosts && !told(host)) source.found.push_back(std::move(host));
    }
    note_trouble(source, "only a part of the answer could be had");
  }
  found_more();
}

Task<> Membership::watch_file(Source& source) {
  FileStamp seen;
  while (true) {
    source.next = Time::min();
    auto looking = blocking([path = source.config.file, seen]() -> Result<FileLook> { return look_at(path, seen); });
    Result<FileLook> look = co_await looking;
    if (look) {
      seen = look->stamp;
      if (look->hosts && *look->hosts) {
        source.lines = **std::move(look->hosts);
        note_good(source);
        found_more();
      } else if (look->hosts) {
        note_trouble(source, look->hosts->error().to_string());
      }
    }
    source.asked = true;
    was_asked();
    source.next = after(Loop::current().now(), kFileLook);
    co_await sleep_until(source.next);
  }
}

void Membership::note_trouble(Source& source, std::string why) {
  // A name's trouble is told once, a file's each time that it is another one.
  const bool told = source.kind == Source::Kind::file ? source.trouble == why : !source.trouble.empty();
  source.trouble = std::move(why);
  if (told) return;
  log_warn(source.hosts() > 0 ? "a source of an upstream's hosts fails; the hosts of its last good answer stay"
                              : "a source of an upstream's hosts fails; it has given none yet",
           {{"upstream", hosts_->upstream()},
            {"source", source.kind_text()},
            {"name", source.text},
            {"hosts", source.hosts()},
            {"error", source.trouble}});
}

void Membership::note_good(Source& source) {
  if (source.trouble.empty()) return;
  source.trouble.clear();
  log_info("a source of an upstream's hosts works again", {{"upstream", hosts_->upstream()},
                                                           {"source", source.kind_text()},
                                                           {"name", source.text},
                                                           {"hosts", source.hosts()}});
}

// --- Publishing ---

void Membership::publish(Time joined) {
  publishing_ = true;
  apply(joined);
}

void Membership::stop() {
  publishing_ = false;
  for (const auto& source : sources_) source->watching.cancel_all();
}

void Membership::set_changes(HostChanges changes) {
  changes_ = std::move(changes);
  std::vector<std::unique_ptr<Source>> added;
  for (const AddedHost& one : changes_.added) added.push_back(make_source(one));
  const auto among = [](const std::vector<std::unique_ptr<Source>>& list, const Source& source) {
    return std::ranges::any_of(list, [&](const std::unique_ptr<Source>& each) { return each->is_as(source); });
  };
  std::erase_if(sources_, [&](const std::unique_ptr<Source>& source) {
    return source->origin == HostOrigin::control && !among(added, *source);
  });
  for (auto& source : added) {
    if (among(sources_, *source)) continue;
    sources_.push_back(std::move(source));
    watch(*sources_.back());
  }
  found_more();
}

// Those that come late, after a start without an answer, begin at full weight, too: there is nobody to share with.
void Membership::found_more() {
  if (publishing_) apply(members_.empty() ? Time::min() : Loop::current().now());
}

void Membership::apply(Time joined) {
  std::vector<HostFacts> found;
  for (const auto& source : sources_) source->add_facts(found);
  std::vector<HostFacts> members;
  std::unordered_set<std::string> addresses;  // a server that two sources name is one host
  bool too_many = false;
  for (HostFacts& facts : found) {
    if (changes_.removes(facts) || !addresses.insert(facts.address.to_string()).second) continue;
    if (members.size() == kMaxHosts) {
      too_many = true;
      break;
    }
    facts.weight = changes_.weight_of(facts).value_or(facts.weight);
    members.push_back(std::move(facts));
  }
  if (too_many && !too_many_) {
    log_warn("an upstream has more than 10,000 hosts; the others are left out", {{"upstream", hosts_->upstream()}});
  }
  too_many_ = too_many;
  // The first time whatever they are: Hosts may have those of a membership before.
  if (!applied_ || !std::ranges::equal(members, members_, same_facts)) {
    const size_t had = hosts_->list()->size();
    applied_ = true;
    members_ = members;
    hosts_->set_members(std::move(members), joined);
    log_info("the hosts of an upstream changed",
             {{"upstream", hosts_->upstream()}, {"hosts", members_.size()}, {"before", had}});
  }
  const auto list = hosts_->list();
  for (const std::shared_ptr<Host>& host : *list)
    hosts_->set_draining(*host, changes_.drains(host->facts), Loop::current().now());
}

std::vector<Membership::SourceState> Membership::sources() const {
  std::vector<SourceState> states;
  const Time now = Loop::current().now();
  for (const auto& source : sources_) {
    if (source->kind == Source::Kind::address) continue;
    SourceState state{std::string(source->kind_text()), source->text, source->hosts(), source->trouble, std::nullopt};
    if (source->next != Time::min()) state.next = std::max(source->next - now, Duration::zero());
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace trellis::upstream
