//! One binary, several faces: which one is told by the name it is called by.

fn main() -> std::process::ExitCode {
    daemon::faces::run()
}
