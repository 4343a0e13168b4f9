#include "services/links/clicks/user_agent.h"

#include <algorithm>
#include <array>

namespace trellis::services::links {

namespace {

// What a word of the text can tell, one bit each.
enum Mark : uint64_t {
  kBot = 1ull << 0,
  kTv = 1ull << 1,
  kTablet = 1ull << 2,
  kMobile = 1ull << 3,
  kWindowsPhone = 1ull << 4,
  kIphone = 1ull << 5,
  kIpad = 1ull << 6,
  kAndroid = 1ull << 7,
  kWindows = 1ull << 8,
  kMac = 1ull << 9,
  kChromeOs = 1ull << 10,
  kLinux = 1ull << 11,
  kUnix = 1ull << 12,  // a desktop system without a name of its own here
  kTizen = 1ull << 13,
  kChrome = 1ull << 14,
  kSafari = 1ull << 15,
  kVersion = 1ull << 16,
  kFirefox = 1ull << 17,
  kEdge = 1ull << 18,
  kOpera = 1ull << 19,
  kSamsung = 1ull << 20,
  kYandex = 1ull << 21,
  kVivaldi = 1ull << 22,
  kDuckDuckGo = 1ull << 23,
  kUc = 1ull << 24,
  kSilk = 1ull << 25,
  kInternetExplorer = 1ull << 26,
  kFacebook = 1ull << 27,
  kInstagram = 1ull << 28,
  kWechat = 1ull << 29,
};

struct Word {
  std::string_view text;  // stands at the beginning of a word, in lower case
  uint64_t marks;
};

// Sorted by their first character. A trailing slash keeps a name from matching a longer one.
constexpr std::array kWords = {
    Word{"adsbot", kBot},
    Word{"aft", kTv},  // Fire TV models are AFTxx
    Word{"aiohttp", kBot},
    Word{"android", kAndroid},
    Word{"android tv", kTv},
    Word{"apache-httpclient", kBot},
    Word{"apis-google", kBot},
    Word{"apple tv", kTv},
    Word{"appletv", kTv},
    Word{"axios/", kBot},
    Word{"bb10", kMobile},
    Word{"bingpreview", kBot},
    Word{"blackberry", kMobile},
    Word{"bravia", kTv},
    Word{"chatgpt-user", kBot},
    Word{"chrome-lighthouse", kBot},
    Word{"chrome/", kChrome},
    Word{"chromium/", kChrome},
    Word{"crios/", kChrome},
    Word{"crkey", kTv},
    Word{"cros", kChromeOs},
    Word{"curl/", kBot},
    Word{"dart/", kBot},
    Word{"ddg/", kDuckDuckGo},
    Word{"duckduckgo/", kDuckDuckGo},
    Word{"edg/", kEdge},
    Word{"edga/", kEdge},
    Word{"edge/", kEdge},
    Word{"edgios/", kEdge},
    Word{"embedly", kBot},
    Word{"facebookcatalog", kBot},
    Word{"facebookexternalhit", kBot},
    Word{"fb_iab", kFacebook},
    Word{"fban", kFacebook},
    Word{"fbav", kFacebook},
    Word{"feedfetcher", kBot},
    Word{"firefox/", kFirefox},
    Word{"freebsd", kUnix},
    Word{"fxios/", kFirefox},
    Word{"go-http-client", kBot},
    Word{"google-inspectiontool", kBot},
    Word{"google-read-aloud", kBot},
    Word{"googletv", kTv},
    Word{"guzzlehttp", kBot},
    Word{"hbbtv", kTv},
    Word{"headlesschrome", kBot},
    Word{"http.rb/", kBot},
    Word{"httpie/", kBot},
    Word{"ia_archiver", kBot},
    Word{"iframely", kBot},
    Word{"insomnia/", kBot},
    Word{"instagram", kInstagram},
    Word{"ipad", kIpad},
    Word{"iphone", kIphone},
    Word{"ipod", kIphone},
    Word{"java/", kBot},
    Word{"kaios", kMobile},
    Word{"kindle", kTablet},
    Word{"libwww-perl", kBot},
    Word{"linux", kLinux},
    Word{"macintosh", kMac},
    Word{"mediapartners-google", kBot},
    Word{"meta-externalagent", kBot},
    Word{"meta-externalfetcher", kBot},
    Word{"micromessenger", kWechat},
    Word{"mobile", kMobile},
    Word{"msie ", kInternetExplorer},
    Word{"netbsd", kUnix},
    Word{"netcast", kTv},
    Word{"nintendo", kTv},
    Word{"node-fetch", kBot},
    Word{"okhttp/", kBot},
    Word{"openbsd", kUnix},
    Word{"opera", kOpera},
    Word{"opera mini", kMobile},
    Word{"opera mobi", kMobile},
    Word{"opios/", kOpera},
    Word{"opr/", kOpera},
    Word{"opt/", kOpera},
    Word{"perplexity-user", kBot},
    Word{"phantomjs", kBot},
    Word{"playbook", kTablet},
    Word{"playstation", kTv},
    Word{"postmanruntime", kBot},
    Word{"python-", kBot},
    Word{"python/", kBot},
    Word{"roku", kTv},
    Word{"safari/", kSafari},
    Word{"samsungbrowser/", kSamsung},
    Word{"scrapy", kBot},
    Word{"silk/", kSilk},
    Word{"skypeuripreview", kBot},
    Word{"slack-imgproxy", kBot},
    Word{"slurp", kBot},
    Word{"smart-tv", kTv},
    Word{"smarttv", kTv},
    Word{"statuscake", kBot},
    Word{"tablet", kTablet},
    Word{"tizen", kTizen},
    Word{"trident/", kInternetExplorer},
    Word{"ucbrowser", kUc},
    Word{"undici", kBot},
    Word{"version/", kVersion},
    Word{"vivaldi/", kVivaldi},
    Word{"vkshare", kBot},
    Word{"web0s", kTv},
    Word{"webos", kTv},
    Word{"wget/", kBot},
    Word{"whatsapp/", kBot},  // its preview of a link; a tap opens the phone's browser
    Word{"windows", kWindows},
    Word{"windows phone", kWindowsPhone},
    Word{"windowspowershell", kBot},
    Word{"x11", kUnix},
    Word{"xbox", kTv},
    Word{"yabrowser/", kYandex},
};

constexpr bool sorted_by_first() {
  for (size_t i = 1; i < kWords.size(); ++i)
    if (kWords[i - 1].text[0] > kWords[i].text[0]) return false;
  return true;
}
static_assert(sorted_by_first());

// Where the words of each letter begin; 'z' + 1 is the end.
constexpr auto kFirst = [] {
  std::array<uint8_t, 27> first{};
  static_assert(kWords.size() < 256);
  for (size_t letter = 0; letter <= 26; ++letter) {
    size_t at = 0;
    while (at < kWords.size() && kWords[at].text[0] < static_cast<char>('a' + letter)) ++at;
    first[letter] = static_cast<uint8_t>(at);
  }
  return first;
}();

constexpr bool is_letter(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

// Programs like to end their names so: Googlebot, Bytespider, SomethingCrawler.
bool is_bot_name(std::string_view word) noexcept {
  if (word == "cubot") return false;  // makes phones
  return word.ends_with("bot") || word.ends_with("bots") || word.ends_with("spider") || word.ends_with("crawler");
}

uint64_t marks_of(std::string_view text) noexcept {
  uint64_t marks = 0;
  for (size_t at = 0; at < text.size();) {
    if (!is_word(text[at])) {
      // By custom a program leaves an address where to complain, as in "(+https://example.com/bot)".
      if (text[at] == '+' && text.substr(at + 1).starts_with("http")) marks |= kBot;
      ++at;
      continue;
    }
    if (is_letter(text[at])) {
      const std::string_view rest = text.substr(at);
      const auto letter = static_cast<size_t>(text[at] - 'a');
      for (size_t i = kFirst[letter]; i < kFirst[letter + 1]; ++i)
        if (rest.starts_with(kWords[i].text)) marks |= kWords[i].marks;
    }
    const size_t begin = at;
    while (at < text.size() && is_word(text[at])) ++at;
    if (is_bot_name(text.substr(begin, at - begin))) marks |= kBot;
  }
  return marks;
}

Os os_from(uint64_t marks) noexcept {
  if (marks & (kWindowsPhone | kWindows)) return Os::windows;
  if (marks & kIpad) return Os::ipados;
  if (marks & kIphone) return Os::ios;
  if (marks & kAndroid) return Os::android;
  if (marks & kMac) return Os::macos;
  if (marks & kChromeOs) return Os::chromeos;
  if (marks & (kTizen | kTv)) return Os::other;  // built on Linux, but nobody would look for them there
  if (marks & kLinux) return Os::linux;
  return Os::other;
}

Device device_from(uint64_t marks) noexcept {
  if (marks & kTv) return Device::tv;
  if (marks & kIpad) return Device::tablet;
  if (marks & (kIphone | kWindowsPhone)) return Device::phone;
  if (marks & kTizen) return marks & kMobile ? Device::phone : Device::tv;
  if (marks & kTablet) return Device::tablet;
  if (marks & kAndroid) return marks & kMobile ? Device::phone : Device::tablet;
  if (marks & kMobile) return Device::phone;
  if (marks & (kWindows | kMac | kChromeOs | kLinux | kUnix)) return Device::desktop;
  return Device::other;
}

// Nearly everybody also claims to be Chrome and Safari, so these come last.
Browser browser_from(uint64_t marks) noexcept {
  struct Claim {
    uint64_t mark;
    Browser browser;
  };
  static constexpr Claim kClaims[] = {
      {kInstagram, Browser::instagram},
      {kFacebook, Browser::facebook},
      {kWechat, Browser::wechat},
      {kEdge, Browser::edge},
      {kOpera, Browser::opera},
      {kSamsung, Browser::samsung},
      {kYandex, Browser::yandex},
      {kVivaldi, Browser::vivaldi},
      {kDuckDuckGo, Browser::duckduckgo},
      {kUc, Browser::uc},
      {kSilk, Browser::silk},
      {kInternetExplorer, Browser::internet_explorer},
      {kFirefox, Browser::firefox},
      {kChrome, Browser::chrome},
  };
  for (const Claim& claim : kClaims)
    if (marks & claim.mark) return claim.browser;
  // Other programs on the same engine leave out "Version/" or run on other systems.
  const bool apple = (marks & (kMac | kIphone | kIpad)) != 0;
  return apple && (marks & kSafari) && (marks & kVersion) ? Browser::safari : Browser::other;
}

constexpr std::array<std::string_view, kDevices> kDeviceNames = {"other", "desktop", "phone", "tablet", "tv", "bot"};
constexpr std::array<std::string_view, kSystems> kOsNames = {"other",    "windows", "macos", "linux",
                                                             "chromeos", "android", "ios",   "ipados"};
constexpr std::array<std::string_view, kBrowsers> kBrowserNames = {
    "other",      "chrome", "safari", "firefox",           "edge",     "opera",     "samsung", "yandex", "vivaldi",
    "duckduckgo", "uc",     "silk",   "internet_explorer", "facebook", "instagram", "wechat"};

template <class Enum, size_t N>
std::optional<Enum> find_name(const std::array<std::string_view, N>& names, std::string_view name) noexcept {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) return std::nullopt;
  return static_cast<Enum>(at - names.begin());
}

}  // namespace

UserAgent read_user_agent(std::string_view text) noexcept {
  std::array<char, kMaxUserAgent> lower;
  const size_t size = std::min(text.size(), lower.size());
  std::transform(text.begin(), text.begin() + size, lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
  const uint64_t marks = marks_of({lower.data(), size});
  if (marks & kBot) return {.device = Device::bot};
  return {.device = device_from(marks), .os = os_from(marks), .browser = browser_from(marks)};
}

std::string_view to_string(Device device) noexcept { return kDeviceNames[static_cast<size_t>(device)]; }
std::string_view to_string(Os os) noexcept { return kOsNames[static_cast<size_t>(os)]; }
std::string_view to_string(Browser browser) noexcept { return kBrowserNames[static_cast<size_t>(browser)]; }

std::optional<Device> device_of(std::string_view name) noexcept { return find_name<Device>(kDeviceNames, name); }
std::optional<Os> os_of(std::string_view name) noexcept { return find_name<Os>(kOsNames, name); }
std::optional<Browser> browser_of(std::string_view name) noexcept { return find_name<Browser>(kBrowserNames, name); }

}  // namespace trellis::services::links
