//! A browser with nothing in it yet, and what a person does with it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::common::capabilities::desiredcapabilities::CapabilitiesHelper;
use thirtyfour::error::WebDriverResult;
use thirtyfour::{By, DesiredCapabilities, Key, LoggingPrefsLogLevel, TypingData, WebDriver, WebElement};
use tokio::runtime::Runtime;

use crate::driver::Seat;

/// How long anything may take that should take a moment: the machine may be busy with other things.
pub const SOON: Duration = Duration::from_mins(1);

/// The pause between two looks at a page that is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What keeps Chromium from asking anything of anybody but the page.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-GB",
    "--window-size=1280,900",
];

/// A browser of its own: no cookie, no history, nothing stored.
pub struct Browser {
    driver: Option<WebDriver>,
    runtime: Runtime,
    page: String,
    // Given back in this order, once the browser is closed.
    _profile: tempfile::TempDir,
    _seat: Seat,
}

impl Browser {
    /// Opens a browser that will look at the page served at `https://HOST:PORT`.
    pub fn open(page: &str) -> Self {
        let [browser] = Self::open_all(page);
        browser
    }

    /// Opens several, which know nothing of each other.
    pub fn open_all<const N: usize>(page: &str) -> [Self; N] {
        Seat::take::<N>().map(|seat| Self::open_at(seat, page))
    }

    fn open_at(seat: Seat, page: &str) -> Self {
        let profile = tempfile::Builder::new().prefix("hydrophone-browser-").tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let driver = runtime
            .block_on(begin(seat.address(), &format!("--user-data-dir={}", profile.path().display())))
            .unwrap_or_else(|error| panic!("the browser does not start: {error}"));
        Self { driver: Some(driver), runtime, page: page.to_owned(), _profile: profile, _seat: seat }
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("it is there until this is dropped")
    }

    /// Waits for an answer that has to be a good one.
    #[track_caller]
    fn ask<T>(&self, what: impl Debug, asked: impl Future<Output = WebDriverResult<T>>) -> T {
        match self.runtime.block_on(asked) {
            Ok(answer) => answer,
            Err(error) => panic!("{what:?}: {error}\n{}", self.seen()),
        }
    }

    /// Where it is and what a person can read there, for whoever has to find out why a test failed.
    fn seen(&self) -> String {
        let text = self.runtime.block_on(self.driver().execute("return document.body?.innerText ?? ''", []));
        let text = text.map_or_else(|error| error.to_string(), |text| text.json().as_str().unwrap_or("").to_owned());
        let address = self.runtime.block_on(self.driver().current_url()).map(|url| url.to_string());
        format!("at {}:\n{text}", address.unwrap_or_default())
    }

