//! From the file as it is written to the settings that may be run: every value by itself, then with the others.

mod home_agent;
mod mobile_node;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use crate::Loaded;
use crate::diagnostic::{Diagnostics, Notes, quoted};
use crate::model::{Authentication, CertificateFiles, Format, Identity, Ike, Level, Log, Model, Role};
use crate::nearest::nearest;
use crate::raw::{Field, File, IdentityTable, IkeTable, LogTable};
use crate::secret::{SecretFile, shared_secret};
use crate::value;

/// Checks what was read. A part that cannot be built has said why.
pub(crate) fn check(
    file: File,
    path: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    notes: Notes<'_>,
) -> Result<Loaded, Diagnostics> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut context = Context { folder, read, notes, secrets: Vec::new(), certificates: Certificates::default() };
    let model = context.model(file);
    let Context { notes, secrets, .. } = context;
    match model {
        Some(model) if !notes.has_errors() => Ok(Loaded { model, warnings: notes.finish(), secrets }),
        _ => Err(notes.finish()),
    }
}

/// What the checks of all tables need.
struct Context<'c, 't> {
    folder: &'c Path,
    read: &'c mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    notes: Notes<'t>,
    secrets: Vec<SecretFile>,
    certificates: Certificates,
}

/// What certificate authentication needs, as far as the file tries to give it.
#[derive(Default)]
struct Certificates {
    own: bool,
    authorities: bool,
}

/// The two roles, before their settings are known.
#[derive(Clone, Copy)]
enum RoleName {
    HomeAgent,
    MobileNode,
}

impl Context<'_, '_> {
    fn model(&mut self, file: File) -> Option<Model> {
        let notes = &mut self.notes;
        let authorities = match file.authorities.optional() {
            Some(files) => files.into_inner(),
            None => Vec::new(),
        };
        self.certificates.authorities = !authorities.is_empty();
        let identity_table = file.identity.required(notes).map(Spanned::into_inner);
        let (role_at, role) = match file.role.required(notes) {
            Some(role) => {
                let names = [("home-agent", RoleName::HomeAgent), ("mobile-node", RoleName::MobileNode)];
                (role.span(), self.one_of(&role, &names))
            }
            None => (0..0, None),
        };
        let authorities: Option<Vec<PathBuf>> = authorities.iter().map(|file| self.path(file)).collect();
        let (identity, certificate) = match identity_table {
            Some(table) => self.identity(table),
            None => (None, None),
        };
        let role = match role {
            Some(RoleName::HomeAgent) => {
                self.stranger(file.mobile.optional(), "[mobile]", "mobile-node");
                let nodes = file.mobile_node;
                self.of_role(file.home_agent, role_at, "home-agent")
                    .and_then(|table| self.home_agent(table, nodes, identity.as_ref()))
                    .map(Role::HomeAgent)
            }
            Some(RoleName::MobileNode) => {
                self.stranger(file.home_agent.optional(), "[home_agent]", "home-agent");
                self.stranger(file.mobile_node.optional(), "[[mobile_node]]", "home-agent");
                self.of_role(file.mobile, role_at, "mobile-node")
                    .and_then(|table| self.mobile_node(table, identity.as_ref()))
                    .map(Role::MobileNode)
            }
            None => None,
        };
        let ike = self.ike(file.ike);
        let log = self.log(file.log);
        let state_dir = match file.state_dir.optional() {
            Some(folder) => self.path(&folder),
            None => Some(PathBuf::from("/run/homeward")),
        };
        Some(Model {
            identity: identity?,
            certificate,
            authorities: authorities?,
            role: role?,
            ike: ike?,
            log: log?,
            state_dir: state_dir?,
        })
    }

    /// The table that the role needs.
    fn of_role<T>(&mut self, table: Field<T>, role_at: Range<usize>, role: &str) -> Option<T> {
        if table.is_absent() {
            let help = format!("add {}", table.example());
            self.notes.error(role_at, format!("the role {role} needs settings that are missing"), help);
        }
        table.optional().map(Spanned::into_inner)
    }

