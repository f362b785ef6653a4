// The non-blocking side of frames: FrameBuffer and FrameWriter.
#include <fcntl.h>
#include <random>
#include <sys/socket.h>
#include <vector>

#include <gtest/gtest.h>

#include "process/file_descriptor.h"
#include "process/frame.h"

namespace mantissa::process {
namespace {

struct Pair {
  FileDescriptor left;
  FileDescriptor right;
};

Pair NonBlockingSockets() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

std::string Framed(std::string_view payload) {
  std::string frame;
  for (int i = 0; i < 4; ++i) frame += static_cast<char>(payload.size() >> (8 * i));
  return frame.append(payload);
}

TEST(FrameBufferTest, CutsTheSameFramesHoweverTheBytesArrive) {
  const std::vector<std::string> payloads = {"one", "", std::string(1000, 'x'), "four"};
  std::string stream;
  for (const std::string& payload : payloads) stream += Framed(payload);
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    FrameBuffer buffer;
    std::vector<std::string> got;
    for (std::size_t at = 0; at < stream.size();) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 64, stream.size() - at);
      ASSERT_TRUE(buffer.Append(stream.substr(at, size)).ok());
      at += size;
      for (;;) {
        auto next = buffer.Next();
        ASSERT_TRUE(next.ok());
        if (!next->has_value()) break;
        got.push_back(**next);
      }
    }
    EXPECT_EQ(got, payloads);
    EXPECT_EQ(buffer.buffered_bytes(), 0u);
    EXPECT_TRUE(IsEndOfStream(buffer.EndOfStream()));
  }
}

TEST(FrameBufferTest, AnOversizedLengthIsAnErrorForGood) {
  FrameBuffer buffer;
  ASSERT_TRUE(buffer.Append(std::string_view("\xff\xff\xff\xff", 4)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(buffer.Next().status()));
  EXPECT_TRUE(absl::IsInvalidArgument(buffer.Next().status()));
  EXPECT_TRUE(absl::IsInvalidArgument(buffer.Append("x")));
  EXPECT_TRUE(absl::IsInvalidArgument(buffer.EndOfStream()));
  EXPECT_TRUE(absl::IsInvalidArgument(buffer.ReadFrom(-1).status()));
}

TEST(FrameBufferTest, TheLargestLengthIsStillAFrame) {
  FrameBuffer buffer;
  ASSERT_TRUE(buffer.Append(std::string_view("\x00\x00\x00\x01", 4)).ok());
  EXPECT_EQ(buffer.Next().value(), std::nullopt);
  ASSERT_TRUE(buffer.Append(std::string(kMaxFrameBytes, 'x')).ok());
  EXPECT_EQ(buffer.Next().value()->size(), kMaxFrameBytes);
}

TEST(FrameBufferTest, AnEndInsideAFrameIsDataLoss) {
  FrameBuffer buffer;
  EXPECT_TRUE(IsEndOfStream(buffer.EndOfStream()));
  ASSERT_TRUE(buffer.Append("\x05").ok());
  EXPECT_TRUE(absl::IsDataLoss(buffer.EndOfStream()));
}

TEST(FrameBufferTest, ReadsWhatIsReadyAndSaysWhenNothingIs) {
  Pair pair = NonBlockingSockets();
  FrameBuffer buffer;
  EXPECT_EQ(buffer.ReadFrom(pair.right.get()).value(), 0u);
  ASSERT_TRUE(WriteFrame(pair.left.get(), "hello").ok());
  EXPECT_EQ(buffer.ReadFrom(pair.right.get()).value(), 9u);
  EXPECT_EQ(buffer.Next().value(), "hello");
  EXPECT_EQ(buffer.ReadFrom(pair.right.get()).value(), 0u);
}

TEST(FrameBufferTest, GivesTheLastBytesBeforeTheEnd) {
  Pair pair = NonBlockingSockets();
  ASSERT_TRUE(WriteFrame(pair.left.get(), "bye").ok());
  pair.left.Close();
  FrameBuffer buffer;
  EXPECT_EQ(buffer.ReadFrom(pair.right.get()).value(), 7u);
  EXPECT_EQ(buffer.Next().value(), "bye");
  EXPECT_TRUE(IsEndOfStream(buffer.ReadFrom(pair.right.get()).status()));
}

TEST(FrameBufferTest, GivesTheLastBytesWhenTheyFillItsReadExactly) {
  Pair pair = NonBlockingSockets();
  const std::string payload((64 << 10) - kFrameHeaderBytes, 'x');
  ASSERT_TRUE(WriteFrame(pair.left.get(), payload).ok());
  pair.left.Close();
  FrameBuffer buffer;
  EXPECT_EQ(buffer.ReadFrom(pair.right.get()).value(), std::size_t{64} << 10);
  EXPECT_EQ(buffer.Next().value(), payload);
  EXPECT_TRUE(IsEndOfStream(buffer.ReadFrom(pair.right.get()).status()));
}

TEST(FrameBufferTest, ReadsNoMoreThanItWasAllowed) {
  Pair pair = NonBlockingSockets();
  ASSERT_TRUE(WriteFrame(pair.left.get(), std::string(1000, 'x')).ok());
  FrameBuffer buffer;
  EXPECT_EQ(buffer.ReadFrom(pair.right.get(), 10).value(), 10u);
  EXPECT_EQ(buffer.Next().value(), std::nullopt);
  EXPECT_EQ(buffer.ReadFrom(pair.right.get()).value(), 994u);
  EXPECT_EQ(buffer.Next().value()->size(), 1000u);
}

TEST(FrameBufferTest, RandomBytesNeverBreakIt) {
  std::mt19937 random(11);
  for (int round = 0; round < 500; ++round) {
    FrameBuffer buffer;
    for (int chunk = 0; chunk < 20; ++chunk) {
      std::string bytes(random() % 40, '\0');
      // Small third and fourth bytes make some of the lengths legal.
      for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : 0);
      if (!buffer.Append(bytes).ok()) break;
      auto next = buffer.Next();
      while (next.ok() && next->has_value()) next = buffer.Next();
      if (!next.ok()) break;
    }
  }
}

