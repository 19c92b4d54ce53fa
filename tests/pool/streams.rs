//! Streams are calls like others: none is lost and none runs twice when servers come and go.

use crate::network::{Network, addr};
use crate::{Journal, allowing, ms, options, raw};
use framewire::client::Channel;
use framewire::error::Error;
use framewire::grpc::{Method, Raw, Response};
use framewire::server::Router;
use std::collections::HashMap;
use std::time::Duration;

/// Answers with its messages, joined.
const UP: Method<Raw, Raw> = Method::new("/test.Work/Up");

/// Notes every call twice: when it began, which is with its first message, and when it has ended.
fn router(begun: &Journal, ended: &Journal) -> Router {
    let (begun, ended) = (begun.clone(), ended.clone());
    Router::new().client_streaming(&UP, move |_, mut requests| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            let mut all = Vec::new();
            while let Some(Raw(octets)) = requests.message().await? {
                if all.is_empty() {
                    begun.note(&octets);
                }
                all.extend_from_slice(&octets);
            }
            ended.note(&all);
            Ok(Response::new(raw(all)))
        }
    })
}

/// Three messages of a call, some of them late.
async fn call(channel: Channel, id: u32) -> Result<Vec<u8>, Error> {
    let (mut up, down) = channel.client_streaming(&UP, ())?;
    let parts = [id, id.wrapping_mul(3), id.wrapping_mul(7)].map(u32::to_be_bytes);
    for (i, part) in parts.iter().enumerate() {
        // How the call ended is read below.
        if up.send(raw(part)).await.is_err() {
            break;
        }
        if (id as usize + i).is_multiple_of(3) {
            ms(u64::from(id % 5)).await;
        }
    }
    let _ = up.finish();
    let answer = down.one().await?.into_inner().0.to_vec();
    assert_eq!(answer, parts.concat(), "in order, nothing lost, nothing twice");
    Ok(answer)
}

fn most(counts: &[Vec<u8>]) -> usize {
    let mut by: HashMap<&[u8], usize> = HashMap::new();
    counts.iter().for_each(|octets| *by.entry(octets).or_default() += 1);
    by.into_values().max().unwrap_or(0)
}

/// Three hundred graceful restarts of the server, each in the middle of a burst.
#[tokio::test(start_paused = true)]
async fn goaways_in_the_middle_of_streams_lose_nothing_and_repeat_nothing() {
    let network = Network::new();
    let (begun, ended) = (Journal::default(), Journal::default());
    let builder = Channel::builder("http://test").connector(network.clone());
    let channel = builder.options(options()).build().unwrap();
    let mut server = network.serve(addr(1), router(&begun, &ended), allowing(100));
    for cycle in 0..300u32 {
        let calls: Vec<_> =
            (0..40).map(|i| tokio::spawn(call(channel.clone(), cycle * 100 + i))).collect();
        tokio::time::sleep(Duration::from_micros(u64::from(cycle % 41) * 200)).await;
        let next = network.serve(addr(1), router(&begun, &ended), allowing(100));
        let old = std::mem::replace(&mut server, next);
        let drain = tokio::spawn(old.shutdown(Duration::from_secs(5)));
        for call in calls {
            call.await.unwrap().unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
        }
        assert_eq!(drain.await.unwrap().forced, 0);
        let (begun, ended) = (begun.take(), ended.take());
        assert_eq!((begun.len(), ended.len()), (40, 40), "cycle {cycle}");
        assert_eq!(most(&ended), 1, "cycle {cycle}");
    }
}
