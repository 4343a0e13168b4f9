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
  kDesktop = 1ull << 12,  // of a system without a name of its own here
  kTizen = 1ull << 13,
  kApp = 1ull << 14,         // an application on Android, which does not say "Mobile" where a browser would
  kProduct = 1ull << 15,     // some name with a version
  kCompatible = 1ull << 16,  // as in "(compatible; ExampleSearch)"
  kVersion = 1ull << 17,
  kChrome = 1ull << 18,  // from here on browsers
  kSafari = 1ull << 19,
  kFirefox = 1ull << 20,
  kEdge = 1ull << 21,
  kOpera = 1ull << 22,
  kSamsung = 1ull << 23,
  kYandex = 1ull << 24,
  kVivaldi = 1ull << 25,
  kDuckDuckGo = 1ull << 26,
  kUc = 1ull << 27,
  kSilk = 1ull << 28,
  kInternetExplorer = 1ull << 29,
  kFacebook = 1ull << 30,
  kInstagram = 1ull << 31,
  kWechat = 1ull << 32,
};
constexpr uint64_t kBrowser = ~(kChrome - 1);

struct Word {
  std::string_view text;  // stands at the beginning of a word, in lower case
  uint64_t marks;
};

// Sorted by their first character; of two at least. A trailing slash keeps a name from matching a longer one.
constexpr std::array kWords = {
    Word{"acunetix", kBot},
    Word{"aft", kTv},  // Fire TV models are AFTxx
    Word{"aiohttp", kBot},
    Word{"amaya/", kDesktop},
    Word{"amigaos", kDesktop},
    Word{"android", kAndroid},
    Word{"android tv", kTv},
    Word{"anthropic", kBot},
    Word{"apache-httpclient", kBot},
    Word{"apis-google", kBot},
    Word{"apple tv", kTv},
    Word{"archive.org", kBot},
    Word{"axios/", kBot},
    Word{"bada", kMobile},
    Word{"bb10", kMobile},
    Word{"beos", kDesktop},
    Word{"bingpreview", kBot},
    Word{"blackberry", kMobile},
    Word{"brandverity", kBot},
    Word{"bravia", kTv},
    Word{"brew", kMobile},
    Word{"brightsign", kTv},
    Word{"ce-html", kTv},
    Word{"censys", kBot},
    Word{"chatgpt-user", kBot},
    Word{"checkly", kBot},
    Word{"chrome-lighthouse", kBot},
    Word{"chrome/", kChrome},
    Word{"chromecast", kTv},
    Word{"chromium/", kChrome},
    Word{"claude", kBot},
    Word{"coccoc/", kBot},
    Word{"compatible", kCompatible},
    Word{"crawl", kBot},
    Word{"crios/", kChrome},
    Word{"crkey", kTv},
    Word{"cros", kChromeOs},
    Word{"curl/", kBot},
    Word{"cypress/", kBot},
    Word{"dalvik/", kApp},
    Word{"dart/", kBot},
    Word{"datadog", kBot},
    Word{"ddg/", kDuckDuckGo},
    Word{"dillo/", kDesktop},
    Word{"dirbuster", kBot},
    Word{"docomo", kMobile},
    Word{"dragonfly", kDesktop},
    Word{"duckduckgo/", kDuckDuckGo},
    Word{"edg/", kEdge},
    Word{"edga/", kEdge},
    Word{"edge/", kEdge},
    Word{"edgios/", kEdge},
    Word{"elinks/", kDesktop},
    Word{"embedly", kBot},
    Word{"facebookcatalog", kBot},
    Word{"facebookexternalhit", kBot},
    Word{"fb_iab", kFacebook},
    Word{"fban", kFacebook},
    Word{"fbav", kFacebook},
    Word{"feedfetcher", kBot},
    Word{"fetch", kBot},
    Word{"firefox/", kFirefox},
    Word{"freebsd", kDesktop},
    Word{"fxios/", kFirefox},
    Word{"ghost inspector", kBot},
    Word{"go-http-client", kBot},
    Word{"google-", kBot},
    Word{"google-inspectiontool", kBot},
    Word{"google-read-aloud", kBot},
    Word{"googleagent", kBot},
    Word{"googleother", kBot},
    Word{"gtmetrix", kBot},
    Word{"guzzlehttp", kBot},
    Word{"haiku", kDesktop},
    Word{"harmonyos", kAndroid},
    Word{"headless", kBot},
    Word{"hp-ux", kDesktop},
    Word{"http.rb/", kBot},
    Word{"http://", kBot},
    Word{"httpie/", kBot},
    Word{"https://", kBot},
    Word{"httrack", kBot},
    Word{"ia_archiver", kBot},
    Word{"iemobile", kMobile},
    Word{"iframely", kBot},
    Word{"insomnia/", kBot},
    Word{"instagram", kInstagram},
    Word{"ipad", kIpad},
    Word{"iphone", kIphone},
    Word{"ipod", kIphone},
    Word{"irix", kDesktop},
    Word{"java/", kBot},
    Word{"kaios", kMobile},
    Word{"kddi", kMobile},
    Word{"kindle", kTablet},
    Word{"larbin", kBot},
    Word{"large screen", kTv},
    Word{"libwww-perl", kBot},
    Word{"linux", kLinux},
    Word{"lumia", kMobile},
    Word{"lwp", kBot},
    Word{"lynx/", kDesktop},
    Word{"mac os x", kMac},
    Word{"macintosh", kMac},
    Word{"maui", kMobile},
    Word{"mediapartners-google", kBot},
    Word{"meta-externalagent", kBot},
    Word{"meta-externalfetcher", kBot},
    Word{"micromessenger", kWechat},
    Word{"midp", kMobile},
    Word{"mobile", kMobile},
    Word{"monitor", kBot},
    Word{"mot-", kMobile},
    Word{"msie ", kInternetExplorer},
    Word{"nagios", kBot},
    Word{"nessus", kBot},
    Word{"netbsd", kDesktop},
    Word{"netcast", kTv},
    Word{"netcraft", kBot},
    Word{"netfront", kMobile},
    Word{"netsurf/", kDesktop},
    Word{"nikto", kBot},
    Word{"nintendo", kTv},
    Word{"nmap", kBot},
    Word{"node-fetch", kBot},
    Word{"node.js", kBot},
    Word{"nokia", kMobile},
    Word{"obigo", kMobile},
    Word{"okhttp/", kBot},
    Word{"omi/", kTv},
    Word{"openbsd", kDesktop},
    Word{"openharmony", kAndroid},
    Word{"openwave", kMobile},
    Word{"opera", kOpera},
    Word{"opera mini", kMobile},
    Word{"opera mobi", kMobile},
    Word{"opios/", kOpera},
    Word{"opr/", kOpera},
    Word{"opt/", kOpera},
    Word{"os/2", kDesktop},
    Word{"palmos", kMobile},
    Word{"palmsource", kMobile},
    Word{"perplexity-user", kBot},
    Word{"phantomjs", kBot},
    Word{"pingdom", kBot},
    Word{"playbook", kTablet},
    Word{"playstation", kTv},
    Word{"playwright", kBot},
    Word{"postmanruntime", kBot},
    Word{"preview", kBot},
    Word{"ps3", kTv},
    Word{"ptst", kBot},
    Word{"puppeteer", kBot},
    Word{"python-", kBot},
    Word{"python/", kBot},
    Word{"rex;", kMobile},
    Word{"risc os", kDesktop},
    Word{"roku", kTv},
    Word{"ruby/", kBot},
    Word{"safari/", kSafari},
    Word{"samsung-gt", kMobile},
    Word{"samsung-sgh", kMobile},
    Word{"samsungbrowser/", kSamsung},
    Word{"scan", kBot},
    Word{"scrap", kBot},
    Word{"scrapy", kBot},
    Word{"selenium", kBot},
    Word{"seo ", kBot},
    Word{"series60", kMobile},
    Word{"set-top", kTv},
    Word{"settop", kTv},
    Word{"silk/", kSilk},
    Word{"siteimprove", kBot},
    Word{"skypeuripreview", kBot},
    Word{"slack-imgproxy", kBot},
    Word{"slurp", kBot},
    Word{"smart-tv", kTv},
    Word{"smarttv", kTv},
    Word{"sonyericsson", kMobile},
    Word{"spider", kBot},
    Word{"sqlmap", kBot},
    Word{"stb", kTv},
    Word{"sunos", kDesktop},
    Word{"symbian", kMobile},
    Word{"symbos", kMobile},
    Word{"synthetic", kBot},
    Word{"tablet", kTablet},
    Word{"thousandeyes", kBot},
    Word{"tivo", kTv},
    Word{"tizen", kTizen},
    Word{"trident/", kInternetExplorer},
    Word{"ucbrowser", kUc},
    Word{"ucweb", kMobile},
    Word{"undici", kBot},
    Word{"up.browser", kMobile},
    Word{"up.link", kMobile},
    Word{"validator", kBot},
    Word{"version/", kVersion},
    Word{"vidaa", kTv},
    Word{"viera", kTv},
    Word{"vivaldi/", kVivaldi},
    Word{"vizio", kTv},
    Word{"vkshare", kBot},
    Word{"w3c", kBot},
    Word{"w3m/", kDesktop},
    Word{"wap browser", kMobile},
    Word{"wap-browser", kMobile},
    Word{"web0s", kTv},
    Word{"webos", kTv},
    Word{"wget/", kBot},
    Word{"whatsapp/", kBot},  // its preview of a link; a tap opens the phone's browser
    Word{"willcom", kMobile},
    Word{"windows", kWindows},
    Word{"windows ce", kMobile},
    Word{"windows phone", kWindowsPhone},
    Word{"windowspowershell", kBot},
    Word{"wpdesktop", kMobile},
    Word{"wpscan", kBot},
    Word{"www.", kBot},
    Word{"x11", kDesktop},
    Word{"xbox", kTv},
    Word{"yabrowser/", kYandex},
    Word{"youview", kTv},
    Word{"zgrab", kBot},
};

