#include "app/import/nginx/syntax.h"

#include <glob.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/utf8.h"

namespace trellis::app {

namespace {

constexpr size_t kMaxTotal = 16 << 20;
constexpr size_t kMaxFiles = 256;
constexpr size_t kMaxIncludes = 16;
constexpr size_t kMaxBlocks = 32;
constexpr size_t kMaxDirectives = 100'000;
constexpr size_t kMaxWord = 4096;
constexpr size_t kMaxWords = 1000;

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

// What all files of one import share.
struct Reading {
  const ImportFiles& files;
  std::string folder;  // of the first file
  std::vector<std::pair<ImportPlace, std::string>> missing;
  size_t bytes = 0;
  size_t opened = 0;
  size_t directives = 0;
};

class Parser {
 public:
  Parser(Reading& reading, std::string text, const std::string& name, size_t includes)
      : reading_(reading),
        text_(std::move(text)),
        name_(std::make_shared<const std::string>(name)),
        includes_(includes) {}

  // Directives until the block's '}', or until the end of the file for depth 0 and for an included file.
  Result<> block(std::vector<NginxDirective>& out, size_t depth, bool closes) {
    for (;;) {
      NginxDirective directive;
      TRY(const End end, words(directive));
      if (end == End::of_file) {
        if (closes) return bad("the file ends within a block: a \"}\" is missing");
        return {};
      }
      if (end == End::closing) {
        if (!closes) return bad("\"}\" without its \"{\"");
        return {};
      }
      if (++reading_.directives > kMaxDirectives) return bad("more than 100,000 directives");
      if (end == End::opening) {
        if (depth + 1 > kMaxBlocks) return bad("blocks are nested more than 32 deep");
        directive.has_block = true;
        if (directive.name.ends_with("_by_lua_block")) {
          TRY_VOID(skip_code());
        } else {
          TRY_VOID(block(directive.block, depth + 1, true));
        }
      } else if (directive.name == "include") {
        TRY_VOID(include(directive, out, depth));
        continue;
      }
      out.push_back(std::move(directive));
    }
  }

 private:
  enum class End : uint8_t { semicolon, opening, closing, of_file };

  std::unexpected<Error> bad(const std::string& why) const {
    return fail(Code::invalid_argument, *name_ + ":" + std::to_string(line_) + ": " + why);
  }

  char take() {
    const char c = text_[at_++];
    if (c == '\n') ++line_;
    return c;
  }

  // One directive up to its ';' or '{'.
  Result<End> words(NginxDirective& out) {
    bool any = false;
    for (;;) {
      while (at_ < text_.size() && is_space(text_[at_])) take();
      if (at_ == text_.size()) {
        if (any) return bad("the file ends within a directive: \";\" or \"}\" is missing");
        return End::of_file;
      }
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
        continue;
      }
      if (c == ';' || c == '{') {
        if (!any) return bad(std::string("unexpected \"") + c + "\"");
        ++at_;
        return c == ';' ? End::semicolon : End::opening;
      }
      if (c == '}') {
        if (any) return bad("unexpected \"}\": a \";\" is missing before it");
        ++at_;
        return End::closing;
      }
      if (!any) out.at = {name_, line_};
      std::string word;
      TRY_VOID(c == '"' || c == '\'' ? quoted(word) : plain(word));
      if (!is_utf8(word)) return bad("a word is not UTF-8");
      if (!any) {
        out.name = std::move(word);
        any = true;
      } else {
        if (out.words.size() == kMaxWords) return bad("more than 1,000 words in one directive");
        out.words.push_back(std::move(word));
      }
    }
  }

  Result<> put(std::string& word, char c) {
    if (c == '\0') return bad("a NUL byte");
    if (word.size() == kMaxWord) return bad("a word is longer than 4,096 bytes");
    word.push_back(c);
    return {};
  }

  // Behind a backslash: quotes, backslash and the three control characters lose it, everything else keeps it, as a
  // regular expression needs.
  Result<> escaped(std::string& word) {
    if (at_ == text_.size()) return bad("the file ends behind a backslash");
    const char c = take();
    switch (c) {
      case '"':
      case '\'':
      case '\\': return put(word, c);
      case 't': return put(word, '\t');
      case 'r': return put(word, '\r');
      case 'n': return put(word, '\n');
      default: TRY_VOID(put(word, '\\')); return put(word, c);
    }
  }

