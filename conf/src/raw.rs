//! The file as it is written: tables and keys with their places, types checked, values not yet.
//!
//! Each key is deserialized for itself, so that one wrong value hides no other one.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::diagnostic::{Notes, quoted};
use crate::nearest::nearest;

/// The whole file.
pub(crate) struct File {
    pub(crate) role: Field<String>,
    pub(crate) authorities: Field<Vec<Spanned<String>>>,
    pub(crate) state_dir: Field<String>,
    pub(crate) identity: Field<IdentityTable>,
    pub(crate) home_agent: Field<HomeAgentTable>,
    pub(crate) mobile_node: Field<Vec<MobileNodeTable>>,
    pub(crate) mobile: Field<MobileTable>,
    pub(crate) ike: Field<IkeTable>,
    pub(crate) log: Field<LogTable>,
}

/// `[identity]`
pub(crate) struct IdentityTable {
    pub(crate) id: Field<String>,
    pub(crate) certificate: Field<String>,
    pub(crate) key: Field<String>,
}

/// `[home_agent]`
pub(crate) struct HomeAgentTable {
    pub(crate) interface: Field<String>,
    pub(crate) address: Field<String>,
    pub(crate) prefix: Field<String>,
    pub(crate) pool: Field<String>,
    pub(crate) max_lifetime: Field<String>,
    pub(crate) advertise: Field<Advertise>,
}

/// `false`, or how often.
pub(crate) enum Advertise {
    Flag(bool),
    Every(String),
}

/// `[[mobile_node]]`
pub(crate) struct MobileNodeTable {
    pub(crate) id: Field<String>,
    pub(crate) authentication: Field<String>,
    pub(crate) psk_file: Field<String>,
    pub(crate) home_address: Field<Vec<Spanned<String>>>,
}

/// `[mobile]`
pub(crate) struct MobileTable {
    pub(crate) interfaces: Field<Vec<InterfaceEntry>>,
    pub(crate) home_prefix: Field<String>,
    pub(crate) home_address: Field<String>,
    pub(crate) lifetime: Field<String>,
    pub(crate) handover: Field<String>,
    pub(crate) linger: Field<String>,
    pub(crate) first_wait: Field<String>,
    pub(crate) home_agent: Field<PeerTable>,
}

/// A name, or a name with a preference.
pub(crate) struct InterfaceEntry {
    pub(crate) name: Field<String>,
    pub(crate) preference: Field<u32>,
}

/// `[mobile.home_agent]`
pub(crate) struct PeerTable {
    pub(crate) address: Field<String>,
    pub(crate) id: Field<String>,
    pub(crate) authentication: Field<String>,
    pub(crate) psk_file: Field<String>,
}

/// `[ike]`
pub(crate) struct IkeTable {
    pub(crate) liveness: Field<String>,
    pub(crate) ike_rekey: Field<String>,
    pub(crate) child_rekey: Field<String>,
    pub(crate) key_log: Field<String>,
}

/// `[log]`
pub(crate) struct LogTable {
    pub(crate) level: Field<String>,
    pub(crate) format: Field<String>,
}