    /// A table of the other role.
    fn stranger<T>(&mut self, table: Option<Spanned<T>>, title: &str, role: &str) {
        if let Some(table) = table {
            let message = format!("{title} belongs to the role {role}, which this node does not have");
            self.notes.error(table.span(), message, format!("remove it, or write `role = \"{role}\"`"));
        }
    }

    fn identity(&mut self, table: IdentityTable) -> (Option<Identity>, Option<CertificateFiles>) {
        self.certificates.own = !table.certificate.is_absent() || !table.key.is_absent();
        let id = table.id.required(&mut self.notes).and_then(|id| self.checked(&id, value::identity));
        let pair = match (table.certificate.is_absent(), table.key.is_absent()) {
            (true, true) => return (id, None),
            _ => (table.certificate.required(&mut self.notes), table.key.required(&mut self.notes)),
        };
        let chain = pair.0.and_then(|chain| self.path(&chain));
        let key = pair.1.and_then(|key| {
            let path = self.path(&key)?;
            self.secret(&key, &path);
            Some(path)
        });
        (id, chain.zip(key).map(|(chain, key)| CertificateFiles { chain, key }))
    }

    /// How a peer proves its identity; `psk_file` belongs to `psk` only.
    fn authentication(&mut self, method: Field<String>, psk_file: Field<String>) -> Option<Authentication> {
        #[derive(Clone, Copy)]
        enum Method {
            Certificate,
            Psk,
        }
        let method = method.required(&mut self.notes)?;
        match self.one_of(&method, &[("certificate", Method::Certificate), ("psk", Method::Psk)])? {
            Method::Certificate => {
                if !self.certificates.own {
                    let help = "add `certificate = \"…\"` and `key = \"…\"` to [identity], or use `psk`";
                    self.notes.error(method.span(), "certificate authentication needs a certificate of our own", help);
                }
                if !self.certificates.authorities {
                    let help = "add `authorities = [\"ca.pem\"]` at the top of the file, or use `psk`";
                    let message = "certificate authentication needs authorities to trust";
                    self.notes.error(method.span(), message, help);
                }
                if let Some(unused) = psk_file.optional() {
                    let message = "`psk_file` is of no use with certificate authentication";
                    self.notes.error(unused.span(), message, "remove it, or write `authentication = \"psk\"`");
                }
                Some(Authentication::Certificate)
            }
            Method::Psk => {
                if psk_file.is_absent() {
                    let help = format!("add {}", psk_file.example());
                    self.notes.error(method.span(), "authentication by a shared secret needs `psk_file`", help);
                }
                let file = psk_file.optional()?;
                let path = self.path(&file)?;
                self.secret(&file, &path);
                let content = (self.read)(&path)
                    .map_err(|error| {
                        let message = format!("{} cannot be read: {error}", path.display());
                        let help = "the path is relative to the folder of this configuration; \
                                    is the file there, and may we read it?";
                        self.notes.error(file.span(), message, help);
                    })
                    .ok()?;
                shared_secret(content)
                    .map_err(|(message, help)| self.notes.error(file.span(), message, help))
                    .map(Authentication::Psk)
                    .ok()
            }
        }
    }

