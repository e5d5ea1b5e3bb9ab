//! What would have to be undone if the process were killed now: a file of JSON lines, written before the kernel is told.
//!
//! Its first line says for which boot and network namespace it holds, and which process writes it; the process keeps the file
//! locked. It holds no keys. It is not forced to the disk: it has to outlive the process, not the machine.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::undo::Undo;

/// The file is made anew from what stands when it has grown to this, and to twice what stood the last time.
const COMPACT_AT: u64 = 1 << 20;
/// Between opening the file and locking it another process may replace or remove it; more often than this it does not.
const LOCK_TRIES: u32 = 100;

/// Why the journal cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// Another process has it.
    #[error("another homeward ({}) runs with this state_dir", process.map_or("its process is unknown".to_owned(), |id| format!("pid {id}")))]
    InUse {
        /// Its number, if it has got as far as writing it.
        process: Option<u32>,
    },
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// The network namespace's inode.
    namespace: u64,
    /// The process.
    pid: u32,
}

impl Origin {
    fn own() -> io::Result<Self> {
        Ok(Self {
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            // A thread's own: the namespace is that of the thread which opens the sockets.
            namespace: fs::metadata("/proc/thread-self/ns/net")?.ino(),
            pid: std::process::id(),
        })
    }

    fn same_kernel(&self, other: &Self) -> bool {
        (&self.boot, self.namespace) == (&other.boot, other.namespace)
    }
}

/// A line behind the first.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// This will have to be done.
    Owe(Undo),
    /// This need not be done any more.
    Settled(Undo),
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Flock<File>,
    origin: Origin,
    length: u64,
    compact_at: u64,
    /// What the file says has to be undone.
    owed: BTreeSet<Undo>,
    /// What of it need not be any more; the file learns it with the next batch.
    settled: BTreeSet<Undo>,
}

