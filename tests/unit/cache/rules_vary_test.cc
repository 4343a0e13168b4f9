#include <gtest/gtest.h>

#include <string>

#include "cache/rules/vary.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Head;
using test::Lines;

std::string variant(std::string_view vary, Lines request) {
  std::string out;
  append_variant(out, vary_names(vary), Head(request).fields);
  return out;
}

// RFC 9111 §4.1.
TEST(Vary, NamesFieldsOnceInOrder) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(vary_names("Foo, bar"), (Names{"bar", "foo"}));
  EXPECT_EQ(vary_names("b,A, ,B"), (Names{"a", "b"}));
  EXPECT_EQ(vary_names(""), Names{});
  EXPECT_FALSE(varies_on_everything(""));
  std::string many = "a0";
  for (size_t i = 1; i < kMaxVaryNames; ++i) many += ", a" + std::to_string(i);
  EXPECT_EQ(vary_names(many).size(), kMaxVaryNames);
  for (const std::string& all : {std::string("*"), std::string("*, *"), std::string(", *"), std::string("*, Foo"),
                                 std::string("Foo, *"), std::string("a b"), std::string("\"a\""), many + ", b"}) {
    EXPECT_TRUE(varies_on_everything(all)) << all;
    EXPECT_TRUE(vary_names(all).empty()) << all;
  }
}

TEST(Variant, TellsPresentEmptyAndAbsentApart) {
  EXPECT_EQ(variant("Foo", {{"Foo", "1"}}), "\nfoo=1");
  EXPECT_EQ(variant("Foo", {{"Foo", ""}}), "\nfoo=");
  EXPECT_EQ(variant("Foo", {}), "\nfoo");
  EXPECT_EQ(variant("Foo, Baz, Bar", {{"baz", "789"}, {"FOO", "1"}, {"Other", "x"}}), "\nbar\nbaz=789\nfoo=1");
  EXPECT_EQ(variant("User-Agent", {{"User-Agent", "x/1"}}), "\nuser-agent=x/1");
}

TEST(Variant, IsOneForValuesThatMeanTheSame) {
  const auto same = [](std::string_view name, Lines a, Lines b) { return variant(name, a) == variant(name, b); };
  EXPECT_TRUE(same("Foo", {{"Foo", "1, 2"}}, {{"Foo", "1"}, {"Foo", "2"}}));
  EXPECT_TRUE(same("Foo", {{"Foo", "1,2"}}, {{"Foo", "  1 ,\t 2 "}}));
  EXPECT_FALSE(same("Foo", {{"Foo", "1,2"}}, {{"Foo", "2,1"}}));
  EXPECT_FALSE(same("Foo", {{"Foo", "1 2"}}, {{"Foo", "12"}}));
  EXPECT_FALSE(same("Foo", {{"Foo", "a"}}, {{"Foo", "A"}}));
  EXPECT_FALSE(same("Foo", {{"Foo", "\"a , b\""}}, {{"Foo", "\"a,b\""}}));
  EXPECT_FALSE(same("Foo", {{"Foo", "\"a\\\" , b\""}}, {{"Foo", "\"a\\\",b\""}}));
  EXPECT_FALSE(same("Foo, Bar", {{"Foo", "1"}}, {{"Bar", "1"}}));
}

// RFC 9110 §12.5.3: what the client takes, whatever it likes best.
TEST(Variant, ReducesAcceptEncodingToASet) {
  const auto encodings = [](const char* value) {
    return variant("Accept-Encoding", {{"Accept-Encoding", value}}).substr(17);
  };
  EXPECT_EQ(encodings("gzip, br"), "br,gzip");
  EXPECT_EQ(encodings("BR;q=0.5 , x-gzip;q=1.0, identity"), "br,gzip");
  EXPECT_EQ(encodings("gzip, gzip"), "gzip");
  EXPECT_EQ(encodings("gzip, br;q=0, zstd;q=0.000"), "gzip");
  EXPECT_EQ(encodings("gzip;q=0"), "");
  EXPECT_EQ(encodings(""), "");
  EXPECT_EQ(encodings("*"), "*");
  EXPECT_EQ(encodings("*, br;q=0"), "*,br;q=0");
  EXPECT_EQ(encodings("*;q=0, gzip"), "*;q=0,gzip");
  EXPECT_EQ(encodings("gzip, identity;q=0"), "gzip,identity;q=0");
  EXPECT_EQ(encodings("gzip, dcz"), "dcz,gzip") << "one that is new may be what is stored";
  EXPECT_EQ(encodings("gzip;level=9"), "gzip;level=9");
  // Servers differ in what they make of a weight that is none.
  for (const char* weight : {"q=0;x=1", "q=0.0000", "q=1e-9", "q=-0", "q=2", "q=1.001", "q=.5"})
    EXPECT_EQ(encodings((std::string("gzip;") + weight).c_str()), std::string("gzip;") + weight);
  EXPECT_EQ(encodings("gzip; Q=0."), "");
  EXPECT_EQ(encodings("gzip;q=1.000, br;q=0.001"), "br,gzip");
  EXPECT_EQ(variant("Accept-Encoding", {}), "\naccept-encoding");
}

