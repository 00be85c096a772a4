//! A floor: what is left of the bare client's work where requests are made before the clock starts, and go out through our stream that
//! lets writes grow together.
//!
//! It refuses to be a program that somebody could run: its requests are the same ones again and again, and a call's is never known before.

use super::bare::{dial, exchange, requests};
use super::{Job, settings, tell_window};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use std::cell::Cell;
use std::rc::Rc;
use tokio::task::LocalSet;
use voip_push::config::Origin;
use voip_push::http2::Coalesced;

/// Runs the client and tells what it did.
pub fn run(job: &Job) {
    let settings = settings(&job.config);
    let requests: Rc<[Request<Bytes>]> = requests(&settings).into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let sending = connect(&settings.apns[0].origin).await;
        let ended = Rc::new(Cell::new(0));
        // The first alone, as Apple wants it.
        exchange(&mut sending.clone(), requests[0].clone()).await;
        for first in 0..job.in_flight {
            let (sending, requests, ended) = (sending.clone(), Rc::clone(&requests), Rc::clone(&ended));
            tokio::task::spawn_local(keep_sending(sending, requests, first as usize, ended));
        }
        tell_window(job, &ended).await;
    });
}

async fn keep_sending(
    mut sending: SendRequest<Bytes>,
    requests: Rc<[Request<Bytes>]>,
    mut next: usize,
    ended: Rc<Cell<u64>>,
) {
    loop {
        exchange(&mut sending, requests[next % requests.len()].clone()).await;
        ended.set(ended.get() + 1);
        next += 1;
    }
}

async fn connect(origin: &Origin) -> SendRequest<Bytes> {
    let stream = Coalesced(dial(origin).await);
    let (sending, driver) = h2::client::Builder::new().enable_push(false).handshake(stream).await.unwrap();
    tokio::task::spawn_local(async move { driver.await.unwrap() });
    sending
}
