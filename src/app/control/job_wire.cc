#include "app/control/job_wire.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/encoding.h"
#include "base/json.h"
#include "queue/jobs_rows.h"

namespace trellis::app {

namespace {

using nlohmann::json;
using queue::ClaimedJob;
using queue::Settled;
using queue::Settlement;
using queue::Verdict;

constexpr std::array<Verdict, 5> kVerdicts = {Verdict::ack, Verdict::retry, Verdict::bury, Verdict::release,
                                              Verdict::extend};
constexpr int64_t kMaxDelayMillis = int64_t{366} * 24 * 3600 * 1000;

std::string_view text_of(Settled outcome) noexcept {
  switch (outcome) {
    case Settled::yes: return "yes";
    case Settled::buried: return "buried";
    case Settled::stale: return "stale";
  }
  return "";
}

Error wrong(const char* what) { return Error(Code::invalid_argument, what).from(Side::client); }

// The list `name` of an object that has nothing else.
Result<json> list_in(std::string_view text, const char* name, size_t most) {
  json object = json::parse(text, nullptr, false);
  if (!object.is_object() || object.size() != 1) return fail(wrong("the body is no object of one list"));
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array()) return fail(wrong("the body is no object of one list"));
  if (found->size() > most) return fail(wrong("the list is too long"));
  return json(std::move(*found));
}

std::optional<int64_t> number_in(const json& object, const char* name, int64_t low, int64_t high) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  const auto number = found->get<int64_t>();
  if (number < low || number > high) return std::nullopt;
  return number;
}

const std::string* text_in(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get_ptr<const std::string*>() : nullptr;
}

Result<queue::Lease> lease_in(const json& object) {
  if (!object.is_object()) return fail(wrong("an element of the list is no object"));
  const auto id = number_in(object, "id", 1, INT64_MAX);
  const auto attempt = number_in(object, "attempt", 1, INT64_MAX);
  if (!id || !attempt) return fail(wrong("id or attempt is no number"));
  return queue::Lease{*id, *attempt};
}

}  // namespace

// --- Claims ---

std::string write_claimed(std::span<const ClaimedJob> jobs) {
  std::string text;
  JsonWriter out(text);
  out.begin_object().key("jobs").begin_array();
  for (const ClaimedJob& job : jobs) {
    out.begin_object()
        .member("id", job.lease.id)
        .member("attempt", job.lease.attempt)
        .member("kind", job.kind)
        .member("tried", job.tried)
        .member("max_attempts", job.max_attempts)
        .member("priority", job.priority)
        .member("payload_base64", to_base64(job.payload))
        .end_object();
  }
  out.end_array().end_object();
  return text;
}

Result<std::vector<ClaimedJob>> read_claimed(std::string_view text) {
  TRY(const json list, list_in(text, "jobs", kMaxClaimed));
  std::vector<ClaimedJob> jobs;
  for (const json& one : list) {
    ClaimedJob job;
    TRY(job.lease, lease_in(one));
    const std::string* const kind = text_in(one, "kind");
    const std::string* const payload = text_in(one, "payload_base64");
    const auto tried = number_in(one, "tried", 1, INT32_MAX);
    const auto most = number_in(one, "max_attempts", 1, INT32_MAX);
    const auto priority = number_in(one, "priority", 0, queue::kMaxPriority);
    if (!kind || !queue::is_job_name(*kind) || !payload || !tried || !most || !priority)
      return fail(wrong("a job lacks something"));
    std::optional<std::string> bytes = from_base64(*payload);
    if (!bytes || bytes->size() > queue::kMaxPayload) return fail(wrong("a payload cannot be read"));
    job.kind = *kind;
    job.payload = *std::move(bytes);
    job.tried = static_cast<int>(*tried);
    job.max_attempts = static_cast<int>(*most);
    job.priority = static_cast<int>(*priority);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

// --- Settlements ---

std::string write_settlements(std::span<const Settlement> settlements) {
  std::string text;
  JsonWriter out(text);
  out.begin_object().key("settlements").begin_array();
  for (const Settlement& one : settlements) {
    out.begin_object()
        .member("id", one.lease.id)
        .member("attempt", one.lease.attempt)
        .member("verdict", to_string(one.verdict));
    if (!one.error.empty()) out.member("error", std::string_view(one.error).substr(0, queue::kMaxErrorText));
    if (one.delay) out.member("delay_ms", std::chrono::duration_cast<std::chrono::milliseconds>(*one.delay).count());
    out.end_object();
  }
  out.end_array().end_object();
  return text;
}

Result<std::vector<Settlement>> read_settlements(std::string_view text) {
  TRY(const json list, list_in(text, "settlements", queue::kMaxBatch));
  std::vector<Settlement> settlements;
  for (const json& one : list) {
    Settlement settlement;
    TRY(settlement.lease, lease_in(one));
    const std::string* const verdict = text_in(one, "verdict");
    const auto named = [&](Verdict each) { return verdict && *verdict == to_string(each); };
    const auto found = std::find_if(kVerdicts.begin(), kVerdicts.end(), named);
    if (found == kVerdicts.end()) return fail(wrong("verdict must be ack, retry, bury, release or extend"));
    settlement.verdict = *found;
    if (one.contains("error")) {
      const std::string* const error = text_in(one, "error");
      if (!error) return fail(wrong("error is no text"));
      settlement.error = error->substr(0, 4 * queue::kMaxErrorText);
    }
    if (one.contains("delay_ms")) {
      const auto delay = number_in(one, "delay_ms", 0, kMaxDelayMillis);
      if (!delay) return fail(wrong("delay_ms is no number of milliseconds up to a year"));
      settlement.delay = std::chrono::milliseconds(*delay);
    }
    settlements.push_back(std::move(settlement));
  }
  return settlements;
}

std::string write_settled(std::span<const Settled> outcomes) {
  std::string text;
  JsonWriter out(text);
  out.begin_object().key("settled").begin_array();
  for (const Settled outcome : outcomes) out.value(text_of(outcome));
  out.end_array().end_object();
  return text;
}

Result<std::vector<Settled>> read_settled(std::string_view text, size_t wanted) {
  TRY(const json list, list_in(text, "settled", queue::kMaxBatch));
  if (list.size() != wanted) return fail(wrong("there are more or fewer outcomes than settlements"));
  std::vector<Settled> outcomes;
  for (const json& one : list) {
    const std::string* const name = one.is_string() ? one.get_ptr<const std::string*>() : nullptr;
    bool known = false;
    for (const Settled outcome : {Settled::yes, Settled::buried, Settled::stale}) {
      if (!name || *name != text_of(outcome)) continue;
      outcomes.push_back(outcome);
      known = true;
    }
    if (!known) return fail(wrong("an outcome is none"));
  }
  return outcomes;
}

}  // namespace trellis::app
