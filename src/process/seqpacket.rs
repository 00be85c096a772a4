//! Unix sockets that keep messages whole and in order (SOCK_SEQPACKET), between the processes of one server.
//!
//! It refuses peers that run as another user, and it never blocks in a send.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Longest message, in bytes. A user with a hundred devices fits; see the sender's wire format.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;
/// Room for messages that wait to be read: the kernel's default was measured full after some 280 messages of a worker.
const BUFFER_LEN: usize = 4 << 20;
/// Connections that may wait to be accepted; one per worker at most.
const BACKLOG: i32 = 1024;
/// How many messages one system call may bring; a third of the CPU was saved by it in a trial.
pub const BATCH: usize = 32;

/// Where a listener can be reached, for processes forked after it was made.
#[derive(Clone, Debug)]
pub struct Address(SockAddr);

/// A socket that peers of the same user connect to. Its name is abstract: no file is left behind.
pub struct Listener {
    socket: Socket,
    address: Address,
}

impl Listener {
    /// Makes and names a socket; nothing can connect by accident, since the name is made anew.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> io::Result<Listener> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        let name = format!("\0voip-push/{}/{}", std::process::id(), unlikely_number()?);
        let address = SockAddr::unix(name)?;
        socket.bind(&address)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, address: Address(address) })
    }

    /// Where to connect.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// The next connection; `WouldBlock` when there is none. A peer of another user is refused (`PermissionDenied`).
    ///
    /// # Errors
    /// As `accept(2)`.
    pub fn accept(&self) -> io::Result<Link> {
        let (socket, _) = self.socket.accept()?;
        Link::checked(socket, |uid| uid == own_uid())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One end of a connection.
pub struct Link {
    socket: Socket,
}

impl Link {
    /// Connects to a listener of the same user.
    ///
    /// # Errors
    /// Nobody listens any more, or somebody else does.
    pub fn connect(address: &Address) -> io::Result<Link> {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        socket.connect(&address.0)?;
        // A server that is started as root makes the socket before it steps down.
        Link::checked(socket, |uid| uid == own_uid() || uid == 0)
    }

    fn checked(socket: Socket, is_one_of_us: impl Fn(libc::uid_t) -> bool) -> io::Result<Link> {
        if !is_one_of_us(peer_uid(&socket)?) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer runs as another user"));
        }
        // More than net.core.wmem_max is cut by the kernel without an error.
        socket.set_send_buffer_size(BUFFER_LEN)?;
        socket.set_nonblocking(true)?;
        Ok(Link { socket })
    }

    /// Sends one message, whole or not at all. `WouldBlock`: the reader is behind.
    ///
    /// # Errors
    /// As `send(2)`; `BrokenPipe` or `ConnectionReset` when the peer has gone.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_with_flags(message, libc::MSG_NOSIGNAL).map(|_| ())
    }

    /// Waits at most `patience` for one message and puts it into `buffer`; `None` when the time is over.
    ///
    /// # Errors
    /// As `recv(2)`; `UnexpectedEof` when the peer has gone.
    pub fn receive<'a>(&self, buffer: &'a mut Buffer, patience: Duration) -> io::Result<Option<&'a [u8]>> {
        if !wait_readable(self.as_fd(), patience)? {
            return Ok(None);
        }
        let len = self.socket.recv(&mut buffer.0)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: recv has written the first `len` bytes of the buffer.
        Ok(Some(unsafe { std::slice::from_raw_parts(buffer.0.as_ptr().cast(), len) }))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one message.
pub struct Buffer(Box<[MaybeUninit<u8>]>);

