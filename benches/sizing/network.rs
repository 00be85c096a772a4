//! A whole service in a simulation: calls and REGISTERs that go through workers, engine, senders, providers and the stream of words.
//!
//! It refuses to leave out what waits: a worker is taken until its engine has answered, and a SIP server says and
//! reads its next words only when it has done with the last.

use super::paper::{self, Demand, Plan};
use super::random::Random;
use super::simulation::{Agenda, Station, Time, percentile_ms, us};
use super::{assumed, measured};

/// What one run has shown.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How busy the busiest of each kind was: cores, workers, sender, streams to APNs, to FCM, masters, the stream's master, the
    /// reading of words.
    pub busy: [f64; 8],
    /// INVITE to written push, ms: median and 99th percentile.
    pub push_ms: [f64; 2],
    /// REGISTER to the call that goes on, ms.
    pub wake_ms: [f64; 2],
    /// Pushes that found the sender's queue full, of all.
    pub refused: f64,
}

/// The kinds in [`Outcome::busy`].
pub const KINDS: [&str; 8] =
    ["cores", "workers", "sender", "APNs", "FCM", "masters", "stream's master", "reading words"];

/// Nobody looks at what came before this: the queues are filling.
const WARM_UP: Time = 200_000_000;
/// Nothing new comes after this.
const END: Time = 1_200_000_000;
/// A phone registers so soon here. In truth it takes seconds, which no queue can tell from this.
const WAKE: f64 = 50_000.0;

/// Words in one entry: src/sender/nodes/talk.rs.
const MOST_WORDS: usize = 100;

const CORE: usize = 0;
const WORKER: usize = 1;
const SENDER: usize = 2;
const APNS: usize = 3;
const FCM: usize = 4;
const OF_A_NODE: usize = 5;

#[derive(Debug, Clone, Copy)]
enum Event {
    Call,
    Refresh,
    /// A job goes on.
    Go(u32),
    /// A station's server has finished a job.
    Done(usize, Work),
    /// What a node said is in the stream, and it knows.
    HasSaid(usize),
    /// There is something for a node to read.
    Look(usize),
    /// A node has read and handled its words.
    HasRead(usize),
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Job(u32),
    Say(usize),
    Read(usize),
}

/// What one SIP server tells all others.
#[derive(Debug, Clone, Copy)]
enum Word {
    /// The phone of the call that is held elsewhere has registered: this REGISTER.
    Came(u32),
    /// A call waits, or waits no more.
    Other,
}

/// What a SIP server has to say, and what it has to read.
#[derive(Default)]
struct Mouth {
    words: Vec<Word>,
    is_saying: bool,
    /// Entries that it has not read; an entry has the words of one turn.
    unread: Vec<Vec<Word>>,
    reading: Vec<Vec<Word>>,
    is_reading: bool,
    read_worked: Time,
}

/// A call or a REGISTER on its way.
#[derive(Debug, Clone, Copy)]
struct Job {
    is_call: bool,
    node: usize,
    master: usize,
    step: u8,
    came: Time,
    /// Of a REGISTER: the node that holds the call.
    holder: Option<usize>,
    taken: Time,
}

struct Network {
    agenda: Agenda<Event>,
    random: Random,
    stations: Vec<Station<Work>>,
    jobs: Vec<Job>,
    nodes: usize,
    masters: usize,
    demand: Demand,
    mouths: Vec<Mouth>,
    push: Vec<Time>,
    wake: Vec<Time>,
    refused: u64,
    pushes: u64,
}

/// Runs a service of this size under this load.
pub fn run(demand: &Demand, plan: &Plan) -> Outcome {
    let mut network = Network::new(demand, plan);
    network.agenda.after(0, Event::Call);
    network.agenda.after(0, Event::Refresh);
    let mut busy = None;
    while let Some(event) = network.agenda.next() {
        if busy.is_none() && network.agenda.now >= END {
            busy = Some(network.busy());
        }
        network.happen(event);
    }
    let Network { mut push, mut wake, refused, pushes, .. } = network;
    let both = |times: &mut [Time]| [percentile_ms(times, 0.5), percentile_ms(times, 0.99)];
    Outcome {
        busy: busy.unwrap_or_default(),
        push_ms: both(&mut push),
        wake_ms: both(&mut wake),
        refused: refused as f64 / pushes.max(1) as f64,
    }
}

impl Network {
    fn new(demand: &Demand, plan: &Plan) -> Network {
        let Plan { nodes, masters, .. } = *plan;
        let streams = |streams: f64| (assumed::CONNECTIONS.value * streams) as usize;
        let (apns, fcm) = (streams(assumed::APNS_STREAMS.value), streams(assumed::FCM_STREAMS.value));
        let of_a_node = [assumed::CORES.value as usize, assumed::WORKERS.value as usize, 1, apns, fcm];
        let servers = of_a_node.into_iter().cycle().take(nodes * OF_A_NODE).chain(vec![1; masters]);
        Network {
            agenda: Agenda::new(),
            random: Random::new(7),
            stations: servers.map(Station::new).collect(),
            jobs: Vec::new(),
            nodes,
            masters,
            demand: *demand,
            mouths: (0..nodes).map(|_| Mouth::default()).collect(),
            push: Vec::new(),
            wake: Vec::new(),
            refused: 0,
            pushes: 0,
        }
    }

