#include "services/links/bulk/import_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/links/link_json.h"

namespace trellis::services::links {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Read {
  std::vector<LinkImport> links;
  std::vector<std::string> problems;  // "line:column field: reason"
  std::optional<ImportFormat> format;
};

Read read(ImportShape shape, std::string_view text, size_t piece = SIZE_MAX) {
  Read result;
  LinkReader reader(shape);
  const auto keep = [&](const std::expected<LinkReader::Step, ImportProblem>& step) {
    if (!step) {
      const ImportProblem& problem = step.error();
      result.problems.push_back(std::to_string(problem.line) + ":" + std::to_string(problem.column) + " " +
                                problem.field + ": " + problem.reason);
      return true;
    }
    if (*step == LinkReader::Step::link) result.links.push_back(reader.link());
    return *step == LinkReader::Step::link;
  };
  while (!text.empty()) {
    std::string_view bytes = text.substr(0, piece);
    text.remove_prefix(bytes.size());
    while (keep(reader.next(bytes))) {
    }
    EXPECT_TRUE(bytes.empty());
  }
  while (keep(reader.finish())) {
  }
  result.format = reader.format();
  return result;
}

Read read_csv(std::string_view text) { return read(ImportShape::csv, text); }
Read read_ndjson(std::string_view text) { return read(ImportShape::ndjson, text); }

int64_t at(std::string_view time) { return parse_time(time).value(); }

TEST(ImportFormats, ReadsItsOwnCsv) {
  const Read result = read_csv(
      "code,url,domain,title,tags,status,created_at,expires_at,not_before,max_visits,clicks\r\n"
      "spring,https://example.com/a,s.example:8080,\"Spring, again\",\"sale,mail\",307,2026-01-02T03:04:05Z,"
      "2026-12-31T00:00:00Z,2026-02-01T00:00:00Z,100,42\r\n"
      ",https://example.com/b,,,,,,,,,\r\n");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.format, ImportFormat::trellis);
  EXPECT_THAT(result.links, ElementsAre(LinkImport{.code = "spring",
                                                   .url = "https://example.com/a",
                                                   .domain = "s.example:8080",
                                                   .title = "Spring, again",
                                                   .tags = {"sale", "mail"},
                                                   .status = 307,
                                                   .created_at = at("2026-01-02T03:04:05Z"),
                                                   .expires_at = at("2026-12-31T00:00:00Z"),
                                                   .not_before = at("2026-02-01T00:00:00Z"),
                                                   .max_visits = 100,
                                                   .clicks = 42},
                                        LinkImport{.url = "https://example.com/b"}));
}

// Saved by a spreadsheet, which writes TRUE and, in many countries, semicolons.
TEST(ImportFormats, ReadsWhatSpreadsheetsMakeOfIt) {
  const Read result =
      read_csv("url;code;tags;forward_query\r\nhttps://example.com/;a;x,y;TRUE\r\nhttps://example.com/;b;;FALSE\r\n");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_THAT(
      result.links,
      ElementsAre(LinkImport{.code = "a", .url = "https://example.com/", .tags = {"x", "y"}, .forward_query = true},
                  LinkImport{.code = "b", .url = "https://example.com/"}));
  const Read kutt = read_csv(
      "address\ttarget\tbanned\tpassword\na\thttps://example.com/\tFALSE\tFALSE\nb\thttps://example.com/"
      "\tTRUE\tFALSE\n");
  EXPECT_THAT(kutt.links, SizeIs(1));
  EXPECT_THAT(kutt.problems, ElementsAre("3:24 banned: the link is banned there and stays out"));
}

TEST(ImportFormats, ReadsItsOwnObjects) {
  const Read result = read_ndjson(
      "\xef\xbb\xbf{\"alias\":\"a\",\"url\":\"https://example.com\",\"tags\":[\"x|y\",\" z \",\"x|y\"],\"clicks\":7,"
      "\"expires_at\":null,\"id\":1,\"etag\":\"q\"}\r\n"
      "\n"
      "{\"url\":\"https://example.org\",\"tags\":\"one, two\",\"status\":\"308\"}");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_THAT(result.links,
              ElementsAre(LinkImport{.code = "a", .url = "https://example.com", .tags = {"x|y", "z"}, .clicks = 7},
                          LinkImport{.url = "https://example.org", .tags = {"one", "two"}, .status = 308}));
}

