#include "load/response_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace trellis::load {
namespace {

constexpr size_t kMaxHead = 64 * 1024;
constexpr size_t kMaxLine = 4096;

bool same_word(std::string_view text, std::string_view lower) noexcept {
  return text.size() == lower.size() && std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
         });
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool list_has(std::string_view list, std::string_view word) noexcept {
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    if (same_word(trim(list.substr(0, comma)), word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

}  // namespace

std::string_view to_string(Fault fault) noexcept {
  switch (fault) {
    case Fault::none: return "none";
    case Fault::status_line: return "status_line";
    case Fault::head_too_long: return "head_too_long";
    case Fault::field: return "field";
    case Fault::length: return "length";
    case Fault::both_lengths: return "both_lengths";
    case Fault::transfer_coding: return "transfer_coding";
    case Fault::chunk: return "chunk";
  }
  return "";
}

void ResponseReader::start(bool head_request) noexcept {
  state_ = State::head;
  fault_ = Fault::none;
  head_request_ = head_request;
  body_bytes_ = 0;
  partial_.clear();
}

size_t ResponseReader::fail(Fault fault, size_t consumed) noexcept {
  fault_ = fault;
  return consumed;
}

size_t ResponseReader::feed(const char* data, size_t size) {
  size_t used = 0;
  while (used < size && state_ != State::done && fault_ == Fault::none) {
    switch (state_) {
      case State::head: used += feed_head(data + used, size - used); break;
      case State::body:
      case State::chunk_data:
      case State::until_close: {
        uint64_t take = std::min<uint64_t>(skippable(), size - used);
        used += take;
        skip(take);
        break;
      }
      case State::chunk_size:
      case State::chunk_end:
      case State::trailer: used += feed_line(data + used, size - used); break;
      case State::done: break;
    }
  }
  return used;
}

void ResponseReader::skip(uint64_t bytes) noexcept {
  body_bytes_ += bytes;
  if (state_ == State::until_close) return;
  left_ -= bytes;
  if (left_ == 0) state_ = state_ == State::body ? State::done : State::chunk_end;
}

bool ResponseReader::close() noexcept {
  if (state_ != State::until_close) return false;
  state_ = State::done;
  server_closes_ = true;
  return true;
}

size_t ResponseReader::feed_head(const char* data, size_t size) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  if (partial_.empty()) {
    auto* end = static_cast<const char*>(memmem(data, size, kEnd.data(), kEnd.size()));
    if (end != nullptr) {
      size_t used = static_cast<size_t>(end - data) + kEnd.size();
      if (read_head({data, used - 2})) end_of_head();
      return used;
    }
    partial_.assign(data, size);
    return partial_.size() > kMaxHead ? fail(Fault::head_too_long, size) : size;
  }
  size_t before = partial_.size();
  partial_.append(data, size);
  size_t end = partial_.find(kEnd, before < 3 ? 0 : before - 3);
  if (end == std::string::npos) return partial_.size() > kMaxHead ? fail(Fault::head_too_long, size) : size;
  size_t used = end + kEnd.size() - before;
  std::string head = std::move(partial_);
  partial_.clear();
  if (read_head(std::string_view(head).substr(0, end + 2))) end_of_head();
  return used;
}

// `head` ends with the CRLF of its last line.
bool ResponseReader::read_head(std::string_view head) {
  status_ = 0;
  left_ = 0;
  has_length_ = chunked_ = false;
  if (head.size() < 14 || std::memcmp(head.data(), "HTTP/1.", 7) != 0 || (head[7] != '1' && head[7] != '0') ||
      head[8] != ' ' || !is_digit(head[9]) || !is_digit(head[10]) || !is_digit(head[11]) ||
      (head[12] != ' ' && head[12] != '\r')) {
    fault_ = Fault::status_line;
    return false;
  }
  server_closes_ = head[7] == '0';
  status_ = static_cast<uint16_t>((head[9] - '0') * 100 + (head[10] - '0') * 10 + (head[11] - '0'));
  const char* at = head.data();
  const char* end = at + head.size();
  for (bool first = true; at < end; first = false) {
    auto* lf = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    if (lf == nullptr || lf == at || lf[-1] != '\r') {
      fault_ = Fault::field;
      return false;
    }
    if (!first && !read_field({at, static_cast<size_t>(lf - 1 - at)})) return false;
    at = lf + 1;
  }
  if (chunked_ && has_length_) {
    fault_ = Fault::both_lengths;
    return false;
  }
  return true;
}

bool ResponseReader::read_field(std::string_view line) {
  // Only names that begin like this matter for framing.
  char c = static_cast<char>(line.empty() ? 0 : line[0] | 0x20);
  if (c != 'c' && c != 't') {
    if (line.find(':') != std::string_view::npos) return true;
    fault_ = Fault::field;
    return false;
  }
  size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) {
    fault_ = Fault::field;
    return false;
  }
  std::string_view name = line.substr(0, colon);
  std::string_view value = trim(line.substr(colon + 1));
  if (name.size() == 14 && same_word(name, "content-length")) {
    uint64_t length = 0;
    auto [rest, error] = std::from_chars(value.begin(), value.end(), length);
    if (value.empty() || error != std::errc() || rest != value.end() || (has_length_ && length != left_)) {
      fault_ = Fault::length;
      return false;
    }
    has_length_ = true;
    left_ = length;
  } else if (name.size() == 17 && same_word(name, "transfer-encoding")) {
    if (!same_word(value, "chunked") || chunked_) {
      fault_ = Fault::transfer_coding;
      return false;
    }
    chunked_ = true;
  } else if (name.size() == 10 && same_word(name, "connection")) {
    if (list_has(value, "close")) server_closes_ = true;
    if (list_has(value, "keep-alive")) server_closes_ = false;
  }
  return true;
}

void ResponseReader::end_of_head() noexcept {
  if (status_ >= 100 && status_ < 200 && status_ != 101) return;  // an interim answer: the real one follows
  // What follows a 101 is no HTTP any more.
  if (head_request_ || status_ == 101 || status_ == 204 || status_ == 304) {
    state_ = State::done;
  } else if (chunked_) {
    state_ = State::chunk_size;
  } else if (has_length_) {
    state_ = left_ == 0 ? State::done : State::body;
  } else {
    state_ = State::until_close;
  }
}

size_t ResponseReader::feed_line(const char* data, size_t size) {
  auto* lf = static_cast<const char*>(std::memchr(data, '\n', size));
  size_t used = lf == nullptr ? size : static_cast<size_t>(lf - data) + 1;
  partial_.append(data, used);
  if (partial_.size() > kMaxLine) return fail(Fault::chunk, used);
  if (lf == nullptr) return used;
  if (partial_.size() < 2 || partial_[partial_.size() - 2] != '\r') return fail(Fault::chunk, used);
  std::string line = std::move(partial_);
  partial_.clear();
  read_line(std::string_view(line).substr(0, line.size() - 2));
  return used;
}

void ResponseReader::read_line(std::string_view line) {
  switch (state_) {
    case State::chunk_size: {
      auto [rest, error] = std::from_chars(line.begin(), line.end(), left_, 16);
      if (error != std::errc() || rest == line.begin() || (rest != line.end() && *rest != ';' && *rest != ' ')) {
        fault_ = Fault::chunk;
        return;
      }
      state_ = left_ == 0 ? State::trailer : State::chunk_data;
      return;
    }
    case State::chunk_end:
      if (!line.empty()) fault_ = Fault::chunk;
      state_ = State::chunk_size;
      return;
    default:
      if (line.empty()) state_ = State::done;
      return;
  }
}

}  // namespace trellis::load
