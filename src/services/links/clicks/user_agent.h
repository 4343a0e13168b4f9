// What a User-Agent field says about who clicked: kind of device, operating system, browser, and whether it is a
// program. For rules and for counts, so a handful of families rather than versions. It reads the text once from the
// left, compares each word with a small table of our own and decides by what it found, the most special first; it
// allocates nothing. An agent is a claim: nothing that must be safe may rest on it. An iPad that asks for desktop pages
// says that it is a Mac, and is counted as one. Pure; any core. Input is foreign:
// fuzz/services_links_agent_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace trellis::services::links {

inline constexpr size_t kMaxUserAgent = 512;  // what follows is not looked at

// tv: sets, sticks and consoles. bot: crawlers, link previews, libraries and tools, known by their names, by how such
// names end, by an address of a page or of mail, and by a product and its version where a browser would name a system.
// other: nothing that we know, also an empty text.
enum class Device : uint8_t { other, desktop, phone, tablet, tv, bot };
enum class Os : uint8_t { other, windows, macos, linux, chromeos, android, ios, ipados };
enum class Browser : uint8_t {
  other,
  chrome,
  safari,
  firefox,
  edge,
  opera,
  samsung,
  yandex,
  vivaldi,
  duckduckgo,
  uc,
  silk,
  internet_explorer,
  facebook,  // the page inside the application, as with the next two
  instagram,
  wechat,
};
inline constexpr size_t kDevices = 6;
inline constexpr size_t kSystems = 8;
inline constexpr size_t kBrowsers = 16;

struct UserAgent {
  Device device = Device::other;
  Os os = Os::other;                 // other for a bot, whatever it claims
  Browser browser = Browser::other;  // the same

  bool is_bot() const noexcept { return device == Device::bot; }
  friend bool operator==(const UserAgent&, const UserAgent&) = default;
};

UserAgent read_user_agent(std::string_view text) noexcept;

// "phone", "ipados", "internet_explorer": the words of rules and statistics.
std::string_view to_string(Device device) noexcept;
std::string_view to_string(Os os) noexcept;
std::string_view to_string(Browser browser) noexcept;
// All of them, in their order.
std::span<const std::string_view> device_names() noexcept;
std::span<const std::string_view> os_names() noexcept;
std::span<const std::string_view> browser_names() noexcept;
std::optional<Device> device_of(std::string_view name) noexcept;
std::optional<Os> os_of(std::string_view name) noexcept;
std::optional<Browser> browser_of(std::string_view name) noexcept;

}  // namespace trellis::services::links
