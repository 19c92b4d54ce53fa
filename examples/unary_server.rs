//! A server of one unary method, drained on Ctrl-C.
//!
//! `cargo run --example unary_server -- 127.0.0.1:50051`

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use framewire::server::{Router, Server};
use framewire::{Code, Method, Response, Status};
use std::error::Error;
use std::time::Duration;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".to_owned());
    let router = Router::new().unary(&UNARY, |context, request: EchoRequest| async move {
        if request.payload.is_empty() {
            return Err(Status::new(Code::InvalidArgument, "the payload is empty"));
        }
        println!("{} bytes, {:?} left", request.payload.len(), context.remaining());
        Ok(Response::new(EchoResponse { payload: request.payload }))
    });
    let server = Server::builder(router).bind(address.parse()?)?;
    println!("listening on {:?}; Ctrl-C ends it", server.local_addr());
    tokio::signal::ctrl_c().await?;
    println!("{:?}", server.shutdown(Duration::from_secs(5)).await);
    Ok(())
}