TEST(ImportFormats, ReadsWhatShlinkWrites) {
  Read result = read_csv(
      "createdAt,domain,shortCode,shortUrl,longUrl,tags,title,visits\n"
      "2021-05-06T07:08:09+02:00,s.test,abc12,https://s.test/abc12,https://example.com/x,one|two,A title,9\n");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.format, ImportFormat::shlink);
  const LinkImport row{.code = "abc12",
                       .url = "https://example.com/x",
                       .domain = "s.test",
                       .title = "A title",
                       .tags = {"one", "two"},
                       .created_at = at("2021-05-06T05:08:09Z"),
                       .clicks = 9};
  EXPECT_THAT(result.links, ElementsAre(row));

  result = read_ndjson(
      "{\"shortCode\":\"abc12\",\"shortUrl\":\"https://s.test/abc12\",\"longUrl\":\"https://example.com/x\","
      "\"dateCreated\":\"2021-05-06T07:08:09+02:00\",\"visitsSummary\":{\"total\":9,\"nonBots\":8,\"bots\":1},"
      "\"tags\":[\"one\",\"two\"],\"meta\":{\"validSince\":\"2021-06-01T00:00:00+00:00\",\"validUntil\":null,"
      "\"maxVisits\":5},\"domain\":null,\"title\":\"A title\",\"crawlable\":true,\"forwardQuery\":true}");
  EXPECT_THAT(result.problems, IsEmpty());
  LinkImport object = row;
  object.not_before = at("2021-06-01T00:00:00Z");
  object.max_visits = 5;
  object.forward_query = true;
  EXPECT_THAT(result.links, ElementsAre(object));

  result = read_csv("Long URL,Short code,Domain,Title,Tags\nhttps://example.com,q,,,\n");
  EXPECT_EQ(result.format, ImportFormat::shlink);
  EXPECT_THAT(result.links, ElementsAre(LinkImport{.code = "q", .url = "https://example.com"}));
}

TEST(ImportFormats, ReadsWhatYourlsWrites) {
  Read result = read_csv(
      "keyword,url,title,timestamp,ip,clicks\n"
      "ozh,http://ozh.org/,\"Ozh's \"\"page\"\"\",2010-01-02 03:04:05,127.0.0.1,123\n");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.format, ImportFormat::yourls);
  EXPECT_THAT(result.links, ElementsAre(LinkImport{.code = "ozh",
                                                   .url = "http://ozh.org/",
                                                   .title = "Ozh's \"page\"",
                                                   .created_at = at("2010-01-02T03:04:05Z"),
                                                   .clicks = 123}));
  result = read_ndjson(
      "{\"shorturl\":\"http://Sho.rt/1f\",\"url\":\"http://planetozh.com\",\"title\":\"x\",\"timestamp\":"
      "\"2010-01-02 03:04:05\",\"ip\":\"127.0.0.1\",\"clicks\":\"10\"}");
  EXPECT_THAT(result.problems, IsEmpty());
  ASSERT_THAT(result.links, SizeIs(1));
  EXPECT_EQ(result.links[0].code, "1f");
  EXPECT_EQ(result.links[0].domain, "sho.rt");
  EXPECT_EQ(result.links[0].clicks, 10u);
}

TEST(ImportFormats, ReadsWhatKuttWritesButOpensNothing) {
  const Read result = read_ndjson(
      "{\"id\":\"u1\",\"address\":\"a1\",\"target\":\"https://example.com\",\"description\":\"note\",\"banned\":false,"
      "\"password\":false,\"link\":\"https://kutt.it/a1\",\"domain\":null,\"visit_count\":3,"
      "\"created_at\":\"2023-01-01T00:00:00.000Z\",\"expire_in\":\"2033-01-01T00:00:00.000Z\"}\n"
      "{\"address\":\"a2\",\"target\":\"https://example.com\",\"banned\":true}\n"
      "{\"address\":\"a3\",\"target\":\"https://example.com\",\"password\":true}\n");
  EXPECT_EQ(result.format, ImportFormat::kutt);
  EXPECT_THAT(result.links, ElementsAre(LinkImport{.code = "a1",
                                                   .url = "https://example.com",
                                                   .title = "note",
                                                   .created_at = at("2023-01-01T00:00:00Z"),
                                                   .expires_at = at("2033-01-01T00:00:00Z"),
                                                   .clicks = 3}));
  EXPECT_THAT(result.problems,
              ElementsAre("2:1 banned: the link is banned there and stays out",
                          "3:1 password: the link has a password, which is not in the export; it would be open"));
}