impl File {
    /// Reads the tables. Text that is not TOML ends it at once: what would follow from that is not worth saying.
    pub(crate) fn parse(text: &str, notes: &mut Notes<'_>) -> Option<Self> {
        let (root, faults) = DeTable::parse_recoverable(text);
        if !faults.is_empty() {
            for fault in faults {
                let span = fault.span().unwrap_or(0..0);
                notes.error(span, fault.message(), "the file is TOML: `key = \"text\"`, `key = 1`, `[table]`");
            }
            return None;
        }
        Some(read(root.into_inner(), 0..0, "the file", notes, |table, notes| Self {
            role: table.get("role", "`role = \"home-agent\"` or `role = \"mobile-node\"`", notes),
            authorities: table.get("authorities", "`authorities = [\"ca.pem\"]`", notes),
            state_dir: table.get("state_dir", "`state_dir = \"/run/homeward\"`", notes),
            identity: table.table(
                "identity",
                "the table [identity] with `id = \"ha.example.org\"`",
                notes,
                IdentityTable::read,
            ),
            home_agent: table.table(
                "home_agent",
                "the table [home_agent] with `interface`, `address` and `prefix`",
                notes,
                HomeAgentTable::read,
            ),
            mobile_node: table.tables(
                "mobile_node",
                "a table [[mobile_node]] for each mobile node",
                notes,
                MobileNodeTable::read,
            ),
            mobile: table.table(
                "mobile",
                "the table [mobile] with `interfaces` and `home_prefix`, and the table [mobile.home_agent]",
                notes,
                MobileTable::read,
            ),
            ike: table.table("ike", "the table [ike]", notes, IkeTable::read),
            log: table.table("log", "the table [log]", notes, LogTable::read),
        }))
    }
}

impl IdentityTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        Self {
            id: table.get("id", "`id = \"ha.example.org\"`", notes),
            certificate: table.get("certificate", "`certificate = \"ha.pem\"`", notes),
            key: table.get("key", "`key = \"ha.key\"`", notes),
        }
    }
}

impl HomeAgentTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        Self {
            interface: table.get("interface", "`interface = \"eth0\"`", notes),
            address: table.get("address", "`address = \"2001:db8:1::1\"`", notes),
            prefix: table.get("prefix", "`prefix = \"2001:db8:1::/64\"`", notes),
            pool: table.get("pool", "`pool = \"2001:db8:1:0:1::/80\"`", notes),
            max_lifetime: table.get("max_lifetime", "`max_lifetime = \"1h\"`", notes),
            advertise: table.field("advertise", "`advertise = \"3s\"` or `advertise = false`", notes, |value, _| {
                match value.get_ref().as_bool() {
                    Some(flag) => Ok(Advertise::Flag(flag)),
                    None => deserialize(value).map(Advertise::Every),
                }
            }),
        }
    }
}

/// `authentication` of a peer.
const AUTHENTICATION: &str = "`authentication = \"certificate\"` or `authentication = \"psk\"`";

impl MobileNodeTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        let home_address = "`home_address = \"assign\"`, `\"2001:db8:1::2\"` or `[\"2001:db8:1::2\", …]`";
        Self {
            id: table.get("id", "`id = \"mn.example.org\"`", notes),
            authentication: table.get("authentication", AUTHENTICATION, notes),
            psk_file: table.get("psk_file", "`psk_file = \"mn.psk\"`", notes),
            home_address: table.field("home_address", home_address, notes, |value, _| match value.get_ref() {
                DeValue::Array(_) => deserialize(value),
                _ => deserialize(value).map(|one| vec![one]),
            }),
        }
    }
}

impl MobileTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        let interfaces = "`interfaces = [\"eth0\"]` or `interfaces = [{ name = \"eth0\", preference = 10 }]`";
        Self {
            interfaces: table.field("interfaces", interfaces, notes, |value, notes| {
                let span = value.span();
                match value.into_inner() {
                    DeValue::Array(entries) => {
                        Ok(entries.into_iter().map(|entry| InterfaceEntry::read(entry, notes)).collect())
                    }
                    other => Err((span, format!("invalid type: {}, expected an array", other.type_str()))),
                }
            }),
            home_prefix: table.get("home_prefix", "`home_prefix = \"2001:db8:1::/64\"`", notes),
            home_address: table.get("home_address", "`home_address = \"assign\"` or `\"2001:db8:1::2\"`", notes),
            lifetime: table.get("lifetime", "`lifetime = \"10m\"`", notes),
            handover: table.get("handover", "`handover = \"newest-link\"` or `handover = \"keep\"`", notes),
            linger: table.get("linger", "`linger = \"2s\"`", notes),
            first_wait: table.get("first_wait", "`first_wait = \"1500ms\"`", notes),
            home_agent: table.table(
                "home_agent",
                "the table [mobile.home_agent] with `address`, `id` and `authentication`",
                notes,
                PeerTable::read,
            ),
        }
    }
}

