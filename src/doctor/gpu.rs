//! Checks of what the driver reports.

use std::path::{Path, PathBuf};

use super::driver::{DriverReports, Library, LibraryReport, failure};
use super::facts::Host;
use super::report::{Area, Check, GpuExpectation, Severity};
use auris_core::probe::{CUDA_DRIVER, NVML, ProbeReport, Unavailable, UnavailableCause, Wsl};
use auris_scheduler::discovery::GpuSelection;

/// The oldest driver that runs programs of a major version of CUDA, and the oldest that is known to
/// run them well.
const DRIVERS: [(u32, u32, u32); 2] = [(12, 525, 550), (13, 580, 580)];

/// The checks of the driver and of the program that uses it, without loading a model.
pub(super) fn checks(
    host: &Host,
    drivers: &DriverReports,
    select: Option<&GpuSelection>,
    expectation: GpuExpectation,
) -> Vec<Check> {
    let mut checks = vec![cuda(host, &drivers.cuda, expectation)];
    checks.extend(copies("libcuda", &drivers.cuda));
    checks.push(nvml(host, &drivers.nvml, expectation));
    checks.extend(copies("nvml", &drivers.nvml));
    let report = drivers.program.as_ref().and_then(|report| report.as_ref().ok());
    checks.push(driver_version(host, &drivers.nvml, report, expectation));
    checks.push(gpus(drivers, select, expectation));
    checks.extend(report.map(|report| architecture(report, expectation)));
    checks.push(visible_devices(host, expectation));
    checks.push(compat_path(host, drivers, expectation));
    checks
}

fn version(report: &LibraryReport) -> String {
    match report {
        Ok(report) => {
            let version = report.driver_version.as_deref().unwrap_or("of an unknown version");
            let what =
                if report.path.to_string_lossy().contains("cuda") { "CUDA" } else { "driver" };
            let devices = match report.devices.as_slice() {
                [] => String::new(),
                names => format!(", {}", names.join(", ")),
            };
            format!(": {what} {version}{devices}")
        }
        Err(_) => String::new(),
    }
}

fn named(name: &str, library: &Library) -> String {
    let file = library.file().map(|file| format!(" is {}", file.display())).unwrap_or_default();
    format!("{name}{file}{}", version(&library.used))
}

fn cuda(host: &Host, library: &Library, expectation: GpuExpectation) -> Check {
    let Some(failure) = library.failure() else {
        return Check::pass(Area::Gpu, "libcuda", named(CUDA_DRIVER, library));
    };
    if failure.cause == UnavailableCause::NoDriver {
        let check = Check::pass(Area::Gpu, "libcuda", format!("{CUDA_DRIVER} is not found"));
        return match healthy(library) {
            Some(path) => check.with_problem(
                expectation.level(),
                format!("the loader does not search the folder of {}", path.display()),
                where_to_look(path),
            ),
            None => {
                check.with_problem(expectation.level(), failure.problem(), failure.fix.as_str())
            }
        };
    }
    let check = Check::pass(Area::Gpu, "libcuda", named(CUDA_DRIVER, library));
    let foreign = library.file().filter(|file| !file.starts_with("/usr/lib/wsl"));
    if let (Some(Wsl::Two), false, Some(file)) = (host.place.wsl, host.place.container, foreign) {
        return check.with_problem(
            expectation.level(),
            format!("a Linux driver inside WSL hides the driver of Windows; {}", failure.problem()),
            format!(
                "remove the package that {} belongs to (`dpkg -S`), then `sudo ldconfig`",
                file.display()
            ),
        );
    }
    match healthy(library) {
        Some(path) => check.with_problem(
            expectation.level(),
            format!("{}; the copy {} works and is not used", failure.problem(), path.display()),
            where_to_look(path),
        ),
        None => check.with_problem(expectation.level(), failure.problem(), failure.fix.as_str()),
    }
}

/// A working copy that is not in use.
fn healthy(library: &Library) -> Option<&Path> {
    let mut others = library.others.iter();
    others.find(|(_, report)| failure(report).is_none()).map(|(path, _)| path.as_path())
}

