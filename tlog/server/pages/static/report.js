import { accessCells, accounting, isAboutLog } from "./cells.js";
import { asked, askedInUtc, at, begin, make, query, refuse, save, sayBusy, sayProved, vkey, zone } from "./checking.js";
import { verifyEvidence } from "./verify.js";

// The page of a report: verifies the evidence in it as the answer to the question in the page's address, and writes all of its rows
// and figures anew from that.
const fill = (table, rows) => {
  table.tBodies[0].replaceChildren(...rows.map((cells) => make("tr", "", ...cells.map((each) => make("td", each)))));
};

async function check() {
  const { text, own } = vkey(), bundle = new TextEncoder().encode(at("bundle").textContent);
  sayBusy("The evidence in this page is verified.");
  const verdict = await verifyEvidence(text, askedInUtc(), bundle);
  if (verdict.verdict !== "verified") return refuse(verdict);
  const answers = verdict.answers.toReversed();
  if (verdict.names === "none") {
    // Nothing to write the rows from, and nothing to hold them against.
  } else if (at("rows").dataset.kind === "access") {
    const cells = (answer) => accessCells(answer, zone, query.get("names") !== "roles");
    fill(at("rows"), answers.filter((each) => !isAboutLog(each)).map(cells));
    fill(at("asks"), answers.filter(isAboutLog).map(cells));
    at("asks").hidden = !answers.some(isAboutLog);
  } else {
    const { rows, leftOut, withoutRecipient, unknown } = accounting(answers, zone);
    fill(at("rows"), rows);
    [leftOut, withoutRecipient, unknown].forEach((number, place) => { at("counts").children[place].textContent = String(number); });
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bundle));
  at("sha256").textContent = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const question = new Map(asked());
  at("about").textContent = `${question.get("resourceType")} ${question.get("resourceId")}`;
  at("period").textContent = `${question.get("from") ?? "from the beginning"} to ${question.get("to") ?? "now"}, in the time of ${zone}`;
  at("log-origin").textContent = verdict.log.origin;
  at("log-size").textContent = String(verdict.asOf.checkpointSize);
  at("log-root").textContent = verdict.asOf.root;
  return sayProved(verdict, own);
}

at("print").querySelectorAll("button")[1].addEventListener("click", () => save(at("bundle").textContent, "evidence.json"));
begin(check);
