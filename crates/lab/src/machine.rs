//! One machine: a network namespace, and directories of its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fielato_kernel::netns::Netns;

use crate::interrupt::Interrupt;
use crate::process::{NamespaceId, kill, processes_in};
use crate::topology::Node;

/// How long a command may take unless its caller says otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// One machine of a lab that is up.
#[derive(Debug)]
pub struct Machine {
    node: Node,
    netns: Netns,
    directory: PathBuf,
    fielato: PathBuf,
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    words: String,
}

impl Machine {
    pub(crate) fn new(node: Node, netns: Netns, directory: PathBuf, fielato: PathBuf) -> Self {
        Self {
            node,
            netns,
            directory,
            fielato,
        }
    }

    /// Which machine this is.
    #[must_use]
    pub const fn node(&self) -> Node {
        self.node
    }

    /// Where its `etc`, `run` and `var` are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The processes in it: identifier and command line.
    pub(crate) fn processes(&self) -> Result<BTreeMap<i32, String>> {
        processes_in(NamespaceId::of(&self.netns)?)
    }

    /// Kills one of them, and waits until it is gone.
    pub(crate) fn kill(&self, process: i32) -> Result<()> {
        kill(process, NamespaceId::of(&self.netns)?)
    }

    /// Where this machine has its own directory at a place that programs know by a fixed path: UAPI sockets and pinned BPF
    /// objects are found by path and would meet those of the other machines.
    pub(crate) fn binds(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
        vec![
            (directory.join("run/wireguard"), PathBuf::from("/run/wireguard")),
            (directory.join("bpf"), PathBuf::from("/sys/fs/bpf")),
        ]
    }

    /// Calls a function on a thread that is in the machine's network namespace. Sockets stay where they were made.
    ///
    /// # Errors
    /// When the namespace can't be entered, or the function's own.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.netns.run_in(work)?
    }

    /// Sets kernel parameters, named by their path below `/proc/sys`.
    pub(crate) fn write_sysctls(&self, values: &[(&str, &str)]) -> Result<()> {
        self.within(|| {
            for (name, value) in values {
                fs::write(Path::new("/proc/sys").join(name), value).with_context(|| format!("cannot set {name} to {value}"))?;
            }
            Ok(())
        })
    }

    /// A command to be run in the machine.
    pub fn call<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Call<'_> {
        let mut command = Command::new(program);
        command.args(arguments);
        command
            .env("FIELATO_ROOT", &self.directory)
            .env("PATH", self.path())
            .env("LC_ALL", "C")
            .env_remove("NOTIFY_SOCKET")
            // Whoever runs the lab did not log in on this machine.
            .env_remove("SSH_CONNECTION");
        Call {
            machine: self,
            command,
            input: None,
            limit: LIMIT,
        }
    }

    /// `fielato` in the machine.
    pub fn fielato<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Call<'_> {
        self.call(&self.fielato, arguments)
    }

    /// `fielato` first, as the user calls it; the administrator's programs last, in case the caller's own path lacks them.
    fn path(&self) -> OsString {
        let mut path = self.fielato.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
        path
    }
}

/// A command for a machine.
#[derive(Debug)]
pub struct Call<'a> {
    machine: &'a Machine,
    command: Command,
    input: Option<Vec<u8>>,
    limit: Duration,
}

impl Call<'_> {
    /// What it reads. Nothing unless set.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// How long it may take. 60 seconds unless set.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// When it can't be started, takes longer than its limit (it is ended then), or the user asks to stop.
    pub fn run(mut self, interrupt: &Interrupt) -> Result<Output> {
        let words = self.words();
        interrupt.check()?;
        // Files, not pipes: a program that goes to the background may keep its output open for as long as it lives.
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let stdin = match self.input.take() {
            None => Stdio::null(),
            Some(input) => {
                let mut file = tempfile::tempfile()?;
                file.write_all(&input)?;
                file.seek(SeekFrom::Start(0))?;
                file.into()
            }
        };
        self.command
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        // Ctrl-C is for us: we end what runs, in order.
        self.command.process_group(0);
        let limit = self.limit;
        let mut child = self.spawn(&words)?;
        let status = interrupt.wait(limit, || Ok(child.try_wait()?));
        let status = match status {
            Ok(Some(status)) => status,
            ended => {
                let _ = child.kill();
                child.wait()?;
                ended?;
                bail!(
                    "{words}: not done after {} s\n{}",
                    limit.as_secs_f32(),
                    text_of(&mut stderr)?.trim()
                );
            }
        };
        Ok(Output {
            status,
            stdout: text_of(&mut stdout)?,
            stderr: text_of(&mut stderr)?,
            words,
        })
    }

    /// Runs it, and takes what it said.
    ///
    /// # Errors
    /// As [`Call::run`], and when it ends with another code than 0.
    pub fn succeed(self, interrupt: &Interrupt) -> Result<String> {
        let output = self.run(interrupt)?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(output.error())
        }
    }

    /// Starts it, with its output going to a file, and leaves it running.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(mut self, log: &Path) -> Result<Child> {
        let words = self.words();
        let file = open_log(log)?;
        self.command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        self.spawn(&words)
    }

    /// Runs it with the caller's own input and output.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn pass_through(self) -> Result<ExitStatus> {
        let words = self.words();
        Ok(self.spawn(&words)?.wait()?)
    }

    fn spawn(self, words: &str) -> Result<Child> {
        let binds = Machine::binds(&self.machine.directory);
        let mut command = self.machine.netns.command(self.command, &binds)?;
        command.spawn().with_context(|| format!("cannot run {words}"))
    }

    fn words(&self) -> String {
        let program = Path::new(self.command.get_program());
        let mut words = format!(
            "{}: {}",
            self.machine.node,
            program.file_name().unwrap_or(program.as_os_str()).display()
        );
        for argument in self.command.get_args() {
            words.push(' ');
            words.push_str(&argument.to_string_lossy());
        }
        words
    }
}

impl Output {
    /// What went wrong, for a command that should have worked.
    #[must_use]
    pub fn error(&self) -> anyhow::Error {
        let complaint = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        anyhow::anyhow!("{}: {}\n{}", self.words, self.status, complaint.trim())
    }
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn text_of(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
