// What is nicer with script: times in the reader's zone, Copy, and keys. Everything works without it.
"use strict";

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.title = full.format(at);
  if (time.dataset.form === "clock") {
    time.textContent = at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  }
}

document.documentElement.classList.add("scripted");

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
}

const goes = { o: "/", f: "/findings", p: "/projects", a: "/assets", d: "/deliveries", t: "/destinations" };
let armed = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "Enter") {
    event.target.closest("form")?.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  } else if (event.key === "g") {
    armed = Date.now();
  } else if (goes[event.key] && Date.now() - armed < 1500) {
    location.href = goes[event.key];
  }
});
