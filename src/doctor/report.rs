//! What the checks found: a line each, an object each, and an exit status.

use std::fmt::Write;

use serde::Serialize;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// As it should be.
    Pass,
    /// Worth a look; nothing fails because of it.
    Warn,
    /// Something fails because of it.
    Fail,
}

/// What fails because of a failed check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// GPUs. The CPU does the work.
    Gpu,
    /// Everything.
    Service,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it went.
    pub level: Level,
    /// Its name, the same in every release. Several results may have one name.
    pub id: &'static str,
    /// What it is about.
    pub area: Area,
    /// What was seen.
    pub observed: String,
    /// Why that is wrong.
    pub cause: Option<String>,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Check {
    /// All is well.
    pub(super) fn pass(area: Area, id: &'static str, observed: impl Into<String>) -> Self {
        Self { level: Level::Pass, id, area, observed: observed.into(), cause: None, fix: None }
    }

    /// It is not, because of `cause`.
    pub(super) fn with_problem(
        self,
        level: Level,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { level, cause: Some(cause.into()), fix: Some(fix.into()), ..self }
    }

    fn line(&self) -> String {
        let level = match self.level {
            Level::Pass => "PASS",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        let mut line = format!("{level}  {:<15} {}", self.id, self.observed);
        if let Some(cause) = &self.cause {
            let _ = write!(line, "  cause: {cause}");
        }
        if let Some(fix) = &self.fix {
            let _ = write!(line, "  fix: {fix}");
        }
        // The observed text may come from elsewhere and hold line breaks.
        line.replace(['\n', '\r'], " ")
    }
}

/// Whether GPUs are wanted, and whether there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GpuExpectation {
    /// GPUs are not switched off.
    pub(super) wanted: bool,
    /// A GPU is required.
    pub(super) demanded: bool,
    /// There is a sign of one: a device node or a driver.
    pub(super) there: bool,
}

impl GpuExpectation {
    /// How bad it is that a GPU cannot be used.
    pub(super) fn level(self) -> Level {
        if self.wanted && (self.demanded || self.there) { Level::Fail } else { Level::Warn }
    }
}

/// The overall result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A GPU can be used.
    Gpu,
    /// The CPU is used: there is no GPU, or none is wanted.
    Cpu,
    /// There is a GPU or one is asked for, and none can be used.
    GpuBroken,
    /// The server cannot start or transcribe at all.
    Broken,
}

impl Verdict {
    /// The program's exit status.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Gpu => 0,
            Self::Cpu => 10,
            Self::GpuBroken => 20,
            Self::Broken => 30,
        }
    }
}

/// Every result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// In the order in which they build on one another.
    pub checks: Vec<Check>,
    /// The overall result.
    pub verdict: Verdict,
    /// The same in words.
    pub summary: String,
    /// The program's exit status.
    pub exit_code: u8,
}

impl Report {
    /// `gpus` are those that can be used.
    pub(super) fn new(checks: Vec<Check>, expectation: GpuExpectation, gpus: &[String]) -> Self {
        let fails = |area| checks.iter().any(|c| c.area == area && c.level == Level::Fail);
        let (verdict, summary) = if fails(Area::Service) {
            (Verdict::Broken, "auris cannot work here; the lines with FAIL say why".to_owned())
        } else if fails(Area::Gpu) {
            let summary = "no usable GPU; running on the CPU until this is fixed";
            (Verdict::GpuBroken, summary.to_owned())
        } else if !expectation.wanted {
            (Verdict::Cpu, "running on the CPU, as configured".to_owned())
        } else if gpus.is_empty() {
            (Verdict::Cpu, "running on the CPU: there is no GPU for auris".to_owned())
        } else {
            (Verdict::Gpu, format!("GPUs can be used: {}", gpus.join(", ")))
        };
        Self { checks, verdict, summary, exit_code: verdict.exit_code() }
    }

    /// A line for each check, and one for the summary.
    pub fn text(&self) -> String {
        let lines = self.checks.iter().map(Check::line);
        let lines: String = lines.map(|line| line + "\n").collect();
        format!("{lines}\n{} (exit status {})\n", self.summary, self.exit_code)
    }

    /// The lines of the failed checks of GPUs.
    pub fn gpu_troubles(&self) -> String {
        let bad = self.checks.iter().filter(|c| c.area == Area::Gpu && c.level != Level::Pass);
        bad.map(Check::line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: GpuExpectation = GpuExpectation { wanted: true, demanded: false, there: true };

    fn check(area: Area, level: Level) -> Check {
        Check::pass(area, "port", "127.0.0.1:8000").with_problem(
            level,
            "it is taken",
            "take another",
        )
    }

    #[test]
    fn the_worst_failure_decides_the_exit_status() {
        let code = |checks: &[Check], expectation, gpus: &[String]| {
            Report::new(checks.to_vec(), expectation, gpus).exit_code
        };
        let gpu = ["cuda:0".to_owned()];
        let warned = check(Area::Gpu, Level::Warn);
        let failed = check(Area::Gpu, Level::Fail);
        assert_eq!(code(std::slice::from_ref(&warned), AUTO, &gpu), 0);
        assert_eq!(code(std::slice::from_ref(&warned), AUTO, &[]), 10);
        assert_eq!(code(&[warned], GpuExpectation { wanted: false, ..AUTO }, &gpu), 10);
        assert_eq!(code(std::slice::from_ref(&failed), AUTO, &gpu), 20);
        assert_eq!(code(&[failed, check(Area::Service, Level::Fail)], AUTO, &gpu), 30);
    }

    #[test]
    fn a_failure_of_a_gpu_that_nobody_wants_or_has_is_a_warning() {
        assert_eq!(AUTO.level(), Level::Fail);
        assert_eq!(GpuExpectation { there: false, ..AUTO }.level(), Level::Warn);
        assert_eq!(GpuExpectation { there: false, demanded: true, ..AUTO }.level(), Level::Fail);
        assert_eq!(GpuExpectation { wanted: false, ..AUTO }.level(), Level::Warn);
    }

    #[test]
    fn each_check_is_a_line() {
        let checks =
            vec![Check::pass(Area::Service, "os", "Linux\n6.8"), check(Area::Gpu, Level::Fail)];
        let report = Report::new(checks, AUTO, &[]);
        insta::assert_snapshot!(report.text(), @r"
        PASS  os              Linux 6.8
        FAIL  port            127.0.0.1:8000  cause: it is taken  fix: take another

        no usable GPU; running on the CPU until this is fixed (exit status 20)
        ");
        assert_eq!(report.gpu_troubles().lines().count(), 1);
    }
}
