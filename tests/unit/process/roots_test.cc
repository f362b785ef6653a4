#include "process/roots.h"

#include <atomic>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr char kField[] = "training.data.train.idx.images";
constexpr char kCanary[] = "outside the root";

std::string ReadAll(const FileDescriptor& fd) {
  std::string text(4096, '\0');
  const ssize_t got = ::read(fd.get(), text.data(), text.size());
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

// A folder with a root `inside` and a canary beside it.
class RootsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "roots-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    top_ = pattern;
    inside_ = top_ / "inside";
    fs::create_directory(inside_);
    Write(top_ / "canary", kCanary);
    Write(inside_ / "file", "in the root");
    fs::create_directory(inside_ / "folder");
    Write(inside_ / "folder" / "deep", "deep in the root");
  }
  void TearDown() override { fs::remove_all(top_); }

  static void Write(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

  OpenRoot Opened(bool writable = false) {
    auto root = OpenRoot::Open({.name = "data", .path = inside_.string(), .writable = writable});
    EXPECT_TRUE(root.ok()) << root.status();
    return *std::move(root);
  }

  // Nothing a person outside sees names the folder behind a root.
  void ExpectSafe(const absl::Status& status) {
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(top_.string()))) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(kField)) << status;
  }

  fs::path top_;
  fs::path inside_;
};

TEST_F(RootsTest, OpensAFileBeneathTheRoot) {
  EXPECT_EQ(ReadAll(Opened().OpenBeneath("file", O_RDONLY, kField).value()), "in the root");
  EXPECT_EQ(ReadAll(Opened().OpenBeneath("folder/deep", O_RDONLY, kField).value()), "deep in the root");
  EXPECT_EQ(ReadAll(Opened().OpenBeneath("./folder//deep", O_RDONLY, kField).value()), "deep in the root");
  EXPECT_TRUE(Opened().OpenBeneath("", O_RDONLY | O_DIRECTORY, kField).ok());
}

TEST_F(RootsTest, FollowsALinkThatStaysBeneathTheRoot) {
  fs::create_symlink("folder/deep", inside_ / "link");
  EXPECT_EQ(ReadAll(Opened().OpenBeneath("link", O_RDONLY, kField).value()), "deep in the root");
}

TEST_F(RootsTest, NoPayloadLeavesTheRoot) {
  fs::create_symlink("../canary", inside_ / "up");
  fs::create_symlink(top_ / "canary", inside_ / "absolute");
  fs::create_symlink("..", inside_ / "parent");
  fs::create_symlink("/", inside_ / "slash");
  fs::create_symlink("/proc/self/fd", inside_ / "descriptors");
  fs::create_symlink("/proc/self/root", inside_ / "magic");
  fs::create_symlink("loop", inside_ / "loop");
  fs::create_symlink("folder/../../canary", inside_ / "winding");
  std::vector<std::string> payloads = {
      "up",   "absolute", "parent/canary", "slash/etc/passwd", "descriptors/0",           "magic/etc/passwd",
      "loop", "loop/x",   "winding",       "folder/../up",     std::string("file\0x", 6), std::string("\0", 1)};
  const std::string target = "canary";
  // Every way of writing "one up", alone, behind a folder that exists and behind one that does not.
  for (const char* up :
       {"..",     "../",    "..//",      "../.",       "./..",     "././..",      "../../..",   "..\\",
        "..%2f",  "%2e%2e", "%2e%2e%2f", "%252e%252e", "..%c0%af", "..%ef%bc%8f", "．．",       "‥",
        ".. ",    " ..",    "..\t",      "..;",        "....//",   "..../",       "..\xc0\xaf", "\xc0\xae\xc0\xae/",
        "..\x01", "~",      "~root",     "$PWD/..",    "`pwd`"}) {
    for (const char* before : {"", "folder/", "folder/../", "missing/", "./", "//", "file/"}) {
      payloads.push_back(std::string(before) + up + "/" + target);
    }
  }
  for (const char* absolute : {"/", "//", "/./", "///"}) {
    payloads.push_back(absolute + (top_ / "canary").string().substr(1));
    payloads.push_back(std::string(absolute) + "etc/passwd");
    payloads.push_back(std::string(absolute) + "proc/self/environ");
  }
  payloads.insert(payloads.end(),
                  {"proc/self/environ", "/proc/self/cwd", "/dev/null", "/dev/stdin", "C:\\x", "\\\\host\\x",
                   std::string(5000, 'a'), std::string(300, 'a'), std::string(2000, '/') + "x"});
  ASSERT_GE(payloads.size(), 200u);
  const OpenRoot root = Opened(true);
  for (const std::string& payload : payloads) {
    for (const int flags : {O_RDONLY, O_PATH, O_RDWR}) {
      const auto opened = root.OpenBeneath(payload, flags, kField);
      ASSERT_FALSE(opened.ok()) << payload;
      ExpectSafe(opened.status());
    }
  }
  std::ifstream canary(top_ / "canary");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(canary), {}), kCanary);
}

