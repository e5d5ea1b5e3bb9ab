//! Where log events go: text for people on the standard error output, or one JSON object a line on the standard output.

use std::io;

use conf::model::{Format, Level};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The crates whose events the configured level is about.
const OURS: [&str; 5] = ["homeward", "ike", "mip6", "pki", "conf"];

/// Sends the process's log events of `level` and above where `format` says. Of the libraries only warnings are written: what
/// they tell beyond that is about themselves.
///
/// A JSON line holds `timestamp` (UTC, microseconds), `level`, `target`, `message` and the event's fields beside them.
///
/// # Errors
/// If it was called before.
pub fn init(level: Level, format: Format) -> Result<(), TryInitError> {
    match format {
        Format::Text => text(level, io::stderr).try_init(),
        Format::Json => json(level, io::stdout).try_init(),
    }
}

fn text<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Colours would be noise in a journal or a file.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(filter(level)))
}

fn json<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    tracing_subscriber::registry().with(lines.with_writer(writer).with_filter(filter(level)))
}

fn filter(level: Level) -> Targets {
    let level = match level {
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(LevelFilter::WARN).with_targets(OURS.map(|target| (target, level)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, subscriber::with_default, warn};

    use super::*;

    /// A writer whose lines can be read afterwards.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn written<S: Subscriber + Send + Sync + 'static>(make: impl FnOnce(Lines) -> S, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        with_default(make(lines.clone()), events);
        let octets = lines.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn a_json_line_has_its_fields_beside_level_target_and_message() {
        let line =
            written(|lines| json(Level::Info, lines), || info!(home = %"2001:db8:1::100", lifetime = 60, "bound"));
        let value: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!((&value["level"], &value["message"]), (&"INFO".into(), &"bound".into()));
        assert_eq!((&value["home"], &value["lifetime"]), (&"2001:db8:1::100".into(), &60.into()));
        assert!(value["target"].as_str().unwrap().starts_with("homeward::telemetry"));
        let timestamp = value["timestamp"].as_str().unwrap();
        // For example 2025-01-31T12:00:00.123456Z.
        assert_eq!(
            (timestamp.len(), timestamp.find('.'), timestamp.find('Z')),
            (27, Some(19), Some(26)),
            "{timestamp}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_text_line_is_for_people() {
        let line = written(|lines| text(Level::Debug, lines), || debug!(octets = 3, "odd"));
        assert!(line.contains("DEBUG") && line.ends_with("odd octets=3\n"), "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }

    #[test]
    fn what_is_below_the_level_is_not_written() {
        let lines = written(
            |lines| json(Level::Warn, lines),
            || {
                info!("bound");
                warn!("disk full");
            },
        );
        assert!(lines.contains("disk full") && !lines.contains("bound"), "{lines}");
    }

    #[test]
    fn of_the_libraries_only_warnings_are_written() {
        let lines = written(
            |lines| text(Level::Trace, lines),
            || {
                info!(target: "rustls::client", "hello");
                warn!(target: "rustls::client", "odd certificate");
                info!(target: "mip6::mn", "bound");
            },
        );
        assert!(!lines.contains("hello") && lines.contains("odd certificate") && lines.contains("bound"), "{lines}");
    }
}
