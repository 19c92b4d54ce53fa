//! One unary call with a deadline, and where its time went.
//!
//! `cargo run --example unary_client -- http://127.0.0.1:50051 hello`

#[path = "../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use framewire::client::Channel;
use framewire::error::Phase;
use framewire::{Method, Request};
use std::error::Error;
use std::time::Duration;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let target = words.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let payload = words.next().unwrap_or_else(|| "hello".to_owned()).into();
    let channel = Channel::builder(&target).build()?;
    let request = Request::new(EchoRequest { payload, ..EchoRequest::default() })
        .with_timeout(Duration::from_secs(2));
    match channel.unary_timed(&UNARY, request).await {
        Ok((response, timeline)) => {
            println!("{:?}", response.into_inner().payload);
            for phase in Phase::ALL {
                println!("{:>12.1?}  {}", timeline.spent(phase), phase.words());
            }
        }
        Err(error) => println!("{error}\nretry safe: {}", error.is_retry_safe()),
    }
    Ok(())
}
