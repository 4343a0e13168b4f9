// What tests of imports share: files that are in memory, and what is in a text.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "app/import/import.h"

#define EXPECT_HAS(text, what) EXPECT_NE((text).find(what), std::string::npos) << (text)
#define EXPECT_HAS_NOT(text, what) EXPECT_EQ((text).find(what), std::string::npos) << (text)

namespace trellis::app::test {

// Files in memory; a glob is a prefix before '*'.
inline ImportFiles in_memory(std::map<std::string, std::string> files) {
  return {.read = [files](const std::string& path) -> Result<std::string> {
            const auto found = files.find(path);
            if (found == files.end()) return fail(Code::not_found, path);
            return found->second;
          },
          .glob =
              [files](const std::string& pattern) {
                std::vector<std::string> out;
                for (const auto& [path, text] : files) {
                  if (path.starts_with(pattern.substr(0, pattern.find('*')))) out.push_back(path);
                }
                return out;
              }};
}

}  // namespace trellis::app::test
