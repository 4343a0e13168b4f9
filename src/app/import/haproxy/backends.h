// HAProxy's backends, and the servers of its listens, as upstreams of Trellis; each is written when something leads to
// it. In HAProxy checks and limits belong to a server, in Trellis to the upstream. Fills the draft; one thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/fields.h"
#include "app/import/haproxy/proxies.h"
#include "app/import/haproxy/resolvers.h"
#include "app/import/haproxy/server.h"
#include "app/import/remark.h"

namespace trellis::app {

// Is it a line that says something of a proxy's servers, and not of its clients?
bool is_of_hosts(const HaproxyLine& line);

class HaproxyBackends {
 public:
  HaproxyBackends(const std::vector<HaproxyProxy>& proxies, std::map<std::string, HaproxyResolvers> resolvers,
                  ConfigDraft& draft, Remarks& remarks)
      : proxies_(proxies), resolvers_(std::move(resolvers)), draft_(draft), remarks_(remarks) {}

  // The upstream of a backend's name. Nothing when its servers cannot be reached as they must, which has been told.
  std::optional<std::string> use(const std::string& name, const ImportPlace& at);
  // The version of the PROXY protocol that a backend in use is told by: v1, v2; empty: none.
  std::string proxy_protocol_of(const std::string& name) const;
  // What a backend in use changes in requests and answers.
  const HaproxyEdits& edits_of(const std::string& name) { return edits_[name]; }

 private:
  struct Reading;
  std::optional<UpstreamDraft> upstream_of(const HaproxyProxy& proxy);
  bool server(const HaproxyLine& line, Reading& reading);
  bool name_source(const HaproxyLine& line, const HaproxyServer& server, HostDraft& host);
  std::string free_name(const std::string& name);

  const std::vector<HaproxyProxy>& proxies_;
  std::map<std::string, HaproxyResolvers> resolvers_;
  ConfigDraft& draft_;
  Remarks& remarks_;
  std::set<std::string> names_;
  std::map<std::string, std::optional<std::string>> made_;
  std::map<std::string, std::string> proxy_protocols_;
  std::map<std::string, HaproxyEdits> edits_;
};

}  // namespace trellis::app