    /// Asks until the answer fits, and returns it. What is not there yet is no answer.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut(&Asker<'_>) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        let asker = Asker(self);
        loop {
            if let Some(found) = ask(&asker) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}, {}", self.seen());
            self.runtime.block_on(async { tokio::time::sleep(LOOK_AGAIN).await });
        }
    }

    /// Goes to an address of the page, or to a whole one, and waits until all of it is there.
    #[track_caller]
    pub fn go(&self, address: &str) {
        let whole = if address.starts_with('/') { format!("{}{address}", self.page) } else { address.to_owned() };
        self.ask(address, self.driver().goto(whole));
    }

    /// Loads the page again.
    #[track_caller]
    pub fn reload(&self) {
        self.ask("reload", self.driver().refresh());
    }

    /// Goes back, as with the browser's own button.
    #[track_caller]
    pub fn back(&self) {
        self.ask("back", self.driver().back());
    }

    /// The address bar, without the part that is the same for every page.
    #[track_caller]
    pub fn address(&self) -> String {
        let url = self.ask("the address", self.driver().current_url());
        url.as_str().strip_prefix(&self.page).unwrap_or(url.as_str()).to_owned()
    }

    /// Waits for an address, such as `/findings`.
    #[track_caller]
    pub fn arrive(&self, address: &str) {
        self.until(&format!("the address {address}"), |_| (self.address() == address).then_some(()));
    }

    /// Waits for the first element that a selector finds.
    #[track_caller]
    fn element(&self, css: &str) -> WebElement {
        self.until(css, |asker| asker.0.runtime.block_on(self.driver().find(By::Css(css))).ok())
    }

    /// Waits until an element holds a text.
    #[track_caller]
    pub fn see(&self, css: &str, text: &str) {
        self.until(&format!("{text:?} in {css}"), |asker| asker.text(css)?.contains(text).then_some(()));
    }

    /// How many elements there are now.
    #[track_caller]
    pub fn count(&self, css: &str) -> usize {
        self.ask(css, self.driver().find_all(By::Css(css))).len()
    }

    /// The texts of all elements that there are now.
    #[track_caller]
    pub fn texts(&self, css: &str) -> Vec<String> {
        let texts =
            self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", &[json!(css)]);
        serde_json::from_value(texts).expect("a list of texts")
    }

    /// Presses a link or a button, once it stands where nothing that keeps to an edge of the window covers it.
    #[track_caller]
    pub fn press(&self, css: &str) {
        let element = self.element(css);
        self.ask(css, async {
            element.scroll_into_view().await?;
            element.click().await
        });
    }

    /// Writes into an empty field.
    #[track_caller]
    pub fn write(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.ask(css, async {
            element.clear().await?;
            element.send_keys(text).await
        });
    }

    /// Chooses an option of a list by its value.
    #[track_caller]
    pub fn choose(&self, css: &str, value: &str) {
        self.press(&format!("{css} option[value=\"{value}\"]"));
    }

    /// Presses keys, wherever the focus is.
    #[track_caller]
    pub fn keys(&self, keys: impl Into<TypingData>) {
        self.ask("keys", self.driver().action_chain().send_keys(keys).perform());
    }

    /// Presses a key while Control is held down.
    #[track_caller]
    pub fn control(&self, key: Key) {
        let chain = self.driver().action_chain().key_down(Key::Control).send_keys(key).key_up(Key::Control);
        self.ask("keys", chain.perform());
    }

    /// Runs a function body in the page, which its content security policy does not hinder.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.ask("a script", self.driver().execute(script, arguments)).json().clone()
    }

    /// The same for one that calls its last argument with its result.
    #[track_caller]
    pub fn run_slowly(&self, script: &str, arguments: &[Value]) -> Value {
        self.ask("a script", self.driver().execute_async(script, arguments)).json().clone()
    }

    /// A command of the DevTools protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.ask(command, self.driver().cdp().send_raw(command, parameters))
    }

    /// Gives the page a size and a colour scheme.
    #[track_caller]
    pub fn window(&self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme }));
    }

    /// What the browser has complained of since it was last asked.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("the console", self.driver().get_log("browser"));
        log.into_iter().map(|entry| format!("{}: {}", entry.level, entry.message)).collect()
    }

    /// What happened in the network since it was last asked, as events of the DevTools protocol.
    #[track_caller]
    pub fn network(&self) -> Vec<Value> {
        let log = self.ask("the network", self.driver().get_log("performance"));
        let events = log.iter().map(|entry| serde_json::from_str::<Value>(&entry.message).expect("an event is JSON"));
        events.map(|event| event["message"].clone()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            // A browser that is gone already is closed, too.
            let _ = self.runtime.block_on(driver.quit());
        }
    }
}

/// Looks at a page that may be about to change: what cannot be had is not there yet.
pub struct Asker<'a>(&'a Browser);

impl Asker<'_> {
    /// The text of an element, if it is there.
    pub fn text(&self, css: &str) -> Option<String> {
        let driver = self.0.driver();
        self.0.runtime.block_on(async { driver.find(By::Css(css)).await?.text().await }).ok()
    }
}

async fn begin(address: &str, profile: &str) -> WebDriverResult<WebDriver> {
    let mut wanted = DesiredCapabilities::chrome();
    for flag in FLAGS {
        wanted.add_arg(flag)?;
    }
    wanted.add_arg(profile)?;
    wanted.accept_insecure_certs(true)?;
    wanted.set_logging_prefs("browser", LoggingPrefsLogLevel::All)?;
    wanted.set_logging_prefs("performance", LoggingPrefsLogLevel::All)?;
    let driver = WebDriver::builder(address, wanted).request_timeout(SOON * 2).await?;
    driver.set_page_load_timeout(SOON).await?;
    driver.set_script_timeout(SOON).await?;
    // Away from the browser's own first page, which asks for things of its own.
    driver.goto("about:blank").await?;
    Ok(driver)
}