TEST(ImportFormats, ReadsWhatBitlyWrites) {
  Read result = read_ndjson(
      "{\"created_at\":\"2020-01-02T03:04:05+0000\",\"id\":\"bit.ly/2abc\",\"link\":\"https://bit.ly/2abc\","
      "\"custom_bitlinks\":[],\"long_url\":\"https://example.com/\",\"title\":\"T\",\"archived\":false,"
      "\"tags\":[\"a\",\"b\"],\"deeplinks\":[]}");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.format, ImportFormat::bitly);
  const LinkImport link{.code = "2abc",
                        .url = "https://example.com/",
                        .domain = "bit.ly",
                        .title = "T",
                        .tags = {"a", "b"},
                        .created_at = at("2020-01-02T03:04:05Z")};
  EXPECT_THAT(result.links, ElementsAre(link));
  result =
      read_csv("Bitlink,Long URL,Title,Tags,Date created\nbit.ly/2abc,https://example.com/,T,\"a, b\",1577934245\n");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_THAT(result.links, ElementsAre(link));
}

TEST(ImportFormats, FurtherShortUrlsOfABitlyLinkAreLinksByThemselves) {
  const std::string text =
      "{\"link\":\"https://bit.ly/2abc\",\"custom_bitlinks\":[\"https://bit.ly/spring\",\"https://bit.ly/2abc\","
      "\"https://bit.ly/a.b\",\"https://go.test/Sale\"],\"long_url\":\"https://example.com/\",\"tags\":[\"a\"],"
      "\"clicks\":9}\n"
      "{\"link\":\"https://bit.ly/bad\",\"custom_bitlinks\":[\"https://bit.ly/lost\"],\"long_url\":\"nowhere\"}\n"
      "{\"link\":\"https://bit.ly/3abc\",\"custom_bitlinks\":[],\"long_url\":\"https://example.org/\"}";
  for (const size_t piece : {SIZE_MAX, size_t{7}}) {
    const Read result = read(ImportShape::ndjson, text, piece);
    const LinkImport link{
        .code = "2abc", .url = "https://example.com/", .domain = "bit.ly", .tags = {"a"}, .clicks = 9};
    LinkImport spring = link;
    spring.code = "spring";
    spring.clicks = 0;
    LinkImport sale = spring;
    sale.code = "Sale";
    sale.domain = "go.test";
    EXPECT_THAT(
        result.links,
        ElementsAre(link, spring, sale, LinkImport{.code = "3abc", .url = "https://example.org/", .domain = "bit.ly"}));
    EXPECT_THAT(result.problems, ElementsAre("1:1 : the code of the short URL is not 1 to 128 letters, digits, - or _",
                                             "2:1 long_url: The URL must begin with http:// or https://."));
  }
  const Read csv = read_csv("link,long_url,custom_bitlinks\nbit.ly/2abc,https://example.com/,\"bit.ly/x, bit.ly/y\"\n");
  EXPECT_THAT(csv.links, SizeIs(3));
}

TEST(ImportFormats, ReadsWhatTheApiAnswersButOpensNothing) {
  const Read result = read_ndjson(
      "{\"id\":1,\"code\":\"a\",\"domain\":\"go.test\",\"short_url\":\"http://go.test/a\",\"url\":\"https://"
      "example.com/\","
      "\"title\":\"\",\"status\":302,\"created_at\":\"2020-01-02T03:04:05.000Z\",\"updated_at\":\"2020-01-02T03:04:05."
      "000Z\","
      "\"not_before\":null,\"expires_at\":null,\"max_visits\":5,\"visits_left\":2,\"forward_query\":false,\"tags\":[],"
      "\"rules\":[],\"has_password\":false,\"clicks\":7,\"etag\":\"\\\"1-1\\\"\"}\n"
      "{\"code\":\"b\",\"url\":\"https://example.com/\",\"has_password\":true}\n");
  EXPECT_THAT(result.links, ElementsAre(LinkImport{.code = "a",
                                                   .url = "https://example.com/",
                                                   .domain = "go.test",
                                                   .status = 302,
                                                   .created_at = at("2020-01-02T03:04:05Z"),
                                                   .max_visits = 5,
                                                   .visits = 3,
                                                   .clicks = 7}));
  EXPECT_THAT(result.problems,
              ElementsAre("2:1 has_password: the link has a password, which is not in the export; it would be open"));
}

