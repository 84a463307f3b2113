//! Puts one small function before musl's own, which would bring all of stdio along (`native/thread_name.c`).

fn main() {
    const SOURCE: &str = "native/thread_name.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        cc::Build::new().file(SOURCE).define("_GNU_SOURCE", None).compile("thread_name");
    }
}