TEST_F(RootsTest, NothingIsMadeOutsideTheRoot) {
  fs::create_symlink("..", inside_ / "parent");
  fs::create_symlink(top_ / "made", inside_ / "dangling");
  const OpenRoot root = Opened(true);
  for (const char* payload : {"../made", "parent/made", "dangling", "folder/../../made", "parent/a/b"}) {
    EXPECT_FALSE(root.OpenBeneath(payload, O_WRONLY | O_CREAT, kField).ok()) << payload;
    EXPECT_FALSE(root.MakeDirectories(payload, kField).ok()) << payload;
  }
  EXPECT_FALSE(fs::exists(top_ / "made"));
  EXPECT_FALSE(fs::exists(top_ / "a"));
}

TEST_F(RootsTest, ALinkSwappedInAtTheLastMomentDoesNotHelp) {
  fs::create_directory(top_ / "secret");
  Write(top_ / "secret" / "file", kCanary);
  fs::create_directory(inside_ / "swap");
  Write(inside_ / "swap" / "file", "in the root");
  fs::create_symlink("../secret", inside_ / "evil");
  std::atomic<bool> stop = false;
  std::thread attacker([&] {
    const std::string swap = (inside_ / "swap").string(), evil = (inside_ / "evil").string();
    while (!stop) ::renameat2(AT_FDCWD, swap.c_str(), AT_FDCWD, evil.c_str(), RENAME_EXCHANGE);
  });
  const OpenRoot root = Opened();
  for (int i = 0; i < 10'000; ++i) {
    const auto opened = root.OpenBeneath("swap/file", O_RDONLY, kField);
    if (opened.ok()) {
      ASSERT_EQ(ReadAll(*opened), "in the root");
    }
  }
  stop = true;
  attacker.join();
}

// A tenant's folder, and a job's.
TEST_F(RootsTest, AFolderIsARootOfItsOwn) {
  fs::create_directory(inside_ / "other");
  Write(inside_ / "other" / "file", kCanary);
  fs::create_symlink("../other/file", inside_ / "folder" / "neighbour");
  fs::create_symlink("other", inside_ / "alias");
  const OpenRoot root = Opened(true);
  EXPECT_TRUE(root.OpenBeneath("folder/neighbour", O_RDONLY, kField).ok()) << "within the root it may";
  const OpenRoot folder = root.Folder("folder", kField).value();
  EXPECT_EQ(ReadAll(folder.OpenBeneath("deep", O_RDONLY, kField).value()), "deep in the root");
  for (const char* path : {"neighbour", "../other/file", "../file", "/etc/passwd"}) {
    const auto opened = folder.OpenBeneath(path, O_RDONLY, kField);
    EXPECT_FALSE(opened.ok()) << path;
    ExpectSafe(opened.status());
  }
  for (const char* path : {"alias", "file", "missing", "..", "../inside"}) {
    const auto opened = root.Folder(path, kField);
    EXPECT_FALSE(opened.ok()) << path;
    ExpectSafe(opened.status());
  }
  EXPECT_FALSE(Opened(false).Folder("folder", kField)->OpenBeneath("new", O_WRONLY | O_CREAT, kField).ok());
}

