//! The kernels that a test can run on, and where their files are.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::guest::LabError;

/// What the kernel must have been built with to stand in for a guest of its own version.
const NEEDED: [&str; 6] = [
    "CONFIG_INET6_ESP",
    "CONFIG_IPV6_MIP6",
    "CONFIG_XFRM_MIGRATE",
    "CONFIG_BRIDGE",
    "CONFIG_VETH",
    "CONFIG_NET_SCH_NETEM",
];

/// The version of Debian 12's package user-mode-linux.
const DEBIAN_12: &str = "6.1";

/// A kernel to run something on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The one that runs this process; a command gets its own mount, process and network namespaces on it.
    Running,
    /// User-mode Linux of a version, as `6.1` or `6.12`.
    Uml {
        /// The first numbers of the release.
        version: String,
    },
}

impl Kernel {
    /// Reads `running` or a version.
    #[must_use]
    pub fn named(name: &str) -> Self {
        if name == "running" { Self::Running } else { Self::Uml { version: name.to_owned() } }
    }

    /// The kernels that `HOMEWARD_KERNELS` names, separated by blanks; `6.1 6.12` if it is not set. The running kernel takes the
    /// place of a guest of its own version when it can do what the guest can.
    #[must_use]
    pub fn requested() -> Vec<Self> {
        let names = std::env::var("HOMEWARD_KERNELS").unwrap_or_default();
        let names = if names.trim().is_empty() { "6.1 6.12".to_owned() } else { names };
        names
            .split_whitespace()
            .map(|name| match Self::named(name) {
                Self::Uml { version } if running_can_replace(&version) => Self::Running,
                kernel => kernel,
            })
            .collect()
    }

    /// The kernel to use when none is asked for: the running one if it can do what is needed, else the user-mode one of Debian 12.
    #[must_use]
    pub fn preferred() -> Self {
        let release = running_release();
        if running_has_all(&release) { Self::Running } else { Self::Uml { version: DEBIAN_12.to_owned() } }
    }

    /// Whether this kernel is to be had here.
    ///
    /// # Errors
    /// What to do to have it.
    pub fn find(&self) -> Result<(), LabError> {
        match self {
            Self::Running => {
                let release = running_release();
                let missing = missing(&build_configuration(&release));
                if missing.is_empty() { Ok(()) } else { Err(LabError::Unable { release, missing: missing.join(", ") }) }
            }
            Self::Uml { version } => Self::files(version).map(drop),
        }
    }

    /// Where a user-mode kernel of this version is: fetched into the checkout, or installed.
    pub(crate) fn files(version: &str) -> Result<UmlFiles, LabError> {
        let fetched = lab_folder().join(format!("uml-{version}"));
        for root in [fetched.as_path(), Path::new("/")] {
            let binary = root.join("usr/bin/linux.uml");
            let modules = root.join("usr/lib/uml/modules");
            if binary.is_file() && has_version(&modules, version) {
                return Ok(UmlFiles { binary, modules });
            }
        }
        let help = match version {
            DEBIAN_12 => "install the package: apt-get install user-mode-linux",
            "6.12" => "fetch it: tests/common/fetch-kernel 6.12",
            _ => "known are 6.1, 6.12 and running",
        };
        Err(LabError::NoKernel { version: version.to_owned(), help })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Uml { version } => f.write_str(version),
        }
    }
}

/// A user-mode kernel's files.
pub(crate) struct UmlFiles {
    /// The kernel, an executable.
    pub(crate) binary: PathBuf,
    /// The folder that holds `RELEASE/modules.dep`.
    pub(crate) modules: PathBuf,
}

/// Where `tests/common/fetch-kernel` puts kernels: `.lab` of the checkout, or `HOMEWARD_LAB`.
fn lab_folder() -> PathBuf {
    std::env::var_os("HOMEWARD_LAB").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab"), PathBuf::from)
}

fn has_version(modules: &Path, version: &str) -> bool {
    let Ok(entries) = fs::read_dir(modules) else { return false };
    entries.filter_map(Result::ok).any(|entry| is_version(&entry.file_name().to_string_lossy(), version))
}

/// `6.1` is the version of `6.1.176`, not of `6.12.101`.
fn is_version(release: &str, version: &str) -> bool {
    release.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

fn running_can_replace(version: &str) -> bool {
    let release = running_release();
    is_version(&release, version) && running_has_all(&release)
}

fn running_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Whether the running kernel has all that is needed, and we may use it.
fn running_has_all(release: &str) -> bool {
    let configuration = build_configuration(release);
    nix::unistd::geteuid().is_root() && !configuration.is_empty() && missing(&configuration).is_empty()
}

/// What a build configuration lacks; of an unknown one nothing can be said.
fn missing(configuration: &str) -> Vec<&'static str> {
    let has = |option: &str| configuration.lines().any(|line| matches!(line.strip_prefix(option), Some("=y" | "=m")));
    NEEDED.into_iter().filter(|option| !configuration.is_empty() && !has(option)).collect()
}

/// The kernel's build configuration, empty if it is not to be had.
fn build_configuration(release: &str) -> String {
    fs::read_to_string(format!("/boot/config-{release}")).unwrap_or_else(|_| {
        Command::new("zcat")
            .arg("/proc/config.gz")
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::{NEEDED, is_version, missing};

    #[test]
    fn what_a_kernel_lacks_is_named() {
        let all: String = NEEDED.map(|option| format!("{option}=m\n")).concat();
        assert!(missing(&all).is_empty());
        assert_eq!(missing(&all.replace("CONFIG_IPV6_MIP6=m", "# CONFIG_IPV6_MIP6 is not set")), ["CONFIG_IPV6_MIP6"]);
        assert!(missing("").is_empty());
    }

    #[test]
    fn a_version_names_its_own_releases_only() {
        assert!(is_version("6.1.176", "6.1"));
        assert!(is_version("6.12-rc1", "6.12"));
        assert!(!is_version("6.12.101", "6.1"));
    }
}
