//! Writes `proto/rust/*.rs` from the `.proto` sources; with `--check` only compares.
//!
//! No `protoc`: protox compiles the sources, prost-build prints the messages.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// A checked-in file, the sources it is made of, and the file prost-build names by package.
struct Output {
    file: &'static str,
    sources: &'static [&'static str],
    generated: &'static str,
}

const OUTPUTS: [Output; 3] = [
    Output {
        file: "bench.rs",
        sources: &["transport/bench/v1/bench.proto"],
        generated: "framewire.bench.v1.rs",
    },
    Output {
        file: "testing.rs",
        sources: &["grpc/testing/test.proto"],
        generated: "grpc.testing.rs",
    },
    Output {
        file: "health.rs",
        sources: &["grpc/health/v1/health.proto"],
        generated: "grpc.health.v1.rs",
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let check = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("usage: framewire-regen [--check]");
            return ExitCode::from(2);
        }
    };
    match run(check) {
        Ok(stale) if stale.is_empty() => ExitCode::SUCCESS,
        Ok(stale) => {
            for file in stale {
                eprintln!("{}: not what the .proto sources say", file.display());
            }
            eprintln!("write them anew: cargo run --manifest-path proto/regen/Cargo.toml");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Generates every output; returns those that differ from the sources, which only `check` leaves.
fn run(check: bool) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no proto folder")?;
    let scratch = env::temp_dir().join(format!("framewire-regen-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let stale = OUTPUTS.iter().try_fold(Vec::new(), |mut stale, output| {
        let wanted = generate(proto, &scratch, output)?;
        let path = proto.join("rust").join(output.file);
        if check {
            if fs::read_to_string(&path).unwrap_or_default() != wanted {
                stale.push(path);
            }
        } else {
            fs::write(&path, wanted)?;
        }
        Ok(stale)
    });
    fs::remove_dir_all(&scratch)?;
    stale
}

/// The text of one output.
fn generate(proto: &Path, scratch: &Path, output: &Output) -> Result<String, Box<dyn Error>> {
    let descriptors = protox::compile(output.sources, [proto])?;
    prost_build::Config::new().bytes(["."]).out_dir(scratch).compile_fds(descriptors)?;
    let body = fs::read_to_string(scratch.join(output.generated))?;
    let sources = output.sources.join(", ");
    Ok(format!("// Made from proto/{sources} by proto/regen; do not edit.\n{body}"))
}