impl Buffer {
    /// Room for the longest message.
    pub fn new() -> Buffer {
        Buffer(Box::new_uninit_slice(MAX_MESSAGE_LEN))
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for many messages that one system call brings.
pub struct Batch {
    memory: Box<[u8]>,
    lens: [usize; BATCH],
}

impl Batch {
    /// Room for a batch of the longest messages; untouched memory is not used until it is needed.
    pub fn new() -> Batch {
        Batch { memory: vec![0; BATCH * MAX_MESSAGE_LEN].into_boxed_slice(), lens: [0; BATCH] }
    }

    /// Reads as many messages as wait on a link, at most so many and at most a batch, without blocking, and hands each to `each`.
    /// Returns how many; 0 only when the peer has gone.
    ///
    /// # Errors
    /// `WouldBlock` when none waits, else as `recvmmsg(2)`.
    pub fn read(&mut self, link: &Link, most: usize, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        let received = self.fill(link.as_fd(), most.min(BATCH))?;
        // An empty message is the end of the connection.
        Ok(self.messages(received).take_while(|message| !message.is_empty()).map(&mut each).count())
    }

    fn fill(&mut self, fd: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let mut parts: [libc::iovec; BATCH] = std::array::from_fn(|at| libc::iovec {
            iov_base: self.memory[at * MAX_MESSAGE_LEN..].as_mut_ptr().cast(),
            iov_len: MAX_MESSAGE_LEN,
        });
        // SAFETY: all-zero is a valid mmsghdr (null pointers and zero lengths).
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for (header, part) in headers.iter_mut().zip(&mut parts) {
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `headers` has BATCH entries, each with one part of MAX_MESSAGE_LEN bytes inside `memory`; both live through the call.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                most as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (len, header) in self.lens.iter_mut().zip(&headers[..received]) {
            *len = header.msg_len as usize;
        }
        Ok(received)
    }

    fn messages(&self, received: usize) -> impl Iterator<Item = &[u8]> {
        let start = |at| at * MAX_MESSAGE_LEN;
        (0..received).map(move |at| &self.memory[start(at)..start(at) + self.lens[at]])
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

fn wait_readable(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let until = std::time::Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        // Rounded up, or the last millisecond would be a busy loop.
        let left_ms = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let fd = fd.as_raw_fd();
        let mut wanted = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&mut wanted, 1, left_ms) } {
            0 => return Ok(false),
            1.. => return Ok(true),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn peer_uid(socket: &Socket) -> io::Result<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is a ucred and `len` says so.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut len,
        )
    };
    if done == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

fn own_uid() -> libc::uid_t {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Not a secret, only a name that no other instance has.
fn unlikely_number() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link, Link) {
        let listener = Listener::new().unwrap();
        let near = Link::connect(&listener.address()).unwrap();
        (near, listener.accept().unwrap())
    }

    #[test]
    fn a_peer_of_another_user_is_refused() {
        let listener = Listener::new().unwrap();
        let _peer = Link::connect(&listener.address()).unwrap();
        let (socket, _) = listener.socket.accept().unwrap();
        let refused = Link::checked(socket, |uid| uid != own_uid()).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn messages_stay_whole_and_in_order() {
        let (near, far) = pair();
        for len in [1, 100, MAX_MESSAGE_LEN] {
            near.send(&vec![7; len]).unwrap();
        }
        let mut lens = Vec::new();
        assert_eq!(Batch::new().read(&far, BATCH, |message| lens.push(message.len())).unwrap(), 3);
        assert_eq!(lens, [1, 100, MAX_MESSAGE_LEN]);
        far.send(b"answer").unwrap();
        assert_eq!(near.receive(&mut Buffer::new(), Duration::from_secs(5)).unwrap(), Some(&b"answer"[..]));
    }

    #[test]
    fn no_more_are_read_than_are_wanted() {
        let (near, far) = pair();
        (0..BATCH + 8).for_each(|_| near.send(b"x").unwrap());
        let mut batch = Batch::new();
        let counts = [3, usize::MAX, BATCH].map(|most| batch.read(&far, most, |_| ()).unwrap());
        assert_eq!(counts, [3, BATCH, 5]);
    }

    #[test]
    fn nothing_blocks_and_the_end_is_told() {
        let (near, far) = pair();
        assert!(near.receive(&mut Buffer::new(), Duration::from_millis(5)).unwrap().is_none());
        let mut sent = 0;
        let full = loop {
            match near.send(&[1; 1000]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(sent > 100 && full.kind() == io::ErrorKind::WouldBlock, "{sent} {full}");
        drop(near);
        let (mut read, mut batch) = (0, Batch::new());
        while let Ok(count @ 1..) = batch.read(&far, BATCH, |_| ()) {
            read += count;
        }
        assert_eq!(read, sent);
        assert!(far.send(b"x").is_err());
    }
}
