//! What the checks found: a line each, an object each, and an exit status.

use std::fmt::Write;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Severity {
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub level: Severity,
    /// Its name, the same in every release. Several results may have one name.
    pub id: &'static str,
    pub area: Area,
    pub observed: String,
    pub cause: Option<String>,
    pub fix: Option<String>,
}

impl Check {
    pub(super) fn pass(area: Area, id: &'static str, observed: impl Into<String>) -> Self {
        Self { level: Severity::Pass, id, area, observed: observed.into(), cause: None, fix: None }
    }

    pub(super) fn with_problem(
        self,
        level: Severity,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { level, cause: Some(cause.into()), fix: Some(fix.into()), ..self }
    }

    fn line(&self) -> String {
        let mut line = format!("{}  {:<15} {}", self.level, self.id, self.observed);
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
    pub(super) wanted: bool,
    pub(super) demanded: bool,
    /// There is a sign of one: a device node or a driver.
    pub(super) there: bool,
}

impl GpuExpectation {
    /// How bad it is that a GPU cannot be used.
    pub(super) fn level(self) -> Severity {
        if self.wanted && (self.demanded || self.there) { Severity::Fail } else { Severity::Warn }
    }
}

/// The overall result, with the program's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnosis {
    Gpu = 0,
    /// The CPU is used: there is no GPU, or none is wanted.
    Cpu = 10,
    /// There is a GPU or one is required, but none can be used.
    GpuBroken = 20,
    /// The server cannot start or transcribe at all.
    Broken = 30,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// In the order in which they build on one another.
    pub checks: Vec<Check>,
    pub verdict: Diagnosis,
    pub summary: String,
    pub exit_code: u8,
}

impl Report {
    /// `gpus` are those that can be used.
    pub(super) fn new(checks: Vec<Check>, expectation: GpuExpectation, gpus: &[String]) -> Self {
        let fails = |area| checks.iter().any(|c| c.area == area && c.level == Severity::Fail);
        let (verdict, summary) = if fails(Area::Service) {
            (Diagnosis::Broken, "auris cannot work here; see the lines with FAIL".to_owned())
        } else if fails(Area::Gpu) {
            let summary = "no usable GPU; running on the CPU until this is fixed";
            (Diagnosis::GpuBroken, summary.to_owned())
        } else if !expectation.wanted {
            (Diagnosis::Cpu, "running on the CPU, as configured".to_owned())
        } else if gpus.is_empty() {
            (Diagnosis::Cpu, "running on the CPU: auris found no GPU".to_owned())
        } else {
            (Diagnosis::Gpu, format!("GPUs can be used: {}", gpus.join(", ")))
        };
        Self { checks, verdict, summary, exit_code: verdict as u8 }
    }

    pub fn text(&self) -> String {
        let lines = self.checks.iter().map(Check::line);
        let lines: String = lines.map(|line| line + "\n").collect();
        format!("{lines}\n{} (exit status {})\n", self.summary, self.exit_code)
    }

    pub fn gpu_failures(&self) -> String {
        let bad = self.checks.iter().filter(|c| c.area == Area::Gpu && c.level != Severity::Pass);
        bad.map(Check::line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: GpuExpectation = GpuExpectation { wanted: true, demanded: false, there: true };

    fn check(area: Area, level: Severity) -> Check {
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
        let warned = check(Area::Gpu, Severity::Warn);
        let failed = check(Area::Gpu, Severity::Fail);
        assert_eq!(code(std::slice::from_ref(&warned), AUTO, &gpu), 0);
        assert_eq!(code(std::slice::from_ref(&warned), AUTO, &[]), 10);
        assert_eq!(code(&[warned], GpuExpectation { wanted: false, ..AUTO }, &gpu), 10);
        assert_eq!(code(std::slice::from_ref(&failed), AUTO, &gpu), 20);
        assert_eq!(code(&[failed, check(Area::Service, Severity::Fail)], AUTO, &gpu), 30);
    }

    #[test]
    fn a_failure_of_a_gpu_that_is_not_wanted_or_missing_is_a_warning() {
        assert_eq!(AUTO.level(), Severity::Fail);
        assert_eq!(GpuExpectation { there: false, ..AUTO }.level(), Severity::Warn);
        assert_eq!(GpuExpectation { there: false, demanded: true, ..AUTO }.level(), Severity::Fail);
        assert_eq!(GpuExpectation { wanted: false, ..AUTO }.level(), Severity::Warn);
    }

    #[test]
    fn each_check_is_a_line() {
        let checks =
            vec![Check::pass(Area::Service, "os", "Linux\n6.8"), check(Area::Gpu, Severity::Fail)];
        let report = Report::new(checks, AUTO, &[]);
        insta::assert_snapshot!(report.text(), @r"
        PASS  os              Linux 6.8
        FAIL  port            127.0.0.1:8000  cause: it is taken  fix: take another

        no usable GPU; running on the CPU until this is fixed (exit status 20)
        ");
        assert_eq!(report.gpu_failures().lines().count(), 1);
    }
}
