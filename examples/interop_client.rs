//! The client of gRPC's interop cases.
//!
//! `cargo run --example interop_client -- --server_port=8080 --test_case=large_unary,ping_pong`
//!
//! `--test_case` takes several, or `all`; each prints one line. `--ca_file` holds the trusted roots.
//! `--skip_probe=true` leaves out the feature probe of the compressed cases, for servers that cannot
//! see how a request was compressed.

#[path = "interop/cases.rs"]
mod cases;
#[path = "interop/shared.rs"]
mod shared;
#[path = "interop/soak.rs"]
mod soak;

use cases::Outcome;
use framewire::client::Channel;
use framewire::tls::ClientTls;
use shared::Flags;
use std::process::ExitCode;
use std::time::Duration;

/// The longest that one case may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every case, in the order of their description.
const ALL: [&str; 22] = [
    "empty_unary",
    "large_unary",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_streaming",
    "client_compressed_streaming",
    "server_streaming",
    "server_compressed_streaming",
    "ping_pong",
    "empty_stream",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "status_text_edges",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "concurrent_large_unary",
    "rpc_soak",
    "channel_soak",
];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<bool, String> {
    let flags = Flags::read()?;
    let chosen = flags.get("test_case").unwrap_or("large_unary");
    let names: Vec<&str> = if chosen == "all" { ALL.to_vec() } else { chosen.split(',').collect() };
    let channel = channel(&flags)?;
    let mut good = true;
    for name in names {
        let case = case(name, &channel, &flags);
        let outcome = match tokio::time::timeout(PATIENCE, case).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {PATIENCE:?}")),
        };
        match outcome {
            Ok(()) => println!("ok {name}"),
            Err(error) => {
                good = false;
                println!("FAILED {name}: {error}");
            }
        }
    }
    Ok(good)
}

/// A new channel as the flags say.
fn channel(flags: &Flags) -> Result<Channel, String> {
    let host = flags.get("server_host").unwrap_or("localhost");
    let port = flags.number("server_port", 8080)?;
    let name = flags.get("server_host_override");
    let scheme = if flags.is("use_tls") { "https" } else { "http" };
    let mut builder = Channel::builder(&format!("{scheme}://{host}:{port}"));
    if let Some(name) = name {
        builder = builder.authority(name);
    }
    if flags.is("use_tls") {
        let mut tls = ClientTls::builder();
        match flags.get("ca_file") {
            Some(file) => {
                let pem = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                tls = tls.roots_pem(pem);
            }
            None if flags.is("use_test_ca") => {
                return Err("--use_test_ca wants the roots: --ca_file=FILE".to_owned());
            }
            None => tls = tls.with_webpki_roots(),
        }
        if let Some(name) = name {
            tls = tls.server_name(name.split(':').next().unwrap_or(name));
        }
        builder = builder.tls(tls.build().map_err(|error| error.to_string())?);
    }
    builder.build().map_err(|error| error.to_string())
}

async fn case(name: &str, channel: &Channel, flags: &Flags) -> Outcome {
    let probe = !flags.is("skip_probe");
    match name {
        "empty_unary" => cases::empty_unary(channel).await,
        "large_unary" => cases::large_unary(channel).await,
        "client_compressed_unary" => cases::client_compressed_unary(channel, probe).await,
        "server_compressed_unary" => cases::server_compressed_unary(channel).await,
        "client_streaming" => cases::client_streaming(channel).await,
        "client_compressed_streaming" => cases::client_compressed_streaming(channel, probe).await,
        "server_streaming" => cases::server_streaming(channel).await,
        "server_compressed_streaming" => cases::server_compressed_streaming(channel).await,
        "ping_pong" => cases::ping_pong(channel).await,
        "empty_stream" => cases::empty_stream(channel).await,
        "custom_metadata" => cases::custom_metadata(channel).await,
        "status_code_and_message" => cases::echo_status(channel, "test status message").await,
        "special_status_message" => cases::echo_status(channel, cases::SPECIAL_MESSAGE).await,
        "status_text_edges" => cases::status_text_edges(channel).await,
        "unimplemented_method" => cases::unimplemented(channel, &cases::UNIMPLEMENTED_METHOD).await,
        "unimplemented_service" => {
            cases::unimplemented(channel, &cases::UNIMPLEMENTED_SERVICE).await
        }
        "cancel_after_begin" => cases::cancel_after_begin(channel).await,
        "cancel_after_first_response" => cases::cancel_after_first_response(channel).await,
        "timeout_on_sleeping_server" => cases::timeout_on_sleeping_server(channel).await,
        "concurrent_large_unary" => {
            soak::concurrent(channel, flags.number("concurrent_calls", 100)?).await
        }
        "rpc_soak" => soak::rpc(|| Ok(channel.clone()), flags).await,
        "channel_soak" => soak::rpc(|| self::channel(flags), flags).await,
        "plain_echo" => cases::plain_echo(channel).await,
        _ => Err(format!("there is no case {name}")),
    }
}