TEST(ImportFormats, SaysHowAPageOfAnApiBecomesLines) {
  const auto said = [](std::string_view text) { return read_ndjson(text).problems; };
  EXPECT_THAT(said("[{\"url\":\"https://example.com/\"},\n{\"url\":\"https://example.org/\"}]\n"),
              ElementsAre("1:1 : an object on each line is wanted; jq -c '.[]' writes what is here like that"));
  EXPECT_THAT(said("[\n{\"url\":\"https://example.org/\"}\n]\n"), SizeIs(1));
  EXPECT_THAT(said("{\n  \"links\": [\n"),
              ElementsAre("1:1 : an object on each line is wanted; jq -c '.' writes what is here like that"));
  EXPECT_THAT(
      said("{\"links\":[{\"link\":\"bit.ly/a\",\"long_url\":\"https://example.com/\"}],\"pagination\":{}}\n"),
      ElementsAre("1:1 links: an object on each line is wanted; jq -c '.links[]' writes what is here like that"));
  EXPECT_THAT(said("{\"shortUrls\":{\"data\":[{\"shortCode\":\"a\",\"longUrl\":\"https://example.com/\"}]}}\n"),
              ElementsAre("1:1 shortUrls.data: an object on each line is wanted; jq -c '.shortUrls.data[]' writes what "
                          "is here like that"));
}

TEST(ImportFormats, SaysWhatIsWrongWithARowAndGoesOn) {
  const Read result = read_csv(
      "url,code,expires_at,not_before,max_visits,status,clicks,title\n"
      "https://example.com/1,ok,,,,,,\n"
      "ftp://example.com,,,,,,,\n"
      "https://example.com,a b,,,,,,\n"
      "https://example.com,metrics,,,,,,\n"
      "https://example.com,,tomorrow,,,,,\n"
      "https://example.com,,,,0,,,\n"
      "https://example.com,,,,,404,,\n"
      "https://example.com,,,,,,-1,\n"
      "https://example.com,,2026-01-01,2026-01-02,,,,\n"
      ",x,,,,,,\n"
      "https://example.com\n"
      "https://exa\"mple.com,,,,,,,\n"
      "\n"
      "https://example.com/2,,,,,,,\n");
  EXPECT_THAT(
      result.problems,
      ElementsAre("3:1 url: The URL must begin with http:// or https://.",
                  "4:21 code: a code is 1 to 128 letters, digits, - or _",
                  "5:21 code: this code is a name that the service uses itself",
                  "6:22 expires_at: not a time as in 2026-01-31T12:00:00Z, between 1970 and 2255",
                  "7:24 max_visits: not a number of visits, which is 1 or more",
                  "8:25 status: the status must be 301, 302, 307 or 308", "9:26 clicks: not a number of clicks",
                  "10:1 : the link ends before it begins", "11:1 : the URL is missing",
                  "12:1 : the row has 1 fields and the header 8", "13:12 : a quote inside a field that is not quoted"));
  ASSERT_THAT(result.links, SizeIs(2));
  EXPECT_EQ(result.links[1].url, "https://example.com/2");
}

