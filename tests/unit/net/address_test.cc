#include "net/address.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace trellis::net {
namespace {

TEST(Address, ReadsAndPrintsWhatItCanListenOn) {
  const std::pair<const char*, const char*> cases[] = {
      {"127.0.0.1:80", "127.0.0.1:80"},
      {"*:8080", "0.0.0.0:8080"},
      {"localhost:1", "127.0.0.1:1"},
      {"[::1]:443", "[::1]:443"},
      {"[2001:DB8::0001]:65535", "[2001:db8::1]:65535"},
      {"0.0.0.0:0", "0.0.0.0:0"},
  };
  for (const auto& [text, printed] : cases) {
    auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), printed);
  }
}

TEST(Address, RefusesWhatIsNoAddress) {
  for (const char* text : {"",
                           ":",
                           ":80",
                           "80",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:65536",
                           "127.0.0.1:-1",
                           "127.0.0.1:+1",
                           "127.0.0.1:8x",
                           "127.0.0.1: 80",
                           "::1:80",
                           "[::1]",
                           "[::1",
                           "[]:80",
                           "[127.0.0.1:80",
                           "1.2.3:80",
                           "256.1.1.1:80",
                           "example.com:80",
                           "[::g]:80",
                           "127.0.0.1:99999999999999999999"}) {
    auto address = parse_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code(), Code::invalid_argument) << text;
  }
}

TEST(Address, SplitsNamesToo) {
  auto parts = split_host_port("api.example.com:8080");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->first, "api.example.com");
  EXPECT_EQ(parts->second, 8080);
}

TEST(Address, AMappedAddressIsShownAsWhatItIs) {
  auto address = make_address("::ffff:192.0.2.7", 5);
  ASSERT_TRUE(address);
  EXPECT_EQ(address->host(), "192.0.2.7");
  EXPECT_EQ(address->port(), 5);
}

TEST(Address, ListensOnAFreePortAndSaysWhich) {
  auto fd = listen_tcp(*parse_address("127.0.0.1:0"));
  ASSERT_TRUE(fd);
  const Address where = local_of(*fd);
  EXPECT_NE(where.port(), 0);
  EXPECT_EQ(where.host(), "127.0.0.1");
  auto again = listen_tcp(where);  // each core has a socket of its own on the same port
  EXPECT_TRUE(again);
  EXPECT_EQ(peer_of(*fd).length, 0U);
  if (again) ::close(*again);
  ::close(*fd);
}

TEST(Address, AnAddressOfSomebodyElseCannotBeListenedOn) { EXPECT_FALSE(listen_tcp(*parse_address("192.0.2.1:0"))); }

}  // namespace
}  // namespace trellis::net
