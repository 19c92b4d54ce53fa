//! A bidirectional stream against a server in the same process, over memory: no socket at all.
//!
//! `cargo run --example streaming`

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use framewire::Method;
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::transport::in_memory;
use std::error::Error;

const BIDI: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Bidi");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (connector, listener) = in_memory(64 * 1024);
    let router = Router::new().bidi(&BIDI, |_, mut requests, mut replies| async move {
        while let Some(request) = requests.message().await? {
            replies.send(EchoResponse { payload: request.payload }).await?;
        }
        Ok(())
    });
    let _server = Server::builder(router).serve(listener)?;
    let channel = Channel::builder("http://in-memory:80").connector(connector).build()?;

    let (mut sender, mut answers) = channel.bidi(&BIDI, ())?;
    let sending = tokio::spawn(async move {
        for i in 0..5 {
            let payload = format!("message {i}").into();
            sender.send(EchoRequest { payload, ..EchoRequest::default() }).await?;
        }
        // Ends our side; dropping the sender instead would cancel the call.
        sender.finish()
    });
    while let Some(answer) = answers.message().await? {
        println!("{:?}", answer.payload);
    }
    sending.await??;
    println!("the stream has ended with OK");
    Ok(())
}
