//! A way to a server that can be cut, as a network is: connections end, or go on and carry nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What comes is passed on.
    Open,
    /// Connections end, and new ones are refused at once.
    Cut,
    /// Nothing ends and nothing is passed on, as when a cable is pulled.
    Silent,
}

#[derive(Debug)]
struct State {
    way: Mutex<Way>,
    changed: Condvar,
    to: SocketAddr,
}

/// See the module. It ends with the test's process.
pub struct Relay {
    state: Arc<State>,
    port: u16,
}

impl Relay {
    /// A way to this port here.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let state = Arc::new(State { way: Mutex::new(Way::Open), changed: Condvar::new(), to });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                thread::spawn(move || pass(&state, &client));
            }
        });
        Self { state, port: own }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Changes how the way is.
    pub fn set(&self, way: Way) {
        *self.state.way.lock().unwrap() = way;
        self.state.changed.notify_all();
    }
}

fn pass(state: &Arc<State>, client: &TcpStream) {
    // Whoever comes while nothing passes is not even connected further on.
    if !state.is_open() {
        return;
    }
    let Ok(server) = TcpStream::connect(state.to) else { return };
    let both = [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())];
    let threads = both.map(|(from, to)| {
        let state = Arc::clone(state);
        thread::spawn(move || {
            let (Ok(from), Ok(to)) = (from, to) else { return };
            copy(&state, &from, &to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        })
    });
    for thread in threads {
        let _ = thread.join();
    }
}

fn copy(state: &State, mut from: &TcpStream, mut to: &TcpStream) {
    // Woken now and then to see whether the way was cut.
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 16 * 1024];
    while state.is_open() {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                // What was read as the way was cut is lost, too.
                if !state.is_open() || to.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

impl State {
    /// Whether something passes; while the way is silent nobody gets an answer to that.
    fn is_open(&self) -> bool {
        let way = self.way.lock().unwrap();
        *self.changed.wait_while(way, |way| *way == Way::Silent).unwrap() == Way::Open
    }
}
