// What filters get when they are made, for tests: metrics to look at, targets by name, the core's background. Declared
// after the Rig, whose loop its tasks run on.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "proxy/config.h"
#include "proxy/filter_parts.h"
#include "proxy/held_body.h"
#include "runtime/sync.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy::test {

struct PartsKit {
  Metrics metrics;
  TaskGroup background;
  std::shared_ptr<HeldMemory> memory = std::make_shared<HeldMemory>();
  std::map<std::string, http::Handler*> targets;  // borrowed
  FilterParts parts{.route = "test",
                    .metrics = metrics,
                    .make_target = [this](const TargetConfig& to) -> Result<std::shared_ptr<http::Handler>> {
                      const auto found = targets.find(to.name);
                      if (found == targets.end()) return fail(Code::not_found, "no target " + to.name);
                      return std::shared_ptr<http::Handler>(std::shared_ptr<void>(), found->second);
                    },
                    .background = background,
                    .memory = memory};

  uint64_t count(std::string_view name, const Labels& labels) { return metrics.counter(name, "", labels).value(); }
};

// A target that takes its time, and tells which one answered in the answer's body.
class NamedTarget final : public http::Handler {
 public:
  explicit NamedTarget(std::string name) : name_(std::move(name)) {}
  Task<Result<http::Response>> handle(http::Request&, http::RequestContext& context) override {
    ++calls;
    http::Response response(context.arena, 200);
    response.body = http::Body(name_);
    co_return response;
  }
  int calls = 0;

 private:
  std::string name_;
};

}  // namespace trellis::proxy::test
