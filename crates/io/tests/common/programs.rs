//! Other people's programs.

use std::process::{Child, Command, Stdio};

use super::{Namespace, wait_for};

/// A program that ends with the test.
pub struct Program(Child);

impl Program {
    /// wireguard-go on `interface`, when it answers.
    pub fn wireguard_go(namespace: &Namespace, interface: &str) -> Self {
        Self::device(namespace, interface, &["wireguard-go", "-f", interface])
    }

    /// The program in `words`, when it answers on the socket of `interface`.
    pub fn device(namespace: &Namespace, interface: &str, words: &[&str]) -> Self {
        let program = Self(
            Command::new("ip")
                .args(["netns", "exec", &namespace.0])
                .args(words)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let socket = fielato_io::socket_path(interface);
        wait_for("the program's socket", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM, so that wireguard-go removes its socket.
        if let Ok(pid) = i32::try_from(self.0.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
