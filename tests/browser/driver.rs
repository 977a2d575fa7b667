//! The one chromedriver of this test program, and the seats before it: a small machine does not carry more browsers.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// Browsers that are open at a time.
const BROWSERS_MAX: usize = 2;

/// A chromedriver that runs. It ends with the last seat before it.
struct Driver {
    child: Child,
    address: String,
}

struct Hall {
    driver: Weak<Driver>,
    taken: usize,
}

static HALL: Mutex<Hall> = Mutex::new(Hall { driver: Weak::new(), taken: 0 });
static LEFT: Condvar = Condvar::new();

/// The right to open one browser.
pub struct Seat(Arc<Driver>);

impl Seat {
    /// Waits until so many more browsers may be open. All at once: two tests that each have one and wait for a second
    /// would wait for ever.
    pub fn take<const N: usize>() -> [Seat; N] {
        assert!(N <= BROWSERS_MAX, "nobody would ever get so many");
        let hall = HALL.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hall =
            LEFT.wait_while(hall, |hall| hall.taken + N > BROWSERS_MAX).unwrap_or_else(PoisonError::into_inner);
        let driver = hall.driver.upgrade().unwrap_or_else(|| Arc::new(Driver::start()));
        hall.driver = Arc::downgrade(&driver);
        hall.taken += N;
        std::array::from_fn(|_| Seat(Arc::clone(&driver)))
    }

    /// Where the chromedriver listens.
    pub fn address(&self) -> &str {
        &self.0.address
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        HALL.lock().unwrap_or_else(PoisonError::into_inner).taken -= 1;
        LEFT.notify_all();
    }
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; on Debian: apt-get install chromium chromium-driver");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines().map_while(Result::ok);
        let port = lines.by_ref().find_map(|line| Some(line.split_once("successfully on port ")?.1.to_owned()));
        let port = port.expect("it says its port before it ends");
        // It would end if nobody read on.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: format!("http://127.0.0.1:{}", port.trim_end_matches('.')) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