impl Journal {
    /// Takes the journal over, whoever left it; what it says is to be undone stays in it until [`Self::clear`].
    ///
    /// What was left before this boot or in another network namespace is left out: nothing of it can be here.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = lock(path)?;
        let mut octets = Vec::new();
        file.read_to_end(&mut octets)?;
        let origin = Origin::own()?;
        // Lossy: a kill may have cut a character off.
        let owed = left_behind(&String::from_utf8_lossy(&octets), &origin, path);
        let length = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let settled = BTreeSet::new();
        Ok(Self { path: path.to_owned(), file, origin, length, compact_at: COMPACT_AT, owed, settled })
    }

    /// What has to be undone.
    pub(super) fn owed(&self) -> &BTreeSet<Undo> {
        &self.owed
    }

    /// Begins anew: nothing has to be undone.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.owed.clear();
        self.settled.clear();
        self.rewrite()
    }

    /// Writes down, by one write, what will have to be undone, and what of earlier need not be any more.
    pub(super) fn owe(&mut self, undos: impl IntoIterator<Item = Undo>) -> io::Result<()> {
        let mut fresh = BTreeSet::new();
        for undo in undos {
            if !self.settled.remove(&undo) && !self.owed.contains(&undo) {
                fresh.insert(undo);
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        if self.length > self.compact_at {
            self.owed.append(&mut fresh);
            return self.rewrite();
        }
        let mut text = String::new();
        let settled = std::mem::take(&mut self.settled);
        for undo in settled {
            self.owed.remove(&undo);
            line(&mut text, &Line::Settled(undo))?;
        }
        for undo in fresh {
            line(&mut text, &Line::Owe(undo.clone()))?;
            self.owed.insert(undo);
        }
        self.write(&text)
    }

    /// This need not be undone any more. The file learns it later: undoing twice does no harm.
    pub(super) fn settle(&mut self, undo: Undo) {
        if self.owed.contains(&undo) {
            self.settled.insert(undo);
        }
    }

    /// Nothing is left to undo.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Makes the file anew with what has to be undone; the old one stands until the new one is whole.
    fn rewrite(&mut self) -> io::Result<()> {
        for undo in std::mem::take(&mut self.settled) {
            self.owed.remove(&undo);
        }
        let fresh = self.path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        // Locked before it has its name: the state_dir is never without a lock.
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| io::Error::from(errno))?;
        let mut text = serde_json::to_string(&self.origin)?;
        text.push('\n');
        for undo in &self.owed {
            line(&mut text, &Line::Owe(undo.clone()))?;
        }
        (&*file).write_all(text.as_bytes())?;
        fs::rename(&fresh, &self.path)?;
        self.file = file;
        self.length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.compact_at = self.length.saturating_mul(2).max(COMPACT_AT);
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if let Err(error) = (&*self.file).write_all(text.as_bytes()) {
            // A part of it may stand there, without an end of line: the next batch makes the file anew.
            self.compact_at = 0;
            return Err(error);
        }
        self.length = self.length.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

fn line(text: &mut String, line: &Line) -> io::Result<()> {
    text.push_str(&serde_json::to_string(line)?);
    text.push('\n');
    Ok(())
}

/// Opens the file and locks it, and makes sure that it is still the one that the path leads to.
fn lock(path: &Path) -> Result<Flock<File>, JournalError> {
    for _ in 0..LOCK_TRIES {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => return Err(JournalError::InUse { process: writer(&mut file) }),
            Err((_, errno)) => return Err(io::Error::from(errno).into()),
        };
        let named = fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let own = file.metadata()?;
        if named == Some((own.dev(), own.ino())) {
            return Ok(file);
        }
    }
    Err(io::Error::other("it is replaced again and again").into())
}

/// Who writes a journal.
fn writer(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str::<Origin>(text.lines().next()?).ok().map(|origin| origin.pid)
}

/// What a journal says has to be undone. One of another boot or another network namespace tells nothing, and neither does a line
/// that cannot be read, as the last one that a kill cut off.
fn left_behind(text: &str, own: &Origin, path: &Path) -> BTreeSet<Undo> {
    let mut owed = BTreeSet::new();
    if text.is_empty() {
        return owed;
    }
    let mut lines = text.lines();
    let origin = lines.next().and_then(|line| serde_json::from_str::<Origin>(line).ok());
    let why = match origin {
        Some(origin) if origin.same_kernel(own) => None,
        Some(Origin { boot, .. }) if boot != own.boot => Some("it is of an earlier boot"),
        Some(_) => Some("it is of another network namespace"),
        None => Some("it is damaged; what a killed process left behind is still there, if there was one"),
    };
    if let Some(why) = why {
        tracing::warn!(event = "journal_ignored", path = %path.display(), why);
        return owed;
    }
    let mut passed_over = 0_usize;
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Line::Owe(undo)) if is_ours_to_undo(&undo) => drop(owed.insert(undo)),
            Ok(Line::Settled(undo)) => drop(owed.remove(&undo)),
            Ok(Line::Owe(_)) | Err(_) => passed_over += 1,
        }
    }
    if passed_over > 0 {
        tracing::warn!(event = "journal_damaged", path = %path.display(), lines_passed_over = passed_over);
    }
    owed
}