fn where_to_look(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new("/")).display();
    format!(
        "put {folder} in front of LD_LIBRARY_PATH, or into /etc/ld.so.conf.d and run `sudo ldconfig`"
    )
}

/// A check for each copy that is not in use. If the library in use never answered, its file is
/// unknown, so each copy may be the one in use.
fn copies(id: &'static str, library: &Library) -> Vec<Check> {
    let is_known = library.used.is_ok();
    let check = |(path, report): &(PathBuf, LibraryReport)| {
        let unused = if is_known { ", which is not used" } else { "" };
        let observed = format!("{}{unused}{}", path.display(), version(report));
        let check = Check::pass(Area::Gpu, id, observed);
        let Some(failure) = failure(report) else { return check };
        let fix = if is_known {
            "remove it if it is left over: another program may find it first"
        } else {
            failure.fix.as_str()
        };
        check.with_problem(Severity::Warn, failure.problem(), fix)
    };
    library.others.iter().map(check).collect()
}

fn nvml(host: &Host, library: &Library, expectation: GpuExpectation) -> Check {
    match library.failure() {
        None => Check::pass(Area::Gpu, "nvml", named(NVML, library)),
        Some(failure) if failure.cause == UnavailableCause::NoDriver => {
            let check = Check::pass(Area::Gpu, "nvml", format!("{NVML} is not found"));
            if !expectation.there {
                return check;
            }
            let fix = if host.place.container {
                "set NVIDIA_DRIVER_CAPABILITIES=compute,utility"
            } else {
                "install the driver's own tools (nvidia-smi and its library)"
            };
            check.with_problem(Severity::Warn, "the driver's version and load are unknown", fix)
        }
        Some(failure) => Check::pass(Area::Gpu, "nvml", named(NVML, library)).with_problem(
            Severity::Warn,
            failure.problem(),
            failure.fix.as_str(),
        ),
    }
}

fn driver_version(
    host: &Host,
    nvml: &Library,
    report: Option<&ProbeReport>,
    expectation: GpuExpectation,
) -> Check {
    let of_nvml = nvml.used.as_ref().ok().and_then(|report| report.driver_version.clone());
    let Some(version) = of_nvml.or_else(|| host.kernel_module.clone()) else {
        return Check::pass(Area::Gpu, "driver-version", "not known");
    };
    let check = |more: &str| Check::pass(Area::Gpu, "driver-version", format!("{version}{more}"));
    let Some(cuda) = report.and_then(|report| report.build.cuda) else { return check("") };
    let check = check(&format!(", for a program built with CUDA {cuda}"));
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let needs = DRIVERS.iter().find(|(of_cuda, ..)| *of_cuda == cuda.major());
    match (major, needs) {
        (Some(major), Some((_, least, _))) if major < *least => check.with_problem(
            expectation.level(),
            format!("CUDA {cuda} needs driver {least} or newer"),
            UnavailableCause::DriverTooOld.fix(host.place),
        ),
        (Some(major), Some((_, _, good))) if major < *good => check.with_problem(
            Severity::Warn,
            format!("CUDA {cuda} is known to run well from driver {good} on"),
            UnavailableCause::DriverTooOld.fix(host.place),
        ),
        _ => check,
    }
}

fn gpus(
    drivers: &DriverReports,
    select: Option<&GpuSelection>,
    expectation: GpuExpectation,
) -> Check {
    let check = |observed: String| Check::pass(Area::Gpu, "gpu", observed);
    let unavailable = match (&drivers.program, select) {
        (Some(Ok(report)), Some(select)) if report.unavailable.is_none() => {
            return listed(report, select, expectation);
        }
        (Some(Ok(report)), _) => report.unavailable.as_ref(),
        (Some(Err(unavailable)), _) => Some(unavailable),
        (None, _) => return check("none, as configured".to_owned()),
    };
    let missing =
        unavailable.is_some_and(|reason| reason.cause == UnavailableCause::ProgramMissing);
    match unavailable {
        // A program for the CPU alone is a choice, and without a GPU nothing is lost.
        Some(_) if missing && !expectation.there && !expectation.demanded => {
            check("none".to_owned())
        }
        Some(reason) => check("none can be used".to_owned()).with_problem(
            if missing && !expectation.demanded { Severity::Warn } else { expectation.level() },
            reason.problem(),
            reason.fix.as_str(),
        ),
        None => check("none is listed".to_owned()),
    }
}

