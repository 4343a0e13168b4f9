// The control API's event logs: /v1/log... (docs/log.md#by-hand).
#include <algorithm>
#include <array>
#include <map>

#include "app/control/control_area.h"
#include "app/node/node.h"
#include "base/encoding.h"
#include "config/values.h"
#include "queue/event_log.h"
#include "runtime/loop.h"
#include "services/links/clicks/click.h"
#include "services/links/clicks/clicks.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;
using queue::EventLog;

constexpr int64_t kMaxPeeked = 100;
constexpr size_t kMaxClicksShown = 20;  // of a batch
constexpr size_t kMaxHexShown = 256;    // bytes of a value that is no text

// UTF-8 without control characters but tabs and ends of lines.
bool is_text(std::string_view bytes) noexcept {
  for (size_t i = 0; i < bytes.size();) {
    const auto first = static_cast<uint8_t>(bytes[i]);
    if ((first < 0x20 && first != '\t' && first != '\n' && first != '\r') || first == 0x7F) return false;
    size_t more = 0;
    if (first >= 0x80) {
      more = first >= 0xC2 && first < 0xE0   ? 1
             : first >= 0xE0 && first < 0xF0 ? 2
             : first >= 0xF0 && first < 0xF5 ? 3
                                             : 0;
      if (more == 0 || bytes.size() - i <= more) return false;
    }
    for (size_t k = 1; k <= more; ++k) {
      if ((static_cast<uint8_t>(bytes[i + k]) & 0xC0) != 0x80) return false;
    }
    i += more + 1;
  }
  return true;
}

// The log that the parameter `log` names; it may be left out where there is one only.
Result<std::shared_ptr<EventLog>> log_parameter(Node& node, Request& request, RequestContext& context) {
  TRY(const std::optional<std::string> name, text_parameter(request, context, "log"));
  const auto logs = node.logs();
  std::string known;
  for (const auto& [one, log] : logs) known += (known.empty() ? "" : ", ") + one;
  if (logs.empty()) return fail(refused(Code::not_found, "this node has no event log"));
  if (!name) {
    if (logs.size() == 1) return logs.begin()->second;
    return fail(refused(Code::invalid_argument, "there are several logs, name one of them: " + known));
  }
  const auto found = logs.find(*name);
  if (found == logs.end())
    return fail(refused(Code::not_found, "there is no log \"" + *name + "\"; there are: " + known));
  return found->second;
}

Result<std::string> topic_parameter(const EventLog& log, Request& request, RequestContext& context) {
  TRY(std::optional<std::string> topic, text_parameter(request, context, "topic"));
  if (!topic) return fail(refused(Code::invalid_argument, "topic is missing"));
  if (log.partitions(*topic) == 0) {
    std::string known;
    for (const std::string& one : log.topics()) known += (known.empty() ? "" : ", ") + one;
    return fail(refused(Code::not_found,
                        "there is no topic \"" + *topic + "\"; there are: " + (known.empty() ? "none" : known)));
  }
  return *std::move(topic);
}

Result<std::optional<uint32_t>> partition_parameter(const EventLog& log, const std::string& topic, Request& request,
                                                    RequestContext& context) {
  TRY(const std::optional<int64_t> partition,
      number_parameter(request, context, "partition", 0, int64_t{log.partitions(topic)} - 1));
  if (!partition) return std::optional<uint32_t>();
  return std::optional<uint32_t>(static_cast<uint32_t>(*partition));
}

Task<Result<Response>> topics(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"log"}));
  CO_TRY(const std::shared_ptr<EventLog> log, log_parameter(node, request, context));
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("topics").begin_array();
  for (const std::string& topic : log->topics()) {
    for (uint32_t partition = 0; partition < log->partitions(topic); ++partition) {
      CO_TRY(const uint64_t first, log->first(topic, partition));
      CO_TRY(const uint64_t head, log->head(topic, partition));
      json.begin_object()
          .member("topic", topic)
          .member("partition", partition)
          .member("first", first)
          .member("head", head)
          .end_object();
    }
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

Task<Result<Response>> groups(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"log"}));
  CO_TRY(const std::shared_ptr<EventLog> log, log_parameter(node, request, context));
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("groups").begin_array();
  for (const queue::GroupLag& one : log->lags()) {
    json.begin_object()
        .member("group", one.group)
        .member("topic", one.topic)
        .member("partition", one.partition)
        .member("committed", one.committed)
        .member("first", one.first)
        .member("head", one.head)
        .member("lag", one.lag())
        .end_object();
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

void write_click(JsonWriter& json, const services::links::Click& click) {
  json.begin_object()
      .member("link", click.link)
      .member("at", time_text(WallTime(std::chrono::milliseconds(click.at))))
      .member("country", click.country_code())
      .member("referrer", click.referrer)
      .member("device", services::links::to_string(click.agent.device))
      .member("os", services::links::to_string(click.agent.os))
      .member("browser", services::links::to_string(click.agent.browser))
      .member("language", click.language)
      .member("bot", click.agent.is_bot())
      .member("source", click.scan ? "qr" : "link")
      .member("rule", click.rule.number)
      .member("target", click.rule.target)
      .end_object();
}

// Text as it is, batches of clicks as the first of them, other bytes in hexadecimal.
void write_value(JsonWriter& json, std::string_view topic, const std::string& value) {
  if (topic == services::links::kClicksTopic) {
    if (const auto clicks = services::links::read_clicks(value)) {
      json.member("count", clicks->size()).key("clicks").begin_array();
      for (size_t i = 0; i < std::min(clicks->size(), kMaxClicksShown); ++i) write_click(json, (*clicks)[i]);
      json.end_array();
      return;
    }
  }
  if (is_text(value)) {
    json.member("value", value);
  } else {
    json.member("bytes", value.size()).member("hex", to_hex(std::string_view(value).substr(0, kMaxHexShown)));
  }
}

Task<Result<Response>> peek(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"log", "topic", "partition", "offset", "limit"}));
  CO_TRY(const std::shared_ptr<EventLog> log, log_parameter(node, request, context));
  CO_TRY(const std::string topic, topic_parameter(*log, request, context));
  CO_TRY(const std::optional<uint32_t> given, partition_parameter(*log, topic, request, context));
  CO_TRY(const std::optional<int64_t> offset, number_parameter(request, context, "offset", 0, INT64_MAX));
  CO_TRY(const std::optional<int64_t> wanted, number_parameter(request, context, "limit", 1, kMaxPeeked));
  const uint32_t partition = given.value_or(0);
  const auto limit = static_cast<uint64_t>(wanted.value_or(10));
  CO_TRY(const uint64_t first, log->first(topic, partition));
  CO_TRY(const uint64_t head, log->head(topic, partition));
  // Without an offset the latest ones.
  const uint64_t from = offset ? static_cast<uint64_t>(*offset) : std::max(first, head - std::min(head, limit));
  auto reading = log->read(topic, partition, from, limit);
  const Result<queue::EventSlice> slice = co_await reading;
  if (!slice && slice.error().code() == Code::data_loss) {
    auto leading = log->next_whole(topic, partition, from);
    CO_TRY(const uint64_t next, co_await leading);
    co_return fail(Error(Code::data_loss,
                         slice.error().to_string() + "; the next whole event is at offset " + std::to_string(next))
                       .from(Side::self));
  }
  if (!slice) co_return fail(slice.error().clone());
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("events").begin_array();
  for (const queue::StoredEvent& event : slice->events) {
    json.begin_object()
        .member("offset", event.offset)
        .member("at", time_text(WallTime(std::chrono::milliseconds(event.at_ms))))
        .member("key", event.key);
    if (event.value) {
      write_value(json, topic, *event.value);
    } else {
      json.key("value").null();
    }
    json.end_object();
  }
  json.end_array().member("next", slice->next).end_object();
  co_return json_answer(context, 200, std::move(text));
}