/// A journal that somebody has tampered with, or that fell to pieces, leads nowhere but to IPv6's own settings.
fn is_ours_to_undo(undo: &Undo) -> bool {
    match undo {
        Undo::Sysctl { path, .. } => path.starts_with("net/ipv6/") && path.split('/').all(|part| part != ".."),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// A path in a folder of its own, gone with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("homeward-journal-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn journal(&self) -> PathBuf {
            self.0.join("kernel.journal")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn proxy(last: u16) -> Undo {
        Undo::proxy(3, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
    }

    /// What a process that opens the journal now finds: the file is read beside the lock.
    fn found(path: &Path) -> Vec<Undo> {
        left_behind(&fs::read_to_string(path).unwrap(), &Origin::own().unwrap(), path).into_iter().collect()
    }

    fn told(text: &str, own: &Origin) -> BTreeSet<Undo> {
        left_behind(text, own, Path::new("kernel.journal"))
    }

    #[test]
    fn a_journal_changes_no_setting_that_is_not_of_ipv6() {
        let own = Origin::own().unwrap();
        let setting = |path: &str| Undo::Sysctl { path: path.into(), value: "0".into() };
        let mut text = serde_json::to_string(&own).unwrap();
        text.push('\n');
        for path in ["kernel/core_pattern", "net/ipv6/../../kernel/core_pattern", "net/ipv6/conf/all/forwarding"] {
            line(&mut text, &Line::Owe(setting(path))).unwrap();
        }
        text.push_str("{\"Owe\":\"something else\"}\n");
        assert_eq!(told(&text, &own), BTreeSet::from([setting("net/ipv6/conf/all/forwarding")]));
    }

    #[test]
    fn what_is_owed_stands_in_the_file_at_once_and_what_is_settled_with_the_next_batch() {
        let folder = Folder::new("owed");
        let mut journal = Journal::open(&folder.journal()).unwrap();
        journal.clear().unwrap();
        journal.owe([proxy(1), proxy(2)]).unwrap();
        assert_eq!(found(&folder.journal()), [proxy(1), proxy(2)]);
        journal.settle(proxy(1));
        assert_eq!(found(&folder.journal()), [proxy(1), proxy(2)]);
        journal.owe([proxy(3)]).unwrap();
        assert_eq!(found(&folder.journal()), [proxy(2), proxy(3)]);
        // Owed again before the file learnt that it was settled: nothing is to be written.
        let length = fs::metadata(folder.journal()).unwrap().len();
        journal.settle(proxy(2));
        journal.owe([proxy(2)]).unwrap();
        assert_eq!(fs::metadata(folder.journal()).unwrap().len(), length);
        assert_eq!(found(&folder.journal()), [proxy(2), proxy(3)]);
    }

    #[test]
    fn a_second_process_is_told_which_one_has_the_journal() {
        let folder = Folder::new("lock");
        let mut journal = Journal::open(&folder.journal()).unwrap();
        journal.clear().unwrap();
        let message = Journal::open(&folder.journal()).unwrap_err().to_string();
        let own = std::process::id();
        assert_eq!(message, format!("another homeward (pid {own}) runs with this state_dir"));
        drop(journal);
        Journal::open(&folder.journal()).unwrap();
    }

    #[test]
    fn the_lock_is_kept_when_the_file_is_made_anew() {
        let folder = Folder::new("compact");
        let mut journal = Journal::open(&folder.journal()).unwrap();
        journal.clear().unwrap();
        journal.compact_at = 0;
        journal.owe([proxy(1)]).unwrap();
        journal.settle(proxy(1));
        journal.owe([proxy(2)]).unwrap();
        assert_eq!(found(&folder.journal()), [proxy(2)]);
        journal.compact_at = 0;
        journal.owe([proxy(3)]).unwrap();
        assert_eq!(fs::read_to_string(folder.journal()).unwrap().lines().count(), 3);
        assert_eq!(found(&folder.journal()), [proxy(2), proxy(3)]);
        assert!(matches!(Journal::open(&folder.journal()), Err(JournalError::InUse { .. })));
    }

    #[test]
    fn what_was_left_in_an_earlier_boot_or_another_namespace_is_not_undone() {
        let own = Origin::own().unwrap();
        let text = |origin: &Origin| {
            let owe = serde_json::to_string(&Line::Owe(proxy(1))).unwrap();
            format!("{}\n{owe}\n", serde_json::to_string(origin).unwrap())
        };
        assert_eq!(told(&text(&own), &own).len(), 1);
        assert_eq!(told(&text(&Origin { pid: 1, ..own.clone() }), &own).len(), 1);
        assert_eq!(told(&text(&Origin { boot: "another".into(), ..own.clone() }), &own).len(), 0);
        assert_eq!(told(&text(&Origin { namespace: 1, ..own.clone() }), &own).len(), 0);
        assert_eq!(told("", &own).len(), 0);
        assert_eq!(told("no journal\n", &own).len(), 0);
    }

    #[test]
    fn a_journal_that_was_cut_off_anywhere_tells_what_stood_before() {
        let own = Origin::own().unwrap();
        let mut text = serde_json::to_string(&own).unwrap();
        text.push('\n');
        let first = text.len();
        line(&mut text, &Line::Owe(proxy(1))).unwrap();
        let second = text.len();
        line(&mut text, &Line::Owe(proxy(2))).unwrap();
        for length in 0..=text.len() {
            let expected = match length {
                // The end of a line may be missing.
                _ if length < second - 1 => 0,
                _ if length < text.len() - 1 => 1,
                _ => 2,
            };
            assert_eq!(told(&text[..length], &own).len(), expected, "{length} of {first}, {second}");
        }
    }
}
