#include "tests/fuzz/message_mutator.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/reflection.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace mantissa::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using Random = std::minstd_rand;

constexpr std::size_t kMaxText = 512;
constexpr int kMaxDepth = 12;

template <class T>
T AnyNumber(Random& random) {
  using Limits = std::numeric_limits<T>;
  const T edges[] = {
      0,   1,   2,   static_cast<T>(-1), Limits::max(), Limits::lowest(), static_cast<T>(Limits::max() / 2 + 1), 63, 64,
      255, 256, 1000};
  if (random() % 3 != 0) return edges[random() % std::size(edges)];
  T value{};
  for (std::size_t i = 0; i < sizeof(T); ++i)
    reinterpret_cast<unsigned char*>(&value)[i] = static_cast<unsigned char>(random());
  return value;
}

std::string AnyText(const std::string& now, bool utf8, Random& random) {
  std::string text = now;
  const std::size_t size = std::min(text.size(), kMaxText);
  text.resize(kMaxText);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()), size, kMaxText));
  if (utf8) {
    for (char& c : text) c = static_cast<char>(c & 0x7f);
  }
  if (random() % 8 == 0) {
    static const char* const kTexts[] = {"", "..", "../x", "data:", "a:b:c", "*", "blocks.*", "1e999", "nan", "x=y"};
    text = kTexts[random() % std::size(kTexts)];
  }
  return text;
}

void Set(Message& message, const FieldDescriptor& field, Random& random) {
  const Reflection& by = *message.GetReflection();
  const bool many = field.is_repeated();
  const int size = many ? by.FieldSize(message, &field) : 0;
  const bool adds = many && (size == 0 || random() % 2 == 0);
  const int at = many && !adds ? static_cast<int>(random() % static_cast<unsigned>(size)) : 0;
  const auto put = [&](auto add, auto set_one, auto set, auto value) {
    if (adds) {
      (by.*add)(&message, &field, value);
    } else if (many) {
      (by.*set_one)(&message, &field, at, value);
    } else {
      (by.*set)(&message, &field, value);
    }
  };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return put(&Reflection::AddInt32, &Reflection::SetRepeatedInt32, &Reflection::SetInt32,
                 AnyNumber<std::int32_t>(random));
    case FieldDescriptor::CPPTYPE_INT64:
      return put(&Reflection::AddInt64, &Reflection::SetRepeatedInt64, &Reflection::SetInt64,
                 AnyNumber<std::int64_t>(random));
    case FieldDescriptor::CPPTYPE_UINT32:
      return put(&Reflection::AddUInt32, &Reflection::SetRepeatedUInt32, &Reflection::SetUInt32,
                 AnyNumber<std::uint32_t>(random));
    case FieldDescriptor::CPPTYPE_UINT64:
      return put(&Reflection::AddUInt64, &Reflection::SetRepeatedUInt64, &Reflection::SetUInt64,
                 AnyNumber<std::uint64_t>(random));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return put(&Reflection::AddDouble, &Reflection::SetRepeatedDouble, &Reflection::SetDouble,
                 AnyNumber<double>(random));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return put(&Reflection::AddFloat, &Reflection::SetRepeatedFloat, &Reflection::SetFloat, AnyNumber<float>(random));
    case FieldDescriptor::CPPTYPE_BOOL:
      return put(&Reflection::AddBool, &Reflection::SetRepeatedBool, &Reflection::SetBool, random() % 2 == 0);
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto& type = *field.enum_type();
      const int value =
          random() % 8 == 0
              ? 999
              : type.value(static_cast<int>(random() % static_cast<unsigned>(type.value_count())))->number();
      return put(&Reflection::AddEnumValue, &Reflection::SetRepeatedEnumValue, &Reflection::SetEnumValue, value);
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string now =
          many ? (adds ? "" : by.GetRepeatedString(message, &field, at)) : by.GetString(message, &field);
      std::string text = AnyText(now, field.type() == FieldDescriptor::TYPE_STRING, random);
      if (adds) return by.AddString(&message, &field, std::move(text));
      if (many) return by.SetRepeatedString(&message, &field, at, std::move(text));
      return by.SetString(&message, &field, std::move(text));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (many) {
        by.AddMessage(&message, &field);
        // Of what is there already, so that lists grow that hold together.
        if (size > 0 && random() % 2 == 0) {
          by.MutableRepeatedMessage(&message, &field, size)->CopyFrom(by.GetRepeatedMessage(message, &field, at));
        }
      } else {
        by.MutableMessage(&message, &field);
      }
  }
}

// Walks down to some message and changes some field of it.
void MutateOne(Message& message, Random& random, int depth) {
  const auto& type = *message.GetDescriptor();
  if (type.field_count() == 0) return;
  const Reflection& by = *message.GetReflection();
  std::vector<const FieldDescriptor*> present;
  by.ListFields(message, &present);
  std::vector<const FieldDescriptor*> inner;
  std::copy_if(present.begin(), present.end(), std::back_inserter(inner),
               [](const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; });
  if (!inner.empty() && depth < kMaxDepth && random() % 4 != 0) {
    const FieldDescriptor& field = *inner[random() % inner.size()];
    Message* below =
        field.is_repeated()
            ? by.MutableRepeatedMessage(
                  &message, &field, static_cast<int>(random() % static_cast<unsigned>(by.FieldSize(message, &field))))
            : by.MutableMessage(&message, &field);
    return MutateOne(*below, random, depth + 1);
  }
  if (!present.empty() && random() % 8 == 0) {
    const FieldDescriptor& field = *present[random() % present.size()];
    if (field.is_repeated() && random() % 2 == 0) return by.RemoveLast(&message, &field);
    return by.ClearField(&message, &field);
  }
  const bool known = !present.empty() && random() % 2 == 0;
  Set(message,
      known ? *present[random() % present.size()]
            : *type.field(static_cast<int>(random() % static_cast<unsigned>(type.field_count()))),
      random);
}

}  // namespace

std::size_t MutateMessage(Message& scratch, std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  Random random(seed);
  if (random() % 8 == 0 || !scratch.ParseFromArray(data, static_cast<int>(size))) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  for (unsigned i = 0; i <= random() % 4; ++i) MutateOne(scratch, random, 0);
  const std::size_t bytes = scratch.ByteSizeLong();
  if (bytes > max_size || !scratch.SerializeToArray(data, static_cast<int>(max_size))) return 0;
  return bytes;
}

}  // namespace mantissa::fuzz
