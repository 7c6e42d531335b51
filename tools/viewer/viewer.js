import { verifyCheckpoint, verifyEvidence, verifyProof } from "./verify.js";

// The page around verify.js: files in, a verdict out. Everything that comes from a file is put in by textContent.
const at = (id) => document.getElementById(id);
const WORDS = {
  verified: "VERIFIED", failed: "FAILED", malformed: "MALFORMED", incomplete: "INCOMPLETE",
  "other-question": "OTHER QUESTION", "not-checked": "NOT CHECKED",
};
let files = [], latest = null;

/** The kind of a file, by how it begins: what it is, its check decides. */
async function kindOf(file) {
  const text = await file.text();
  if (text.startsWith("c2sp.org/tlog-proof@v1\n")) return "proof";
  if (!text.startsWith("{")) return "checkpoint";
  if (/^[0-9]+\.json$/.test(file.name)) return "part";
  return file.name.endsWith(".event.json") || text.startsWith('{"absent":[],"disclosed":') || text.startsWith('{"absent":[["')
    ? "event" : file.name === "manifest.json" ? "manifest" : "bundle";
}

const bytesOf = async (file) => new Uint8Array(await file.arrayBuffer());

async function check() {
  const vkey = at("vkey").value.trim(), requireDisclosures = at("require").checked;
  const asked = [...document.querySelectorAll("[data-ask]")].filter(({ value }) => value).map(({ id, value }) => [id, value]);
  const kinds = await Promise.all(files.map(kindOf)), first = (kind) => files[kinds.indexOf(kind)];
  const parts = files.filter((_, place) => kinds[place] === "part"), options = { count: at("count").checked, requireDisclosures };
  if (first("proof") && first("event")) {
    return verifyProof(vkey, await bytesOf(first("proof")), await bytesOf(first("event")), { requireDisclosures });
  }
  if (parts.length) {
    const set = new Map();
    for (const part of parts) set.set(part.name, await bytesOf(part));
    return verifyEvidence(vkey, asked, set, options);
  }
  if (first("bundle")) return verifyEvidence(vkey, asked, await bytesOf(first("bundle")), options);
  if (first("checkpoint")) return verifyCheckpoint(vkey, await bytesOf(first("checkpoint")));
  const lacks = "choose an evidence bundle, the parts of a set, a checkpoint, or a proof together with its event file";
  return { verdict: "malformed", exitCode: 2, summary: "", problems: [lacks] };
}

function make(name, text, ...children) {
  const element = document.createElement(name);
  element.textContent = text;
  element.append(...children);
  return element;
}

function fill(table, rows) {
  const body = at(table).tBodies[0];
  body.replaceChildren(...rows.map((row) => make("tr", "", ...row)));
  at(table).hidden = !rows.length;
}

function head(text) {
  const cell = make("th", text);
  cell.scope = "row";
  return cell;
}

function show(verdict) {
  latest = verdict;
  const word = WORDS[verdict.verdict];
  at("verdict").textContent = `${word}: ${verdict.summary || verdict.problems[0]}`;
  at("verdict").className = verdict.verdict;
  at("independent").hidden = verdict.verdict !== "verified";
  at("problems").replaceChildren(...verdict.problems.slice(verdict.summary ? 0 : 1).map((each) => make("li", each)));
  fill("comparison", comparisonOf(verdict));
  fill("facts", factsOf(verdict));
  at("events").tHead.rows[0].replaceChildren(
    ...["Happened", "Logged", "Who", "Action", "What", "Purpose", "Outcome", "Entry", "Data"].map((each) => {
      const cell = make("th", each);
      cell.scope = "col";
      return cell;
    }),
  );
  fill("events", (verdict.answers ?? []).map(rowOf));
  at("result").hidden = false;
  at("verdict").focus();
}