impl InterfaceEntry {
    fn read(entry: Spanned<DeValue<'_>>, notes: &mut Notes<'_>) -> Self {
        let span = entry.span();
        let example = "`\"eth0\"` or `{ name = \"eth0\", preference = 10 }`";
        let content = match entry.into_inner() {
            DeValue::Table(content) => content,
            name => {
                let table =
                    Table { span: span.clone(), title: "[mobile]".into(), content: BTreeMap::new(), known: vec![] };
                let state = match deserialize(Spanned::new(span.clone(), name)) {
                    Ok(name) => State::Given(Spanned::new(span, name)),
                    Err((span, message)) => {
                        notes.error(span, format!("`interfaces`: {message}"), format!("write {example}"));
                        State::Wrong
                    }
                };
                return Self {
                    name: table.holding("name", example, state),
                    preference: table.holding("preference", example, State::Absent),
                };
            }
        };
        read(content, span, "an entry of `interfaces`", notes, |table, notes| Self {
            name: table.get("name", "`name = \"eth0\"`", notes),
            preference: table.get("preference", "`preference = 10`", notes),
        })
    }
}

impl PeerTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        Self {
            address: table.get("address", "`address = \"2001:db8:1::1\"`", notes),
            id: table.get("id", "`id = \"ha.example.org\"`", notes),
            authentication: table.get("authentication", AUTHENTICATION, notes),
            psk_file: table.get("psk_file", "`psk_file = \"ha.psk\"`", notes),
        }
    }
}

impl IkeTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        Self {
            liveness: table.get("liveness", "`liveness = \"30s\"`", notes),
            ike_rekey: table.get("ike_rekey", "`ike_rekey = \"4h\"`", notes),
            child_rekey: table.get("child_rekey", "`child_rekey = \"1h\"`", notes),
            key_log: table.get("key_log", "`key_log = \"keys\"`", notes),
        }
    }
}

impl LogTable {
    fn read(table: &mut Table<'_>, notes: &mut Notes<'_>) -> Self {
        Self {
            level: table.get("level", "`level = \"info\"`", notes),
            format: table.get("format", "`format = \"text\"`", notes),
        }
    }
}

/// What a key of a table holds.
pub(crate) struct Field<T> {
    key: &'static str,
    example: &'static str,
    /// The place and name of the table, where something that is missing is reported.
    table: (Range<usize>, String),
    state: State<T>,
}

enum State<T> {
    Absent,
    /// Of another type; that was said.
    Wrong,
    Given(Spanned<T>),
}

impl<T> Field<T> {
    /// The value; its absence is an error.
    pub(crate) fn required(self, notes: &mut Notes<'_>) -> Option<Spanned<T>> {
        if let State::Absent = self.state {
            let (span, title) = &self.table;
            notes.error(span.clone(), format!("`{}` is missing in {title}", self.key), format!("add {}", self.example));
        }
        self.optional()
    }

    /// The value, if there is one.
    pub(crate) fn optional(self) -> Option<Spanned<T>> {
        match self.state {
            State::Given(value) => Some(value),
            State::Absent | State::Wrong => None,
        }
    }

    /// Whether the key is not there at all, not even with a wrong value.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    /// How the key is written.
    pub(crate) fn example(&self) -> &'static str {
        self.example
    }
}

/// A table while its keys are taken out.
struct Table<'i> {
    span: Range<usize>,
    title: String,
    content: BTreeMap<String, (Range<usize>, Spanned<DeValue<'i>>)>,
    known: Vec<&'static str>,
}

