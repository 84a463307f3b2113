//! Runs a test server for hand work until standard input closes; each line read is a login URL to complete.

use std::io::BufRead as _;
use testcontrol::{Options, Server};

fn main() -> anyhow::Result<()> {
    let server = Server::start(Options::default())?;
    println!("login server: {}\nauth key: {}", server.url(), Options::default().auth_keys[0]);
    for line in std::io::stdin().lock().lines() {
        println!("completed: {}; nodes: {:?}", server.complete_login(line?.trim()), server.nodes());
    }
    Ok(())
}
