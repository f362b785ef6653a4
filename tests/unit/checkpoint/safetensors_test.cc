#include "worker/checkpoint/safetensors.h"

#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string WithLength(const std::string& json, const std::string& data = "") {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(json.size() >> (8 * i)));
  return bytes + json + data;
}

std::string Entry(const std::string& shape, const std::string& offsets, const std::string& type = "U8") {
  return R"({"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string Fault(const std::string& file) {
  const auto parsed = ParseSafetensors(file);
  EXPECT_FALSE(parsed.ok()) << file;
  return std::string(parsed.status().message());
}

std::string Example() {
  const std::vector<TensorView> tensors = {{"head.weight", TensorType::kF32, {2, 1}, "01234567"},
                                           {"scalar", TensorType::kI64, {}, "abcdefgh"},
                                           {"empty", TensorType::kBF16, {0, 3}, ""},
                                           {"half", TensorType::kF16, {3}, "uvwxyz"}};
  const auto header = SafetensorsHeader(tensors, {{"format", "pt"}});
  EXPECT_TRUE(header.ok()) << header.status();
  std::string file = *header;
  for (const TensorView& tensor : tensors) file += tensor.bytes;
  return file;
}

TEST(SafetensorsTest, WhatIsWrittenIsRead) {
  const std::string file = Example();
  const auto parsed = ParseSafetensors(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->tensors.size(), 4u);
  EXPECT_EQ(parsed->metadata.at("format"), "pt");
  const TensorView* weight = parsed->Find("head.weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->type, TensorType::kF32);
  EXPECT_THAT(weight->shape, ElementsAre(2, 1));
  EXPECT_EQ(weight->bytes, "01234567");
  EXPECT_EQ(parsed->Find("scalar")->bytes, "abcdefgh");
  EXPECT_EQ(parsed->Find("half")->bytes, "uvwxyz");
  EXPECT_EQ(parsed->Find("nowhere"), nullptr);
}

TEST(SafetensorsTest, TensorsBeginOnEightByteBoundaries) {
  const std::string file = Example();
  EXPECT_EQ((file.find("01234567")) % 8, 0u);
}

TEST(SafetensorsTest, TheFormatsOwnExampleIsRead) {
  const std::string file =
      WithLength(R"({"__metadata__":{"a":"b"},"t":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}   )", "abcd");
  const auto parsed = ParseSafetensors(file);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tensors[0].bytes, "abcd");
}

TEST(SafetensorsTest, AFileWithoutTensorsIsGood) { EXPECT_TRUE(ParseSafetensors(WithLength("{}")).ok()); }

TEST(SafetensorsTest, NamesEachFault) {
  EXPECT_THAT(Fault("abc"), HasSubstr("only 3 bytes"));
  EXPECT_THAT(Fault(std::string(8, '\xff')), HasSubstr("at most 100000000"));
  EXPECT_THAT(Fault(WithLength("{}").substr(0, 9)), HasSubstr("cut off"));
  EXPECT_THAT(Fault(WithLength("[]")), HasSubstr("not a JSON object"));
  EXPECT_THAT(Fault(WithLength("")), HasSubstr("not a JSON object"));
  EXPECT_THAT(Fault(WithLength("{\"a\":")), HasSubstr("not JSON"));
  EXPECT_THAT(Fault(WithLength("{} x")), HasSubstr("not JSON"));
  EXPECT_THAT(Fault(WithLength("{\"\xff\":{}}")), HasSubstr("not JSON"));
  EXPECT_THAT(Fault(WithLength(R"({"a":1})")), HasSubstr("unexpected a number"));
  EXPECT_THAT(Fault(WithLength(R"({"a":null})")), HasSubstr("unexpected null"));
  EXPECT_THAT(Fault(WithLength(R"({"a":[1]})")), HasSubstr("unexpected an array"));
  EXPECT_THAT(Fault(WithLength(R"({"a":{"b":{}}})")), HasSubstr("unknown field"));
  EXPECT_THAT(Fault(WithLength(R"({"a":{}})")), HasSubstr("lacks"));
  EXPECT_THAT(Fault(WithLength(R"({"__metadata__":{"a":{}}})")), HasSubstr("unexpected an object"));
  EXPECT_THAT(Fault(WithLength(R"({"__metadata__":{"a":"b","a":"c"}})")), HasSubstr("twice"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1]", "[0,1]", "F8") + "}", "x")), HasSubstr("not known"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[-1]", "[0,1]") + "}", "x")), HasSubstr("negative"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1.5]", "[0,1]") + "}", "x")), HasSubstr("fraction"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[[1]]", "[0,1]") + "}", "x")), HasSubstr("unexpected an array"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1]", "[0]") + "}", "x")), HasSubstr("begin and an end"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1]", "[1,0]") + "}", "x")), HasSubstr("begin and an end"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1]", "[0,1,2]") + "}", "x")), HasSubstr("too many"));
  EXPECT_THAT(Fault(WithLength(R"({"a":{"dtype":"U8","dtype":"U8"}})")), HasSubstr("twice"));
}