struct Where {
  std::optional<uint64_t> offset;
  std::optional<WallTime> at;
};

Result<Where> where_of(Request& request, RequestContext& context) {
  TRY(const std::optional<int64_t> offset, number_parameter(request, context, "offset", 0, INT64_MAX));
  TRY(const std::optional<int64_t> at, number_parameter(request, context, "at_ms", 0, INT64_MAX / 1'000'000));
  TRY(const std::optional<std::string> ago, text_parameter(request, context, "ago"));
  if (static_cast<int>(offset.has_value()) + static_cast<int>(at.has_value()) + static_cast<int>(ago.has_value()) != 1)
    return fail(refused(Code::invalid_argument, "say where to begin: one of offset, at_ms and ago"));
  Where where;
  if (offset) where.offset = static_cast<uint64_t>(*offset);
  if (at) where.at = WallTime(std::chrono::milliseconds(*at));
  if (ago) {
    const Result<Duration> span = config::parse_duration(*ago);
    if (!span) return fail(refused(Code::invalid_argument, "ago must be a span of time such as 2h"));
    where.at = context.loop.wall() - *span;
  }
  return where;
}

Task<Result<Response>> replay(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"log", "topic", "group", "partition", "offset", "at_ms", "ago"}));
  CO_TRY(const std::shared_ptr<EventLog> log, log_parameter(node, request, context));
  CO_TRY(const std::string topic, topic_parameter(*log, request, context));
  CO_TRY(const std::optional<std::string> group, text_parameter(request, context, "group"));
  CO_TRY(const std::optional<uint32_t> only, partition_parameter(*log, topic, request, context));
  CO_TRY(const Where where, where_of(request, context));
  if (!group) co_return fail(refused(Code::invalid_argument, "group is missing"));
  const uint32_t partitions = log->partitions(topic);
  if (where.offset && !only && partitions > 1)
    co_return fail(refused(Code::invalid_argument, "an offset is one of a partition: say which"));
  const auto ours = [&](const queue::GroupLag& one) { return one.group == *group && one.topic == topic; };
  if (std::ranges::none_of(log->lags(), ours))
    co_return fail(refused(Code::not_found, "there is no group \"" + *group + "\" of the topic " + topic));
  std::map<uint32_t, uint64_t> begins;
  for (uint32_t partition = 0; partition < partitions; ++partition) {
    if (only && *only != partition) continue;
    uint64_t offset = where.offset.value_or(0);
    if (where.at) {
      auto finding = log->offset_at(topic, partition, *where.at);
      const Result<uint64_t> found = co_await finding;
      if (!found) co_return fail(found.error().clone());
      offset = *found;
    }
    CO_TRY(const uint64_t head, log->head(topic, partition));
    if (offset > head)
      co_return fail(refused(Code::invalid_argument, "the offset is beyond the head, " + std::to_string(head)));
    auto committing = log->commit(*group, topic, partition, offset, after(Loop::current().now(), kControlTimeout));
    const Result<void> committed = co_await committing;
    if (!committed) co_return fail(committed.error().clone());
    begins[partition] = offset;
  }
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("partitions").begin_array();
  for (const auto& [partition, offset] : begins)
    json.begin_object().member("partition", partition).member("offset", offset).end_object();
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

constexpr std::array<ControlEndpoint, 4> kEndpoints = {{{"/v1/log", Method::get, &topics},
                                                        {"/v1/log/groups", Method::get, &groups},
                                                        {"/v1/log/peek", Method::get, &peek},
                                                        {"/v1/log/replay", Method::post, &replay}}};

}  // namespace

std::span<const ControlEndpoint> log_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
