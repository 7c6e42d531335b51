import { eventCells, isAboutLog, outcomeCells, timelineCells } from "./cells.js";
import { asked, askedInUtc, at, begin, count, make, nodesOf, query, refuse, say, sayBusy, sayProved, vkey, zone } from "./checking.js";
import { draw } from "./histogram.js";
import { verifyEvidence } from "./verify.js";
import { shown } from "./zones.js";

// The page of an answer: fetches the evidence for the question in its own address, verifies it, and writes every row anew from what was
// verified. What the server wrote and the evidence does not have is NOT PROVED.
const CELLS = { ask: eventCells, health: outcomeCells, timeline: timelineCells };
const table = at("rows"), cellsOf = CELLS[table.dataset.layout];

/** A padlock, drawn and in words. */
function padlock() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", "M3 7h10v8H3z M5 7V4a3 3 0 0 1 6 0v3h-1.6V4a1.4 1.4 0 0 0-2.8 0v3z");
  svg.append(path);
  return [svg, " proved"];
}

function fillRow(row, answer, named) {
  if (!named) {
    row.cells[row.cells.length - 1].textContent = "in the log, text NOT PROVED";
    return;
  }
  const cells = [...row.cells], link = make(answer.eventId ? "a" : "span", String(answer.index));
  cellsOf(answer, zone).forEach((content, place) => { cells[place].replaceChildren(...nodesOf(content)); });
  if (answer.eventId) link.href = `/ui/event/${answer.eventId}`;
  cells.at(-2).replaceChildren(link);
  cells.at(-1).replaceChildren(...padlock());
}

/** Compare rows with what was verified; return what is wrong, and what is to be known, in words. */
function fillRows(verdict) {
  const unfolded = query.get("journal") === "show" || asked().some(([name, value]) => name === "resourceType" && value === "log");
  const expected = verdict.answers.filter((each) => unfolded || !isAboutLog(each));
  const byIndex = new Map(expected.map((each) => [String(each.index), each])), written = [];
  let strange = 0, young = 0;
  for (const row of table.tBodies[0].rows) {
    const answer = byIndex.get(row.dataset.index), before = written.at(-1);
    const whole = row.cells.length === table.tHead.rows[0].cells.length;
    if (answer && whole && (before === undefined || answer.index < before)) {
      fillRow(row, answer, verdict.names !== "none");
      written.push(answer.index);
    } else if (!answer && Number(row.dataset.index) >= verdict.asOf.size) {
      row.cells[row.cells.length - 1].textContent = "NOT PROVED YET";
      young += 1;
    } else {
      row.className = "failed";
      row.cells[row.cells.length - 1].textContent = "NOT PROVED";
      strange += 1;
    }
  }
  // Older events may be on pages to come, and newer ones on those before: where there are any.
  const older = table.hasAttribute("data-following"), newer = query.has("cursor");
  const low = older ? written.at(-1) ?? Infinity : -1, high = newer ? written[0] ?? -1 : Infinity;
  const absent = expected.filter(({ index }) => index >= low && index <= high && !written.includes(index)).length;
  const folded = verdict.answers.length - expected.length, rest = expected.length - absent - written.length;
  at("folded").hidden = !folded;
  at("folded").firstElementChild.textContent = String(folded);
  const problems = [], notes = [];
  if (strange) problems.push(`${count(strange, "row")} of this page ${strange === 1 ? "is" : "are"} not in the evidence`);
  if (absent) problems.push(`${count(absent, "event")} in the evidence ${absent === 1 ? "is" : "are"} not on this page`);
  if (young) notes.push(`${count(young, "row")} came after what is signed so far: look again in a moment`);
  if (rest) notes.push(`${count(written.length, "event")} of ${expected.length} are on this page`);
  if (at("histogram") && !problems.length) draw(expected.map((answer) => shown(answer.timestamp, zone)), "all that are proved");
  return { problems, notes };
}

async function check() {
  const { text, own } = vkey();
  sayBusy("The evidence is fetched and verified.");
  const parameters = new URLSearchParams([...asked(), ["tz", zone], ["disclose", "true"]]);
  try {
    const response = await fetch(`/ui/evidence?${parameters}`, { redirect: "error" });
    if (!response.ok) throw new Error(`the evidence could not be fetched: ${response.status}`);
    const verdict = await verifyEvidence(text, askedInUtc(), new Uint8Array(await response.arrayBuffer()));
    if (verdict.verdict !== "verified") return refuse(verdict);
    const { problems, notes } = fillRows(verdict);
    if (!problems.length) return sayProved(verdict, own, notes);
    return say("failed", "NOT PROVED", "the page and the evidence differ", "Save the evidence, and tell somebody.", problems);
  } catch (error) {
    return refuse({ verdict: "not-checked", problems: [error.message] });
  }
}

if (at("histogram")) draw([...table.tBodies[0].rows].map((row) => row.cells[0].textContent), "those on this page, says the server");
if (table.hasAttribute("data-provable")) begin(check, { first: at("banner").hasAttribute("data-asks-first") });
