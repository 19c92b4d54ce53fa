//! The two processes of a run, as seen from inside.

use crate::Options;
use crate::cases;
use crate::load::{self, Plan};
use crate::process;
use crate::stack::BoxError;
use crate::{with_framewire, with_tonic};
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

/// Serves until standard input ends.
pub fn server(options: &Options) -> Result<(), BoxError> {
    let files = options.files();
    let tls = options.tls.then_some(&files);
    runtime(options.multi)?.block_on(async {
        let port = match options.stack.as_str() {
            "framewire" => with_framewire::serve(options.port, tls)?,
            "stubs" => with_framewire::serve_stubs(options.port, tls)?,
            "tonic" => with_tonic::serve(options.port, tls)?,
            other => return Err(format!("no stack {other}").into()),
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
    let (port, connections) = (options.port, options.connections);
    let seen = runtime(options.multi)?.block_on(async {
        match options.stack.as_str() {
            "framewire" => {
                load::run(with_framewire::connect(port, tls, connections)?, case, plan).await
            }
            "stubs" => {
                load::run(with_framewire::connect_stubs(port, tls, connections)?, case, plan).await
            }
            _ => load::run(with_tonic::connect(port, tls, connections).await?, case, plan).await,
        }
    })?;
    process::print(&seen);
    Ok(())
}
