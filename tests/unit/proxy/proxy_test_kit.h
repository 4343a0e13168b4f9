// A loop with a clock that tests move, and exchanges on it: what the tests of this room need to call filters and
// targets.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/handler.h"
#include "http/target.h"
#include "proxy/filter.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/read_config.h"
#include "tests/fakes/run_task.h"

namespace trellis::proxy::test {

struct Rig {
  fakes::ManualClock clock;
  std::unique_ptr<Loop> loop;
  BlockingPool pool{2};  // ends before the loop: its work comes back to it

  Rig() {
    LoopOptions options;
    options.io = IoKind::epoll;
    options.clock = &clock;
    options.seed = 7;
    options.pool = &pool;
    Result<std::unique_ptr<Loop>> made = Loop::make(options);
    TRELLIS_ASSERT(made.has_value());
    loop = std::move(*made);
  }
  void advance(Duration by) {
    clock.advance(by);
    loop->run_once(Duration::zero());
  }
};

// A request and what goes with it. The target is not normalised: tests say what a request's path is.
struct Exchange {
  Arena arena;
  http::Request request{arena};
  http::RequestContext context;
  std::unique_ptr<Chain> chain;  // outlives the answer, as a node's chains do

  explicit Exchange(Rig& rig, std::string_view method = "GET", std::string_view target = "/")
      : context{arena, *rig.loop, rig.loop->now()} {
    request.method_text = arena.copy(method);
    request.method = http::method_from(method);
    request.target = arena.copy(target);
    const size_t question = request.target.find('?');
    request.path = request.target.substr(0, question);
    if (question != std::string_view::npos) request.query = request.target.substr(question + 1);
    request.scheme = "http";
    request.authority = "example.com";
    context.client_address = "192.0.2.7";
    context.request_id = "01J0000000000000000000000Z";
    context.route = "test";
  }
  Exchange& with(std::string_view name, std::string_view value) {
    request.fields.add_copy(name, value);
    return *this;
  }
};

inline std::string body_text(Rig& rig, http::Response& response) {
  switch (response.body.kind()) {
    case http::Body::Kind::none: return {};
    case http::Body::Kind::bytes: return std::string(response.body.bytes().view());
    case http::Body::Kind::file: {
      const http::FileSlice& slice = response.body.file();
      std::string out(slice.size, '\0');
      const ssize_t n = ::pread(slice.file->fd(), out.data(), out.size(), static_cast<off_t>(slice.offset));
      out.resize(n > 0 ? static_cast<size_t>(n) : 0);
      return out;
    }
    case http::Body::Kind::stream: {
      Result<std::string> all =
          fakes::run_task(*rig.loop, http::read_all(&response.body.stream(), uint64_t{1} << 30, kNever));
      return all ? *all : "error: " + all.error().to_string();
    }
  }
  return {};
}

// A body that gives these pieces, one a read.
class PiecesBody final : public http::BodyReader {
 public:
  explicit PiecesBody(std::vector<std::string> pieces, std::optional<uint64_t> length = std::nullopt)
      : pieces_(std::move(pieces)), length_(length) {}
  Task<Result<Chunk>> read(Deadline) override {
    if (at_ == pieces_.size()) co_return Chunk{};
    co_return Chunk::copy_of(pieces_[at_++]);
  }
  std::optional<uint64_t> length() const noexcept override { return length_; }

 private:
  std::vector<std::string> pieces_;
  size_t at_ = 0;
  std::optional<uint64_t> length_;
};

// A target made of a function: (request, context) -> Response.
template <class F>
class FunctionTarget final : public http::Handler {
 public:
  explicit FunctionTarget(F make) : make_(std::move(make)) {}
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    ++calls;
    co_return make_(request, context);
  }
  int calls = 0;

 private:
  F make_;
};

// One filter before a target.
inline Result<http::Response> run_filter(Rig& rig, std::unique_ptr<Filter> filter, http::Handler& target,
                                         Exchange& exchange) {
  std::vector<std::unique_ptr<Filter>> filters;
  filters.push_back(std::move(filter));
  exchange.chain = std::make_unique<Chain>(std::move(filters), target);
  return fakes::run_task(*rig.loop, exchange.chain->run(exchange.request, exchange.context));
}

using fakes::config_problems;
using fakes::read_config;

}  // namespace trellis::proxy::test
