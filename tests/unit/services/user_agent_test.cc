#include "services/links/clicks/user_agent.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::services::links {
namespace {

struct Sample {
  const char* text;
  Device device;
  Os os;
  Browser browser;
};

constexpr Sample kPeople[] = {
    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
     Device::desktop, Os::windows, Browser::chrome},
    {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
     "Safari/537.36",
     Device::desktop, Os::macos, Browser::chrome},
    {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
     Device::desktop, Os::linux, Browser::chrome},
    {"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
     Device::desktop, Os::chromeos, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
     Device::phone, Os::android, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
     Device::tablet, Os::android, Browser::chrome},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
     "CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",
     Device::phone, Os::ios, Browser::chrome},
    {"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0.6478.54 "
     "Mobile/15E148 Safari/604.1",
     Device::tablet, Os::ipados, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 9; CUBOT_X18 Build/PPR1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
     "Mobile Safari/537.36",
     Device::phone, Os::android, Browser::chrome},

    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0", Device::desktop, Os::windows,
     Browser::firefox},
    {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0", Device::desktop, Os::macos,
     Browser::firefox},
    {"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", Device::desktop, Os::linux,
     Browser::firefox},
    {"Mozilla/5.0 (X11; FreeBSD amd64; rv:127.0) Gecko/20100101 Firefox/127.0", Device::desktop, Os::other,
     Browser::firefox},
    {"Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", Device::phone, Os::android,
     Browser::firefox},
    {"Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0", Device::tablet, Os::android,
     Browser::firefox},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/127.0 "
     "Mobile/15E148 Safari/605.1.15",
     Device::phone, Os::ios, Browser::firefox},
    {"Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", Device::phone, Os::other,
     Browser::firefox},

    {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
     "Safari/605.1.15",
     Device::desktop, Os::macos, Browser::safari},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
     "Mobile/15E148 Safari/604.1",
     Device::phone, Os::ios, Browser::safari},
    {"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
     "Mobile/15E148 Safari/604.1",
     Device::tablet, Os::ipados, Browser::safari},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) GSA/319.0 "
     "Mobile/15E148 Safari/604.1",
     Device::phone, Os::ios, Browser::other},
    {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 Safari/605.1.15 "
     "Epiphany/605.1.15",
     Device::desktop, Os::linux, Browser::other},

    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
     "Safari/537.36 Edg/126.0.0.0",
     Device::desktop, Os::windows, Browser::edge},
    {"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/64.0.3282.140 Safari/537.36 "
     "Edge/18.17763",
     Device::desktop, Os::windows, Browser::edge},
    {"Mozilla/5.0 (Linux; Android 10; HD1913) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile "
     "Safari/537.36 EdgA/125.0.2535.96",
     Device::phone, Os::android, Browser::edge},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 "
     "EdgiOS/125.2535.96 Mobile/15E148 Safari/605.1.15",
     Device::phone, Os::ios, Browser::edge},
    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 "
     "OPR/111.0.0.0",
     Device::desktop, Os::windows, Browser::opera},
    {"Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18", Device::desktop, Os::windows, Browser::opera},
    {"Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/29.3709; U; en) Presto/2.8.119 Version/11.10", Device::phone,
     Os::other, Browser::opera},
    {"Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 "
     "Chrome/121.0.0.0 Mobile Safari/537.36",
     Device::phone, Os::android, Browser::samsung},
    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
     "YaBrowser/24.6.0.0 Safari/537.36",
     Device::desktop, Os::windows, Browser::yandex},
    {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 "
     "Vivaldi/6.7.3329.35",
     Device::desktop, Os::linux, Browser::vivaldi},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
     "Mobile/15E148 DuckDuckGo/7 Safari/605.1.15",
     Device::phone, Os::ios, Browser::duckduckgo},
    {"Mozilla/5.0 (Linux; U; Android 11; en-US; M2101K7AG) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
     "Chrome/100.0.4896.58 UCBrowser/13.4.0.1306 Mobile Safari/537.36",
     Device::phone, Os::android, Browser::uc},
    {"Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/126.1.1 like "
     "Chrome/126.0.6478.71 Safari/537.36",
     Device::tablet, Os::android, Browser::silk},
    {"Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", Device::desktop, Os::windows,
     Browser::internet_explorer},
    {"Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)", Device::desktop, Os::windows,
     Browser::internet_explorer},
    {"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063",
     Device::phone, Os::windows, Browser::edge},

    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
     "[FBAN/FBIOS;FBAV/468.0.0.35.70;FBDV/iPhone14,5]",
     Device::phone, Os::ios, Browser::facebook},
    {"Mozilla/5.0 (Linux; Android 13; Pixel 7; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
     "Chrome/126.0.6478.71 Mobile Safari/537.36 Instagram 337.0.0.35.102 Android",
     Device::phone, Os::android, Browser::instagram},
    {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
     "MicroMessenger/8.0.49",
     Device::phone, Os::ios, Browser::wechat},

    {"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV "
     "Safari/537.36",
     Device::tv, Os::other, Browser::other},
    {"Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.128 Safari/537.36",
     Device::tv, Os::other, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 9; AFTKA) AppleWebKit/537.36 (KHTML, like Gecko) Silk/126.1.1 like "
     "Chrome/126.0.6478.71 Safari/537.36",
     Device::tv, Os::android, Browser::silk},
    {"Mozilla/5.0 (PlayStation; PlayStation 5/6.50) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 "
     "Safari/605.1.15",
     Device::tv, Os::other, Browser::other},
    {"Mozilla/5.0 (Linux; Android 11; Living Room 2K TV; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
     "Chrome/127.0.0.0 Safari/537.36",
     Device::tv, Os::android, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 11; SMART_TV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Mobile "
     "Safari/537.36",
     Device::tv, Os::android, Browser::chrome},
    {"Mozilla/5.0 (Linux armv7l; compatible; NETTV/4.5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.0.0 "
     "Safari/537.36",
     Device::tv, Os::other, Browser::chrome},

    // Applications on Android do not say whether they run on a phone; most do.
    {"Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP1A.240505.005)", Device::phone, Os::android, Browser::other},
    {"Mozilla/5.0 (Linux; Android 13; Example Tab 10) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile "
     "Safari/537.36",
     Device::tablet, Os::android, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 13; ExamplePad 11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
     "Safari/537.36",
     Device::tablet, Os::android, Browser::chrome},
    {"Mozilla/5.0 (Linux; Android 8.1; example7 DTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/91.0.0.0 Mobile "
     "Safari/537.36",
     Device::phone, Os::android, Browser::chrome},
    {"Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 "
     "ArkWeb/4.1 Mobile",
     Device::phone, Os::android, Browser::chrome},
    {"Nokia3310/1.0 (03.14) Profile/MIDP-1.0 Configuration/CLDC-1.0", Device::phone, Os::other, Browser::other},
    {"EXAMPLE-GT1/1.0 UP.Browser/6.2.3 (GUI) MMP/2.0", Device::phone, Os::other, Browser::other},
    {"Mozilla/4.0 (compatible; MSIE 6.0; Windows CE; IEMobile 8.12)", Device::phone, Os::windows,
     Browser::internet_explorer},
    {"Mozilla/5.0 (Windows NT 10.0; ARM; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/52.0.0.0 "
     "Safari/537.36 Edge/15.15063",
     Device::phone, Os::windows, Browser::edge},
    // Said by every Windows of its time that had the component.
    {"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/7.0; Media Center PC 6.0; Tablet PC 2.0)",
     Device::desktop, Os::windows, Browser::internet_explorer},
    {"Mozilla/5.0 (compatible; Haiku; WebPositive/1.3)", Device::desktop, Os::other, Browser::other},
    {"Lynx/2.9.0 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/3.0.13", Device::desktop, Os::other, Browser::other},
    {"Mozilla/5.0 (X11; Linux x86_64; th-TH@calendar=gregorian) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/126.0.0.0 Safari/537.36",
     Device::desktop, Os::linux, Browser::chrome},
    {"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 (KHTML, like Gecko) "
     "Chrome/126.0.0.0 Safari/537.36 Edge/44.18363.8131",
     Device::tv, Os::windows, Browser::edge},
};