TEST_F(RootsTest, AReadOnlyRootIsNotWritten) {
  const OpenRoot root = Opened(false);
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC}) {
    const auto opened = root.OpenBeneath("file", flags, kField);
    EXPECT_TRUE(absl::IsPermissionDenied(opened.status()));
    ExpectSafe(opened.status());
  }
  EXPECT_TRUE(absl::IsPermissionDenied(root.MakeDirectories("new", kField).status()));
  EXPECT_FALSE(fs::exists(inside_ / "new"));
  EXPECT_EQ(fs::file_size(inside_ / "file"), 11u);
}

TEST_F(RootsTest, AWritableRootIsWritten) {
  const OpenRoot root = Opened(true);
  auto made = root.OpenBeneath("folder/new", O_WRONLY | O_CREAT | O_EXCL, kField, 0600);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(::write(made->get(), "x", 1), 1);
  EXPECT_EQ(fs::file_size(inside_ / "folder" / "new"), 1u);
  EXPECT_EQ(fs::status(inside_ / "folder" / "new").permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_TRUE(absl::IsAlreadyExists(root.OpenBeneath("folder/new", O_WRONLY | O_CREAT | O_EXCL, kField).status()));
}

TEST_F(RootsTest, ErrorsNameFieldReasonAndRemedy) {
  const OpenRoot root = Opened(true);
  const auto missing = root.OpenBeneath("no/such", O_RDONLY, kField).status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_EQ(
      std::string(missing.message()),
      "training.data.train.idx.images: 'data:no/such' is not there; put it beneath root 'data', or correct the path");
  EXPECT_THAT(std::string(root.OpenBeneath("file/x", O_RDONLY, kField).status().message()),
              HasSubstr("uses a file as a folder"));
  EXPECT_THAT(std::string(root.OpenBeneath("folder", O_WRONLY, kField).status().message()), HasSubstr("is a folder"));
  EXPECT_THAT(std::string(root.OpenBeneath("../x", O_RDONLY, kField).status().message()), HasSubstr("'..'"));
}

// An error travels in a string of protobuf, which half a character would make unreadable.
TEST_F(RootsTest, ALongPathIsShownUpToAWholeCharacter) {
  const OpenRoot root = Opened();
  const std::string path = std::string(199, 'a') + "é";
  EXPECT_THAT(std::string(root.OpenBeneath(path, O_RDONLY, kField).status().message()),
              HasSubstr(std::string(199, 'a') + "…'"));
}

TEST_F(RootsTest, OnlyFilesAndFoldersAreHandedOut) {
  ASSERT_EQ(::mkfifo((inside_ / "fifo").c_str(), 0600), 0);
  const OpenRoot root = Opened(true);
  // A blocking open of a FIFO would wait here for ever.
  for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR, O_PATH}) {
    const auto opened = root.OpenBeneath("fifo", flags, kField);
    EXPECT_TRUE(absl::IsInvalidArgument(opened.status()));
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr("not a regular file"));
  }
}

TEST_F(RootsTest, MakesFoldersThatAreMissing) {
  const OpenRoot root = Opened(true);
  auto made = root.MakeDirectories("a/b//c/", kField, 0700);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(fs::is_directory(inside_ / "a" / "b" / "c"));
  EXPECT_EQ(fs::status(inside_ / "a").permissions(), fs::perms::owner_all);
  // The descriptor is the folder itself.
  FileDescriptor file(::openat(made->get(), "in-it", O_WRONLY | O_CREAT, 0600));
  EXPECT_TRUE(fs::exists(inside_ / "a" / "b" / "c" / "in-it"));
  EXPECT_TRUE(root.MakeDirectories("a/b/c", kField).ok());
  EXPECT_TRUE(root.MakeDirectories("", kField).ok());
  EXPECT_FALSE(root.MakeDirectories("file/x", kField).ok());
}

TEST_F(RootsTest, ManyWhoMakeTheSameFoldersAtOnceAllGetThem) {
  const OpenRoot root = Opened(true);
  for (int round = 0; round < 50; ++round) {
    const std::string path = "round-" + std::to_string(round) + "/a/b";
    std::vector<std::thread> threads;
    std::atomic<int> made = 0;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { made += root.MakeDirectories(path, kField).ok() ? 1 : 0; });
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(made, 4);
  }
}

