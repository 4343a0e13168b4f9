// Exact bytes, each of them also in pieces; what is wrong is told apart.
#include "net/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>

#include "base/crc32c.h"

namespace trellis::net {
namespace {

using namespace std::string_literals;

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;
const std::string kFour = "\x0A\x01\x02\x03\xC0\x00\x02\x07\x30\x39\x01\xBB"s;  // 10.1.2.3:12345 to 192.0.2.7:443

struct Read {
  size_t size = 0;
  ProxyHeader header;
  ProxyFault fault = ProxyFault::none;
};
// At once; and every shorter beginning must be unfinished, or have the same fault.
Read read(const std::string& bytes) {
  Read out;
  out.size = read_proxy_header(bytes, out.header, out.fault);
  for (size_t i = 0; i < bytes.size() && (out.size == 0 || i < out.size); ++i) {
    Read part;
    part.size = read_proxy_header(std::string_view(bytes).substr(0, i), part.header, part.fault);
    EXPECT_EQ(part.size, 0U) << "of " << i;
    EXPECT_TRUE(part.fault == ProxyFault::none || part.fault == out.fault) << "of " << i;
    EXPECT_FALSE(part.header.told);
  }
  return out;
}
std::string binary(char command, char family, const std::string& rest) {
  return kSignature + command + family + static_cast<char>(rest.size() >> 8) + static_cast<char>(rest.size()) + rest;
}
std::string tlv(char type, const std::string& value) {
  return type + std::string(1, static_cast<char>(value.size() >> 8)) + static_cast<char>(value.size()) + value;
}

TEST(ProxyHeader, OneLineOfVersionOne) {
  const std::string line = "PROXY TCP4 10.1.2.3 192.0.2.7 12345 443\r\n";
  const Read four = read(line + "GET / HTTP/1.1\r\n");
  EXPECT_EQ(four.size, line.size());
  EXPECT_TRUE(four.header.told);
  EXPECT_EQ(four.header.from.to_string(), "10.1.2.3:12345");
  EXPECT_EQ(four.header.to.to_string(), "192.0.2.7:443");
  const Read six = read("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n");
  EXPECT_TRUE(six.header.told);
  EXPECT_EQ(six.header.from.to_string(), "[2001:db8::1]:65535");
  EXPECT_EQ(six.header.to.to_string(), "[::1]:0");
}

TEST(ProxyHeader, UnknownOfVersionOneTellsNothing) {
  for (const char* line : {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "PROXY UNKNOWN \r\n"}) {
    const Read got = read(line);
    EXPECT_EQ(got.size, std::string(line).size()) << line;
    EXPECT_FALSE(got.header.told) << line;
  }
}

TEST(ProxyHeader, VersionOneIsReadStrictly) {
  const auto fault = [](const std::string& line) { return read(line).fault; };
  for (const char* line : {"PROXY TCP4 10.1.2.3 192.0.2.7 12345\r\n", "PROXY TCP4 10.1.2.3 192.0.2.7 12345 443 \r\n",
                           "PROXY TCP4 10.1.2.3 192.0.2.7 12345 443 1\r\n",
                           "PROXY TCP5 10.1.2.3 192.0.2.7 12345 443\r\n", "PROXY tcp4 10.1.2.3 192.0.2.7 12345 443\r\n",
                           "PROXY TCP4 10.1.2.3 192.0.2.7 12345 443\n", "PROXY UNKNOWNX\r\n", "PROXY \r\n"})
    EXPECT_EQ(fault(line), ProxyFault::line) << line;
  for (const char* line :
       {"PROXY TCP4  10.1.2.3 192.0.2.7 443\r\n", "PROXY TCP4 10.1.2.03 192.0.2.7 1 2\r\n",
        "PROXY TCP4 10.1.2.256 192.0.2.7 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 10.1.2.3 ::1 1 2\r\n",
        "PROXY TCP4 10.1.2.3 192.0.2.7 01 2\r\n", "PROXY TCP4 10.1.2.3 192.0.2.7 1 65536\r\n",
        "PROXY TCP4 10.1.2.3 192.0.2.7 -1 2\r\n", "PROXY TCP4 10.1.2.3 192.0.2.7 +1 2\r\n"})
    EXPECT_EQ(fault(line), ProxyFault::address) << line;
  EXPECT_EQ(fault("PROXY TCP4 10.1.2.3\0x 192.0.2.7 1 2\r\n"s), ProxyFault::address);
  for (const char* line : {"GET / HTTP/1.1\r\n", " PROXY", "proxy TCP4", "PROXYTCP4 ", "\x16\x03\x01"})
    EXPECT_EQ(fault(line), ProxyFault::signature) << line;
}

TEST(ProxyHeader, ALineOfVersionOneHas107BytesAtMost) {
  const std::string fits = "PROXY UNKNOWN " + std::string(107 - 14 - 2, 'x') + "\r\n";
  EXPECT_EQ(read(fits).size, 107U);
  const std::string long_line = "PROXY UNKNOWN " + std::string(107 - 14 - 1, 'x') + "\r\n";
  EXPECT_EQ(read(long_line).fault, ProxyFault::too_long);
}

TEST(ProxyHeader, BothFamiliesOfVersionTwo) {
  const std::string four = binary('\x21', '\x11', kFour);
  Read got = read(four + "SSH-2.0");
  EXPECT_EQ(got.size, 28U);
  EXPECT_TRUE(got.header.told);
  EXPECT_EQ(got.header.from.to_string(), "10.1.2.3:12345");
  EXPECT_EQ(got.header.to.to_string(), "192.0.2.7:443");
  const std::string source = "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"s;
  const std::string destination = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"s;
  got = read(binary('\x21', '\x21', source + destination + "\x00\x50\x1F\x90"s));
  EXPECT_EQ(got.size, 52U);
  EXPECT_EQ(got.header.from.to_string(), "[2001:db8::1]:80");
  EXPECT_EQ(got.header.to.to_string(), "[::1]:8080");
}

TEST(ProxyHeader, VersionTwoMayTellNothing) {
  const std::string local = binary('\x20', '\x00', "");
  EXPECT_EQ(read(local).size, 16U);
  EXPECT_FALSE(read(local).header.told);
  EXPECT_FALSE(read(binary('\x20', '\x11', kFour)).header.told) << "LOCAL, whatever addresses follow";
  EXPECT_EQ(read(binary('\x20', '\x11', "xx")).size, 18U);
  EXPECT_EQ(read(binary('\x21', '\x00', "anything")).size, 24U);
  EXPECT_FALSE(read(binary('\x21', '\x00', "anything")).header.told);
  EXPECT_EQ(read(binary('\x21', '\x31', std::string(216, 'u'))).size, 232U);
  EXPECT_FALSE(read(binary('\x21', '\x31', std::string(216, 'u'))).header.told);
}

TEST(ProxyHeader, VersionTwoIsReadStrictly) {
  EXPECT_EQ(read(binary('\x11', '\x11', kFour)).fault, ProxyFault::version);
  EXPECT_EQ(read(binary('\x31', '\x11', kFour)).fault, ProxyFault::version);
  EXPECT_EQ(read(binary('\x22', '\x11', kFour)).fault, ProxyFault::command);
  EXPECT_EQ(read(binary('\x21', '\x41', kFour)).fault, ProxyFault::family);
  EXPECT_EQ(read(binary('\x21', '\x12', kFour)).fault, ProxyFault::family) << "datagrams";
  EXPECT_EQ(read(binary('\x21', '\x13', kFour)).fault, ProxyFault::family);
  EXPECT_EQ(read(binary('\x21', '\x10', kFour)).fault, ProxyFault::family);
  EXPECT_EQ(read(binary('\x21', '\x11', kFour.substr(1))).fault, ProxyFault::length);
  EXPECT_EQ(read(binary('\x21', '\x21', kFour)).fault, ProxyFault::length);
  EXPECT_EQ(read(binary('\x21', '\x31', kFour)).fault, ProxyFault::length);
  std::string other = binary('\x21', '\x11', kFour);
  other[11] = 'x';
  EXPECT_EQ(read(other).fault, ProxyFault::signature);
}

TEST(ProxyHeader, TlvsArePassedOver) {
  const std::string tlvs = tlv('\x01', "h2") + tlv('\x02', "example.com") + tlv('\x04', "") + tlv('\xEA', "x");
  const Read got = read(binary('\x21', '\x11', kFour + tlvs) + "rest");
  EXPECT_EQ(got.size, 28 + tlvs.size());
  EXPECT_EQ(got.header.from.to_string(), "10.1.2.3:12345");
  EXPECT_EQ(read(binary('\x21', '\x11', kFour + "\x01")).fault, ProxyFault::tlv);
  EXPECT_EQ(read(binary('\x21', '\x11', kFour + "\x01\x00\x03h2"s)).fault, ProxyFault::tlv);
  EXPECT_EQ(read(binary('\x21', '\x11', kFour + tlv('\x03', "abc"))).fault, ProxyFault::tlv);
}

TEST(ProxyHeader, AChecksumIsChecked) {
  // Computed with the field zero, over the whole header, what follows included.
  std::string header = binary('\x21', '\x11', kFour + tlv('\x03', "\0\0\0\0"s) + tlv('\x04', "pad"));
  const size_t at = 28 + 3;
  const uint32_t sum = crc32c(header);
  for (int i = 0; i < 4; ++i) header[at + static_cast<size_t>(i)] = static_cast<char>(sum >> (24 - 8 * i));
  EXPECT_EQ(read(header).size, header.size());
  EXPECT_TRUE(read(header).header.told);
  header[20] ^= 1;
  EXPECT_EQ(read(header).fault, ProxyFault::checksum);
}

TEST(ProxyHeader, TheSizeOfVersionTwoHasALimit) {
  const std::string fits = binary('\x21', '\x11', kFour + tlv('\x04', std::string(kMaxProxyHeader - 31, 'n')));
  EXPECT_EQ(fits.size(), kMaxProxyHeader);
  EXPECT_EQ(read(fits).size, kMaxProxyHeader);
  EXPECT_EQ(read(kSignature + "\x21\x11\xFF\xFF"s).fault, ProxyFault::too_long);
}

TEST(ProxyHeader, IsWrittenByteForByte) {
  const Address from = *parse_address("10.1.2.3:12345");
  const Address to = *parse_address("192.0.2.7:443");
  EXPECT_EQ(write_proxy_header(ProxyVersion::v1, from, to), "PROXY TCP4 10.1.2.3 192.0.2.7 12345 443\r\n");
  EXPECT_EQ(write_proxy_header(ProxyVersion::v2, from, to), binary('\x21', '\x11', kFour));
  EXPECT_EQ(write_proxy_header(ProxyVersion::none, from, to), "");
  EXPECT_EQ(write_proxy_header(ProxyVersion::v1, Address(), to), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(write_proxy_header(ProxyVersion::v2, from, Address()), binary('\x20', '\x00', ""));
  const Address six = *parse_address("[2001:db8::1]:80");
  EXPECT_EQ(write_proxy_header(ProxyVersion::v1, six, six), "PROXY TCP6 2001:db8::1 2001:db8::1 80 80\r\n");
  // What an IPv6 socket calls an IPv4 client is an IPv4 client.
  EXPECT_EQ(write_proxy_header(ProxyVersion::v1, *parse_address("[::ffff:10.1.2.3]:12345"), to),
            "PROXY TCP4 10.1.2.3 192.0.2.7 12345 443\r\n");
}

TEST(ProxyHeader, WhatIsWrittenIsReadBack) {
  const char* const addresses[] = {"10.1.2.3:1", "[2001:db8::1]:65535", "[::ffff:10.1.2.3]:2", "127.0.0.1:0"};
  for (const ProxyVersion version : {ProxyVersion::v1, ProxyVersion::v2}) {
    for (const char* from : addresses) {
      for (const char* to : addresses) {
        const std::string bytes = write_proxy_header(version, *parse_address(from), *parse_address(to));
        const Read got = read(bytes);
        EXPECT_EQ(got.size, bytes.size()) << bytes;
        // host() writes a mapped address as the IPv4 one that it is.
        EXPECT_EQ(got.header.from.to_string(), parse_address(from)->to_string());
        EXPECT_EQ(got.header.to.to_string(), parse_address(to)->to_string());
      }
    }
  }
}

}  // namespace
}  // namespace trellis::net
