// What HAProxy's conditions (`if a b || c`, with the acls of their proxy) say about a request: as matches of routes, as
// blocks of addresses, as names in a TLS hello. Whatever of them a match cannot say is answered by nothing. One proxy,
// one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

class HaproxyConditions {
 public:
  HaproxyConditions(const std::vector<HaproxyLine>& lines, Remarks& remarks);

  // The condition behind `from` words, a match for each way in which it holds; nothing, and why, when none says it.
  std::optional<std::vector<MatchDraft>> matches(const HaproxyLine& line, size_t from, std::string& why) const;

  // Takes out of a condition what must not hold: `!a`, `!{ ... }`, all of `unless a`. A match for each way in which one
  // of them holds; empty: there is none. Nothing, and why, when no match says it.
  std::optional<std::vector<MatchDraft>> take_exceptions(HaproxyLine& line, size_t from, std::string& why) const;

  // The same when nothing says what must not hold: the rest, which holds for more requests; for all of them where an
  // `or` stands beside it. False: there is none.
  static bool drop_exceptions(HaproxyLine& line, size_t from);

  // `if { src ... }`, `if !{ src ... }`, `if NAME`, `if !NAME`, `unless NAME`, and nothing beside it.
  struct Sources {
    std::vector<std::string> blocks;
    bool others = false;  // it holds for those whom the blocks do not name
  };
  std::optional<Sources> sources(const HaproxyLine& line, size_t from) const;
  // The same when other conditions stand beside it (`if admin !{ src ... }`): it is taken out of the line; they stay.
  std::optional<Sources> take_sources(HaproxyLine& line, size_t from) const;
  // `!{ ssl_fc }`, `unless secure`: does it hold for clients who came through TLS, and only for them (true), or only
  // for all others (false)? It is taken out, too.
  std::optional<bool> take_tls(HaproxyLine& line, size_t from) const;
  // Does an acl of the condition ask for a name and a password?
  bool asks_password(const HaproxyLine& line) const;

  // `if { req.ssl_sni -i a b }` or an acl that says so, in small letters; else none.
  std::vector<std::string> hello_names(const HaproxyLine& line, size_t from) const;

  // Of the words behind `from`, the one condition that no match says and a way of a split does: a chance (`rand(100) lt
  // 5`, `src,crc32,mod(100) lt 5`) or a cookie. It is taken out of the line; the rest stays.
  struct Way {
    std::string key;    // of a chance; empty: it is `when`
    uint64_t part = 0;  // of `whole`
    uint64_t whole = 0;
    FieldLines when;
  };
  std::optional<Way> take_way(HaproxyLine& line, size_t from) const;

 private:
  std::optional<bool> by_tls(const HaproxyLine& condition) const;
  bool add_matches(const HaproxyLine& acl, std::vector<MatchDraft>& out, std::string& why) const;

  Remarks& remarks_;
  std::map<std::string, std::vector<HaproxyLine>> acls_;  // lines of one name are alternatives
};

}  // namespace trellis::app