/// Lets `keys` take what it knows out of a table; what is left then is an error.
fn read<T>(
    content: DeTable<'_>,
    span: Range<usize>,
    title: &str,
    notes: &mut Notes<'_>,
    keys: impl FnOnce(&mut Table<'_>, &mut Notes<'_>) -> T,
) -> T {
    let content = content.into_iter().map(|(key, value)| (key.get_ref().to_string(), (key.span(), value))).collect();
    let mut table = Table { span, title: title.to_owned(), content, known: Vec::new() };
    let keys = keys(&mut table, notes);
    for (key, (span, _)) in table.content {
        let help = match nearest(&key, table.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", table.known.join(", ")),
        };
        notes.error(span, format!("{} is unknown in {title}", quoted(&key)), help);
    }
    keys
}

/// Place and message of a value of the wrong type.
type WrongType = (Range<usize>, String);

fn deserialize<T: DeserializeOwned>(value: Spanned<DeValue<'_>>) -> Result<T, WrongType> {
    let span = value.span();
    T::deserialize(ValueDeserializer::from(value))
        .map_err(|error| (error.span().unwrap_or(span), error.message().to_owned()))
}

impl<'i> Table<'i> {
    fn get<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &'static str,
        notes: &mut Notes<'_>,
    ) -> Field<T> {
        self.field(key, example, notes, |value, _| deserialize(value))
    }

    fn table<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        notes: &mut Notes<'_>,
        keys: impl FnOnce(&mut Table<'_>, &mut Notes<'_>) -> T,
    ) -> Field<T> {
        let title = match self.title.strip_prefix('[').and_then(|title| title.strip_suffix(']')) {
            Some(outer) => format!("[{outer}.{key}]"),
            None => format!("[{key}]"),
        };
        self.field(key, example, notes, |value, notes| {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(content) => Ok(read(content, span, &title, notes, keys)),
                other => Err((span, format!("invalid type: {}, expected a table", other.type_str()))),
            }
        })
    }

    fn tables<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        notes: &mut Notes<'_>,
        keys: impl Fn(&mut Table<'_>, &mut Notes<'_>) -> T,
    ) -> Field<Vec<T>> {
        let title = format!("[[{key}]]");
        self.field(key, example, notes, |value, notes| {
            let span = value.span();
            let wrong = |span, other: &DeValue<'_>| {
                (span, format!("invalid type: {}, expected tables [[{key}]]", other.type_str()))
            };
            let DeValue::Array(entries) = value.get_ref() else { return Err(wrong(span, value.get_ref())) };
            if let Some(other) = entries.iter().find(|entry| !entry.get_ref().is_table()) {
                return Err(wrong(other.span(), other.get_ref()));
            }
            let DeValue::Array(entries) = value.into_inner() else { return Ok(Vec::new()) };
            let entries = entries.into_iter().filter_map(|entry| match (entry.span(), entry.into_inner()) {
                (span, DeValue::Table(content)) => Some(read(content, span, &title, notes, &keys)),
                _ => None,
            });
            Ok(entries.collect())
        })
    }

    fn field<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        notes: &mut Notes<'_>,
        convert: impl FnOnce(Spanned<DeValue<'i>>, &mut Notes<'_>) -> Result<T, WrongType>,
    ) -> Field<T> {
        self.known.push(key);
        let state = match self.content.remove(key) {
            None => State::Absent,
            Some((_, value)) => {
                let span = value.span();
                match convert(value, notes) {
                    Ok(value) => State::Given(Spanned::new(span, value)),
                    Err((span, message)) => {
                        notes.error(span, format!("`{key}`: {message}"), format!("write {example}"));
                        State::Wrong
                    }
                }
            }
        };
        self.holding(key, example, state)
    }

    fn holding<T>(&self, key: &'static str, example: &'static str, state: State<T>) -> Field<T> {
        Field { key, example, table: (self.span.clone(), self.title.clone()), state }
    }
}