fn listed(report: &ProbeReport, select: &GpuSelection, expectation: GpuExpectation) -> Check {
    let names = |wanted: bool| {
        let devices = report.devices.iter().filter(|info| !wanted || select.matches(info));
        devices.map(|info| format!("{} {}", info.id, info.name)).collect::<Vec<_>>().join(", ")
    };
    let wanted = names(true);
    let cuda = report.driver_cuda.map(|cuda| format!(", CUDA {cuda}")).unwrap_or_default();
    if wanted.is_empty() {
        return Check::pass(Area::Gpu, "gpu", names(false)).with_problem(
            expectation.level(),
            format!("--device {select} is not among them"),
            "choose one of them, or `--device auto`",
        );
    }
    Check::pass(Area::Gpu, "gpu", format!("{wanted}{cuda}"))
}

fn architecture(report: &ProbeReport, expectation: GpuExpectation) -> Check {
    let check = |observed: String| Check::pass(Area::Gpu, "architecture", observed);
    let Some(built) = &report.build.architectures else {
        return check("the program does not report its architectures".to_owned());
    };
    let capability = |info: &auris_core::device::DeviceInfo| info.compute_capability.clone();
    let list: Vec<String> = report
        .devices
        .iter()
        .map(|info| format!("{} has {}", info.id, capability(info).as_deref().unwrap_or("?")))
        .collect();
    let check = check(format!("built for {built}; {}", list.join(", ")));
    let without: Vec<String> = report
        .devices
        .iter()
        .filter(|info| capability(info).and_then(|cc| report.build.supports(&cc)) == Some(false))
        .map(|info| info.id.to_string())
        .collect();
    if without.is_empty() {
        return check;
    }
    check.with_problem(
        // Other GPUs may work.
        if without.len() < report.devices.len() { Severity::Warn } else { expectation.level() },
        format!("the program has no kernels for {}", without.join(", ")),
        UnavailableCause::NoKernel.fix(auris_core::probe::HostKind::default()),
    )
}

fn visible_devices(host: &Host, expectation: GpuExpectation) -> Check {
    let value = host.environment.cuda_visible_devices.as_ref();
    let observed = match value {
        Some(value) => format!("CUDA_VISIBLE_DEVICES is `{value}`"),
        None => "CUDA_VISIBLE_DEVICES is not set".to_owned(),
    };
    let check = Check::pass(Area::Gpu, "visible-devices", observed);
    if !host.environment.hides_devices() {
        return check;
    }
    let fix = UnavailableCause::Hidden.fix(host.place);
    check.with_problem(expectation.level(), UnavailableCause::Hidden.meaning(), fix)
}

fn compat_path(host: &Host, drivers: &DriverReports, expectation: GpuExpectation) -> Check {
    let is_compat = |path: &Path| path.components().any(|part| part.as_os_str() == "compat");
    let path = host.environment.library_path.as_deref().unwrap_or_default();
    let listed = path.split(':').find(|folder| is_compat(Path::new(folder)));
    let used = drivers.cuda.file().filter(|file| is_compat(file));
    let Some(folder) = listed.map(str::to_owned).or(used.map(|file| file.display().to_string()))
    else {
        return Check::pass(Area::Gpu, "compat-path", "no cuda-compat in use");
    };
    let harmed = |unavailable: &Unavailable| {
        matches!(
            unavailable.cause,
            UnavailableCause::DriverMismatch | UnavailableCause::ForwardCompat
        )
    };
    let level = match drivers.cuda.failure() {
        Some(failure) if harmed(failure) => expectation.level(),
        _ => Severity::Warn,
    };
    Check::pass(Area::Gpu, "compat-path", folder).with_problem(
        level,
        "cuda-compat supports data centre GPUs only and breaks others",
        "remove it from LD_LIBRARY_PATH and /etc/ld.so.conf.d",
    )
}

#[cfg(test)]
mod tests;
