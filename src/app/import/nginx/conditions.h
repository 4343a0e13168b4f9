// What an `if` of nginx says when it ends in a return: whom it refuses, and whom it lets in. Pure.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/import/nginx/syntax.h"

namespace trellis::app {

// The return with which a block ends before anything else of it changes where its requests go. nullptr: none.
const NginxDirective* return_of(const NginxDirective& block);
// if ($request_method !~ ^(GET|POST)$) { return 405; }: the methods that the `if` leaves alone. Nothing: it is another.
std::optional<std::vector<std::string>> methods_of(const NginxDirective& condition);

// Does the block answer that clients may not?
bool refuses(const NginxDirective& block);
// `if ($variable = value)`
struct NginxComparison {
  std::string variable;
  std::string value;
};
std::optional<NginxComparison> comparison_of(const NginxDirective& condition);

// What variables hold as long as no condition, and no line of a `map` or a `geo`, says otherwise; with their "$".
using NginxVariables = std::map<std::string, std::string, std::less<>>;

// Of an `if` that lets in but some: `if ($ssl_client_verify != SUCCESS) { return 403; }` guards like
// "ssl_verify_client"; as "if" do `if ($http_x_key != abc) { return 403; }`, and one that holds as long as nothing says
// otherwise (`set $ok 0; if (...) { set $ok 1; } if ($ok = 0) { return 403; }`). "": it lets in all but some, or goes
// by the address that was asked for or by methods.
std::string_view guard_of(const NginxDirective& condition, const NginxVariables& usually);

}  // namespace trellis::app
