//! seccomp: system calls that reach other processes, other machines or the kernel itself.
//!
//! A list of what is forbidden, not of what is allowed: C libraries and GPU drivers use other calls
//! in each release, and would break without notice.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::Sandbox;

type CallRules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Calls that are of no use to decoders and engines.
const FORBIDDEN: &[c_long] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_ioprio_set,
    // files that Landlock 2 and older lets be emptied
    libc::SYS_truncate,
    // other views of the system
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // parts of the kernel in which most of its holes have been found
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // the machine, should the service run as root
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

#[cfg(target_arch = "x86_64")]
const FORBIDDEN_X86: &[c_long] = &[libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_X86: &[c_long] = &[];

/// Calls of which only a GPU's driver may have use.
const DRIVERS: &[c_long] = &[
    // attributes of files, which Landlock lets be changed
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_utimensat,
    // when other processes run, and where
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
];

/// The older ones of them.
#[cfg(target_arch = "x86_64")]
const DRIVERS_X86: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const DRIVERS_X86: &[c_long] = &[];

/// Calls that not every C library knows; their numbers are the same on all architectures.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;

/// Requests to `fcntl` that make a descriptor signal another process, with any signal.
const FCNTL_SIGNALS: [u64; 3] = [8, 10, 15]; // F_SETOWN, F_SETSIG, F_SETOWN_EX

/// The same of `ioctl`, and those that type into a terminal.
const IOCTLS: [u64; 4] = [0x8901, 0x8902, 0x5412, 0x541c]; // FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX

/// Flags of `clone` that make a new view of the system. Threads and processes have none of them.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// The same calls with pointers of 32 bits, which some kernels have, and those of them that have
/// another number there.
const X32: c_long = 0x4000_0000;
const X32_OWN: [(c_long, c_long); 8] = [
    (libc::SYS_ioctl, 514),
    (libc::SYS_ptrace, 521),
    (libc::SYS_process_vm_readv, 539),
    (libc::SYS_process_vm_writev, 540),
    (libc::SYS_execve, 520),
    (libc::SYS_rt_sigqueueinfo, 524),
    (libc::SYS_rt_tgsigqueueinfo, 536),
    (libc::SYS_execveat, 545),
];

/// Filters the system calls of the calling thread.
pub(super) fn restrict(sandbox: &Sandbox<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let target = TargetArch::try_from(ARCH)?;
    let filters = [
        program(forbidden(sandbox)?, libc::EPERM, target)?,
        // Its flags are in memory, where no filter sees them. The C library then takes `clone`.
        program(rules([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS, target)?,
    ];
    filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter))?;
    Ok(())
}

/// Makes a call fail on the calling thread.
#[cfg(test)]
pub(super) fn fail(call: c_long, error: i32) -> Result<(), Error> {
    let failing = program(rules([(call, Vec::new())]), error, TargetArch::try_from(ARCH)?)?;
    seccompiler::apply_filter(&failing)
}

fn program(rules: CallRules, error: i32, target: TargetArch) -> Result<BpfProgram, Error> {
    let refuse = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, target)?;
    Ok(filter.try_into()?)
}

fn forbidden(sandbox: &Sandbox<'_>) -> Result<CallRules, Error> {
    let always = FORBIDDEN.iter().chain(FORBIDDEN_X86);
    let mut calls: Vec<_> = always.map(|call| (*call, Vec::new())).collect();
    if !sandbox.gpu_driver {
        calls.extend(DRIVERS.iter().chain(DRIVERS_X86).map(|call| (*call, Vec::new())));
    }
    if sandbox.executable.is_empty() {
        calls.extend([libc::SYS_execve, libc::SYS_execveat].map(|call| (call, Vec::new())));
        // Only itself. What starts programs has more processes, which Landlock 6 keeps in.
        let others = when(0, SeccompCmpOp::Ne, std::process::id().into())?;
        let signals = [
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
        ];
        calls.extend(signals.map(|call| (call, vec![others.clone()])));
    }
    let other_family = when(0, SeccompCmpOp::Ne, libc::AF_UNIX.unsigned_abs().into())?;
    calls
        .push((libc::SYS_socket, if sandbox.gpu_driver { vec![other_family] } else { Vec::new() }));
    // Another process of the same user: the server could be left without descriptors.
    calls.push((libc::SYS_prlimit64, vec![when(0, SeccompCmpOp::Ne, 0)?]));
    // Only its own priority: `PRIO_PROCESS` of 0.
    let priority = [when(0, SeccompCmpOp::Ne, 0)?, when(1, SeccompCmpOp::Ne, 0)?];
    calls.push((libc::SYS_setpriority, priority.into()));
    calls.push((libc::SYS_fcntl, requests(FCNTL_SIGNALS)?));
    calls.push((libc::SYS_ioctl, requests(IOCTLS)?));
    let namespaces = NAMESPACES.map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        when(0, SeccompCmpOp::MaskedEq(flag), flag)
    });
    calls.push((libc::SYS_clone, namespaces.into_iter().collect::<Result<_, Error>>()?));
    Ok(rules(calls))
}

/// Rules that hold for these requests to `fcntl` or `ioctl`.
fn requests(requests: impl IntoIterator<Item = u64>) -> Result<Vec<SeccompRule>, Error> {
    requests.into_iter().map(|request| when(1, SeccompCmpOp::Eq, request)).collect()
}

/// A rule that holds if an argument, of 32 bits, compares so.
fn when(argument: u8, compares: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compares, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// The calls, by each of their numbers.
fn rules(calls: impl IntoIterator<Item = (c_long, Vec<SeccompRule>)>) -> CallRules {
    let numbers = |call: c_long| {
        let own = X32_OWN.iter().filter(move |(usual, _)| *usual == call).map(|(_, own)| X32 | own);
        let others = [X32 | call].into_iter().chain(own);
        [call].into_iter().chain(others.filter(|_| cfg!(target_arch = "x86_64")))
    };
    let calls = calls.into_iter();
    calls.flat_map(|(call, when)| numbers(call).map(move |n| (n, when.clone()))).collect()
}
