// Hosts of URLs in one normal form, so that two ways to write one host compare equal as browsers see it: lower case,
// international names as Punycode (UTS #46), IPv4 addresses in any of their old forms as four decimal numbers, IPv6
// addresses in their shortest, no final dot. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace trellis::services::links {

// Of a host without a port, IPv6 in brackets. What cannot be brought into this form stays as it is, in lower case: then
// it has bytes beyond ASCII.
std::string normal_host(std::string_view host);
bool is_ascii(std::string_view text) noexcept;
// Of a host in normal form.
bool is_address(std::string_view normal_host) noexcept;

}  // namespace trellis::services::links
