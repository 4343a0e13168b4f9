#include "proxy/filter_order.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace trellis::proxy {

namespace {

constexpr FilterStep kOrder[] = {
    {"metrics", "outermost: whatever happens further in is counted and timed", true},
    {"trace", "before all that may take time, so that the span covers it", true},
    {"request_id", "before the first answer of ours, which carries it", true},
    {"errors", "turns errors of everything further in into answers, so that what stands outside sees answers only",
     true},
    {"deadline", "before the first wait", true},
    {"deny",
     "the cheapest refusal first; stands before allow, so that a named address is out even inside an allowed block",
     false},
    {"allow", "nothing is done for strangers: no password is checked, no limit is used up", false},
    {"fault", "like a bad network: all of ours lies behind it, what it slows is what leaves", false},
    {"body_limit", "after who may come, before anything reads the body", false},
    {"headers", "sees the request as it came; and the answer last, so what it sets is what goes out", false},
    {"redirect", "answers before anything is fetched", false},
    {"compress", "outside of what produces the answer, so that one stored form serves every encoding", false},
    {"cache",
     "inside of all that may refuse a client and all that changes answers for one client; what is stored is what "
     "the target gave",
     false},
    {"rewrite",
     "everything before it sees the path that the router saw; the cache most of all: two routes may make one path of "
     "what clients know as two, and purges name what clients know",
     false},
    {"buffer", "before anything asks an upstream; a copy and a second try find the body here", false},
    {"mirror", "copies what the target gets, as every step before made it, once and whichever way it goes", false},
    {"split", "innermost: it leads to targets", false},
};

size_t place_of(std::string_view name) noexcept {
  const auto* found =
      std::find_if(std::begin(kOrder), std::end(kOrder), [name](const FilterStep& step) { return step.name == name; });
  TRELLIS_ASSERT(found != std::end(kOrder));
  return static_cast<size_t>(found - std::begin(kOrder));
}

}  // namespace

std::span<const FilterStep> filter_order() noexcept { return kOrder; }

std::string_view step_name(std::string_view name) noexcept { return kOrder[place_of(name)].name; }

void sort_filters(std::vector<config::Entry>& filters) {
  std::stable_sort(filters.begin(), filters.end(),
                   [](const config::Entry& a, const config::Entry& b) { return place_of(a.name) < place_of(b.name); });
}

}  // namespace trellis::proxy
