#include "services/curl.h"

#include <dlfcn.h>

#include <optional>
#include <string>

namespace trellis::services {

namespace {

template <class Function>
bool find(void* library, const char* name, Function& to) {
  to = reinterpret_cast<Function>(::dlsym(library, name));
  return to != nullptr;
}

std::optional<CurlLibrary> load() {
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4"}) {
    void* const library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);  // never closed
    if (!library) continue;
    CurlLibrary found{};
    decltype(&curl_global_init) global_init = nullptr;
    if (find(library, "curl_global_init", global_init) && find(library, "curl_easy_init", found.easy_init) &&
        find(library, "curl_easy_setopt", found.easy_setopt) &&
        find(library, "curl_easy_perform", found.easy_perform) &&
        find(library, "curl_easy_getinfo", found.easy_getinfo) &&
        find(library, "curl_easy_strerror", found.easy_strerror) &&
        find(library, "curl_easy_cleanup", found.easy_cleanup) &&
        find(library, "curl_slist_append", found.slist_append) &&
        find(library, "curl_slist_free_all", found.slist_free_all) && global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
      return found;
  }
  return std::nullopt;
}

}  // namespace

Result<const CurlLibrary*> curl_library() {
  static const std::optional<CurlLibrary> library = load();
  if (!library) {
    return fail(Error(Code::failed_precondition, "libcurl is not here; Debian has it as libcurl4").from(Side::self));
  }
  return &*library;
}

}  // namespace trellis::services