TEST(FrameWriterTest, KeepsAPartlyWrittenFrameAndGoesOnWhereItStopped) {
  Pair pair = NonBlockingSockets();
  FrameWriter writer;
  std::vector<std::string> sent;
  for (int i = 0; i < 8; ++i) sent.push_back(std::string(300'000 + i, static_cast<char>('a' + i)));
  for (const std::string& payload : sent) ASSERT_TRUE(writer.Enqueue(payload).ok());
  EXPECT_FALSE(writer.Flush(pair.left.get()).value());
  EXPECT_FALSE(writer.empty());
  FrameBuffer buffer;
  std::vector<std::string> got;
  while (got.size() < sent.size()) {
    ASSERT_TRUE(writer.Flush(pair.left.get()).ok());
    ASSERT_TRUE(buffer.ReadFrom(pair.right.get()).ok());
    for (auto next = buffer.Next(); next.ok() && next->has_value(); next = buffer.Next()) got.push_back(**next);
  }
  EXPECT_EQ(got, sent);
  EXPECT_TRUE(writer.empty());
  EXPECT_EQ(writer.pending_bytes(), 0u);
  EXPECT_TRUE(writer.Flush(pair.left.get()).value());
}

TEST(FrameWriterTest, RefusesWhatWouldPassItsBoundAndKeepsTheRest) {
  FrameWriter writer(100);
  ASSERT_TRUE(writer.Enqueue(std::string(46, 'a')).ok());
  ASSERT_TRUE(writer.Enqueue(std::string(46, 'b')).ok());  // 100 bytes with the headers
  EXPECT_TRUE(absl::IsResourceExhausted(writer.Enqueue("")));
  EXPECT_EQ(writer.pending_bytes(), 100u);
  Pair pair = NonBlockingSockets();
  EXPECT_TRUE(writer.Flush(pair.left.get()).value());
  EXPECT_TRUE(writer.Enqueue("room again").ok());
}

TEST(FrameBufferTest, WhatCameBeforeAResetCanStillBeTaken) {
  Pair pair = NonBlockingSockets();
  ASSERT_TRUE(WriteFrame(pair.left.get(), "whole").ok());
  ASSERT_EQ(::write(pair.left.get(), "\x09\0", 2), 2);
  ASSERT_TRUE(WriteFrame(pair.right.get(), "never read").ok());
  pair.left.Close();
  FrameBuffer buffer;
  ASSERT_EQ(buffer.ReadFrom(pair.right.get()).value(), kFrameHeaderBytes + 5 + 2);
  EXPECT_TRUE(absl::IsUnavailable(buffer.ReadFrom(pair.right.get()).status())) << "unread words reset the socket";
  EXPECT_EQ(buffer.Next().value(), "whole");
  EXPECT_EQ(buffer.Next().value(), std::nullopt);
  EXPECT_TRUE(absl::IsDataLoss(buffer.EndOfStream())) << "inside the next";
}

TEST(FrameWriterTest, AnEmptyQueueTakesAnyLegalFrame) {
  FrameWriter writer(10);
  EXPECT_TRUE(writer.Enqueue(std::string(1000, 'x')).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(FrameWriter().Enqueue(std::string(kMaxFrameBytes + 1, 'x'))));
}

TEST(FrameWriterTest, AGonePeerIsAnError) {
  Pair pair = NonBlockingSockets();
  pair.right.Close();
  FrameWriter writer;
  ASSERT_TRUE(writer.Enqueue("x").ok());
  EXPECT_TRUE(absl::IsUnavailable(writer.Flush(pair.left.get()).status()));
}

}  // namespace
}  // namespace mantissa::process
