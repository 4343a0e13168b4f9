// The page that asks a visitor for the password of a link: a form that works without a script, by keyboard and for
// screen readers, in light and dark. It tells nothing of the link. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace trellis::services::links {

// `sentence`: what went wrong the last time, "" at first; our own text.
std::string password_page(std::string_view sentence);
// Allows the style of the page and the form's way to wherever the link leads, and nothing else.
std::string_view password_page_policy();

}  // namespace trellis::services::links
