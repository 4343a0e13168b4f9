// libcurl, loaded at its first use: it brings LDAP, Kerberos and a second TLS library into memory, which a node that
// sends no mail and calls no webhook never needs (4 MiB, a seventh of a front door with 10,000 connections). Any
// thread.
#pragma once

#include <curl/curl.h>

#include <memory>

#include "base/error.h"

namespace trellis::services {

struct CurlLibrary {
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_perform) easy_perform;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
};

// Lives for ever. failed_precondition: it is not installed.
Result<const CurlLibrary*> curl_library();

struct FreeCurl {
  const CurlLibrary* library;
  void operator()(CURL* curl) const noexcept { library->easy_cleanup(curl); }
};
struct FreeCurlList {
  const CurlLibrary* library;
  void operator()(curl_slist* list) const noexcept { library->slist_free_all(list); }
};
using CurlHandle = std::unique_ptr<CURL, FreeCurl>;
using CurlList = std::unique_ptr<curl_slist, FreeCurlList>;

}  // namespace trellis::services