TEST_F(RootsTest, TheRootItselfMustBeAFolderThatIsThere) {
  EXPECT_TRUE(absl::IsNotFound(OpenRoot::Open({.name = "data", .path = (top_ / "none").string()}).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(OpenRoot::Open({.name = "data", .path = (top_ / "canary").string()}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenRoot::Open({.name = "No Name", .path = top_.string()}).status()));
}

TEST_F(RootsTest, TheStorageIdIsMadeOnceAndReadAgain) {
  const std::string id = Opened(true).StorageId().value();
  EXPECT_TRUE(IsUuid(id));
  EXPECT_EQ(Opened(true).StorageId().value(), id);
  EXPECT_EQ(Opened(false).StorageId().value(), id);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(inside_)) names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::UnorderedElementsAre(".mantissa-storage-id", "file", "folder"));
}

TEST_F(RootsTest, ManyWhoMakeTheStorageIdAtOnceAgree) {
  std::vector<std::string> ids(8);
  std::vector<std::thread> threads;
  for (std::string& id : ids) threads.emplace_back([&] { id = Opened(true).StorageId().value(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(ids, testing::Each(ids.front()));
}

TEST_F(RootsTest, AReadOnlyRootWithoutAStorageIdSaysHowToGetOne) {
  const auto id = Opened(false).StorageId();
  EXPECT_TRUE(absl::IsFailedPrecondition(id.status()));
  EXPECT_THAT(std::string(id.status().message()), HasSubstr("uuidgen"));
}

TEST_F(RootsTest, ADamagedStorageIdIsNotReplaced) {
  for (const char* text :
       {"", "not a uuid", "00000000-0000-4000-8000-00000000000", "00000000-0000-4000-8000-0000000000000"}) {
    Write(inside_ / ".mantissa-storage-id", text);
    const auto id = Opened(true).StorageId();
    EXPECT_TRUE(absl::IsDataLoss(id.status())) << text;
    EXPECT_THAT(std::string(id.status().message()), HasSubstr("root 'data'"));
  }
}

TEST_F(RootsTest, FindsRootsByNameAndOpensWholePaths) {
  auto roots = Roots::Open({{.name = "data", .path = inside_.string()}, {.name = "shared", .path = top_.string()}});
  ASSERT_TRUE(roots.ok());
  EXPECT_EQ(ReadAll(roots->OpenPath("file", O_RDONLY, kField).value()), "in the root");
  EXPECT_EQ(ReadAll(roots->OpenPath("data:file", O_RDONLY, kField).value()), "in the root");
  EXPECT_EQ(ReadAll(roots->OpenPath("shared:canary", O_RDONLY, kField).value()), kCanary);
  const auto unknown = roots->OpenPath("nowhere:file", O_RDONLY, kField).status();
  EXPECT_TRUE(absl::IsNotFound(unknown));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("there is data, shared"));
  ExpectSafe(unknown);
  ExpectSafe(roots->OpenPath("data:../canary", O_RDONLY, kField).status());
  EXPECT_EQ(roots->Find("none"), nullptr);
}

TEST_F(RootsTest, ARootGivenTwiceIsAnError) {
  const Root root = {.name = "data", .path = inside_.string()};
  EXPECT_TRUE(absl::IsInvalidArgument(Roots::Open({root, root}).status()));
}

TEST(RootSettingTest, ReadsNameFolderAndMode) {
  const Root read_only = ParseRootSetting("data=/srv/data").value();
  EXPECT_EQ(read_only.name, "data");
  EXPECT_EQ(read_only.path, "/srv/data");
  EXPECT_FALSE(read_only.writable);
  const Root writable = ParseRootSetting("checkpoints=/srv/c=d:rw").value();
  EXPECT_EQ(writable.path, "/srv/c=d");
  EXPECT_TRUE(writable.writable);
}

TEST(RootSettingTest, RefusesOtherForms) {
  for (const char* text : {"", "data", "=/x", "data=", "data=x", "data=:rw", "Data=/x", "data=./x:rw"}) {
    EXPECT_FALSE(ParseRootSetting(text).ok()) << text;
  }
}

}  // namespace
}  // namespace mantissa::process
