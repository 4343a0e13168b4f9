#include "config/load.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

namespace trellis::config {
namespace {

struct Parsed {
  Node node;
  std::string problems;
};

Parsed parse_with(std::string_view text, std::map<std::string, std::string> variables = {},
                  std::vector<std::string> sets = {}) {
  LoadOptions options;
  options.environment = [variables](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  };
  options.sets = std::move(sets);
  Problems problems;
  Parsed out;
  out.node = parse(text, "a.yaml", options, problems);
  out.problems = problems.to_string();
  return out;
}

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "trellis-config-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(Parse, KeepsThePlacesOfKeysAndValues) {
  const Parsed got = parse_with("a: 1\nb:\n  - x\n  - { c: \"y\" }\n  -\nd:\n");
  ASSERT_EQ(got.problems, "");
  const Node b = got.node.find("b");
  EXPECT_EQ(b.key_mark().to_string(), "a.yaml:2:1");
  EXPECT_EQ(b.mark().to_string(), "a.yaml:3:3");
  const Node c = got.node.descend("b[1].c");
  EXPECT_EQ(c.key_mark().to_string(), "a.yaml:4:7");
  EXPECT_EQ(c.mark().to_string(), "a.yaml:4:10");
  EXPECT_EQ(c.path(), "b[1].c");
  EXPECT_TRUE(c.quoted());
  EXPECT_TRUE(got.node.descend("b[2]").is_null());
  EXPECT_EQ(got.node.descend("b[2]").mark().to_string(), "a.yaml:5:3");
  EXPECT_EQ(got.node.find("d").mark().to_string(), "a.yaml:6:1");
  EXPECT_FALSE(got.node.find("e"));
  EXPECT_FALSE(got.node.descend("b[3]"));
  EXPECT_FALSE(got.node.descend("a.b"));
}

TEST(Parse, KeepsTheOrderOfTheFile) {
  const Parsed got = parse_with("z: 1\na: 2\nm: 3\n");
  std::string order;
  for (const Node& child : got.node.children()) order += child.key();
  EXPECT_EQ(order, "zam");
}

TEST(Parse, CountsColumnsInCharacters) {
  const Parsed got = parse_with("{ \"東京\": 1, ü: x }\n");
  EXPECT_EQ(got.node.find("ü").key_mark().to_string(), "a.yaml:1:12");
  EXPECT_EQ(got.node.find("ü").mark().to_string(), "a.yaml:1:15");
}

TEST(Parse, SkipsAByteOrderMark) {
  const Parsed got = parse_with(
      "\xEF\xBB\xBF"
      "a: 1\n");
  EXPECT_EQ(got.problems, "");
  EXPECT_EQ(got.node.find("a").key_mark().to_string(), "a.yaml:1:1");
}

TEST(Parse, RefusesWhatIsNotText) {
  EXPECT_EQ(parse_with(std::string_view("a: b\nc: \0", 9)).problems,
            "a.yaml:2:4: a control character; the file is not text\n");
  EXPECT_EQ(parse_with("a: \xC0\xAF\n").problems, "a.yaml:1:4: not valid UTF-8\n");
  EXPECT_EQ(parse_with("a: \xED\xA0\x80\n").problems, "a.yaml:1:4: not valid UTF-8\n");
  EXPECT_EQ(parse_with("a: \xE6\x9D").problems, "a.yaml:1:4: not valid UTF-8\n");
}

TEST(Parse, LimitsTheFile) {
  EXPECT_EQ(parse_with(std::string(kMaxFileBytes + 1, ' ')).problems, "a.yaml: larger than 4 MiB\n");
  EXPECT_EQ(parse_with(std::string(kMaxFileBytes, ' ')).problems, "");
}

TEST(Parse, LimitsTheDepth) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(parse_with(nested(64)).problems, "");
  EXPECT_EQ(parse_with(nested(65)).problems, "a.yaml:1:65: nested too deeply: 64 levels are allowed\n");
  EXPECT_NE(parse_with(std::string(100'000, '[')).problems, "");
  EXPECT_NE(parse_with(std::string(100'000, '{')).problems, "");
}

TEST(Parse, LimitsTheNumberOfValues) {
  std::string text;
  for (int i = 0; i < 200'001; ++i) text += "- 1\n";
  EXPECT_EQ(parse_with(text).problems, "a.yaml:200000:3: too many values: a configuration may have 200000\n");
}

TEST(Parse, LimitsKeys) {
  EXPECT_EQ(parse_with(std::string(513, 'k') + ": 1").problems, "a.yaml:1:1: a key may have 512 bytes at most\n");
  EXPECT_EQ(parse_with("[a, b]: 1").problems, "a.yaml:1:1: a key must be a plain word, not a list\n");
  EXPECT_EQ(parse_with("? { a: b }\n: 1").problems, "a.yaml:1:3: a key must be a plain word, not a map\n");
}

// A quadratic scan would run into the time limit of the tests.
TEST(Parse, ComesToAnEndOnHostileText) {
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    const std::string before = "*" + std::string(1, static_cast<char>(c - 1));
    bomb += std::string(1, c) + ": &" + c + " [" + before + "," + before + "," + before + "," + before + "," + before +
            "]\n";
  }
  EXPECT_NE(parse_with(bomb).problems, "");
  for (const std::string& part :
       {std::string("["), std::string("{"), std::string("{a: "), std::string("- "), std::string("? "),
        std::string("[a: "), std::string("${"), std::string("!"), std::string("\""), std::string(":")}) {
    std::string text;
    while (text.size() < (256 << 10)) text += part;
    parse_with(text);
  }
}

TEST(Parse, OfNothingIsNull) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n", "~"}) {
    const Parsed got = parse_with(text);
    EXPECT_EQ(got.problems, "") << text;
    EXPECT_TRUE(got.node.is_null()) << text;
  }
}

TEST(Environment, ReplacesVariablesAnywhereInAValue) {
  const Parsed got =
      parse_with("a: ${ONE}\nb: \"x ${ONE} y ${TWO}\"\nc: '${ONE}'\nd: { e: ${ONE}, f: [${TWO}] }\ng: |\n  ${ONE}\n",
                 {{"ONE", "1"}, {"TWO", "${ONE}"}});
  ASSERT_EQ(got.problems, "");
  EXPECT_EQ(got.node.find("a").text(), "1");
  EXPECT_TRUE(got.node.find("a").from_environment());
  EXPECT_EQ(got.node.find("a").shown(), "\"${ONE}\"");
  EXPECT_EQ(got.node.find("b").text(), "x 1 y ${ONE}");  // what a variable holds is not looked at again
  EXPECT_EQ(got.node.find("c").text(), "1");
  EXPECT_EQ(got.node.descend("d.e").text(), "1");
  EXPECT_EQ(got.node.descend("d.f[0]").text(), "${ONE}");
  EXPECT_EQ(got.node.find("g").text(), "1\n");
}

TEST(Environment, FallsBackWhenUnsetOrEmpty) {
  const Parsed got = parse_with("{ a: ${NO:-x}, b: ${EMPTY:-y}, c: ${SET:-z}, d: ${NO:-}, e: \"${NO:-a, b}\" }",
                                {{"EMPTY", ""}, {"SET", "s"}});
  ASSERT_EQ(got.problems, "");
  EXPECT_EQ(got.node.find("a").text(), "x");
  EXPECT_EQ(got.node.find("b").text(), "y");
  EXPECT_EQ(got.node.find("c").text(), "s");
  EXPECT_EQ(got.node.find("d").text(), "");
  EXPECT_EQ(got.node.find("e").text(), "a, b");
}

TEST(Environment, IsEscapedByASecondDollar) {
  const Parsed got = parse_with("a: $${ONE}\nb: $$${ONE}\nc: $5 $$ $\nd: $${\n", {{"ONE", "1"}});
  ASSERT_EQ(got.problems, "");
  EXPECT_EQ(got.node.find("a").text(), "${ONE}");
  EXPECT_FALSE(got.node.find("a").from_environment());
  EXPECT_EQ(got.node.find("b").text(), "$${ONE}");
  EXPECT_EQ(got.node.find("c").text(), "$5 $$ $");
  EXPECT_EQ(got.node.find("d").text(), "${");
}

TEST(Environment, IsLeftAloneInKeys) {
  const Parsed got = parse_with("\"${ONE}\": 1\n", {{"ONE", "1"}});
  EXPECT_EQ(got.problems, "");
  EXPECT_TRUE(got.node.find("${ONE}"));
}

TEST(Environment, ReportsWhatIsNotSet) {
  const Parsed got = parse_with("a: ${ONE}\nb: [\"${TWO}\"]\n");
  EXPECT_EQ(got.problems,
            "a.yaml:1:4: a: the environment variable ONE is not set\n"
            "a.yaml:2:5: b[0]: the environment variable TWO is not set\n");
  EXPECT_TRUE(got.node.find("a").broken());
}

TEST(Environment, LimitsWhatVariablesGrowTo) {
  std::string text = "a: \"";
  for (int i = 0; i < 200; ++i) text += "${BIG}";
  EXPECT_EQ(parse_with(text + "\"", {{"BIG", std::string(100'000, 'x')}}).problems,
            "a.yaml:1:4: a: longer than 1 MiB with its variables\n");
}

TEST(Set, OverridesAddsAndReachesIntoLists) {
  const Parsed got = parse_with("a: { b: 1 }\nlist: [x, { y: 1 }]\n", {{"ONE", "1"}},
                                {"a.b=2", "a.c=[1, 2]", "new.deep.key=v", "list[1].y=3", "list[0]=z", "env=${ONE}",
                                 "q=\"5\"", "empty=", "a.c[1]=7"});
  ASSERT_EQ(got.problems, "");
  EXPECT_EQ(got.node.descend("a.b").text(), "2");
  EXPECT_EQ(got.node.descend("a.b").mark().to_string(), "--set a.b");
  EXPECT_EQ(got.node.descend("a.b").path(), "a.b");
  EXPECT_EQ(got.node.descend("a.c[1]").text(), "7");
  EXPECT_EQ(got.node.descend("new.deep.key").text(), "v");
  EXPECT_EQ(got.node.descend("list[1].y").text(), "3");
  EXPECT_EQ(got.node.descend("list[0]").text(), "z");
  EXPECT_TRUE(got.node.find("env").from_environment());
  EXPECT_TRUE(got.node.find("q").quoted());
  EXPECT_TRUE(got.node.find("empty").is_null());
}

TEST(Set, WorksWithoutAFileBehindIt) {
  const Parsed got = parse_with("", {}, {"runtime.io=epoll"});
  EXPECT_EQ(got.problems, "");
  EXPECT_EQ(got.node.descend("runtime.io").text(), "epoll");
}

TEST(Set, ReportsItsFaultsAtItself) {
  EXPECT_EQ(parse_with("a: 1", {}, {"a.b=2"}).problems, "--set a.b: a: is a value, not a map\n");
  EXPECT_EQ(parse_with("a: [1]", {}, {"a[1]=2"}).problems, "--set a[1]: a: has no item 1\n");
  EXPECT_EQ(parse_with("a: 1", {}, {"a"}).problems, "--set a: expected a.b=value\n");
  EXPECT_EQ(parse_with("a: 1", {}, {"=1"}).problems, "--set : expected a.b=value\n");
  EXPECT_EQ(parse_with("a: 1", {}, {"a..b=1"}).problems, "--set a..b: expected a.b=value\n");
  EXPECT_EQ(parse_with("a: 1", {}, {"a=${NO}"}).problems, "--set a: the environment variable NO is not set\n");
  EXPECT_EQ(parse_with("a: 1", {}, {"a=[1"}).problems, "--set a: a [ is not closed by ]; opened at --set a\n");
}

TEST(Load, MergesADirectoryInTheOrderOfNames) {
  const Folder folder;
  folder.write("10-base.yaml", "node: edge\nupstreams: { api: { a: 1 } }\nservices:\n");
  folder.write("20-more.yml", "upstreams:\n  api: { b: 2 }\n  web: {}\nservices: { links: {} }\n");
  folder.write("30-empty.yaml", "# nothing\n");
  folder.write(".hidden.yaml", "node: hidden\n");
  folder.write("notes.txt", "node: notes\n");
  Problems problems;
  const Node node = load(folder.path(), {}, problems);
  ASSERT_EQ(problems.to_string(), "");
  EXPECT_EQ(node.find("node").text(), "edge");
  EXPECT_EQ(node.descend("upstreams.api.a").text(), "1");
  EXPECT_EQ(node.descend("upstreams.api.b").text(), "2");
  EXPECT_EQ(node.descend("upstreams.api.b").path(), "upstreams.api.b");
  EXPECT_TRUE(node.descend("upstreams.web").is_map());
  EXPECT_TRUE(node.descend("services.links").is_map());
}

TEST(Load, NamesBothPlacesOfAValueSetTwice) {
  const Folder folder;
  folder.write("a.yaml", "node: one\nlist: [1]\nmap: { x: 1 }\n");
  folder.write("b.yaml", "\nnode: two\nlist: [2]\nmap: 5\n");
  Problems problems;
  load(folder.path(), {}, problems);
  const std::string a = folder.path() + "/a.yaml";
  const std::string b = folder.path() + "/b.yaml";
  EXPECT_EQ(problems.to_string(), b + ":2:1: node: set twice; first at " + a + ":1:1\n" + b +
                                      ":3:1: list: set twice; first at " + a + ":2:1\n" + b +
                                      ":4:1: map: set twice; first at " + a + ":3:1\n");
}

TEST(Load, ReportsFaultsOfAllFiles) {
  const Folder folder;
  folder.write("a.yaml", "a: [1\n");
  folder.write("b.yaml", "b: ${NO_SUCH_VARIABLE}\n");
  folder.write("c.yaml", "- c\n");
  Problems problems;
  load(folder.path(), {}, problems);
  EXPECT_EQ(problems.total(), 3u) << problems.to_string();
}

TEST(Load, ReportsWhatCannotBeRead) {
  const Folder folder;
  Problems problems;
  EXPECT_TRUE(load(folder.path() + "/missing.yaml", {}, problems).is_null());
  EXPECT_EQ(problems.to_string(), folder.path() + "/missing.yaml: cannot be read: No such file or directory\n");
  Problems empty;
  load(folder.path(), {}, empty);
  EXPECT_EQ(empty.to_string(), folder.path() + ": holds no *.yaml file\n");
}

}  // namespace
}  // namespace trellis::config
