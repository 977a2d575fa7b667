// What is nicer with script: times in the reader's zone, values that stay current, Copy, and keys. Everything can be
// read, and every form be sent, without it.
"use strict";

document.documentElement.classList.add("scripted");

/* Times: as far from now as they are, in the reader's zone, with the whole of it in the title. */

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function clock(at) {
  return `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
}

function ago(at, now) {
  const seconds = Math.floor((now - at) / 1000);
  const day = (time) => Math.round(new Date(time.getFullYear(), time.getMonth(), time.getDate()) / 864e5);
  const days = day(now) - day(at);
  const date = `${at.getDate()} ${months[at.getMonth()]}`;
  if (seconds < 0) return `${date} ${at.getFullYear()}, ${clock(at)}`;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400 && (days === 0 || seconds < 43200)) return `${Math.floor(seconds / 3600)} h ago`;
  if (days === 1) return `yesterday ${clock(at)}`;
  return days < 300 ? date : `${date} ${at.getFullYear()}`;
}

function localise(root) {
  const now = new Date();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const form = time.dataset.form;
    const text = form === "clock" ? clock(at) : form === "full" ? full.format(at) : ago(at, now);
    if (time.textContent !== text) time.textContent = text;
    time.title = full.format(at);
  }
}

/* Live: when there is news, the page is fetched again, and what is marked with data-live takes its new place. */

const raw = new Map();
for (const one of document.querySelectorAll("[data-live][id]")) raw.set(one.id, one.outerHTML);
localise(document);
setInterval(() => { if (!document.hidden) localise(document); }, 30000);

// The answer to a form stands at the form's address; the page that it shows has one of its own, for a reload and for news.
const own = document.querySelector("main[data-self]")?.dataset.self;
if (own && own !== location.pathname + location.search) history.replaceState(null, "", own);

// By the clock of the box, which also tells when a finding was first seen; both in whole seconds.
const shownAt = new Date(document.documentElement.dataset.at);
let due = 0;
let fetched = 0;
let pending = false;

function soon() {
  pending = true;
  if (!due && !document.hidden) due = setTimeout(refresh, Math.max(200, fetched + 1000 - Date.now()));
}

// What somebody is busy with is left alone until they are done.
function isBusy(one) {
  if (one.contains(document.activeElement) || one.querySelector(":popover-open, dialog[open]")) return true;
  for (const field of one.querySelectorAll("input, textarea, select")) {
    const first = field.options && Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
    const changed = field.options ? field.selectedIndex !== first
      : ["checkbox", "radio"].includes(field.type) ? field.checked !== field.defaultChecked
      : field.value !== field.defaultValue;
    if (changed) return true;
  }
  return false;
}

async function refresh() {
  due = 0;
  if (document.hidden) return;
  pending = false;
  fetched = Date.now();
  let answer;
  try {
    answer = await fetch(location.href, { headers: { "x-hydrophone-live": "1" }, cache: "no-store" });
  } catch {
    return;
  }
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") return location.assign(answer.url);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const one of document.querySelectorAll("[data-live][id]")) {
    const other = fresh.getElementById(one.id);
    if (!other || raw.get(one.id) === other.outerHTML) continue;
    if (isBusy(one)) pending = true;
    else if ("wait" in one.dataset) hold(one, other);
    else put(one, other);
  }
}

function put(one, other) {
  raw.set(one.id, other.outerHTML);
  const open = [...one.querySelectorAll("details")].map((details) => details.open);
  const node = document.adoptNode(other);
  node.querySelectorAll("details").forEach((details, index) => { if (open[index]) details.open = true; });
  localise(node);
  one.replaceWith(node);
  held(one.id)?.remove();
}

const held = (id) => document.querySelector(`[data-held="${id}"]`);

// A row that came while somebody looks waits until it is asked for; the others take their new values.
function hold(one, other) {
  const here = new Set([...one.querySelectorAll("tr[data-row]")].map((row) => row.dataset.row));
  const came = [...other.querySelectorAll("tr[data-row]")]
    .filter((row) => !here.has(row.dataset.row) && new Date(row.dataset.at) >= shownAt);
  if (!came.length) return put(one, other);
  for (const row of one.querySelectorAll("tr[data-row]")) {
    const now = other.querySelector(`tr[data-row="${CSS.escape(row.dataset.row)}"]`)?.cloneNode(true);
    if (!now) continue;
    localise(now);
    row.replaceWith(now);
  }
  let note = held(one.id);
  if (!note) {
    note = document.createElement("p");
    note.dataset.held = one.id;
    note.setAttribute("role", "status");
    note.append(document.createElement("button"));
    note.firstChild.className = "button little";
    one.before(note);
  }
  note.firstChild.textContent = `${came.length} new, show`;
  note.firstChild.onclick = () => put(document.getElementById(one.id), other);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) { localise(document); if (pending) soon(); } });
for (const name of ["focusout", "close", "toggle", "change"]) {
  document.addEventListener(name, () => { if (pending) soon(); }, true);
}

const known = {};
let stamp = document.documentElement.dataset.news;
let wait = 2000;

function listen() {
  const source = new EventSource("/api/v1/events");
  source.addEventListener("hello", (event) => {
    wait = 2000;
    // Between the making of this page and the beginning of the stream something may have happened.
    const now = String(JSON.parse(event.data).commits);
    if (stamp !== now) soon();
    stamp = now;
  });
  for (const name of ["changes", "progress", "deliveries", "conditions", "destinations"]) {
    source.addEventListener(name, (event) => {
      const is_news = name in known && known[name] !== event.data;
      known[name] = event.data;
      const wanted = [...document.querySelectorAll("[data-live]")].some(({ dataset }) =>
        !dataset.live || dataset.live.split(" ").includes(name));
      if (is_news && wanted) soon();
    });
  }
  // A stream that ends is begun again by the browser; one that is refused by us, later and later. Why it is refused, the
  // page itself tells: whoever is not signed in any more is led to where that is mended.
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    soon();
    setTimeout(listen, wait);
    wait = Math.min(wait * 2, 60000);
  };
}
// What is dear to make stays as it is until somebody asks for it again.
if (document.querySelector("[data-live]") && !document.querySelector("main[data-still]")) listen();

/* Copy, and filters that need no button. */

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy)?.textContent ?? "";
  navigator.clipboard.writeText(text.trim()).then(() => {
    const said = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 2000);
  });
});

// A link to a page that asks something opens the dialog that asks the same, where there is one.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("a[data-dialog]");
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (!dialog || !dialog.showModal || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  dialog.showModal();
});

for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select")) form.requestSubmit();
  });
  // A suggestion that is taken is chosen; what is typed waits for Enter.
  form.addEventListener("input", ({ target, inputType }) => {
    if (target.list && (!inputType || inputType === "insertReplacementText")) form.requestSubmit();
  });
  // An address says what is filtered, and nothing of what is not.
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
  });
}

/* Rows that are chosen, and what is done with them. */

document.addEventListener("change", (event) => {
  const form = event.target.closest("form.picks");
  if (!form) return;
  const boxes = [...form.querySelectorAll("tbody .tick input")];
  if (event.target.matches("thead .tick input")) for (const box of boxes) box.checked = event.target.checked;
  const count = boxes.filter((box) => box.checked).length;
  const all = form.querySelector("thead .tick input");
  if (all) { all.checked = count === boxes.length; all.indeterminate = count > 0 && count < boxes.length; }
  for (const said of form.querySelectorAll("[data-count]")) said.textContent = count === 1 ? "1 finding" : `${count} findings`;
});

/* Keys. Single ones work outside fields only, and can be switched off. */

const goes = { o: "/", f: "/findings", p: "/projects", a: "/assets", d: "/deliveries", t: "/destinations" };
const dialog = document.getElementById("keys");
const single = document.getElementById("keys-on");
let armed = 0;

function keysAreOn() {
  try { return localStorage.getItem("keys") !== "off"; } catch { return true; }
}

if (single) {
  single.checked = keysAreOn();
  single.addEventListener("change", () => {
    try { localStorage.setItem("keys", single.checked ? "on" : "off"); } catch { /* It stays as it is. */ }
  });
}
// For browsers that do not know command and commandfor.
for (const button of document.querySelectorAll("[commandfor]")) {
  if ("command" in button) continue;
  button.addEventListener("click", () => {
    const named = document.getElementById(button.getAttribute("commandfor"));
    if (button.getAttribute("command") === "show-modal") named.showModal(); else named.close();
  });
}

function step(by) {
  const rows = [...document.querySelectorAll("tr[data-row] th a, [data-row]:not(tr) a")];
  if (!rows.length) {
    document.querySelector(by > 0 ? "a[rel=next]" : "a[rel=prev]")?.click();
    return;
  }
  const at = rows.findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
  rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
}

const does = {
  "/": () => document.querySelector("input[type=search]")?.focus(),
  j: () => step(1),
  k: () => step(-1),
  x: () => document.activeElement.closest("[data-row]")?.querySelector(".tick input")?.click(),
  e: () => {
    const menu = document.getElementById("export");
    menu?.showPopover?.();
    menu?.querySelector("a")?.focus();
  },
  "?": () => dialog?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "Enter") {
    event.target.closest("form")?.requestSubmit();
    return;
  }
  if (event.key === "Escape" && event.target.matches("input[type=search]")) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || !keysAreOn()) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable], dialog[open]")) return;
  if (goes[event.key] && Date.now() - armed < 1500) {
    location.assign(goes[event.key]);
  } else if (event.key === "g") {
    armed = Date.now();
  } else if (does[event.key]) {
    event.preventDefault();
    does[event.key]();
  }
});

// A browser that goes back shows the page as it kept it, also to whoever comes after a sign-out.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
