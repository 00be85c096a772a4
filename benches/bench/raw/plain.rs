//! What a program without us would do in the fewest lines: h2 over tokio-rustls with TCP_NODELAY, a request built for each push.
//!
//! It refuses everything of ours, and every trick: no prepared header, no stream that lets writes grow together.

use super::{DEVICES, Job, bare, settings, tell};
use crate::machine;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::LocalSet;
use uuid::Uuid;

/// What the requests say, as text, as a program has it.
struct Texts {
    host: String,
    authorization: String,
    topic: String,
    devices: Vec<Device>,
}

struct Device {
    path: String,
    expires_at_s: String,
    body: Value,
}

/// Runs the client and tells what it did.
pub fn run(job: &Job) {
    let settings = settings(&job.config);
    let origin = &settings.apns[0].origin;
    let texts = Rc::new(Texts::new(&bare::requests(&settings)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (sending, driver) = h2::client::handshake(bare::dial(origin).await).await.unwrap();
        tokio::task::spawn_local(async move { driver.await.unwrap() });
        let (made, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        // The first alone, as Apple wants it.
        bare::exchange(&mut sending.clone(), texts.request(0)).await;
        for _ in 0..job.in_flight {
            let counters = (Rc::clone(&made), Rc::clone(&ended));
            tokio::task::spawn_local(keep_sending(sending.clone(), Rc::clone(&texts), counters));
        }
        tokio::time::sleep(job.warm_up).await;
        let (start, cpu, before) = (Instant::now(), machine::own_cpu_time(), ended.get());
        tokio::time::sleep(job.window).await;
        let pushes = ended.get() - before;
        tell(pushes, pushes, start.elapsed(), &[("client", machine::own_cpu_time() - cpu)]);
    });
}

async fn keep_sending(
    mut sending: SendRequest<Bytes>,
    texts: Rc<Texts>,
    (made, ended): (Rc<Cell<u64>>, Rc<Cell<u64>>),
) {
    loop {
        made.set(made.get() + 1);
        bare::exchange(&mut sending, texts.request(made.get())).await;
        ended.set(ended.get() + 1);
    }
}

impl Texts {
    /// Takes the texts out of requests that our provider module has made.
    fn new(requests: &[Request<Bytes>]) -> Texts {
        let text =
            |request: &Request<Bytes>, name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let device = |request: &Request<Bytes>| Device {
            path: request.uri().path().to_owned(),
            expires_at_s: text(request, "apns-expiration"),
            body: serde_json::from_slice(request.body()).unwrap(),
        };
        Texts {
            host: requests[0].uri().authority().unwrap().to_string(),
            authorization: text(&requests[0], "authorization"),
            topic: text(&requests[0], "apns-topic"),
            devices: requests.iter().map(device).collect(),
        }
    }

    fn request(&self, number: u64) -> Request<Bytes> {
        let device = &self.devices[number as usize % DEVICES];
        let call_id = format!("{number:016x}@bench.example.org");
        let body = serde_json::to_vec(&device.body).unwrap();
        Request::post(format!("https://{}{}", self.host, device.path))
            .header("authorization", &self.authorization)
            .header("apns-id", Uuid::new_v5(&Uuid::NAMESPACE_URL, call_id.as_bytes()).to_string())
            .header("apns-push-type", "voip")
            .header("apns-priority", "10")
            .header("apns-expiration", &device.expires_at_s)
            .header("apns-topic", &self.topic)
            .body(Bytes::from(body))
            .unwrap()
    }
}
