#include "services/links/bulk/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"

namespace trellis::services::links {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Row = std::vector<std::string>;
using Step = CsvReader::Step;

struct Read {
  std::vector<Row> rows;
  std::vector<std::string> problems;  // "2:5 reason"
};

Read read(std::string_view text, size_t piece = SIZE_MAX, CsvLimits limits = {}) {
  Read result;
  CsvReader reader(limits);
  const auto keep = [&](const std::expected<Step, CsvProblem>& step) {
    if (!step) {
      const CsvProblem& problem = step.error();
      result.problems.push_back(std::to_string(problem.line) + ":" + std::to_string(problem.column) + " " +
                                problem.reason);
      return true;
    }
    if (*step == Step::row) result.rows.emplace_back(reader.fields().begin(), reader.fields().end());
    return *step == Step::row;
  };
  while (!text.empty()) {
    std::string_view bytes = text.substr(0, piece);
    text.remove_prefix(bytes.size());
    while (keep(reader.next(bytes))) {
    }
    EXPECT_TRUE(bytes.empty());
  }
  keep(reader.finish());
  return result;
}

TEST(Csv, ReadsRowsOfEitherEndOfLine) {
  EXPECT_THAT(read("a,b\r\nc,d\r\n").rows, ElementsAre(Row{"a", "b"}, Row{"c", "d"}));
  EXPECT_THAT(read("a,b\nc,d").rows, ElementsAre(Row{"a", "b"}, Row{"c", "d"}));
  EXPECT_THAT(read("a,,\n,").rows, ElementsAre(Row{"a", "", ""}, Row{"", ""}));
  EXPECT_THAT(read("\n\na").rows, ElementsAre(Row{""}, Row{""}, Row{"a"}));
  EXPECT_THAT(read("").rows, IsEmpty());
}

TEST(Csv, TakesTheSeparatorOfTheFirstRow) {
  const auto read_any = [](std::string_view text) {
    std::vector<Row> rows;
    CsvReader reader(CsvLimits(), ",;\t");
    const auto keep = [&](const std::expected<Step, CsvProblem>& step) {
      if (step && *step == Step::row) rows.emplace_back(reader.fields().begin(), reader.fields().end());
      return step && *step == Step::row;
    };
    while (keep(reader.next(text))) {
    }
    keep(reader.finish());
    return rows;
  };
  EXPECT_THAT(read_any("a;b\n1,5;\"x;y\"\n"), ElementsAre(Row{"a", "b"}, Row{"1,5", "x;y"}));
  EXPECT_THAT(read_any("a\tb\n;,\t\n"), ElementsAre(Row{"a", "b"}, Row{";,", ""}));
  EXPECT_THAT(read_any("a,b\n1;2,3\t4\n"), ElementsAre(Row{"a", "b"}, Row{"1;2", "3\t4"}));
  EXPECT_THAT(read_any("\"a;b\"\nc;d,e\n"), ElementsAre(Row{"a;b"}, Row{"c;d", "e"})) << "a row of one field";
  EXPECT_THAT(read("a;b,c\td\n").rows, ElementsAre(Row{"a;b", "c\td"})) << "commas alone unless others are wanted";
}

TEST(Csv, ReadsQuotedFields) {
  EXPECT_THAT(read("\"a,b\",\"say \"\"hi\"\"\",\"\"\n").rows, ElementsAre(Row{"a,b", "say \"hi\"", ""}));
  EXPECT_THAT(read("\"two\r\nlines\",x\ny").rows, ElementsAre(Row{"two\r\nlines", "x"}, Row{"y"}));
  EXPECT_THAT(read(" a , b ").rows, ElementsAre(Row{" a ", " b "}));
}

TEST(Csv, SkipsAByteOrderMarkOnlyAtTheBeginning) {
  for (const size_t piece : {1, 2, 3, 100}) {
    EXPECT_THAT(read("\xef\xbb\xbf"
                     "a\n\xef\xbb\xbf"
                     "b",
                     piece)
                    .rows,
                ElementsAre(Row{"a"}, Row{"\xef\xbb\xbf"
                                          "b"}));
    EXPECT_THAT(read("\xef\xbb,x\n", piece).rows, ElementsAre(Row{"\xef\xbb", "x"}));
    EXPECT_THAT(read("\xef\xbb", piece).rows, ElementsAre(Row{"\xef\xbb"}));
    EXPECT_THAT(read("\xef\xbb\xbf", piece).rows, IsEmpty());
  }
}

TEST(Csv, SaysWhereARowIsWrongAndGoesOnAfterIt) {
  Read result = read("a\nb\"c,d\ne\n");
  EXPECT_THAT(result.rows, ElementsAre(Row{"a"}, Row{"e"}));
  EXPECT_THAT(result.problems, ElementsAre("2:2 a quote inside a field that is not quoted"));
  result = read("\"a\"b\nc");
  EXPECT_THAT(result.rows, ElementsAre(Row{"c"}));
  EXPECT_THAT(result.problems, ElementsAre("1:4 text after a closing quote; a quote inside quotes is written twice"));
  result = read("a\rb\nc\n");
  EXPECT_THAT(result.rows, ElementsAre(Row{"c"}));
  EXPECT_THAT(result.problems, ElementsAre("1:3 a carriage return without a line feed"));
  result = read("a\n\"b\nc");
  EXPECT_THAT(result.rows, ElementsAre(Row{"a"}));
  EXPECT_THAT(result.problems, ElementsAre("3:2 a quoted field of the row in line 2 never ends"));
  result = read(std::string_view("a\0b\nc\0", 6));
  EXPECT_THAT(result.rows, IsEmpty());
  EXPECT_EQ(result.problems.size(), 2u);
}

TEST(Csv, HoldsItsLimits) {
  const CsvLimits limits{.row = 8, .field = 4, .columns = 3};
  EXPECT_THAT(read("abcd,ab,ab\n", SIZE_MAX, limits).problems, IsEmpty());
  Read result = read("abcde\nok\n", SIZE_MAX, limits);
  EXPECT_THAT(result.problems, ElementsAre("1:5 a field is longer than 4 bytes"));
  EXPECT_THAT(result.rows, ElementsAre(Row{"ok"}));
  EXPECT_THAT(read("abcd,abcd,a\n", SIZE_MAX, limits).problems, ElementsAre("1:11 a row is longer than 8 bytes"));
  result = read("a,b,c,d\nok", SIZE_MAX, limits);
  EXPECT_THAT(result.problems, ElementsAre("1:8 a row has more than 3 fields"));
  EXPECT_THAT(result.rows, ElementsAre(Row{"ok"}));
  EXPECT_THAT(read("a,b,c,d", SIZE_MAX, limits).problems, ElementsAre("1:8 a row has more than 3 fields"));
}

TEST(Csv, KnowsWhereFieldsBegin) {
  CsvReader reader;
  std::string_view bytes = "x\n\"a\nb\",\"\"\"\",cd\n";
  ASSERT_EQ(reader.next(bytes), Step::row);
  ASSERT_EQ(reader.next(bytes), Step::row);
  EXPECT_EQ(reader.line(), 2u);
  EXPECT_EQ(reader.column(0), 1u);
  EXPECT_EQ(reader.column(1), 4u);
  EXPECT_EQ(reader.column(2), 9u);
  EXPECT_EQ(reader.column(3), 0u);
}

TEST(Csv, ReadsTheSameFromPiecesOfAnySize) {
  const std::string text = "\xef\xbb\xbfid,\"na\"\"me\"\r\n1,\"two\r\nlines\"\n\"bad\"x,\n\n3,\"\",\r\nlast";
  const Read whole = read(text);
  EXPECT_EQ(whole.rows.size(), 5u);
  EXPECT_EQ(whole.problems.size(), 1u);
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    const Read pieces = read(text, piece);
    EXPECT_EQ(pieces.rows, whole.rows) << piece;
    EXPECT_EQ(pieces.problems, whole.problems) << piece;
  }
}

TEST(Csv, WritesWhatReadsBackToTheSame) {
  Rng rng(7);
  constexpr std::string_view kBytes = "ab,\"\r\n =\xef\xbb\xbf\t";
  std::string text;
  std::vector<Row> rows;
  for (int i = 0; i < 2000; ++i) {
    Row row(1 + rng.below(4));
    for (std::string& field : row)
      for (uint64_t n = rng.below(6); n > 0; --n) field.push_back(kBytes[rng.below(kBytes.size())]);
    append_csv_row(text, std::vector<std::string_view>(row.begin(), row.end()));
    rows.push_back(std::move(row));
  }
  const Read result = read(text, 61);
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_EQ(result.rows, rows);
}

TEST(Csv, QuotesOnlyWhatNeedsIt) {
  std::string text;
  append_csv_row(text, std::vector<std::string_view>{"a", "b c", "d,e", "f\"g", " h", "=1+1", ""});
  append_csv_row(text, std::vector<std::string_view>{""});
  EXPECT_EQ(text, "a,b c,\"d,e\",\"f\"\"g\",\" h\",=1+1,\r\n\"\"\r\n");
}

}  // namespace
}  // namespace trellis::services::links
