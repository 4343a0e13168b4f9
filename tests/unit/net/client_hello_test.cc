// Messages built here field by field, whole and in pieces and over many records.
#include "net/client_hello.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::net {
namespace {

using namespace std::string_literals;

std::string number(size_t value, int width) {
  std::string out;
  for (int i = width - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
  return out;
}
std::string sized(int width, const std::string& bytes) { return number(bytes.size(), width) + bytes; }
std::string extension(size_t type, const std::string& bytes) { return number(type, 2) + sized(2, bytes); }
std::string name_extension(const std::string& name) { return extension(0, sized(2, "\0"s + sized(2, name))); }
std::string alpn_extension(std::initializer_list<std::string> names) {
  std::string list;
  for (const std::string& name : names) list += sized(1, name);
  return extension(16, sized(2, list));
}
std::string body(const std::string& extensions) {
  return "\x03\x03" + std::string(32, 'r') + sized(1, std::string(32, 's')) + sized(2, "\x13\x01") + sized(1, "\0"s) +
         (extensions.empty() ? "" : sized(2, extensions));
}
std::string message(const std::string& body) { return "\x01" + sized(3, body); }
std::string record(const std::string& bytes) { return "\x16\x03\x01" + sized(2, bytes); }
std::string hello(const std::string& extensions) { return record(message(body(extensions))); }

struct Read {
  HelloState state = HelloState::incomplete;
  ClientHello hello;
};
Read read(const std::string& bytes) {
  Read out;
  out.state = ClientHelloReader().read(bytes, out.hello);
  // In pieces of a byte it comes to the same.
  Read slow;
  ClientHelloReader reader;
  for (size_t i = 0; i <= bytes.size() && slow.state == HelloState::incomplete; ++i) {
    slow.state = reader.read(std::string_view(bytes).substr(0, i), slow.hello);
  }
  EXPECT_EQ(slow.state, out.state);
  EXPECT_EQ(slow.hello.server_name, out.hello.server_name);
  EXPECT_EQ(slow.hello.alpn, out.hello.alpn);
  return out;
}

TEST(ClientHelloReader, FindsTheNameAndTheProtocols) {
  const Read got = read(hello(extension(10, "groups") + name_extension("WWW.Example.com") +
                              alpn_extension({"h2", "http/1.1"}) + extension(43, "\x02\x03\x04")));
  EXPECT_EQ(got.state, HelloState::complete);
  EXPECT_EQ(got.hello.server_name, "www.example.com");
  EXPECT_EQ(got.hello.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
}

TEST(ClientHelloReader, TakesAMessageWithoutNameOrExtensions) {
  EXPECT_EQ(read(hello("")).state, HelloState::complete);
  const Read got = read(hello(extension(10, "groups")));
  EXPECT_EQ(got.state, HelloState::complete);
  EXPECT_EQ(got.hello.server_name, "");
  EXPECT_TRUE(got.hello.alpn.empty());
}

TEST(ClientHelloReader, PutsAMessageTogetherFromRecordsOfAnySize) {
  const std::string whole = message(body(name_extension("a.example") + alpn_extension({"h2"})));
  for (const size_t size : {1U, 2U, 3U, 5U, 50U, 10'000U}) {
    std::string bytes;
    for (size_t at = 0; at < whole.size(); at += size) bytes += record(whole.substr(at, size));
    const Read got = read(bytes + record("what follows"));
    EXPECT_EQ(got.state, HelloState::complete) << size;
    EXPECT_EQ(got.hello.server_name, "a.example") << size;
    EXPECT_EQ(got.hello.alpn.size(), 1U) << size;
  }
  EXPECT_EQ(read(record(whole.substr(0, 60)) + "\x17\x03\x03\x00\x05hello"s).state, HelloState::malformed);
}

TEST(ClientHelloReader, OtherProtocolsAreTold) {
  for (const std::string& bytes : {"GET / HTTP/1.1\r\n\r\n"s, "SSH-2.0-x\r\n"s, "\x80\x2e\x01\x03\x01"s, "\x16\x02"s,
                                   "\0\0\0\x08\x04\xd2\x16\x2f"s})
    EXPECT_EQ(read(bytes).state, HelloState::not_tls);
  EXPECT_EQ(read(record("\x02\0\0\x05hello"s)).state, HelloState::malformed);
  EXPECT_EQ(read("\x16\x03\x01\x00\x00"s).state, HelloState::malformed) << "OpenSSL reads the hello behind it";
  EXPECT_EQ(read("\x16\x03\x01\x40\x01"s).state, HelloState::malformed);
  EXPECT_EQ(read("\x14\x03\x03\x00\x00"s).state, HelloState::malformed) << "likewise";
  EXPECT_EQ(read("\x15\x03\x01\x00\x02\x02\x28"s).state, HelloState::malformed);
  EXPECT_EQ(read("\x14"s).state, HelloState::incomplete);
  EXPECT_EQ(read("\x14\x02"s).state, HelloState::not_tls);
  EXPECT_EQ(read("\x19\x03"s).state, HelloState::not_tls);
  EXPECT_EQ(read("").state, HelloState::incomplete);
  EXPECT_EQ(read("\x16").state, HelloState::incomplete);
}

TEST(ClientHelloReader, IsStrictAboutEveryLength) {
  const std::string good = body(name_extension("a.example"));
  EXPECT_EQ(read(record(message(good + "x"))).state, HelloState::malformed);
  EXPECT_EQ(read(record(message(good.substr(0, good.size() - 1)))).state, HelloState::malformed);
  const auto with = [](const std::string& extensions) { return read(hello(extensions)).state; };
  EXPECT_EQ(with("\0\0\0"s), HelloState::malformed);
  EXPECT_EQ(with(extension(0, "")), HelloState::malformed);
  EXPECT_EQ(with(extension(0, sized(2, "\0"s + sized(2, "")))), HelloState::malformed);
  EXPECT_EQ(with(extension(0, sized(2, "\x01"s + sized(2, "a")))), HelloState::malformed);
  EXPECT_EQ(with(extension(0, sized(2, "\0"s + sized(2, "a") + "\0"s + sized(2, "b")))), HelloState::malformed);
  EXPECT_EQ(with(extension(0, sized(2, "\0"s + sized(2, "a")) + "x")), HelloState::malformed);
  EXPECT_EQ(with(name_extension("a") + name_extension("b")), HelloState::malformed);
  EXPECT_EQ(with(extension(16, sized(2, ""))), HelloState::malformed);
  EXPECT_EQ(with(alpn_extension({"h2", ""})), HelloState::malformed);
  EXPECT_EQ(with(alpn_extension({"h2"}) + alpn_extension({"h2"})), HelloState::malformed);
  std::string session = body("");
  session[34] = 33;
  EXPECT_EQ(read(record(message(session))).state, HelloState::malformed);
}

TEST(ClientHelloReader, ANameIsAHostName) {
  const auto name = [](const std::string& text) {
    const Read got = read(hello(name_extension(text)));
    return got.state == HelloState::complete ? got.hello.server_name : std::string(to_string(got.state));
  };
  EXPECT_EQ(name("example.com."), "example.com");
  EXPECT_EQ(name("xn--bcher-kva.example"), "xn--bcher-kva.example");
  EXPECT_EQ(name("_service.example"), "_service.example");
  for (const std::string& bad :
       {"."s, ".example"s, "a..b"s, "a b"s, "a\0b"s, "b\xc3\xbc.example"s, "a/b"s, "[::1]"s, std::string(254, 'a')})
    EXPECT_EQ(name(bad), "malformed") << bad;
}

TEST(ClientHelloReader, HasALimit) {
  const std::string large = message(body(extension(21, std::string(kMaxClientHello, 'p'))));
  EXPECT_EQ(read(record(large.substr(0, 100))).state, HelloState::too_long) << "known from the message's head";
  std::string many;
  const std::string fits = message(body(extension(21, std::string(8000, 'p'))));
  for (size_t at = 0; at < fits.size(); ++at) many += record(fits.substr(at, 1));
  EXPECT_EQ(read(many).state, HelloState::too_long) << "records of a byte";
  const std::string small = hello(extension(21, std::string(12'000, 'p')) + name_extension("a.example"));
  EXPECT_EQ(read(small).hello.server_name, "a.example");
}

}  // namespace
}  // namespace trellis::net
