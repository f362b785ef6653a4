#include "process/frame.h"

#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "process/file_descriptor.h"

namespace mantissa::process {
namespace {

struct Pair {
  FileDescriptor left;
  FileDescriptor right;
};

Pair Sockets() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

void Send(int fd, std::string_view bytes) {
  ASSERT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

TEST(FrameTest, TravelsAsTheFormatSays) {
  Pair pair = Sockets();
  ASSERT_TRUE(WriteFrame(pair.left.get(), "hi").ok());
  char bytes[16];
  ASSERT_EQ(::read(pair.right.get(), bytes, sizeof(bytes)), 6);
  EXPECT_EQ(std::string(bytes, 6), std::string("\x02\x00\x00\x00hi", 6));
}

TEST(FrameTest, KeepsOrderAndBoundaries) {
  Pair pair = Sockets();
  for (const char* payload : {"one", "", "three"}) ASSERT_TRUE(WriteFrame(pair.left.get(), payload).ok());
  EXPECT_EQ(ReadFrame(pair.right.get()).value(), "one");
  EXPECT_EQ(ReadFrame(pair.right.get()).value(), "");
  EXPECT_EQ(ReadFrame(pair.right.get()).value(), "three");
}

TEST(FrameTest, TheLargestFrameGoesThroughAndOneByteMoreDoesNot) {
  Pair pair = Sockets();
  const std::string largest(kMaxFrameBytes, 'x');
  std::thread writer([&] { EXPECT_TRUE(WriteFrame(pair.left.get(), largest).ok()); });
  const auto read = ReadFrame(pair.right.get());
  writer.join();
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, largest);
  EXPECT_TRUE(absl::IsInvalidArgument(WriteFrame(pair.left.get(), largest + "x")));
}

TEST(FrameTest, AnAnnouncedLengthOverTheLimitIsRefused) {
  Pair pair = Sockets();
  Send(pair.left.get(), std::string_view("\x01\x00\x00\x01", 4));  // 16 MiB + 1
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFrame(pair.right.get()).status()));
}

TEST(FrameTest, TheEndBetweenFramesIsClean) {
  Pair pair = Sockets();
  ASSERT_TRUE(WriteFrame(pair.left.get(), "last").ok());
  pair.left.Close();
  EXPECT_EQ(ReadFrame(pair.right.get()).value(), "last");
  EXPECT_TRUE(IsEndOfStream(ReadFrame(pair.right.get()).status()));
}

TEST(FrameTest, AStreamCutAnywhereInsideAFrameIsDataLoss) {
  const std::string whole(
      "\x03\x00\x00\x00"
      "abc",
      7);
  for (std::size_t size = 1; size < whole.size(); ++size) {
    Pair pair = Sockets();
    Send(pair.left.get(), whole.substr(0, size));
    pair.left.Close();
    EXPECT_TRUE(absl::IsDataLoss(ReadFrame(pair.right.get()).status())) << size;
  }
}

TEST(FrameTest, AGonePeerIsAnErrorAndNoSignal) {
  Pair pair = Sockets();
  pair.right.Close();
  EXPECT_TRUE(absl::IsUnavailable(WriteFrame(pair.left.get(), "x")));
}

TEST(FrameTest, WorksOverAPipeToo) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  FileDescriptor read(fds[0]), write(fds[1]);
  ASSERT_TRUE(WriteFrame(write.get(), "through a pipe").ok());
  EXPECT_EQ(ReadFrame(read.get()).value(), "through a pipe");
}

TEST(FrameTest, ABadDescriptorIsAnError) {
  EXPECT_FALSE(ReadFrame(-1).ok());
  EXPECT_FALSE(WriteFrame(-1, "x").ok());
}

}  // namespace
}  // namespace mantissa::process
