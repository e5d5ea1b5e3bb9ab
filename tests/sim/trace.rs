//! The daemons' own words, with the virtual time before them.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

thread_local! {
    static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static WHO: Cell<Option<usize>> = const { Cell::new(None) };
}

/// What time it is, for the lines to come.
pub(crate) fn set(time: Duration) {
    TIME.set(time);
}

/// Who speaks: a mobile node by its number, or the home agent.
pub(crate) fn speaks(who: Option<usize>) {
    WHO.set(who);
}

struct Virtual;

impl FormatTime for Virtual {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let who = WHO.get().map_or_else(|| "ha".to_owned(), |number| format!("mn{number}"));
        write!(writer, "{:>9.3} {who}", TIME.get().as_secs_f64())
    }
}

/// Shows them from here on.
pub(crate) fn to_stdout() {
    let shown = tracing_subscriber::fmt()
        .with_timer(Virtual)
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stdout)
        .try_init();
    drop(shown);
}
