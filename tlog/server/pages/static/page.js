import { verifyEvidence, verifyProof } from "./verify.js";
import { inUtc, shown } from "./zones.js";

// What a page does in the browser: fetches the evidence for the question in its own URL, verifies it, and writes every row anew
// from what was verified, by textContent. What the server wrote and evidence does not have is NOT PROVED.
const at = (id) => document.getElementById(id);
const KEY = "tlog.vkey", FRESH = 60; // seconds
const WORDS = {
  verified: "VERIFIED", failed: "FAILED", malformed: "MALFORMED", incomplete: "INCOMPLETE",
  "other-question": "OTHER QUESTION", "not-checked": "NOT CHECKED",
};
const banner = at("banner"), query = new URLSearchParams(location.search);
const zone = query.get("tz")?.trim() || banner?.dataset.zone;
const ofLog = "log"; // the type of what is about the log itself

/** The key that the reader keeps in this browser, or the one that the server says; and whether it is the reader's. */
function vkey() {
  const own = localStorage.getItem(KEY);
  return own ? { text: own, own: true } : { text: banner.dataset.vkey, own: false };
}

function say(kind, word, summary, how, problems = [], busy = false) {
  banner.className = `banner ${kind}`;
  banner.setAttribute("aria-busy", busy);
  at("verdict").textContent = word;
  at("summary").textContent = summary;
  at("how").textContent = how;
  at("problems").replaceChildren(...problems.map((each) => make("li", each)));
  at("problems").hidden = !problems.length;
}

function make(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

/** A padlock, drawn and in words. */
function padlock() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", "M3 7h10v8H3z M5 7V4a3 3 0 0 1 6 0v3h-1.6V4a1.4 1.4 0 0 0-2.8 0v3z");
  svg.append(path);
  return [svg, document.createTextNode(" proved")];
}

/** The cells of an event that was verified: those of tlog/server/pages/rows.py. */
function cellsOf(answer) {
  const lost = new Map(answer.lost.map(([group, by]) => [group, `(lost, says entry ${by})`]));
  const actor = answer.actor ?? {}, resource = answer.resource ?? {};
  const who = lost.get("actor") ?? (actor.userId ?? "(unknown)") + (actor.role ? ` (${actor.role})` : "");
  const named = answer.matched?.startsWith("related") ? " (named beside)" : "";
  return [
    shown(answer.timestamp, zone), shown(answer.loggedAt, zone), who,
    answer.action + (answer.operation === null ? "" : ` (${answer.operation})`),
    `${answer.resourceType} ${resource.resource?.id ?? lost.get("resource")}${named}`,
    resource.details?.purpose ?? "", answer.outcome,
  ];
}

function fillRow(row, answer) {
  const cells = [...row.cells], texts = cellsOf(answer), link = make("a", String(answer.index));
  texts.forEach((text, place) => { cells[place].textContent = text; });
  link.href = `/ui/event/${answer.eventId}`;
  cells.at(-2).replaceChildren(link);
  cells.at(-1).replaceChildren(...padlock());
}

/** Compare rows with what was verified; return what is wrong, in words. */
function fillRows(verdict) {
  const unfolded = query.get("journal") === "show" || query.get("resourceType") === ofLog;
  const expected = verdict.answers.filter((each) => unfolded || each.resourceType !== ofLog);
  const byIndex = new Map(expected.map((each) => [String(each.index), each])), written = [];
  let strange = 0, young = 0;
  for (const row of at("rows").tBodies[0].rows) {
    const answer = byIndex.get(row.dataset.index), before = written.at(-1);
    if (answer && row.cells.length === 9 && (before === undefined || answer.index < before)) {
      fillRow(row, answer);
      written.push(answer.index);
    } else if (Number(row.dataset.index) >= verdict.asOf.size && !answer) {
      row.cells[row.cells.length - 1].textContent = "NOT PROVED YET";
      young += 1;
    } else {
      row.className = "failed";
      row.cells[row.cells.length - 1].textContent = "NOT PROVED";
      strange += 1;
    }
  }
  // Older events may be on pages to come, and newer ones on those before: where there are any.
  const older = at("rows").hasAttribute("data-following"), newer = query.has("cursor");
  const low = older ? written.at(-1) ?? Infinity : -1, high = newer ? written[0] ?? -1 : Infinity;
  const absent = expected.filter(({ index }) => index >= low && index <= high && !written.includes(index)).length;
  const folded = verdict.answers.length - expected.length;
  at("folded").hidden = !folded;
  at("folded").firstElementChild.textContent = String(folded);
  const problems = [];
  if (strange) problems.push(`${count(strange, "row")} of this page ${strange === 1 ? "is" : "are"} not in the evidence`);
  if (absent) problems.push(`${count(absent, "event")} in the evidence ${absent === 1 ? "is" : "are"} not on this page`);
  const notes = young ? [`${count(young, "row")} came after what is signed so far: look again in a moment`] : [];
  const rest = expected.length - absent - written.length;
  if (rest) notes.push(`${count(written.length, "event")} of ${expected.length} are on this page`);
  return { problems, notes };
}
const count = (number, what) => `${number.toLocaleString("en-US")} ${what}${number === 1 ? "" : "s"}`;