// RFC 9110 §12.5.4: the order of equal weights has no meaning.
TEST(Variant, SortsAcceptLanguageByWeight) {
  const auto languages = [](const char* value) {
    return variant("accept-language", {{"Accept-Language", value}}).substr(17);
  };
  EXPECT_EQ(languages("en, de"), "de,en");
  EXPECT_EQ(languages("de,eN"), "de,en");
  EXPECT_EQ(languages(" en-US , de;q=0.5, fr;q=0.70, *;q=0"), "en-us,fr;q=700,de;q=500,*;q=0");
  EXPECT_EQ(languages("de;q=0.5, en;q=0.5"), "de;q=500,en;q=500");
  EXPECT_EQ(languages("de;q=2, en;q=x"), "de;q=2,en;q=x");
}

// An answer that is in the language a client likes best fits it, whatever it was asked for with.
TEST(KnownLanguages, LeadToTheAnswerInTheLanguageLikedBest) {
  const std::vector<std::string> names = vary_names("Accept-Language");
  const auto text = [&](const KnownLanguages& known, Lines request) {
    std::string out;
    append_variant(out, names, Head(request).fields, known);
    return out.substr(16);
  };
  const Head asked{{"Accept-Language", "en, de"}};
  const KnownLanguages known = learn_language({}, names, asked.fields, Head{{"Content-Language", "De"}}.fields);
  EXPECT_EQ(text(known, {{"Accept-Language", "fr;q=0.5, de;q=1.0"}}), "=de,en");
  EXPECT_EQ(text(known, {{"Accept-Language", "DE"}}), "=de,en");
  EXPECT_EQ(text(known, {{"Accept-Language", "de, en"}}), "=de,en");
  EXPECT_EQ(text(known, {{"Accept-Language", "de, fr"}}), "=de,fr") << "liked as much as another";
  EXPECT_EQ(text(known, {{"Accept-Language", "fr, de;q=0.5"}}), "=fr,de;q=500");
  EXPECT_EQ(text(known, {{"Accept-Language", "de;q=0"}}), "=de;q=0");
  EXPECT_EQ(text(known, {{"Accept-Language", "*"}}), "=*");
  EXPECT_EQ(text(known, {}), "");

  // The origin answers one who likes German best in French: German is gone.
  const Head german{{"Accept-Language", "de, fr;q=0.5"}};
  const KnownLanguages less = learn_language(known, names, german.fields, Head{{"Content-Language", "fr"}}.fields);
  EXPECT_EQ(less.find("de"), nullptr);
  EXPECT_EQ(text(less, {{"Accept-Language", "fr"}}), "=de,fr;q=500");
  EXPECT_EQ(learn_language(known, names, german.fields, Head{}.fields).find("de"), nullptr);
  EXPECT_NE(learn_language(known, names, german.fields, Head{{"Content-Language", "de"}}.fields).find("de"), nullptr);

  EXPECT_TRUE(learn_language({}, names, asked.fields, Head{{"Content-Language", "de, en"}}.fields).texts.empty());
  EXPECT_TRUE(learn_language({}, names, Head{}.fields, Head{{"Content-Language", "de"}}.fields).texts.empty());
  for (const char* odd : {"de, <b>;q=0.1", "de;level=1", "de, en;q=7", "de, a\"b"}) {
    const Head strange{{"Accept-Language", odd}};
    EXPECT_TRUE(learn_language({}, names, strange.fields, Head{{"Content-Language", "de"}}.fields).texts.empty())
        << odd;
  }
  EXPECT_TRUE(
      learn_language(known, vary_names("Foo"), asked.fields, Head{{"Content-Language", "de"}}.fields).texts.empty());
}

}  // namespace
}  // namespace trellis::cache