TEST(SafetensorsTest, NamesAreUnique) {
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1]", "[0,1]") + ",\"a\":" + Entry("[1]", "[1,2]") + "}", "xy")),
              HasSubstr("twice"));
}

TEST(SafetensorsTest, OffsetsCoverTheDataOnce) {
  const auto two = [](const std::string& first, const std::string& second) {
    return WithLength("{\"a\":" + Entry("[2]", first) + ",\"b\":" + Entry("[2]", second) + "}", "wxyz");
  };
  EXPECT_TRUE(ParseSafetensors(two("[2,4]", "[0,2]")).ok());
  EXPECT_THAT(Fault(two("[0,2]", "[1,3]")), HasSubstr("overlaps"));
  EXPECT_THAT(Fault(two("[0,2]", "[3,5]")), HasSubstr("ends after"));
  EXPECT_THAT(Fault(two("[0,2]", "[0,2]")), HasSubstr("overlaps"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[2]", "[2,4]") + "}", "wxyz")), HasSubstr("unused bytes"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[2]", "[0,2]") + "}", "wxyz")), HasSubstr("after the last"));
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[1]", "[0,18446744073709551615]") + "}", "x")), HasSubstr("2^63"));
}

TEST(SafetensorsTest, ShapesAreMultipliedWithoutOverflow) {
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[3]", "[0,2]") + "}", "xy")), HasSubstr("shape"));
  // 2^32 x 2^32 is 0 modulo 2^64.
  EXPECT_THAT(Fault(WithLength("{\"a\":" + Entry("[4294967296,4294967296]", "[0,0]") + "}")), HasSubstr("2^63"));
  EXPECT_EQ(TensorBytes(TensorType::kF32, std::vector<std::int64_t>{std::int64_t{1} << 61}), std::nullopt);
  EXPECT_EQ(TensorBytes(TensorType::kF32, std::vector<std::int64_t>{-1}), std::nullopt);
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(TensorBytes(TensorType::kF32, std::vector<std::int64_t>{most, most, 0}), 0);
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string file = Example();
  for (std::size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(ParseSafetensors(file.substr(0, size)).ok());
}

TEST(SafetensorsTest, NoBitFlipOfTheHeaderIsReadOutsideTheFile) {
  const std::string file = Example();
  const std::size_t header = file.find("01234567");
  for (std::size_t bit = 0; bit < header * 8; ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto parsed = ParseSafetensors(flipped);
    if (!parsed.ok()) continue;
    std::size_t bytes = 0;
    for (const TensorView& tensor : parsed->tensors) bytes += tensor.bytes.size();
    EXPECT_EQ(bytes, file.size() - header);
  }
}

TEST(SafetensorsTest, DeepNestingIsRefusedAtOnce) {
  EXPECT_FALSE(ParseSafetensors(WithLength("{\"a\":" + std::string(1 << 20, '['))).ok());
}

TEST(SafetensorsHeaderTest, RefusesWhatItCouldNotReadBack) {
  const auto fails = [](std::vector<TensorView> tensors) { return !SafetensorsHeader(tensors, {}).ok(); };
  EXPECT_TRUE(fails({{"a", TensorType::kF32, {2}, "1234"}}));
  EXPECT_TRUE(fails({{"a", TensorType::kU8, {1}, "1"}, {"a", TensorType::kU8, {1}, "1"}}));
  EXPECT_TRUE(fails({{"__metadata__", TensorType::kU8, {1}, "1"}}));
  EXPECT_TRUE(fails({{"\xff", TensorType::kU8, {1}, "1"}}));
}

TEST(TensorTypeTest, NamesAndSizesGoTogether) {
  for (const auto& [name, bytes] : std::vector<std::pair<std::string, std::int64_t>>{{"BOOL", 1},
                                                                                     {"U8", 1},
                                                                                     {"I8", 1},
                                                                                     {"U16", 2},
                                                                                     {"I16", 2},
                                                                                     {"F16", 2},
                                                                                     {"BF16", 2},
                                                                                     {"U32", 4},
                                                                                     {"I32", 4},
                                                                                     {"F32", 4},
                                                                                     {"U64", 8},
                                                                                     {"I64", 8},
                                                                                     {"F64", 8}}) {
    const auto type = TensorTypeOf(name);
    ASSERT_TRUE(type) << name;
    EXPECT_EQ(TensorTypeName(*type), name);
    EXPECT_EQ(TensorTypeBytes(*type), bytes);
  }
  EXPECT_FALSE(TensorTypeOf("F128"));
}

}  // namespace
}  // namespace mantissa::trainer
