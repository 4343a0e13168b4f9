// Which of several stored answers fits a request (RFC 9111 §4.1): the text of a variant is made from the fields that
// Vary names, and is appended to the key. Values that mean the same give the same text:
//
// - white space around commas and at the ends is taken off, several lines are one list;
// - Accept-Encoding: the set of codings the client takes. Its order and weights are left out: whatever coding is stored
//   under a set, every client with this set takes;
// - Accept-Language: lower case, by falling weight; equal weights in the order of the alphabet, since RFC 9110 §12.5.4
//   gives their order no meaning.
//
// A client that likes one language best is given the stored answer in that language, whatever else it would take: it is
// what a server that has it would choose (KnownLanguages).
//
// Pure; any core.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/fields.h"

namespace trellis::cache {

inline constexpr size_t kMaxVaryNames = 16;

// `vary` is the joined value. True for a "*" anywhere, and for what cannot be kept apart: more than kMaxVaryNames
// names, or something that is no name. Such an answer is not stored.
bool varies_on_everything(std::string_view vary) noexcept;

// Lower case, sorted, each once; empty when there is none or varies_on_everything().
std::vector<std::string> vary_names(std::string_view vary);

// Languages in which an answer of a URI is stored, each with the text of the Accept-Language it is stored under.
struct KnownLanguages {
  static constexpr size_t kMax = 32;
  std::vector<std::pair<std::string, std::string>> texts;
  bool operator==(const KnownLanguages&) const = default;

  const std::string* find(std::string_view language) const noexcept;
};

// Appends a line for each name: "\n" name, and "=" value where the request has the field. No field value can hold a
// line break, so no two requests that differ give one text.
void append_variant(std::string& key, const std::vector<std::string>& names, const http::Fields& request,
                    const KnownLanguages& languages = {});

// What is known once the answer to a request is stored, under append_variant() with what this returns: the language of
// its Content-Language, where the answers vary by Accept-Language and it names one. If the request liked another
// language best that was known, that one is known no more: the origin does not give it now. Nothing is learned where
// the request's field holds anything but language ranges.
KnownLanguages learn_language(KnownLanguages known, const std::vector<std::string>& names, const http::Fields& request,
                              const http::Fields& response);

}  // namespace trellis::cache
