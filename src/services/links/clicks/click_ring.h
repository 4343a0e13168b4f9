// The way of a click from a redirect to the worker that counts it: a ring of bytes a core, one writer (the core) and
// one reader (the worker). A redirect copies what it knows of the visitor and is done; reading user agents, looking up
// countries and all else is the worker's. A full ring takes nothing: the caller counts the click as dropped.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace trellis::services::links {

// Which of a link's rules gave a click its target.
struct TakenRule {
  uint8_t number = 0;  // from 1; 0: none, the link's own URL
  uint8_t target = 0;  // of its split, from 1; 0: it has one target

  friend bool operator==(const TakenRule&, const TakenRule&) = default;
};

// What a redirect knows. Views live as long as the call that gives it. Longer texts are cut.
struct RawClick {
  static constexpr size_t kMaxText = 512;

  int64_t link = 0;
  int64_t at = 0;  // milliseconds since 1970
  TakenRule rule;
  bool scan = false;  // of its QR code
  std::string_view code;
  std::string_view address;   // numeric
  std::string_view agent;     // User-Agent
  std::string_view referrer;  // Referer
  std::string_view language;  // Accept-Language
  std::string_view query;     // encoded, without the question mark
  uint32_t domain = 0;        // its id and one; 0: there is but the default one
};

class ClickRing {
 public:
  explicit ClickRing(size_t bytes)
      : mask_(std::bit_ceil(bytes) - 1), bytes_(std::make_unique_for_overwrite<char[]>(mask_ + 1)) {}

  bool push(const RawClick& click) noexcept {
    const std::string_view texts[kTexts] = {cut(click.code),     cut(click.address),  cut(click.agent),
                                            cut(click.referrer), cut(click.language), cut(click.query)};
    Header header{.rule = click.rule, .scan = click.scan, .domain = click.domain, .link = click.link, .at = click.at};
    size_t size = sizeof(Header);
    for (size_t i = 0; i < kTexts; ++i) {
      header.lengths[i] = static_cast<uint16_t>(texts[i].size());
      size += texts[i].size();
    }
    size = (size + 7) & ~size_t{7};
    header.size = static_cast<uint32_t>(size);
    size_t tail = tail_.load(std::memory_order_relaxed);
    // A record lies in one piece: where it does not fit before the end, the rest is left out.
    const size_t to_end = mask_ + 1 - (tail & mask_);
    const size_t skipped = to_end < size ? to_end : 0;
    if (!has_room(tail, skipped + size)) return false;
    if (skipped > 0) {
      const uint32_t leap = 0;
      std::memcpy(&bytes_[tail & mask_], &leap, sizeof leap);
      tail += skipped;
    }
    char* out = &bytes_[tail & mask_];
    std::memcpy(out, &header, sizeof header);
    out += sizeof header;
    for (const std::string_view text : texts) {
      if (!text.empty()) std::memcpy(out, text.data(), text.size());
      out += text.size();
    }
    tail_.store(tail + size, std::memory_order_release);
    pushed_.store(pushed_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return true;
  }

  // The reader's: each(const RawClick&) for what is there now, at most `max`. How many.
  template <class F>
  size_t drain(size_t max, F&& each) {
    size_t head = head_.load(std::memory_order_relaxed);
    const size_t tail = tail_.load(std::memory_order_acquire);
    size_t count = 0;
    while (head != tail && count < max) {
      const char* at = &bytes_[head & mask_];
      uint32_t size = 0;
      std::memcpy(&size, at, sizeof size);
      if (size == 0) {
        head += mask_ + 1 - (head & mask_);
        continue;
      }
      Header header;
      std::memcpy(&header, at, sizeof header);
      const char* text = at + sizeof header;
      std::string_view texts[kTexts];
      for (size_t i = 0; i < kTexts; ++i) {
        texts[i] = {text, header.lengths[i]};
        text += header.lengths[i];
      }
      each(RawClick{header.link, header.at, header.rule, header.scan, texts[0], texts[1], texts[2], texts[3], texts[4],
                    texts[5], header.domain});
      head += size;
      ++count;
    }
    head_.store(head, std::memory_order_release);
    drained_.store(drained_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    return count;
  }

  // Clicks in it, about; by whoever asks.
  size_t size() const noexcept {
    const size_t drained = drained_.load(std::memory_order_relaxed);
    const size_t pushed = pushed_.load(std::memory_order_relaxed);
    return pushed > drained ? pushed - drained : 0;
  }
  size_t capacity() const noexcept { return mask_ + 1; }  // bytes
  // For the writer: true once each time the ring gets half full, until it has been emptied.
  bool half_full() noexcept {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - woke_at_ <= mask_ / 2) return false;
    const size_t head = head_.load(std::memory_order_relaxed);
    if (tail - head <= mask_ / 2 || head < woke_at_) return false;
    woke_at_ = tail;
    return true;
  }

 private:
  static constexpr size_t kTexts = 6;
  struct Header {
    uint32_t size = 0;  // with the texts; 0: the ring goes on at its beginning
    TakenRule rule;
    bool scan = false;
    uint16_t lengths[kTexts] = {};
    uint32_t domain = 0;
    int64_t link = 0;
    int64_t at = 0;
  };
  static_assert(RawClick::kMaxText <= UINT16_MAX);

  static std::string_view cut(std::string_view text) noexcept { return text.substr(0, RawClick::kMaxText); }
  bool has_room(size_t tail, size_t size) noexcept {
    if (tail + size - seen_head_ <= mask_ + 1) return true;
    seen_head_ = head_.load(std::memory_order_acquire);
    return tail + size - seen_head_ <= mask_ + 1;
  }

  size_t mask_;
  std::unique_ptr<char[]> bytes_;
  alignas(64) std::atomic<size_t> tail_{0};
  size_t seen_head_ = 0;  // the writer's
  size_t woke_at_ = 0;    // likewise
  std::atomic<size_t> pushed_{0};
  alignas(64) std::atomic<size_t> head_{0};
  std::atomic<size_t> drained_{0};
};

}  // namespace trellis::services::links
