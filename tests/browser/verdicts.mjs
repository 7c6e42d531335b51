// Answers questions about evidence with verify.js: one JSON object a line in, one verdict a line out.
// node verdicts.mjs verify.js
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const source = readFileSync(process.argv[2]).toString("base64"); // verify.js is a module, whatever the directory says
const verify = await import(`data:text/javascript;base64,${source}`);
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));

const answers = {
  checkpoint: ({ vkey, file }) => verify.verifyCheckpoint(vkey, bytes(file)),
  proof: ({ vkey, file, event, ...options }) => verify.verifyProof(vkey, bytes(file), bytes(event), options),
  evidence: ({ vkey, asked, file, ...options }) => verify.verifyEvidence(vkey, asked, bytes(file), options),
  set: ({ vkey, asked, files, ...options }) => {
    const named = Object.entries(files).map(([name, file]) => [name, bytes(file)]);
    return verify.verifyEvidence(vkey, asked, new Map(named), options);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  console.log(JSON.stringify(await answers[command](rest)));
}