TEST(ImportFormats, SaysWhatIsWrongWithAnObjectAndGoesOn) {
  const Read result = read_ndjson(
      "{\"url\":\"https://example.com\"}\n"
      "{\"url\":\"https://example.com\",}\n"
      "[1]\n"
      "{\"url\":\"https://example.com\",\"expires\":1}\n"
      "{\"url\":\"https://example.com\",\"tags\":[1]}\n"
      "{\"url\":\"https://example.com\",\"tags\":[\"a,b\"]}\n"
      "{\"url\":[\"https://example.com\"]}\n"
      "{\"url\":\"https://example.com\",\"clicks\":1e999}\n" +
      std::string(kMaxImportLine + 1, ' ') + "\n" + "{\"url\":" + std::string(40, '[') + std::string(40, ']') +
      "}\n"
      "{\"url\":\"https://example.com/last\"}");
  EXPECT_THAT(
      result.problems,
      ElementsAre("2:30 : the line is not valid JSON", "3:1 : the line is not a JSON object",
                  "4:1 expires: there is no such member", "5:1 tags: a tag is no string", "6:1 tags: a tag has a comma",
                  "7:1 url: the value must be a text or a number", "8:1 : the line has a value that cannot be read",
                  "9:1 : the line is longer than 262144 bytes", "10:1 : the line is nested too deeply"));
  ASSERT_THAT(result.links, SizeIs(2));
  EXPECT_EQ(result.links[1].url, "https://example.com/last");
}

TEST(ImportFormats, TakesTextInUtf8Only) {
  for (const char* title : {"\xe9t\xe9", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82", "\xf5\x80\x80\x80"}) {
    const Read result = read_csv("url,title\nhttps://example.com," + std::string(title) + "\n");
    EXPECT_THAT(result.problems, ElementsAre("2:21 title: not UTF-8; is the file in another encoding?")) << title;
  }
  const Read result = read_csv("url,title\nhttps://example.com,\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n");
  EXPECT_THAT(result.problems, IsEmpty());
}

TEST(ImportFormats, EndsAtAHeaderThatItDoesNotKnow) {
  Read result = read_csv("name,age\nx,1\ny,2\n");
  EXPECT_THAT(result.problems, ElementsAre(testing::StartsWith("1:1 : no known format")));
  EXPECT_THAT(result.links, IsEmpty());
  result = read_csv("url,titel\nhttps://example.com,x\n");
  EXPECT_THAT(result.problems, ElementsAre("1:5 titel: there is no such column"));
  result = read_csv("url,code,code\nhttps://example.com,x,y\n");
  EXPECT_THAT(result.problems, ElementsAre("1:10 code: the column is there twice"));
  result = read_csv("\"url\nhttps://example.com,x,y\n");
  EXPECT_THAT(result.problems, SizeIs(1));
  result = read_ndjson("{\"a\":1}\n{\"url\":\"https://example.com\"}\n");
  EXPECT_THAT(result.problems, SizeIs(1));
  EXPECT_THAT(result.links, IsEmpty());
  EXPECT_THAT(read_csv("").problems, IsEmpty());
  EXPECT_THAT(read_ndjson("").problems, IsEmpty());
}

TEST(ImportFormats, WritesWhatReadsBackToTheSame) {
  const std::vector<LinkImport> links = {{.code = "a", .url = "https://example.com/?q=\"x,y\""},
                                         {.code = "b-_",
                                          .url = "https://example.com/\xc3\xa4",
                                          .domain = "s.example",
                                          .title = " \"quoted\", and \xe2\x82\xac"
                                                   "=1"
                                                   "|",
                                          .tags = {"one", "t|wo", "=three"},
                                          .status = 301,
                                          .created_at = 1234567890123,
                                          .expires_at = 2234567890999,
                                          .not_before = 1,
                                          .max_visits = 9,
                                          .clicks = INT64_MAX}};
  std::string csv;
  std::string ndjson;
  append_import_header(csv);
  const std::vector<LinkImport>& expected = links;
  for (const LinkImport& link : links) {
    append_import_csv(csv, link);
    append_import_ndjson(ndjson, link);
  }
  for (const size_t piece : {size_t{1}, size_t{13}, SIZE_MAX}) {
    const Read rows = read(ImportShape::csv, csv, piece);
    EXPECT_THAT(rows.problems, IsEmpty());
    EXPECT_EQ(rows.links, expected);
    const Read objects = read(ImportShape::ndjson, ndjson, piece);
    EXPECT_THAT(objects.problems, IsEmpty());
    EXPECT_EQ(objects.links, expected);
  }
}

}  // namespace
}  // namespace trellis::services::links