    fn ike(&mut self, table: Field<IkeTable>) -> Option<Ike> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
        let second = Duration::from_secs(1);
        let (liveness, ike_rekey, child_rekey) = (30 * second, 4 * HOUR, HOUR);
        if table.is_absent() {
            return Some(Ike { liveness, ike_rekey, child_rekey, key_log: None });
        }
        let table = table.optional()?.into_inner();
        let liveness = self.duration(table.liveness, liveness, second, 24 * HOUR);
        let ike_rekey = self.duration(table.ike_rekey, ike_rekey, second, MONTH);
        let child_rekey = self.duration(table.child_rekey, child_rekey, second, MONTH);
        let key_log = match table.key_log.optional() {
            Some(file) => {
                let help = "remove `key_log` unless packets are being analysed";
                self.notes.warning(file.span(), "all keys are written to a folder: nothing stays secret", help);
                Some(self.path(&file)?)
            }
            None => None,
        };
        Some(Ike { liveness: liveness?, ike_rekey: ike_rekey?, child_rekey: child_rekey?, key_log })
    }

    fn log(&mut self, table: Field<LogTable>) -> Option<Log> {
        let (level, format) = (Level::Info, Format::Text);
        if table.is_absent() {
            return Some(Log { level, format });
        }
        let table = table.optional()?.into_inner();
        let levels = [("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug), ("trace", Level::Trace)];
        let level = match table.level.optional() {
            Some(given) => self.one_of(&given, &levels),
            None => Some(level),
        };
        let format = match table.format.optional() {
            Some(given) => self.one_of(&given, &[("text", Format::Text), ("json", Format::Json)]),
            None => Some(format),
        };
        Some(Log { level: level?, format: format? })
    }

    /// A duration between two bounds, or what holds if there is none.
    fn duration(
        &mut self,
        field: Field<String>,
        default: Duration,
        least: Duration,
        longest: Duration,
    ) -> Option<Duration> {
        match field.optional() {
            None => Some(default),
            Some(text) => self.duration_of(&text, least, longest),
        }
    }

    fn duration_of(&mut self, text: &Spanned<String>, least: Duration, longest: Duration) -> Option<Duration> {
        let duration = self.checked(text, value::duration)?;
        if (least..=longest).contains(&duration) {
            return Some(duration);
        }
        let help = format!("write a duration from {} to {}", value::written(least), value::written(longest));
        self.notes.error(text.span(), format!("{} is out of range", quoted(text.get_ref())), help);
        None
    }

    /// A lifetime of a binding.
    fn lifetime(&mut self, field: Field<String>, default: Duration) -> Option<Duration> {
        // RFC 6275 §6.1.7: sixteen bits, in units of four seconds.
        self.duration(field, default, Duration::from_secs(4), Duration::from_secs(0xffff * 4))
    }

    fn one_of<T: Copy>(&mut self, text: &Spanned<String>, names: &[(&'static str, T)]) -> Option<T> {
        let found = names.iter().find(|(name, _)| name == text.get_ref());
        if found.is_none() {
            let known = || names.iter().map(|(name, _)| *name);
            let help = match nearest(text.get_ref(), known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of: {}", known().collect::<Vec<_>>().join(", ")),
            };
            self.notes.error(text.span(), format!("{} is not known here", quoted(text.get_ref())), help);
        }
        found.map(|(_, value)| *value)
    }

    /// A value of its own form.
    fn checked<T>(&mut self, text: &Spanned<String>, check: fn(&str) -> Result<T, value::Wrong>) -> Option<T> {
        check(text.get_ref()).map_err(|(message, help)| self.notes.error(text.span(), message, help)).ok()
    }

    /// A required value of its own form.
    fn needed<T>(
        &mut self,
        field: Field<String>,
        check: fn(&str) -> Result<T, value::Wrong>,
    ) -> Option<(Range<usize>, T)> {
        let text = field.required(&mut self.notes)?;
        self.checked(&text, check).map(|value| (text.span(), value))
    }

    fn path(&mut self, text: &Spanned<String>) -> Option<PathBuf> {
        if text.get_ref().is_empty() || text.get_ref().contains('\0') {
            self.notes.error(text.span(), "this cannot be a path", "write the path of a file or folder");
            return None;
        }
        Some(self.folder.join(text.get_ref()))
    }

    fn secret(&mut self, named: &Spanned<String>, path: &Path) {
        let (line, column) = self.notes.position(named.span().start);
        self.secrets.push(SecretFile { path: path.to_owned(), file: self.notes.file().to_owned(), line, column });
    }
}

/// The file says `assign` where an address could stand.
fn is_assign(text: &Spanned<String>) -> bool {
    text.get_ref() == "assign"
}
