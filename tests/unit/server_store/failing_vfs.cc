#include "failing_vfs.h"

#include <cstring>
#include <optional>
#include <sqlite3.h>
#include <string_view>

namespace mantissa::server {
namespace {

// SQLite's interface has no place for an owner.
std::optional<DiskFault> g_fault;
bool g_paused = false;
int64_t g_calls = 0;
int64_t g_failures = 0;
sqlite3_vfs* g_system = nullptr;

// SQLite gives the memory: this, and behind it the system's file.
struct File {
  sqlite3_file base;
  int kind;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

File* Of(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
sqlite3_file* Real(sqlite3_file* file) { return Of(file)->real(); }

// The code with which this call is to fail; 0: it is not.
int Failure(sqlite3_file* file, DiskFault::Call call) {
  const int kind = Of(file)->kind;
  if (!g_fault || g_paused || g_fault->call != call) return SQLITE_OK;
  if ((kind & (g_fault->log ? SQLITE_OPEN_WAL : SQLITE_OPEN_MAIN_DB)) == 0) return SQLITE_OK;
  ++g_calls;
  if (g_calls < g_fault->at || (g_calls > g_fault->at && !g_fault->lasts)) return SQLITE_OK;
  ++g_failures;
  return g_fault->code;
}

int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const int code = Failure(file, DiskFault::Call::kWrite);
  if (code != SQLITE_OK && g_fault->torn) Real(file)->pMethods->xWrite(Real(file), data, size / 2, offset);
  return code != SQLITE_OK ? code : Real(file)->pMethods->xWrite(Real(file), data, size, offset);
}

int Sync(sqlite3_file* file, int flags) {
  const int code = Failure(file, DiskFault::Call::kSync);
  return code != SQLITE_OK ? code : Real(file)->pMethods->xSync(Real(file), flags);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  const int code = Failure(file, DiskFault::Call::kTruncate);
  return code != SQLITE_OK ? code : Real(file)->pMethods->xTruncate(Real(file), size);
}

// Everything else is the system's.
sqlite3_io_methods MakeMethods() {
  sqlite3_io_methods methods{};
  methods.iVersion = 2;  // without memory mapping
  methods.xClose = [](sqlite3_file* f) { return Real(f)->pMethods->xClose(Real(f)); };
  methods.xRead = [](sqlite3_file* f, void* data, int size, sqlite3_int64 at) {
    return Real(f)->pMethods->xRead(Real(f), data, size, at);
  };
  methods.xWrite = Write;
  methods.xTruncate = Truncate;
  methods.xSync = Sync;
  methods.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) { return Real(f)->pMethods->xFileSize(Real(f), size); };
  methods.xLock = [](sqlite3_file* f, int lock) { return Real(f)->pMethods->xLock(Real(f), lock); };
  methods.xUnlock = [](sqlite3_file* f, int lock) { return Real(f)->pMethods->xUnlock(Real(f), lock); };
  methods.xCheckReservedLock = [](sqlite3_file* f, int* out) {
    return Real(f)->pMethods->xCheckReservedLock(Real(f), out);
  };
  methods.xFileControl = [](sqlite3_file* f, int op, void* arg) {
    return Real(f)->pMethods->xFileControl(Real(f), op, arg);
  };
  methods.xSectorSize = [](sqlite3_file* f) { return Real(f)->pMethods->xSectorSize(Real(f)); };
  methods.xDeviceCharacteristics = [](sqlite3_file* f) { return Real(f)->pMethods->xDeviceCharacteristics(Real(f)); };
  methods.xShmMap = [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
    return Real(f)->pMethods->xShmMap(Real(f), page, size, extend, out);
  };
  methods.xShmLock = [](sqlite3_file* f, int offset, int n, int flags) {
    return Real(f)->pMethods->xShmLock(Real(f), offset, n, flags);
  };
  methods.xShmBarrier = [](sqlite3_file* f) { Real(f)->pMethods->xShmBarrier(Real(f)); };
  methods.xShmUnmap = [](sqlite3_file* f, int remove) { return Real(f)->pMethods->xShmUnmap(Real(f), remove); };
  return methods;
}

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static const sqlite3_io_methods kMethods = MakeMethods();
  Of(file)->base.pMethods = nullptr;
  Of(file)->kind = flags;
  const int code = g_system->xOpen(g_system, name, Real(file), flags, out_flags);
  if (Real(file)->pMethods != nullptr) Of(file)->base.pMethods = &kMethods;
  return code;
}

sqlite3_vfs g_vfs;

}  // namespace

FailingVfs::FailingVfs() {
  g_system = sqlite3_vfs_find(nullptr);
  g_vfs = *g_system;
  g_vfs.pNext = nullptr;
  g_vfs.zName = "failing";
  g_vfs.szOsFile = static_cast<int>(sizeof(File)) + g_system->szOsFile;
  g_vfs.xOpen = Open;
  g_failures = 0;
  Heal();
  sqlite3_vfs_register(&g_vfs, /*makeDflt=*/1);
}

FailingVfs::~FailingVfs() {
  Heal();
  sqlite3_vfs_unregister(&g_vfs);
  sqlite3_vfs_register(g_system, /*makeDflt=*/1);
}

void FailingVfs::Inject(const DiskFault& fault) {
  g_fault = fault;
  g_calls = 0;
}

void FailingVfs::Heal() { g_fault.reset(); }

void FailingVfs::Pause(bool paused) { g_paused = paused; }

int64_t FailingVfs::failures() const { return g_failures; }

}  // namespace mantissa::server
