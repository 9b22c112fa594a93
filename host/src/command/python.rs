//! A Python process that answers commands: one line in, one line of JSON out.
//!
//! The script is part of the program and travels as an argument, the network through a pipe, so no file is ever left
//! behind. The process ends with its owner, whatever way that ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The script at the other end.
const SCRIPT: &str = include_str!("against.py");

/// What a newcomer types to get every module.
const MEND: &str = "pip install torch onnx onnxruntime numpy";

/// Time for a process that closed its output to end.
const GRACE: Duration = Duration::from_secs(2);

/// The first thing a process says.
#[derive(Deserialize)]
struct Hello {
    /// Modules that can't be imported, and why.
    missing: BTreeMap<String, String>,
    /// Versions of those that can.
    versions: BTreeMap<String, String>,
}

/// A running process.
pub struct Python {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Gives the last line of the process's standard error.
    complaint: Option<JoinHandle<String>>,
    interpreter: String,
    hello: Hello,
}

impl Python {
    /// Starts `interpreter` with the script and sees which modules it has.
    ///
    /// # Errors
    /// One line if there is no such interpreter, or one without PyTorch.
    pub fn start(interpreter: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(interpreter)
            .args(["-W", "ignore", "-c", SCRIPT])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| match e.kind() {
                ErrorKind::NotFound => anyhow!(
                    "--against {interpreter}: there is no such interpreter; give a Python that has torch and onnxruntime, as python3"
                ),
                _ => anyhow!("--against {interpreter}: cannot start it: {e}; give a Python that has torch and onnxruntime"),
            })?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            bail!("--against {interpreter}: it has no standard streams");
        };
        let complaint = std::thread::spawn(move || last_line(BufReader::new(errors)));
        let mut python = Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
            complaint: Some(complaint),
            interpreter: interpreter.to_owned(),
            hello: Hello {
                missing: BTreeMap::new(),
                versions: BTreeMap::new(),
            },
        };
        python.hello = python.answer()?;
        for needed in ["torch", "numpy"] {
            if let Some(why) = python.hello.missing.get(needed) {
                bail!("--against {interpreter}: cannot import {needed} ({why}); {MEND}");
            }
        }
        Ok(python)
    }

    /// Versions of the modules found.
    pub fn versions(&self) -> &BTreeMap<String, String> {
        &self.hello.versions
    }

    /// One line about modules without which there is no ONNX Runtime, if any are missing.
    pub fn lacks(&self) -> Option<String> {
        let names: Vec<&str> = self.hello.missing.keys().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            format!(
                "no comparison with ONNX Runtime: {} has no {}; {MEND}",
                self.interpreter,
                names.join(", no ")
            )
        })
    }

    /// Sends what `write` writes.
    ///
    /// # Errors
    /// One line that says why the process is gone.
    pub fn send(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<()> {
        let sent = match &mut self.input {
            Some(input) => write(input).and_then(|()| input.flush()),
            None => Err(ErrorKind::BrokenPipe.into()),
        };
        match sent {
            Ok(()) => Ok(()),
            // What it said before it stopped tells more than the broken pipe.
            Err(_) => Err(self.answer::<Value>().err().unwrap_or_else(|| self.gone())),
        }
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// What the script complains of, or why it is gone.
    pub fn ask<T: DeserializeOwned>(&mut self, command: &str) -> Result<T> {
        self.send(|to| writeln!(to, "{command}"))?;
        self.answer()
    }

    /// Reads the next answer.
    ///
    /// # Errors
    /// As [`Python::ask`].
    pub fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) | Err(_) => return Err(self.gone()),
            Ok(_) => {}
        }
        let value: Value = serde_json::from_str(&line).map_err(|_| {
            let said = line.trim();
            let name = &self.interpreter;
            anyhow!(
                "--against {name}: it said {said:?}; give a Python 3 that has torch and onnxruntime"
            )
        })?;
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            bail!(
                "--against {}: {error}; see whether its torch and onnxruntime are sound ({MEND})",
                self.interpreter
            );
        }
        serde_json::from_value(value)
            .map_err(|e| anyhow!("--against {}: an unexpected answer: {e}", self.interpreter))
    }

    /// Why the process is gone.
    fn gone(&mut self) -> anyhow::Error {
        self.input = None;
        // A process that closed its end is about to tell its exit code.
        let end = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let status = self
            .child
            .wait()
            .map_or("gone".to_owned(), |s| s.to_string());
        let said = self
            .complaint
            .take()
            .and_then(|c| c.join().ok())
            .unwrap_or_default();
        let said = if said.is_empty() {
            "it said nothing".to_owned()
        } else {
            said
        };
        anyhow!(
            "--against {}: it stopped ({status}): {said}; give a Python 3 that has torch and onnxruntime, and memory enough for them",
            self.interpreter
        )
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.input = None;
        // It may have ended by itself; waiting leaves no zombie either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last line that isn't blank.
fn last_line(mut errors: impl BufRead) -> String {
    let (mut last, mut line) = (String::new(), Vec::new());
    while let Ok(1..) = errors.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            text.trim().clone_into(&mut last);
        }
        line.clear();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interpreter_is_one_line() {
        let error = Python::start("no-such-python", &[])
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("no-such-python") && error.contains("no such interpreter"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_no_python_is_named_with_its_end() {
        for program in ["true", "false", "echo"] {
            let error = Python::start(program, &[]).err().unwrap().to_string();
            assert!(
                error.contains(program) && error.contains("Python 3"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_last_line_is_the_reason() {
        let text = "Traceback\n  File\nValueError: no\n\n";
        assert_eq!(last_line(text.as_bytes()), "ValueError: no");
        assert_eq!(last_line(&b""[..]), "");
    }
}