  Result<> quoted(std::string& word) {
    const char quote = take();
    for (;;) {
      if (at_ == text_.size()) return bad("the file ends within quotes");
      const char c = take();
      if (c == quote) break;
      TRY_VOID(c == '\\' ? escaped(word) : put(word, c));
    }
    if (at_ < text_.size()) {
      const char next = text_[at_];
      if (!is_space(next) && next != ';' && next != '{' && next != ')')
        return bad(std::string("unexpected \"") + next + "\" behind a quoted word");
    }
    return {};
  }

  Result<> plain(std::string& word) {
    bool variable = false;  // behind '$', where '{' opens a name
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (is_space(c) || c == ';' || (c == '{' && !variable)) return {};
      take();
      variable = c == '$';
      TRY_VOID(c == '\\' ? escaped(word) : put(word, c));
    }
    return {};
  }

  // The code of another language, up to the '}' that ends it.
  Result<> skip_code() {
    size_t open = 1;
    while (at_ < text_.size()) {
      const char c = take();
      if (c == '"' || c == '\'') {
        while (at_ < text_.size() && text_[at_] != c && text_[at_] != '\n') {
          if (take() == '\\' && at_ < text_.size()) take();
        }
        if (at_ < text_.size()) take();
      } else if (c == '{') {
        ++open;
      } else if (c == '}' && --open == 0) {
        return {};
      }
    }
    return bad("the file ends within a block of code");
  }

  Result<> include(const NginxDirective& directive, std::vector<NginxDirective>& out, size_t depth) {
    if (directive.words.size() != 1 || directive.words[0].empty()) return bad("include takes one file or pattern");
    if (includes_ + 1 > kMaxIncludes) return bad("includes are nested more than 16 deep");
    const std::string& named = directive.words[0];
    const std::string pattern = named.front() == '/' ? named : reading_.folder + named;
    const bool several = pattern.find_first_of("*?[") != std::string::npos;
    const std::vector<std::string> paths = several ? reading_.files.glob(pattern) : std::vector{pattern};
    for (const std::string& path : paths) {
      if (++reading_.opened > kMaxFiles) return bad("more than 256 files");
      Result<std::string> text = reading_.files.read(path);
      if (!text && text.error().code() == Code::not_found) {
        reading_.missing.emplace_back(directive.at, named);
        continue;
      }
      if (!text) return fail(Error(text.error().code(), directive.at.to_string()).because(std::move(text).error()));
      reading_.bytes += text->size();
      if (reading_.bytes > kMaxTotal) return bad("the files are larger than 16 MiB together");
      Parser inner(reading_, *std::move(text), path, includes_ + 1);
      TRY_VOID(inner.block(out, depth, false));
    }
    return {};
  }

  Reading& reading_;
  std::string text_;
  std::shared_ptr<const std::string> name_;
  size_t includes_;
  size_t at_ = 0;
  uint32_t line_ = 1;
};

}  // namespace

const NginxDirective* NginxDirective::find(std::string_view child) const noexcept {
  const auto found = std::ranges::find(block, child, &NginxDirective::name);
  return found == block.end() ? nullptr : &*found;
}

ImportFiles files_on_disk() {
  return {.read = [](const std::string& path) -> Result<std::string> {
            const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
            if (!file) return fail(errno_error(path, errno));
            std::string text(ImportFiles::kMaxFile + 1, '\0');
            text.resize(std::fread(text.data(), 1, text.size(), file.get()));
            if (std::ferror(file.get())) return fail(errno_error(path, errno));
            if (text.size() > ImportFiles::kMaxFile)
              return fail(Code::resource_exhausted, path + ": larger than 4 MiB");
            return text;
          },
          .glob =
              [](const std::string& pattern) {
                std::vector<std::string> out;
                glob_t found{};
                if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
                  out.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
                ::globfree(&found);
                return out;
              }};
}

Result<NginxTree> parse_nginx_text(std::string text, const std::string& name, const ImportFiles& files) {
  Reading reading{.files = files, .folder = folder_of(name), .missing = {}};
  if (text.size() > ImportFiles::kMaxFile) return fail(Code::resource_exhausted, name + ": larger than 4 MiB");
  reading.bytes = text.size();
  NginxTree tree;
  tree.top.has_block = true;
  tree.top.at = {std::make_shared<const std::string>(name), 0};
  Parser parser(reading, std::move(text), name, 0);
  TRY_VOID(parser.block(tree.top.block, 0, false));
  tree.missing = std::move(reading.missing);
  return tree;
}

Result<NginxTree> parse_nginx(const std::string& path, const ImportFiles& files) {
  TRY(std::string text, files.read(path));
  Result<NginxTree> tree = parse_nginx_text(std::move(text), path, files);
  return tree;
}

}  // namespace trellis::app