constexpr const char* kPrograms[] = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.6478.61 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Googlebot-Image/1.0",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) "
    "Chrome/116.0.1938.76 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 "
    "Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; "
    "Bytespider; spider-feedback@bytedance.com)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slack-ImgProxy (+https://api.slack.com/robots)",
    "WhatsApp/2.24.11.79 A",
    "TelegramBot (like TwitterBot)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "http.rb/5.1.1 (Mastodon/4.2.9; +https://example.social/)",
    "curl/8.8.0",
    "Wget/1.21.4",
    "python-requests/2.32.3",
    "Python-urllib/3.11",
    "Python/3.11 aiohttp/3.9.5",
    "Go-http-client/1.1",
    "okhttp/4.12.0",
    "Java/17.0.11",
    "axios/1.7.2",
    "PostmanRuntime/7.39.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.22621.2506",
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    // By how they name themselves, none of them known.
    "ExampleSearch/2.0",
    "Example Link Sleuth/v1",
    "Mozilla/5.0 ExampleGrab/0.x",
    "Mozilla/5.0 (compatible; Example-Verification)",
    "Mozilla/5.0 (compatible; example.com)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Example) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; ops@example.com) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
    "Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 "
    "(https://example.com/why)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 "
    "ExampleScraper",
    "crawler4j",
    "ExampleLinkChecker",
    "www.example.com",
};

