#include "worker/trainer/sandbox/syscall_filter.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace mantissa::trainer {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "name this machine's AUDIT_ARCH"
#endif

// The newest system call (mseal, Linux 6.10) of which it was considered whether a trainer may have it. They are
// numbered alike on all architectures from 424 on.
constexpr std::uint32_t kNewestKnown = 462;
constexpr std::uint32_t kX32Bit = 0x40000000;

// LeakSanitizer looks at the process from another one that it starts at the end.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kLooksForLeaks = true;
#else
constexpr bool kLooksForLeaks = false;
#endif

constexpr long kForbidden[] = {
    // The network, and other programs on this machine.
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_mq_open,
    SYS_msgget,
    SYS_semget,
    SYS_shmget,
    SYS_shmat,
    SYS_shmctl,
    // Programs and processes. A process of its own group or session would outlive the launcher's SIGKILL to the group.
    SYS_execve,
    SYS_execveat,
    SYS_setpgid,
    SYS_setsid,
#if defined(SYS_fork)
    SYS_fork,
    SYS_vfork,
#endif
    // Into other processes. What gets at a descriptor or a signal by way of a pidfd is the same.
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_tkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    // Files by another way than their path, and what Landlock does not look at: owners, modes, attributes.
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_fanotify_init,
    SYS_mknodat,
    SYS_truncate,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    452 /* fchmodat2 */,
#if defined(SYS_chmod)
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_mknod,
#endif
    // Mounts and namespaces.
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    // Users and capabilities.
    SYS_setuid,
    SYS_setgid,
    SYS_setreuid,
    SYS_setregid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_setgroups,
    SYS_setfsuid,
    SYS_setfsgid,
    SYS_capset,
    // Past this filter, or into the kernel.
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_syslog,
    SYS_lookup_dcookie,
#if defined(SYS_iopl)
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
#endif
#if defined(SYS_kexec_file_load)
    SYS_kexec_file_load,
#endif
    // The machine.
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_adjtimex,
    SYS_clock_adjtime,
    SYS_vhangup,
};

class Program {
 public:
  void Load(std::size_t offset) { Add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
  void LoadNumber() { Load(offsetof(seccomp_data, nr)); }
  // The lower half, which is all of an int.
  void LoadArgument(std::size_t index) { Load(offsetof(seccomp_data, args) + index * sizeof(std::uint64_t)); }
  void Return(std::uint32_t action) { Add(BPF_RET | BPF_K, action); }
  void Refuse(int error) { Return(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)); }

  // The next `count` instructions run only when what is loaded is `value`.
  void IfEqual(std::uint32_t value, std::uint8_t count) { Add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count); }
  void IfNotEqual(std::uint32_t value, std::uint8_t count) { Add(BPF_JMP | BPF_JEQ | BPF_K, value, count, 0); }
  void IfGreater(std::uint32_t value, std::uint8_t count) { Add(BPF_JMP | BPF_JGT | BPF_K, value, 0, count); }
  void IfNoBitOf(std::uint32_t bits, std::uint8_t count) { Add(BPF_JMP | BPF_JSET | BPF_K, bits, count, 0); }

  std::vector<sock_filter> Take() { return std::move(code_); }

 private:
  void Add(int code, std::uint32_t value, std::uint8_t when_true = 0, std::uint8_t when_false = 0) {
    code_.push_back({static_cast<std::uint16_t>(code), when_true, when_false, value});
  }

  std::vector<sock_filter> code_;
};

// The process may signal itself (abort does), and nobody else.
void OnlySelf(Program& program, long call, pid_t self) {
  program.IfEqual(static_cast<std::uint32_t>(call), 4);
  program.LoadArgument(0);
  program.IfNotEqual(static_cast<std::uint32_t>(self), 1);
  program.Refuse(EPERM);
  program.Return(SECCOMP_RET_ALLOW);
}

void RefuseWhere(Program& program, long call, std::size_t argument, std::uint32_t value) {
  program.IfEqual(static_cast<std::uint32_t>(call), 4);
  program.LoadArgument(argument);
  program.IfEqual(value, 1);
  program.Refuse(EPERM);
  program.LoadNumber();
}

}  // namespace

std::vector<sock_filter> TrainerFilter(pid_t self) {
  Program program;
  program.Load(offsetof(seccomp_data, arch));
  program.IfNotEqual(kArchitecture, 1);
  program.Return(SECCOMP_RET_KILL_PROCESS);
  program.LoadNumber();
#if defined(__x86_64__)
  program.IfGreater(kX32Bit - 1, 1);
  program.Return(SECCOMP_RET_KILL_PROCESS);
#endif
  for (const long call : kForbidden) {
    program.IfEqual(static_cast<std::uint32_t>(call), 1);
    program.Refuse(EPERM);
  }
  program.IfGreater(kNewestKnown, 1);
  program.Refuse(ENOSYS);
  if (!kLooksForLeaks) {
    program.IfEqual(SYS_ptrace, 1);
    program.Refuse(EPERM);
    // Its flags lie in memory, where a filter can't look; the C library then calls clone.
    program.IfEqual(SYS_clone3, 1);
    program.Refuse(ENOSYS);
    program.IfEqual(SYS_clone, 4);
    program.LoadArgument(0);
    program.IfNoBitOf(CLONE_THREAD, 1);
    program.Refuse(EPERM);
    program.Return(SECCOMP_RET_ALLOW);
  }
  OnlySelf(program, SYS_kill, self);
  OnlySelf(program, SYS_tgkill, self);
  // Of other processes, too.
  program.IfEqual(SYS_prlimit64, 4);
  program.LoadArgument(0);
  program.IfNotEqual(0, 1);
  program.Refuse(EPERM);
  program.Return(SECCOMP_RET_ALLOW);
  // It would outlive its launcher.
  RefuseWhere(program, SYS_prctl, 0, PR_SET_PDEATHSIG);
  RefuseWhere(program, SYS_prctl, 0, PR_SET_PTRACER);
  program.Return(SECCOMP_RET_ALLOW);
  return program.Take();
}

absl::Status InstallFilter(const std::vector<sock_filter>& filter) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return absl::ErrnoToStatus(errno, "giving up new privileges");
  const sock_fprog program{static_cast<unsigned short>(filter.size()), const_cast<sock_filter*>(filter.data())};
  const long installed = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
  if (installed == 0) return absl::OkStatus();
  if (installed > 0) return absl::FailedPreconditionError(absl::StrCat("thread ", installed, " has another filter"));
  if (errno == ENOSYS || errno == EINVAL) return absl::UnavailableError("this kernel filters no system calls");
  return absl::ErrnoToStatus(errno, "filtering system calls");
}

}  // namespace mantissa::trainer
