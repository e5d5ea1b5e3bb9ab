//! The kernel's SAs with their counters.

use std::process::Command;

use homeward::lab::Host;

/// An ESP SA as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sa {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) spi: u32,
    pub(crate) tunnel: bool,
    /// The number of the last packet that was sent under it.
    pub(crate) sent: u32,
    /// The highest number that was received under it.
    pub(crate) received: u32,
    /// Which of the numbers below it were received.
    pub(crate) bitmap: u32,
}

/// All ESP SAs of a host.
pub(crate) fn all(host: &Host) -> Vec<Sa> {
    let output = host
        .enter(|| Command::new("ip").args(["-s", "-oneline", "xfrm", "state", "list", "nokeys"]).output())
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sas: Vec<Sa> = text.lines().filter_map(read).collect();
    assert!(output.status.success(), "{text}");
    sas
}

fn read(line: &str) -> Option<Sa> {
    let words: Vec<&str> = line.split([' ', '\t', '\\', ',']).filter(|word| !word.is_empty()).collect();
    let after = |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied();
    if after("proto") != Some("esp") {
        return None;
    }
    let hexadecimal = |text: &str| u32::from_str_radix(text.split('(').next()?.strip_prefix("0x")?, 16).ok();
    let number = |name: &str| after(name).and_then(hexadecimal);
    // With extended sequence numbers the bitmap stands by itself behind its length in words.
    let extended = || {
        let at = words.iter().position(|word| *word == "bitmap-length")?;
        u32::from_str_radix(words.get(at + 2)?, 16).ok()
    };
    Some(Sa {
        source: after("src")?.to_owned(),
        destination: after("dst")?.to_owned(),
        spi: number("spi")?,
        tunnel: after("mode")? == "tunnel",
        sent: number("oseq")?,
        received: number("seq")?,
        bitmap: number("bitmap").or_else(extended)?,
    })
}