constexpr bool sorted_by_first() {
  for (size_t i = 1; i < kWords.size(); ++i)
    if (kWords[i - 1].text[0] > kWords[i].text[0]) return false;
  return true;
}
static_assert(sorted_by_first());

// Where the words of each letter begin; behind 'z' is the end.
constexpr auto kFirst = [] {
  std::array<uint16_t, 27> first{};
  for (size_t letter = 0; letter <= 26; ++letter) {
    size_t at = 0;
    while (at < kWords.size() && kWords[at].text[0] < static_cast<char>('a' + letter)) ++at;
    first[letter] = static_cast<uint16_t>(at);
  }
  return first;
}();

constexpr bool is_letter(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

// Programs like to end their names so: Googlebot, Bytespider, SomethingCrawler, LinkChecker.
constexpr std::string_view kProgramEnds[] = {"bot",     "bots",  "spider",  "crawler", "crawl",   "scraper",
                                             "scanner", "fetch", "fetcher", "checker", "monitor", "preview",
                                             "parser",  "probe", "reader",  "agent",   "indexer", "validator"};

bool is_program_name(std::string_view word) noexcept {
  // Most words are passed over by their last letter.
  if (std::string_view("tsrlhwe").find(word.back()) == std::string_view::npos) return false;
  if (word == "cubot") return false;  // makes phones
  return std::ranges::any_of(kProgramEnds, [&](std::string_view end) { return word.ends_with(end); });
}

// "/1.0", "/v2": a version behind a name.
bool is_version(std::string_view text) noexcept {
  if (!text.starts_with('/')) return false;
  text.remove_prefix(text.starts_with("/v") ? 2 : 1);
  return !text.empty() && text[0] >= '0' && text[0] <= '9';
}

// Names with a version that tell nothing.
bool is_common_product(std::string_view word) noexcept {
  return word == "mozilla" || word == "applewebkit" || word == "gecko" || word == "mobile" || word == "version";
}

// A name with a dot in it, as behind the "@" of an address.
bool is_host(std::string_view text) noexcept {
  const size_t name = std::ranges::find_if_not(text, [](char c) { return is_word(c) || c == '-'; }) - text.begin();
  return name > 0 && name + 1 < text.size() && text[name] == '.' && is_letter(text[name + 1]);
}

uint64_t marks_of(std::string_view text) noexcept {
  uint64_t marks = 0;
  for (size_t at = 0; at < text.size();) {
    if (!is_word(text[at])) {
      // By custom a program leaves an address where to complain, as in "(ops@example.com)".
      if (text[at] == '@' && at > 0 && is_word(text[at - 1]) && is_host(text.substr(at + 1))) marks |= kBot;
      ++at;
      continue;
    }
    if (is_letter(text[at])) {
      const std::string_view rest = text.substr(at);
      const auto letter = static_cast<size_t>(text[at] - 'a');
      for (size_t i = kFirst[letter]; i < kFirst[letter + 1]; ++i)
        if (rest.size() > 1 && rest[1] == kWords[i].text[1] && rest.starts_with(kWords[i].text))
          marks |= kWords[i].marks;
    }
    const size_t begin = at;
    while (at < text.size() && is_word(text[at])) ++at;
    const std::string_view word = text.substr(begin, at - begin);
    if (is_program_name(word)) marks |= kBot;
    if (word.ends_with("tv") && !word.ends_with("dtv")) marks |= kTv;  // "DTV": phones with a receiver
    if (word.ends_with("pad") || word == "tab") marks |= kTablet;
    if (is_version(text.substr(at)) && !is_common_product(word)) marks |= kProduct;
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
  if (marks & kTablet && !(marks & kWindows)) return Device::tablet;
  if (marks & kAndroid) return marks & (kMobile | kApp) ? Device::phone : Device::tablet;
  if (marks & kMobile) return Device::phone;
  if (marks & (kWindows | kMac | kChromeOs | kLinux | kDesktop)) return Device::desktop;
  return Device::other;
}

// Beside what says so itself: what names a product and neither a system nor a browser, and what calls itself compatible
// with more than Internet Explorer, as of browsers only those of televisions do.
bool is_program(uint64_t marks, Device device) noexcept {
  if (marks & kBot) return true;
  if (marks & kCompatible && marks & (kChrome | kSafari) && device != Device::tv) return true;
  return device == Device::other && !(marks & kBrowser) && (marks & (kProduct | kCompatible)) != 0;
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
  const Device device = device_from(marks);
  if (is_program(marks, device)) return {.device = Device::bot};
  return {.device = device, .os = os_from(marks), .browser = browser_from(marks)};
}

std::string_view to_string(Device device) noexcept { return kDeviceNames[static_cast<size_t>(device)]; }
std::string_view to_string(Os os) noexcept { return kOsNames[static_cast<size_t>(os)]; }
std::string_view to_string(Browser browser) noexcept { return kBrowserNames[static_cast<size_t>(browser)]; }

std::span<const std::string_view> device_names() noexcept { return kDeviceNames; }
std::span<const std::string_view> os_names() noexcept { return kOsNames; }
std::span<const std::string_view> browser_names() noexcept { return kBrowserNames; }

std::optional<Device> device_of(std::string_view name) noexcept { return find_name<Device>(kDeviceNames, name); }
std::optional<Os> os_of(std::string_view name) noexcept { return find_name<Os>(kOsNames, name); }
std::optional<Browser> browser_of(std::string_view name) noexcept { return find_name<Browser>(kBrowserNames, name); }

}  // namespace trellis::services::links
