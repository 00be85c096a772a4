//! SIPp as the caller: INVITEs at a rate or with so many open, and how they were answered.
//!
//! It refuses to lose an answer by itself: its socket has 4 MB, and what its port dropped is reported.

use crate::machine;
use crate::support::Scratch;
use std::collections::HashMap;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Upper bounds of the buckets in which SIPp counts its response times, in ms.
const BUCKETS_MS: [u32; 28] = [
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 50, 52, 54, 56, 60, 70, 85, 100, 102, 105, 110, 120, 150,
    200, 500,
];

/// SIPp's scenario and users, made once.
pub struct Caller {
    scratch: Scratch,
    users: PathBuf,
    scenario: PathBuf,
}

/// How the calls are made.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// New calls a second.
    pub rate: u32,
    /// Open calls at most.
    pub open: u32,
    /// Calls in all.
    pub calls: u32,
}

/// What became of them.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// Made.
    pub made: u64,
    /// Answered with the final answer that was expected.
    pub answered: u64,
    /// INVITEs that were repeated.
    pub repeated: u64,
    /// Datagrams that SIPp's socket dropped.
    pub dropped: u64,
    /// Answered a second.
    pub rate: f64,
    /// Answered later than 500 ms.
    pub late: u64,
    /// INVITE to final answer, ms; the upper bound of a bucket.
    pub p50_ms: f64,
    /// The same.
    pub p99_ms: f64,
}

impl Caller {
    /// Prepares calls to these users.
    pub fn new(users: usize) -> Caller {
        let scratch = Scratch::new("bench-sipp");
        let bounds = BUCKETS_MS.map(|bound| bound.to_string()).join(",");
        let scenario = scratch.write("invite.xml", SCENARIO.replace("BUCKETS", &bounds));
        let users = scratch.write("users.csv", crate::tokens::for_sipp(users));
        Caller { scratch, users, scenario }
    }

    /// Calls a server on 127.0.0.1 and waits for the end of all calls.
    pub fn call(&self, server_port: u16, load: Load) -> Calls {
        let port = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let stats = self.scratch.path().join("stats.csv");
        let _ = fs::remove_file(&stats);
        let mut sipp = Command::new("sipp");
        sipp.arg(format!("127.0.0.1:{server_port}"))
            .arg("-sf")
            .arg(&self.scenario)
            .arg("-inf")
            .arg(&self.users);
        sipp.args([
            "-i",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-buff_size",
            "4194304",
            "-nostdin",
            "-trace_stat",
        ]);
        sipp.arg("-stf").arg(&stats).args(["-fd", "1", "-timer_resol", "1", "-max_retrans", "5"]);
        let numbers = [("-r", load.rate), ("-l", load.open), ("-m", load.calls)];
        for (name, number) in numbers {
            sipp.arg(name).arg(number.to_string());
        }
        sipp.current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let spawn = || sipp.spawn().expect("needs Debian's package sip-tester");
        let dropped = wait(machine::on_cpu(machine::surroundings(), spawn), port);
        Calls { dropped, ..read(&fs::read_to_string(stats).expect("SIPp writes its statistics")) }
    }
}

/// Waits for SIPp's end and gives what its port dropped.
fn wait(mut sipp: Child, port: u16) -> u64 {
    let mut dropped = 0;
    while sipp.try_wait().unwrap().is_none() {
        dropped = drops_of(port).max(dropped);
        std::thread::sleep(Duration::from_millis(50));
    }
    dropped
}

/// Datagrams that the UDP socket of a port has dropped for want of room.
pub fn drops_of(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1).is_some_and(|address| address.ends_with(&local)))
        .filter_map(|row| row.last()?.parse::<u64>().ok())
        .sum()
}

/// The last line of SIPp's statistics.
fn read(csv: &str) -> Calls {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
    let values: Vec<&str> = lines.next_back().unwrap_or_default().split(';').collect();
    let row: HashMap<&str, &str> = names.into_iter().zip(values).collect();
    let number = |name: &str| row.get(name).and_then(|text| text.parse::<u64>().ok());
    let count = |name: &str| number(name).unwrap_or_else(|| panic!("SIPp's statistics have no {name}"));
    let answered = count("SuccessfulCall(C)");
    let at = |name: &str| row.get(name).map_or(f64::NAN, |date| unix_s(date));
    let seconds = at("CurrentTime") - at("StartTime");
    let mut buckets: Vec<(f64, u64)> = BUCKETS_MS
        .iter()
        .map(|bound| (f64::from(*bound), count(&format!("ResponseTimeRepartition1_<{bound}"))))
        .collect();
    let late = count("ResponseTimeRepartition1_>=500");
    buckets.push((f64::INFINITY, late));
    Calls {
        made: count("TotalCallCreated"),
        answered,
        repeated: count("Retransmissions(C)"),
        dropped: 0,
        rate: answered as f64 / seconds,
        late,
        p50_ms: percentile(&buckets, 0.50),
        p99_ms: percentile(&buckets, 0.99),
    }
}

/// The seconds since 1970 at the end of SIPp's dates; its own elapsed time has whole seconds only.
fn unix_s(date: &str) -> f64 {
    date.rsplit(['\t', ' ']).next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn percentile(buckets: &[(f64, u64)], share: f64) -> f64 {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let wanted = (all as f64 * share).ceil() as u64;
    let mut seen = 0;
    let found = buckets.iter().find(|(_, count)| {
        seen += count;
        seen >= wanted
    });
    found.map_or(f64::NAN, |(bound, _)| *bound)
}

const SCENARIO: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="an INVITE that ends in 480">
<send retrans="500" start_rtd="1"><![CDATA[
INVITE sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+4930123456@[local_ip]:[local_port]>;tag=[pid]SIPpTag[call_number]
To: <sip:[field0]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
X-Token: [field1]
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=caller 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 0
a=rtpmap:0 PCMU/8000

]]></send>
<recv response="100" optional="true"></recv>
<recv response="480" rtd="1" timeout="10000"></recv>
<send><![CDATA[
ACK sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<ResponseTimeRepartition value="BUCKETS"/>
</scenario>
"#;
