// Reads a struct from a piece of YAML, for tests of what a configuration may say.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "config/fields.h"

namespace trellis::fakes {

template <class T>
T read_config(std::string_view yaml) {
  config::Problems problems;
  std::optional<T> value = config::read<T>(config::parse(yaml, "test.yaml", {}, problems), problems);
  EXPECT_TRUE(value) << problems.to_string();
  return value ? std::move(*value) : T{};
}
template <class T>
std::string config_problems(std::string_view yaml) {
  config::Problems problems;
  const std::optional<T> value = config::read<T>(config::parse(yaml, "test.yaml", {}, problems), problems);
  EXPECT_FALSE(value);
  return problems.to_string();
}

}  // namespace trellis::fakes
