//! The two processes of a run, as seen from inside.

use crate::Options;
use crate::cases;
use crate::load::{self, Plan};
use crate::process;
use crate::stack::BoxError;
use crate::{with_framewire, with_tonic};
use framewire::unstable::connection::mailbox::Policy;
use std::io::Read;
use std::time::Duration;

fn runtime(multi: bool) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = if multi {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()
}

/// The mailbox that a stack's name asks for; `None` for tonic.
fn handoff(stack: &str) -> Result<Option<Policy>, BoxError> {
    match stack {
        "tonic" => Ok(None),
        "framewire" => Ok(Some(Policy::default())),
        "framewire:lockfree" => Ok(Some(Policy::LockFree)),
        "framewire:mutex" => Ok(Some(Policy::ShortMutex)),
        _ => Err(format!("no stack {stack}").into()),
    }
}

/// Serves until standard input ends.
pub fn server(options: &Options) -> Result<(), BoxError> {
    let files = options.files();
    let tls = options.tls.then_some(&files);
    let stack = handoff(&options.stack)?;
    runtime(options.multi)?.block_on(async {
        let port = match stack {
            Some(policy) => with_framewire::serve(options.port, tls, policy)?,
            None => with_tonic::serve(options.port, tls)?,
        };
        println!("port {port}");
        let (over, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = over.send(());
        });
        ended.await?;
        Ok(())
    })
}

/// Makes the calls of one case and tells what it saw.
pub fn client(options: &Options) -> Result<(), BoxError> {
    let case = cases::find(&options.case).ok_or("no such case")?;
    let files = options.files();
    let tls = case.tls.then_some(&files);
    let plan = Plan {
        warm: Duration::from_millis(options.warm_ms),
        measure: Duration::from_millis(options.measure_ms),
        calls: options.calls,
        server: options.server_pid,
    };
    let stack = handoff(&options.stack)?;
    let seen = runtime(options.multi)?.block_on(async {
        match stack {
            Some(policy) => {
                let client =
                    with_framewire::connect(options.port, tls, policy, options.connections)?;
                load::run(client, case, plan).await
            }
            None => {
                let client = with_tonic::connect(options.port, tls, options.connections).await?;
                load::run(client, case, plan).await
            }
        }
    })?;
    process::print(&seen);
    Ok(())
}
