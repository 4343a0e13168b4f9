#include "proxy/cache/posted.h"

#include <string>
#include <utility>
#include <vector>

#include "cache/edge/purge_rule.h"
#include "runtime/loop.h"

namespace trellis::proxy {

using http::FieldId;

Task<Result<void>> keep_posted(CacheRoute& route, const http::Request& request, http::Response& response,
                               http::RequestContext& context, const PostSent& sent) {
  cache::ensure_date(response.fields, context.loop.wall());
  const cache::StoreVerdict verdict = cache::may_store(request, response, route.policy, sent.wall, context.loop.wall());
  const auto length = response.body.length();
  // Which of several variants a GET would get is not known from a POST.
  if (!verdict.store || response.fields.has(FieldId::vary) || !length || *length > kMostPosted ||
      response.body.kind() == http::Body::Kind::file || !route.cache->has_room(length))
    co_return Result<void>();
  std::string key;
  route.key.append(key, request);
  const cache::Stamp stamp = route.cache->stamp(key);
  cache::ObjectHead head;
  head.answered = context.loop.now();
  if (response.body.kind() == http::Body::Kind::stream) {
    const std::unique_ptr<http::BodyReader> stream = response.body.take_stream();
    Task<Result<std::string>> reading = http::read_all(stream.get(), kMostPosted, context.deadline);
    Result<std::string> text = co_await reading;
    if (!text) co_return std::unexpected<Error>(std::move(text).error());
    response.body = http::Body(*std::move(text));
  }
  const std::string_view bytes = response.body.bytes().view();
  if (bytes.size() != *length)
    co_return fail(Error(Code::data_loss, "the answer is shorter than it said").from(Side::upstream));

  const cache::ResponseDirectives directives = cache::response_directives(response.fields);
  http::Fields fields(context.arena);
  for (const http::Field& field : response.fields) {
    if (field.id != FieldId::content_length && cache::is_stored_field(field, directives, route.policy))
      fields.add(field);
  }
  head.status = response.status;
  head.freshness = verdict.freshness;
  head.took = head.answered - sent.at;
  cache::append_purge_url(head.purge_url, route.key.purge_host(request.authority), request.path,
                          route.key.keyed_query(request.query, context.arena));
  head.tags = cache::tag_hashes(response.fields);
  head.filled = sent.filled;
  head.fields = cache::StoredFields(fields);
  std::shared_ptr<cache::ObjectBody> body = route.cache->make_body(length);
  body->append(bytes);
  body->finish();
  std::vector<cache::ObjectPart> parts;
  parts.push_back({0, std::move(body)});
  route.cache->insert(route.cache->make_object(std::move(key), std::move(head), std::move(parts)), stamp);
  co_return Result<void>();
}

}  // namespace trellis::proxy