    /// Master 0 has the stream; users are spread over all.
    fn master(&self, number: usize) -> usize {
        self.nodes * OF_A_NODE + number
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Call => self.comes(Event::Call, self.demand.calls, true),
            Event::Refresh => self.comes(Event::Refresh, self.demand.refreshes(), false),
            Event::Go(job) => self.go(job),
            Event::Done(station, work) => {
                if let Some(next) = self.stations[station].leave() {
                    self.begin(station, next);
                }
                match work {
                    Work::Job(job) => self.go(job),
                    Work::Say(node) => self.agenda.after(half_trip(), Event::HasSaid(node)),
                    Work::Read(node) => self.has_answer(node),
                }
            }
            Event::HasSaid(node) => {
                self.mouths[node].is_saying = false;
                self.talk(node);
            }
            Event::Look(node) => self.read(node),
            Event::HasRead(node) => self.has_read(node),
        }
    }

    /// One comes, and the next of its kind is planned.
    fn comes(&mut self, kind: Event, rate: f64, is_call: bool) {
        if self.agenda.now >= END {
            return;
        }
        let pause = us(self.random.exponential(1e6 / rate));
        self.agenda.after(pause, kind);
        self.start(is_call, None);
    }

    fn start(&mut self, is_call: bool, holder: Option<usize>) {
        let (node, master) = (self.random.one_of(self.nodes), self.random.one_of(self.masters));
        let came = self.agenda.now;
        self.jobs.push(Job { is_call, node, master, step: 0, came, holder, taken: 0 });
        self.go(self.jobs.len() as u32 - 1);
    }

    /// Takes a job one step on.
    fn go(&mut self, number: u32) {
        let job = &mut self.jobs[number as usize];
        let step = job.step;
        job.step += 1;
        let Job { is_call, node, master, .. } = *job;
        let at = node * OF_A_NODE;
        let master = self.master(master);
        match (is_call, step) {
            (_, 0) => self.take_worker(number, at + WORKER),
            (_, 1) => self.work(number, at + CORE),
            // Over, done, back.
            (_, 2 | 4) => self.travel(number),
            (_, 3) => self.work(number, master),
            (true, 5) => self.hand_over(number, at),
            // Who pushes? Over, done, back.
            (true, 6 | 8) => self.travel(number),
            (true, 7) => self.work_at_any(number),
            (true, 9) => self.work(number, at + SENDER),
            (true, 10) => self.write(number, at),
            (true, 11) => self.agenda.after(us(self.random.exponential(WAKE)), Event::Go(number)),
            (true, _) => self.start(false, Some(node)),
            // The token's owners, which another master may have, and the note.
            (false, 5 | 7 | 8 | 10) => self.travel(number),
            (false, 6) => self.work_at_any(number),
            (false, 9) => self.work(number, master),
            (false, _) => self.registered(number, at),
        }
    }

    fn work_at_any(&mut self, number: u32) {
        let any = self.random.one_of(self.masters);
        self.work(number, self.master(any));
    }

    fn travel(&mut self, number: u32) {
        self.agenda.after(half_trip(), Event::Go(number));
    }

    fn take_worker(&mut self, number: u32, station: usize) {
        if self.stations[station].enter(Work::Job(number)).is_some() {
            self.has_worker(number);
        }
    }

    fn has_worker(&mut self, number: u32) {
        self.jobs[number as usize].taken = self.agenda.now;
        self.go(number);
    }

    fn give_worker(&mut self, number: u32, at: usize) {
        let station = &mut self.stations[at + WORKER];
        station.worked += self.agenda.now - self.jobs[number as usize].taken;
        if let Some(Work::Job(next)) = station.leave() {
            self.has_worker(next);
        }
    }

    fn work(&mut self, number: u32, station: usize) {
        if let Some(work) = self.stations[station].enter(Work::Job(number)) {
            self.begin(station, work);
        }
    }

    /// A server of a station begins something: how long it takes is known now.
    fn begin(&mut self, station: usize, work: Work) {
        let takes = match work {
            Work::Job(number) => self.takes(number),
            Work::Say(node) => self.append(node),
            Work::Read(node) => {
                let mouth = &mut self.mouths[node];
                mouth.reading = std::mem::take(&mut mouth.unread);
                let more = mouth.reading.len().saturating_sub(1) as f64;
                us(measured::ENGINE_READ_US.value + more * measured::ENGINE_READ_MORE_US.value)
            }
        };
        self.stations[station].worked += takes;
        if let Work::Job(number) = work
            && self.jobs[number as usize].is_call
            && self.jobs[number as usize].step == 11
        {
            self.note_push(number);
        }
        self.agenda.after(takes, Event::Done(station, work));
    }

    /// What the step that a job is in takes. Scripts take now more and now less; the engine and the sender do the same each time.
    fn takes(&mut self, number: u32) -> Time {
        let Job { is_call, step, .. } = self.jobs[number as usize];
        us(match (is_call, step) {
            (true, 2) => self.random.exponential(paper::call_us() - measured::SENDER_US.value),
            (true, 4) => measured::ENGINE_LOOKUP_US.value,
            (true, 8) => measured::ENGINE_CLAIM_US.value,
            (true, 10) => measured::SENDER_US.value,
            (true, _) => self.random.log_normal(assumed::PROVIDER_MS.value * 1e3),
            (false, 2) => self.random.exponential(paper::register_us()),
            (false, _) => measured::ENGINE_REGISTER_US.value / assumed::REGISTER_TRIPS.value,
        })
    }

    fn hand_over(&mut self, number: u32, at: usize) {
        self.give_worker(number, at);
        self.pushes += 1;
        let inside: usize = [SENDER, APNS, FCM].iter().map(|kind| self.stations[at + kind].inside()).sum();
        if inside >= assumed::MAX_QUEUED.value as usize {
            self.refused += 1;
            return;
        }
        self.say(at / OF_A_NODE, Word::Other);
        self.go(number);
    }

    fn write(&mut self, number: u32, at: usize) {
        let kind = if self.random.share() < assumed::APNS_SHARE.value { APNS } else { FCM };
        self.work(number, at + kind);
    }

    fn note_push(&mut self, number: u32) {
        let came = self.jobs[number as usize].came;
        if came >= WARM_UP {
            self.push.push(self.agenda.now - came);
        }
    }

    /// The token is stored. A call that waits here goes on; one that waits elsewhere is told.
    fn registered(&mut self, number: u32, at: usize) {
        self.give_worker(number, at);
        let (node, holder) = (at / OF_A_NODE, self.jobs[number as usize].holder);
        match holder {
            Some(holder) if holder == node => self.goes_on(number, node),
            Some(_) => self.say(node, Word::Came(number)),
            None => {}
        }
    }

    fn goes_on(&mut self, number: u32, node: usize) {
        let came = self.jobs[number as usize].came;
        if came >= WARM_UP {
            self.wake.push(self.agenda.now - came);
        }
        self.say(node, Word::Other);
    }

    fn say(&mut self, node: usize, word: Word) {
        self.mouths[node].words.push(word);
        self.talk(node);
    }

    fn talk(&mut self, node: usize) {
        let mouth = &mut self.mouths[node];
        if mouth.is_saying || mouth.words.is_empty() {
            return;
        }
        mouth.is_saying = true;
        self.work_of_stream(Work::Say(node));
    }

    fn work_of_stream(&mut self, work: Work) {
        let master = self.master(0);
        if let Some(work) = self.stations[master].enter(work) {
            self.begin(master, work);
        }
    }

    /// An entry with all that a node has to say, at most a hundred words; every node reads it as soon as it has done with what it read before.
    fn append(&mut self, node: usize) -> Time {
        let words = &mut self.mouths[node].words;
        let entry: Vec<Word> = words.drain(..words.len().min(MOST_WORDS)).collect();
        for reader in 0..self.nodes {
            self.mouths[reader].unread.push(entry.clone());
            self.agenda.after(0, Event::Look(reader));
        }
        us(measured::ENGINE_WRITE_US.value)
    }

    fn read(&mut self, node: usize) {
        let mouth = &mut self.mouths[node];
        if !mouth.is_reading && !mouth.unread.is_empty() {
            mouth.is_reading = true;
            self.work_of_stream(Work::Read(node));
        }
    }

    fn has_answer(&mut self, node: usize) {
        let mouth = &mut self.mouths[node];
        let words: usize = mouth.reading.iter().map(Vec::len).sum();
        let handling = us(words as f64 * measured::NODE_READ_US.value);
        if self.agenda.now < END {
            mouth.read_worked += handling;
        }
        self.agenda.after(2 * half_trip() + handling, Event::HasRead(node));
    }

    fn has_read(&mut self, node: usize) {
        for word in std::mem::take(&mut self.mouths[node].reading).into_iter().flatten() {
            if let Word::Came(number) = word
                && self.jobs[number as usize].holder == Some(node)
            {
                self.goes_on(number, node);
            }
        }
        self.mouths[node].is_reading = false;
        self.read(node);
    }

    fn busy(&self) -> [f64; 8] {
        let share = |station: usize| self.stations[station].busy_share(END);
        let most = |shares: &mut dyn Iterator<Item = f64>| shares.fold(0.0, f64::max);
        let of = |kind: usize| most(&mut (0..self.nodes).map(|node| share(node * OF_A_NODE + kind)));
        let others = most(&mut (1..self.masters).map(|number| share(self.master(number))));
        let reading = most(&mut self.mouths.iter().map(|mouth| mouth.read_worked as f64 / END as f64));
        [of(CORE), of(WORKER), of(SENDER), of(APNS), of(FCM), others, share(self.master(0)), reading]
    }
}

fn half_trip() -> Time {
    us(assumed::ROUND_TRIP_US.value / 2.0)
}
