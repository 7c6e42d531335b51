import { inUtc } from "./zones.js";

// What all pages that check themselves have in common: the banner, the log's public key, and the question in the page's own address.
export const at = (id) => document.getElementById(id);
const KEY = "tlog.vkey", FRESH = 60; // seconds
const WORDS = {
  verified: "VERIFIED", failed: "FAILED", malformed: "MALFORMED", incomplete: "INCOMPLETE",
  "other-question": "OTHER QUESTION", "not-checked": "NOT CHECKED",
};
const NOT_ASKED = ["tz", "cursor", "journal", "controller", "names"]; // of the address: how an answer is shown
const banner = at("banner");
export const query = new URLSearchParams(location.search);
export const zone = query.get("tz")?.trim() || banner?.dataset.zone;
const UNNAMED = "some of these events are about other persons, too, so the evidence has no names: what the rows say of it is the server's word";
export const HERE = "Checked in this browser, with code from this server.";

/** The question in this page's address, [name, value] as typed. */
export function asked() {
  const [, , page, type, ...id] = location.pathname.split("/").map(decodeURIComponent);
  const typed = [...query].map(([name, value]) => [name, value.trim()]).filter(([name, value]) => value && !NOT_ASKED.includes(name));
  if (page === "health") return [["control", "outcome"]];
  return page === "resource" ? [["resourceType", type], ["resourceId", id.join("/")], ...typed] : typed;
}

/** The same as the log is asked it: times in UTC. */
export const askedInUtc = () => inUtc(asked(), zone);

/** The key that the reader keeps in this browser, or the one that the server says; and whether it is the reader's. */
export function vkey() {
  const own = localStorage.getItem(KEY);
  return own ? { text: own, own: true } : { text: banner.dataset.vkey, own: false };
}

export function say(kind, word, summary, how, problems = [], busy = false) {
  banner.className = `banner ${kind}`;
  banner.setAttribute("aria-busy", busy);
  at("verdict").textContent = word;
  at("summary").textContent = summary;
  at("how").textContent = how;
  at("problems").replaceChildren(...problems.map((each) => make("li", each)));
  at("problems").hidden = !problems.length;
}
export const sayBusy = (how) => say("unchecked", "CHECKING", at("summary").textContent, how, [], true);

/** Say that something is proved: in full with the reader's own key, and if it is of now. */
export function sayProved(verdict, own, notes = []) {
  const { size, loggedAt } = verdict.asOf, age = Math.max(0, Math.round((Date.now() - Date.parse(loggedAt)) / 1000));
  const many = verdict.answers.length, others = many === 1 ? "and no other" : "and no others";
  const answer = many ? `${count(many, "event")}, ${others}` : "no event";
  const summary = `${answer}, as of entry ${size.toLocaleString("en-US")}, ${count(age, "second")} ago`;
  const unnamed = verdict.names === "none" && many ? [UNNAMED] : [];
  const old = age > FRESH ? [`what was logged in the last ${count(age, "second")} is not in it`] : [];
  const word = unnamed.length ? "VERIFIED WITHOUT NAMES" : "VERIFIED";
  if (own) return say(old.length || unnamed.length ? "partly" : "verified", word, summary, HERE, [...unnamed, ...old, ...notes]);
  const put = `${HERE} The key is from this server, too: put in the one that you have from elsewhere, below.`;
  return say("partly", "CONSISTENT IN ITSELF", summary, put, [...unnamed, ...old, ...notes]);
}

/** Say of a verdict that is not "verified" what it is. */
export function refuse({ verdict, problems }) {
  const kind = verdict === "not-checked" ? "unchecked" : verdict === "failed" ? "failed" : "partly";
  say(kind, WORDS[verdict], problems[0], "Nothing on this page is proved.", problems.slice(1));
}

export const count = (number, what) => `${number.toLocaleString("en-US")} ${what}${number === 1 ? "" : "s"}`;

export function make(name, text, ...children) {
  const element = document.createElement(name);
  element.textContent = text;
  element.append(...children);
  return element;
}

export function head(text) {
  const cell = make("th", text);
  cell.scope = "row";
  return cell;
}

/** A cell's content as nodes: a text; or of each field that changed its name, its old and its new value. */
export function nodesOf(content) {
  if (typeof content === "string") return [document.createTextNode(content)];
  return content.map(([name, old, now]) => {
    const change = make("span", "", make("b", name), " ", make("span", old), " → ", make("span", now));
    change.className = "change";
    return change;
  });
}

export function save(text, name) {
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob([text]));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Let the page check itself now, or once its button is pressed, and again with each key that the reader puts in. */
export function begin(check, { first = false } = {}) {
  at("check").querySelector("button").addEventListener("click", check);
  at("check").hidden = !first;
  if (at("print")) {
    at("print").hidden = false;
    at("print").querySelector("button").addEventListener("click", () => window.print());
  }
  const input = at("vkey");
  input.value = localStorage.getItem(KEY) ?? "";
  at("key").hidden = false;
  at("key").querySelector("button").addEventListener("click", () => {
    if (input.value.trim()) localStorage.setItem(KEY, input.value.trim());
    else localStorage.removeItem(KEY);
    check();
  });
  if (!first) check();
}
