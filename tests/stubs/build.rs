//! Generates tonic's stubs of the Echo service, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto/transport";
    println!("cargo:rerun-if-changed={root}");
    let files = protox::compile(["bench/v1/bench.proto"], [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
