//! A machine of the benchmark: a network namespace, the programs in it, and what they used of the processor.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use fielato_kernel::netns::NetnsGuard;
use fielato_lab::Interrupt;
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A network namespace whose name is removed with this.
pub struct Machine(NetnsGuard);

impl Machine {
    /// An empty one; its loopback is up, it forwards, and does not ask whence a packet came.
    pub fn new(role: &str) -> Result<Self> {
        let machine = Self(NetnsGuard::create(&fielato_testkit::unique(&format!(
            "fielato-tunnel-{role}-"
        )))?);
        machine.shell(
            "ip link set lo up
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
             sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0
             sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
        )?;
        Ok(machine)
    }

    /// Joins two machines by a veth pair, `name` on both sides, with these addresses.
    pub fn join(a: (&Self, &str, &str), b: (&Self, &str, &str)) -> Result<()> {
        a.0.shell(&format!(
            "ip link add {} mtu 1500 type veth peer name {} mtu 1500 netns {}",
            a.1,
            b.1,
            b.0.0.name()
        ))?;
        for (machine, interface, address) in [a, b] {
            machine.shell(&format!("ip addr add {address} dev {interface}\nip link set {interface} up"))?;
        }
        Ok(())
    }

    /// Runs lines of shell, and fails at the first that does.
    pub fn shell(&self, script: &str) -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).stdin(Stdio::null()).stdout(Stdio::null());
        let output = self.0.command(command, &[])?.stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!("{}: {}", script.trim(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Starts a program; what it says goes to files that [`Process`] reads.
    pub fn start(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<Process> {
        let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let name = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?);
        let child = self
            .0
            .command(command, &[])?
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Process { name, child, out, err })
    }

    /// Runs a program to its end and returns its standard output.
    pub fn run(&self, program: &str, arguments: &[&str], limit: Duration, interrupt: &Interrupt) -> Result<String> {
        self.start(program, arguments)?.finish(limit, interrupt)
    }

    /// Runs `work` inside, on a thread of its own: sockets that it opens belong to this machine.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(self.0.run_in(work)?)
    }
}

/// A program that ends with this value.
pub struct Process {
    name: String,
    child: Child,
    out: File,
    err: File,
}

impl Process {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, and returns its standard output.
    pub fn finish(mut self, limit: Duration, interrupt: &Interrupt) -> Result<String> {
        let ended = interrupt.wait(limit, || Ok(self.child.try_wait()?))?;
        let out = contents(&mut self.out)?;
        match ended {
            None => bail!("{} did not end within {limit:?}", self.name),
            Some(status) if !status.success() => {
                // iperf3 with -J puts its complaint into its standard output.
                let said = contents(&mut self.err)?;
                let complaint = out.lines().find(|line| line.contains("\"error\"")).unwrap_or_default();
                bail!("{}: {status}: {} {}", self.name, said.trim(), complaint.trim())
            }
            Some(_) => Ok(out),
        }
    }

    /// Fails, with what it said, when it has ended already.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}: {}", self.name, contents(&mut self.err)?.trim());
        }
        Ok(())
    }

    /// Nanoseconds on a processor so far, of all its threads (kernel: Documentation/scheduler/sched-stats.rst).
    pub fn cpu(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            // A thread may end meanwhile; those that carry packets don't.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
            sum += nanoseconds.context("schedstat holds no number")?;
        }
        Ok(sum)
    }

    /// Megabytes of a field of its status: `VmRSS` now, `VmHWM` at most so far.
    pub fn memory(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kilobytes: f64 = value
            .ok_or_else(|| anyhow!("no {field} in the status of {}", self.name))?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let interrupt = Interrupt::never();
        if matches!(self.child.try_wait(), Ok(None)) {
            // A device takes its socket along when it is asked to end, not when it is killed.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let ended = interrupt.wait(PATIENCE, || Ok(self.child.try_wait()?));
            if !matches!(ended, Ok(Some(_))) {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
