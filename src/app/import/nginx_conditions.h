// What an `if` of nginx says when it ends in a return: whom it refuses, and whom it lets in. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/import/nginx_syntax.h"

namespace trellis::app {

// The return with which a block ends before anything else of it changes where its requests go. nullptr: none.
const NginxDirective* return_of(const NginxDirective& block);
// if ($request_method !~ ^(GET|POST)$) { return 405; }: the methods that the `if` leaves alone. Nothing: it is another.
std::optional<std::vector<std::string>> methods_of(const NginxDirective& condition);

// Does the block answer that clients may not?
bool refuses(const NginxDirective& block);
// Of an `if` that lets in but some: `if ($ssl_client_verify != SUCCESS) { return 403; }` guards like
// "ssl_verify_client", `if ($http_x_key != abc) { return 403; }` as "if". "": it does not, or goes by the address that
// was asked for or by methods, which are told.
std::string_view guard_of(const NginxDirective& condition);

}  // namespace trellis::app
