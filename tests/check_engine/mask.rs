//! Stands between a client and a real Redis and changes what it says of itself: a Valkey, a clock that is wrong, a disk that is full.
//!
//! It refuses to answer by itself: every command goes to the server, and of two answers some bytes are others.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// What is changed.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    /// A line of INFO, and what stands in its place.
    pub info: (&'static str, &'static str),
    /// So far ahead, in s, is the clock.
    pub ahead_s: i64,
}

impl Mask {
    /// Listens for this server and says on which port. It ends with the test program.
    pub fn before(self, server: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                std::thread::spawn(move || self.serve(client, server));
            }
        });
        port
    }

    /// Command by command, until one side has gone.
    fn serve(self, mut client: TcpStream, mut server: TcpStream) -> Option<()> {
        let mut commands = BufReader::new(client.try_clone().ok()?);
        let mut answers = BufReader::new(server.try_clone().ok()?);
        loop {
            let command = whole(&mut commands)?;
            server.write_all(&command).ok()?;
            let answer = whole(&mut answers)?;
            let name = text(&command).to_uppercase();
            let answer = match () {
                () if name.contains("\r\nINFO\r\n") => self.of_info(&answer),
                () if name.contains("\r\nTIME\r\n") && !name.contains("DRYRUN") => self.of_time(&answer),
                () => answer,
            };
            client.write_all(&answer).ok()?;
        }
    }

    fn of_info(self, answer: &[u8]) -> Vec<u8> {
        let said = text(answer);
        let said = said.split_once("\r\n").unwrap().1.trim_end();
        let (from, to) = self.info;
        let start = said.find(from).unwrap_or_else(|| panic!("no {from} in {said}"));
        let end = start + said[start..].find("\r\n").unwrap_or(said.len() - start);
        let changed = format!("{}{to}{}", &said[..start], &said[end..]);
        format!("${}\r\n{changed}\r\n", changed.len()).into_bytes()
    }

    /// `*2`, and the seconds in its third line.
    fn of_time(self, answer: &[u8]) -> Vec<u8> {
        let said = text(answer);
        let mut lines: Vec<&str> = said.split("\r\n").collect();
        let seconds = (lines[2].parse::<i64>().unwrap() + self.ahead_s).to_string();
        lines[2] = &seconds;
        lines.join("\r\n").into_bytes()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One value of the Redis protocol with all that is in it (redis.io, "Redis serialization protocol specification", version 2).
fn whole(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes).ok().filter(|len| *len > 0)?;
    let number = || text(&bytes[1..]).trim().parse::<i64>().unwrap();
    match bytes[0] {
        b'*' => {
            for _ in 0..number() {
                let part = whole(from)?;
                bytes.extend(part);
            }
        }
        b'$' if number() >= 0 => {
            let mut body = vec![0; number() as usize + 2];
            from.read_exact(&mut body).ok()?;
            bytes.extend(body);
        }
        _ => {}
    }
    Some(bytes)
}