/** Show the verdict about the answer. */
function showAnswer(verdict, own) {
  if (verdict.verdict !== "verified") return refuse(verdict);
  const { problems, notes } = fillRows(verdict);
  const { size, loggedAt } = verdict.asOf, age = Math.max(0, Math.round((Date.now() - Date.parse(loggedAt)) / 1000));
  const many = verdict.answers.length, others = many === 1 ? "and no other" : "and no others";
  const answer = many ? `${count(many, "event")}, ${others}` : "no event";
  const summary = `${answer}, as of entry ${size.toLocaleString("en-US")}, ${count(age, "second")} ago`;
  if (problems.length) return say("failed", "NOT PROVED", summary, "The page and the evidence differ.", problems);
  const how = "Checked in this browser, with code from this server.";
  if (!own) {
    const asked = `${how} The key is from this server, too: put in the one that you have from elsewhere, below.`;
    return say("partly", "CONSISTENT IN ITSELF", summary, asked, notes);
  }
  const old = age > FRESH ? [`what was logged in the last ${count(age, "second")} is not in it`] : [];
  return say(old.length ? "partly" : "verified", "VERIFIED", summary, how, [...old, ...notes]);
}

function refuse({ verdict, problems }) {
  const kind = verdict === "not-checked" ? "unchecked" : verdict === "failed" ? "failed" : "partly";
  say(kind, WORDS[verdict], problems[0], "Nothing on this page is proved.", problems.slice(1));
}

/** Ask for the evidence to the question in this page's URL, and check it. */
async function checkAnswer() {
  const { text, own } = vkey(), asked = [...query].map(([name, value]) => [name, value.trim()]);
  const question = asked.filter(([name, value]) => value && !["tz", "cursor", "journal"].includes(name));
  say("unchecked", "CHECKING", at("summary").textContent, "The evidence is fetched and verified.", [], true);
  const parameters = new URLSearchParams([...question, ["tz", zone], ["disclose", "true"]]);
  try {
    const response = await fetch(`/ui/evidence?${parameters}`, { redirect: "error" });
    if (!response.ok) throw new Error(`the evidence could not be fetched: ${response.status}`);
    const bundle = new Uint8Array(await response.arrayBuffer());
    showAnswer(await verifyEvidence(text, inUtc(question, zone), bundle), own);
  } catch (error) {
    refuse({ verdict: "not-checked", problems: [error.message] });
  }
}

/** Check the event of this page, and write its parts anew. */
async function checkEvent() {
  const { text, own } = vkey(), bytes = (id) => new TextEncoder().encode(at(id).textContent);
  let verdict = await verifyProof(text, bytes("proof"), bytes("file"));
  const isAsked = verdict.details.some((line) => line.startsWith(`event     ${location.pathname.split("/").at(-1)}:`));
  if (["verified", "incomplete"].includes(verdict.verdict) && !isAsked) {
    verdict = { verdict: "failed", problems: ["what this proves is another event than the one that was asked for"] };
  }
  const results = [...at("steps").querySelectorAll("em")], good = ["verified", "incomplete"].includes(verdict.verdict);
  results.forEach((each) => { each.textContent = good ? "holds" : "not proved"; });
  if (!own) results[0].textContent = "from this server: nothing is proved about who signed";
  if (!good) return refuse(verdict);
  // What the file says, which is what was verified: not what the server wrote beside it.
  const { entry, disclosures } = JSON.parse(at("file").textContent), members = Object.entries(JSON.parse(entry));
  const bodies = Object.entries(disclosures).map(([group, { body }]) => [group, JSON.parse(body)]);
  const rows = [...members.filter(([name]) => !["commitments", "keys"].includes(name)), ...bodies].map(([name, value]) => {
    const row = document.createElement("tr"), head = make("th", name), cell = document.createElement("td");
    head.scope = "row";
    cell.append(make("pre", typeof value === "string" ? value : JSON.stringify(value, null, 2)));
    row.append(head, cell);
    return row;
  });
  at("members").tBodies[0].replaceChildren(...rows);
  at("members").caption.textContent = "The event, from what was verified";
  at("row").hidden = true; // the server's own words
  const how = "Checked in this browser, with code from this server.";
  const word = !own ? "CONSISTENT IN ITSELF" : WORDS[verdict.verdict], kind = own && verdict.verdict === "verified" ? "verified" : "partly";
  return say(kind, word, verdict.summary || verdict.problems[0], how, verdict.problems);
}

function begin(check, first) {
  const button = at("check").querySelector("button");
  button.addEventListener("click", check);
  at("check").hidden = !first;
  if (!first) check();
  const input = at("vkey");
  input.value = localStorage.getItem(KEY) ?? "";
  at("key").hidden = false;
  at("key").querySelector("button").addEventListener("click", () => {
    if (input.value.trim()) localStorage.setItem(KEY, input.value.trim());
    else localStorage.removeItem(KEY);
    check();
  });
}

if (at("rows")?.hasAttribute("data-provable")) {
  at("print").hidden = false;
  at("print").querySelector("button").addEventListener("click", () => window.print());
  begin(checkAnswer, banner.hasAttribute("data-asks-first"));
} else if (at("proof")) {
  for (const button of at("save").querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const link = make("a", "");
      link.href = URL.createObjectURL(new Blob([at(button.dataset.file).textContent]));
      link.download = button.dataset.name;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
  at("save").hidden = false;
  begin(checkEvent, false);
}