TEST(UserAgent, KnowsWhatPeopleUse) {
  for (const Sample& sample : kPeople) {
    const UserAgent agent = read_user_agent(sample.text);
    EXPECT_EQ(to_string(agent.device), to_string(sample.device)) << sample.text;
    EXPECT_EQ(to_string(agent.os), to_string(sample.os)) << sample.text;
    EXPECT_EQ(to_string(agent.browser), to_string(sample.browser)) << sample.text;
    EXPECT_FALSE(agent.is_bot()) << sample.text;
  }
}

TEST(UserAgent, KnowsPrograms) {
  for (const char* text : kPrograms) EXPECT_EQ(read_user_agent(text), UserAgent{.device = Device::bot}) << text;
}

TEST(UserAgent, SaysOtherOfWhatItDoesNotKnow) {
  for (const char* text : {"", " ", "Mozilla/5.0", "something", "\xff\xfe\x01", "robotics", "(((((", "+", "+htt"})
    EXPECT_EQ(read_user_agent(text), UserAgent{}) << text;
}

TEST(UserAgent, LooksAtNoMoreThanItsLimit) {
  const std::string filler(kMaxUserAgent - 5, 'x');
  EXPECT_EQ(read_user_agent(filler + " curl/8"), UserAgent{});
  EXPECT_TRUE(read_user_agent(std::string(kMaxUserAgent - 6, ' ') + "curl/8").is_bot());
  EXPECT_EQ(read_user_agent(std::string(1 << 20, 'a')), UserAgent{});
}

TEST(UserAgent, NamesGoThereAndBack) {
  for (size_t i = 0; i < kDevices; ++i) EXPECT_EQ(device_of(to_string(static_cast<Device>(i))), static_cast<Device>(i));
  for (size_t i = 0; i < kSystems; ++i) EXPECT_EQ(os_of(to_string(static_cast<Os>(i))), static_cast<Os>(i));
  for (size_t i = 0; i < kBrowsers; ++i)
    EXPECT_EQ(browser_of(to_string(static_cast<Browser>(i))), static_cast<Browser>(i));
  EXPECT_FALSE(device_of("Phone"));
  EXPECT_FALSE(os_of(""));
  EXPECT_FALSE(browser_of("netscape"));
}

}  // namespace
}  // namespace trellis::services::links