/** What was asked beside what the bundle answers, if that is something else. */
function comparisonOf({ question, mode, bundleQuestion, bundleMode }) {
  if (!bundleQuestion) return [];
  const asked = { ...question, mode }, theirs = { ...bundleQuestion, mode: bundleMode };
  return [...new Set([...Object.keys(asked), ...Object.keys(theirs)])].map((name) => {
    const same = asked[name] === theirs[name] ? "yes" : "differs";
    return [head(name), make("td", asked[name] ?? "-"), make("td", theirs[name] ?? "-"), make("td", same)];
  });
}

function factsOf(verdict) {
  const lines = (verdict.details ?? []).map((line) => [line.slice(0, 9).trim(), line.slice(10)]);
  if (verdict.asOf) {
    const { size, loggedAt, checkpointSize, root } = verdict.asOf, number = (value) => value.toLocaleString("en-US");
    const short = verdict.answers.filter(({ lost }) => lost.length).length;
    const names = {
      none: "not in this bundle: ask for it with --disclose",
      some: `in part: ${short} of ${verdict.answers.length} erased, retired or lost`,
      all: "in this bundle, checked",
    };
    lines.push(["question", Object.entries(verdict.question).map(([name, value]) => `${name}=${value}`).join(", ")]);
    lines.push(...verdict.proved.map((each) => ["proved", each]));
    lines.push(["as of", `entry ${number(size)}, logged ${loggedAt}; signed tree of ${number(checkpointSize)} entries`]);
    if (verdict.answers.length) lines.push(["names", names[verdict.names]]);
    lines.push(["not seen", `what was logged ${verdict.notSeen.join(", or ")}`]);
    lines.push(...verdict.notProved.map((each) => ["not proved", each]), ...verdict.beside.map((each) => ["beside", each]));
    lines.push(["log", `${verdict.log.origin}, ID ${verdict.log.id}`], ["root hash", root]);
  }
  lines.push(["key", at("vkey").value.trim()], ["files", files.map(({ name }) => name).join(", ")], ["checked", new Date().toISOString()]);
  return lines.map(([label, text]) => [head(label), make("td", text)]);
}

function rowOf(answer) {
  const absent = new Map(answer.lost.map(([group, by]) => [group, `(lost, says entry ${by})`]));
  const actor = answer.actor ?? { userId: absent.get("actor") ?? (answer.eventId ? "(not in this bundle)" : "") };
  const who = [actor.userId ?? "(unknown)", actor.role && `(${actor.role})`].filter(Boolean).join(" ");
  const about = [answer.resourceType, answer.resource?.resource?.id ?? absent.get("resource")].filter(Boolean).join(" ");
  const what = answer.eventId ? about : JSON.stringify(answer.report ?? "");
  const named = answer.matched?.startsWith("related") ? ` (asked for as ${answer.matched})` : "";
  const action = [answer.action ?? answer.kind ?? answer.type, answer.operation && `(${answer.operation})`].filter(Boolean).join(" ");
  const data = [answer.actor, answer.resource, ...answer.related].filter((each) => each !== null);
  const details = make("details", "", make("summary", "show"), make("pre", data.map((each) => JSON.stringify(each, null, 1)).join("\n")));
  const cells = [answer.timestamp ?? answer.loggedAt, answer.loggedAt, who, action, what + named,
    answer.resource?.details?.purpose ?? "", answer.outcome ?? "", String(answer.index)];
  return [...cells.map((each) => make("td", each)), data.length ? make("td", "", details) : make("td", "")];
}

function choose(list) {
  files = [...list];
  at("chosen").textContent = files.length ? `Chosen: ${files.map(({ name }) => name).join(", ")}` : "";
}

at("files").addEventListener("change", () => choose(at("files").files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // or the browser would show the file instead
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") choose(event.dataTransfer.files);
  });
}
at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  show(await check());
});
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true; // paper cannot be opened
});
at("print").addEventListener("click", () => window.print());
at("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(latest, null, 1)], { type: "application/json" }));
  link.download = "verdict.json";
  link.click();
  URL.revokeObjectURL(link.href);
});
