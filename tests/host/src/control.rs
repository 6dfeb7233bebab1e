// SPDX-License-Identifier: GPL-2.0

//! Commands to a running host. They come by the control socket (`rlis-host ctl`), by the guest's second serial
//! port (one command a line), or from `--do`.
//!
//! On the socket a request is one line of JSON, an array of words, and the answer is one line of JSON:
//! `{"ok":true,"lines":[…]}` or `{"ok":false,"error":"…"}`. On the serial port a request is the words with spaces
//! between, and the answer is `ok` or `ok LINE; LINE…` or `error SENTENCE`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use crate::command::parse;
use crate::host::Host;

/// Cuts a line into words. Double quotes keep spaces together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn answer(host: &Host, words: &[String]) -> Answer {
    match parse(words).and_then(|command| host.execute(command)) {
        Ok(lines) => Answer {
            ok: true,
            lines,
            error: None,
        },
        Err(error) => Answer {
            ok: false,
            lines: Vec::new(),
            error: Some(format!("{error:#}")),
        },
    }
}

/// Carries out a line from the serial port or from `--do` and makes the answer line.
pub fn execute_line(host: &Host, line: &str) -> String {
    let answer = answer(host, &words(line));
    let text = match answer.error {
        Some(error) => format!("error {error}"),
        None if answer.lines.is_empty() => "ok".to_string(),
        None => format!("ok {}", answer.lines.join("; ")),
    };
    text.replace(['\n', '\r'], " ")
}

/// Listens on a Unix socket for the rest of the process.
pub fn listen(host: Arc<Host>, path: &Path) -> Result<()> {
    if path.exists() {
        // A socket that nobody answers is left over from an earlier run.
        if UnixStream::connect(path).is_ok() {
            bail!("another host listens on {}", path.display());
        }
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let host = host.clone();
                thread::spawn(move || {
                    if let Err(error) = serve(&host, &stream) {
                        eprintln!("rlis-host: control socket: {error:#}");
                    }
                });
            }
        })?;
    Ok(())
}

fn serve(host: &Host, stream: &UnixStream) -> Result<()> {
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let answer = match serde_json::from_str::<Vec<String>>(&line?) {
            Ok(words) => answer(host, &words),
            Err(_) => Answer {
                ok: false,
                lines: Vec::new(),
                error: Some("a request is a JSON array of words".into()),
            },
        };
        serde_json::to_writer(out, &answer)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Sends `words` to the host that listens on `path`. Returns the lines of its answer.
pub fn call(path: &PathBuf, words: &[String]) -> Result<Vec<String>> {
    let mut stream = UnixStream::connect(path)
        .with_context(|| format!("no host listens on {}", path.display()))?;
    let mut request = serde_json::to_vec(words)?;
    request.push(b'\n');
    stream.write_all(&request)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Answer =
        serde_json::from_str(&line).context("the host ended before it answered")?;
    match answer.error {
        Some(error) => bail!("{error}"),
        None => Ok(answer.lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_into_words() {
        assert_eq!(
            words(" kvp-set guest  \"a key\" \"\" "),
            ["kvp-set", "guest", "a key", ""]
        );
        assert!(words("   ").is_empty());
    }
}
