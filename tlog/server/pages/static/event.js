import { HERE, at, begin, head, make, refuse, save, say, vkey } from "./checking.js";
import { verifyProof } from "./verify.js";

// The page of one event: verifies the files in it, and writes its members anew from them.
async function check() {
  const { text, own } = vkey(), bytes = (id) => new TextEncoder().encode(at(id).textContent);
  let verdict = await verifyProof(text, bytes("proof"), bytes("file"));
  const wanted = location.pathname.split("/").at(-1).toLowerCase();
  if (["verified", "incomplete"].includes(verdict.verdict) && !verdict.details.some((line) => line.startsWith(`event     ${wanted}:`))) {
    verdict = { verdict: "failed", problems: ["what this proves is another event than the one that was asked for"] };
  }
  const results = [...at("steps").querySelectorAll("em")], holds = ["verified", "incomplete"].includes(verdict.verdict);
  results.forEach((each) => { each.textContent = holds ? "holds" : "not proved"; });
  if (!own) results[0].textContent = "from this server: nothing is proved about who signed";
  if (!holds) return refuse(verdict);
  // What the file says, which is what was verified: not what the server wrote beside it.
  const { entry, disclosures } = JSON.parse(at("file").textContent);
  const members = Object.entries(JSON.parse(entry)).filter(([name]) => !["commitments", "keys"].includes(name));
  const bodies = Object.entries(disclosures).map(([group, { body }]) => [group, JSON.parse(body)]);
  const rows = [...members, ...bodies].map(([name, value]) => {
    const shown = make("pre", typeof value === "string" ? value : JSON.stringify(value, null, 2));
    return make("tr", "", head(name), make("td", "", shown));
  });
  at("members").tBodies[0].replaceChildren(...rows);
  at("members").caption.textContent = "The event, from what was verified";
  at("row").hidden = true; // the server's own words
  const word = !own ? "CONSISTENT IN ITSELF" : verdict.verdict === "verified" ? "VERIFIED" : "INCOMPLETE";
  return say(word === "VERIFIED" ? "verified" : "partly", word, verdict.summary || verdict.problems[0], HERE, verdict.problems);
}

if (at("proof")) {
  at("save").hidden = false;
  for (const button of at("save").querySelectorAll("button")) {
    button.addEventListener("click", () => save(at(button.dataset.file).textContent, button.dataset.name));
  }
  begin(check);
}
