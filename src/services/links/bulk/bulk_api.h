// The API of many links at once: batches, imports and exports, over the link book. Owned by the links service; serves
// all cores. Its routes are described in bulk_describe.cc.
#pragma once

#include "http/routes.h"
#include "services/links/link_book.h"

namespace trellis::services::links {

class BulkApi {
 public:
  // Borrows the book, which outlives it.
  explicit BulkApi(LinkBook& book) noexcept : book_(book) {}

  void mount(http::Routes& routes);

 private:
  Task<Result<http::Response>> create_batch(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> take_in(http::Request& request, http::RequestContext& context);
  Task<Result<http::Response>> write_out(http::Request& request, http::RequestContext& context);

  LinkBook& book_;
};

}  // namespace trellis::services::links
