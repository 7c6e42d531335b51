/* Verify evidence from a tlog audit log in a browser, or anywhere else that has WebCrypto. No library, no network.

Trusted are this file, the browser, and the log's public key (its vkey), which the caller must have from somewhere to believe.
What is verified, and in which order, is what tools/verify.py does; tests/browser/test_verify_js.py compares the two:

    checkpoint   the log signed this tree size and root hash                    c2sp.org/signed-note, tlog-checkpoint
    proof        this event is in the signed tree, with this personal data      c2sp.org/tlog-proof, RFC 6962
    evidence     these events and no others answer a question, also in parts    docs/reference/formats.md
Each returns a verdict, which has the members of `verify.py --json`, and never throws. Its exitCode is 0 where everything was
verified. Where the browser has no WebCrypto (a page over HTTP from another host) or no Ed25519, the verdict is "not-checked".
Left out: growth between checkpoints, whole exports and frauds, which verify.py checks; cosignatures of witnesses. */

const MAX_FILE = 1 << 20, MAX_BUNDLE = 1 << 25, MAX_ENTRY = 65535, MAX_SIZE = 2n ** 63n - 1n;
const HASH = 32, POSTING = 12, PAGE = 32 * 12;
const LEAF = 0, NODE = 1, COMMITMENT = 0x10, TABLE = 0x13;

/** Why something is not verified; `code` is the exit code of verify.py, `verdict` its word. */
class Refusal extends Error {
  constructor(verdict, code, message) {
    super(message);
    Object.assign(this, { verdict, code });
  }
}
/** Well-formed evidence that does not prove what it should. */
const failed = (message) => new Refusal("failed", 1, message);
/** Input that does not have the form it must have. */
const malformed = (message) => new Refusal("malformed", 2, message);
/** Something that was asked for is not there to be checked. */
const incomplete = (message) => new Refusal("incomplete", 3, message);
/** This browser lacks what checking needs. */
const notChecked = (message) => new Refusal("not-checked", 3, message);

function require(condition, message, error = failed) {
  if (!condition) throw error(message);
}

// --- The form of JSON values: each of these tells whether a value has it -------------------------------------------------
const anything = () => true;
const isText = (value) => typeof value === "string";
const isInteger = (value) => Number.isSafeInteger(value) && value >= 0; // larger ones are no JSON integers (RFC 8785)
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const exactly = (expected) => (value) => value === expected;
const matching = (pattern) => (value) => isText(value) && whole(pattern).test(value);
const listOf = (form) => (value) => Array.isArray(value) && value.every(form);
const tuple = (...forms) => (value) => Array.isArray(value) && value.length === forms.length && forms.every((form, k) => form(value[k]));
/** An object with exactly these members; one whose name here ends with "?" may be absent. */
function members(forms) {
  const named = new Map(Object.entries(forms).map(([name, form]) => [name.replace("?", ""), form]));
  const needed = Object.keys(forms).filter((name) => !name.endsWith("?"));
  return (value) =>
    isObject(value) && needed.every((name) => Object.hasOwn(value, name)) &&
    Object.keys(value).every((name) => named.has(name) && named.get(name)(value[name]));
}
const whole = (pattern) => new RegExp(`^(?:${pattern})$`);
const optional = (names) => Object.fromEntries(names.split(" ").map((name) => [`${name}?`, anything]));

const SALTED = members({ body: isText, salt: isText });
const INDEX_KEYS = members({
  bits: isInteger, loggedAt: isText, origin: isText, root: isText, type: exactly("index-keys"), v: exactly(1),
});
const INDEX = members({
  ends: listOf(isInteger), loggedAt: isText, size: isInteger, table: isText, type: exactly("index"), v: exactly(1),
});
const EVENT_FILE = members({
  absent: listOf(tuple(isText, isInteger)), disclosed: listOf(isText), disclosures: isObject, entry: isText,
});
// What the groups of an event hold; of the rest of it only the names of the members matter here.
const ACTOR = members({ appendedBy: isText, "userId?": isText, ...optional("address email ipAddress role type userAgent") });
const DETAILS = members(optional("fieldsAccessed newValues oldValues purpose query reason recipient"));
const RESOURCE = members({
  "details?": DETAILS, "metadata?": isObject, resource: members({ id: isText, "name?": anything, type: isText }),
});
const RELATED = members({ id: isText, "name?": anything, "role?": anything, type: isText });
const BUNDLE = members({
  absent: listOf(tuple(isInteger, isText, isInteger)),
  buckets: listOf(members({ hashes: isText, key: isText })),
  checkpoint: isText,
  disclosure: isText,
  disclosures: listOf(tuple(isInteger, isObject)),
  end: isInteger,
  entries: listOf(tuple(isInteger, isText)),
  epoch: isInteger,
  hashes: isText,
  manifest: members({ answers: isInteger, disclosures: isInteger, postings: isInteger }),
  mode: isText,
  "part?": tuple(isInteger, isInteger),
  question: isObject,
  rosters: tuple(),
  segments: listOf(members({ hashes: isText, runs: listOf(tuple(isInteger, isText)) })),
  start: isInteger,
  table: isText,
  "times?": listOf(members({ after: isText, afterProof: listOf(isText), before: isText, beforeProof: listOf(isText) })),
  type: exactly("tlog-evidence"),
  v: exactly(1),
});

// --- Strict parsing: what is accepted is exactly what formatting it again gives -------------------------------------------
const encode = (text) => new TextEncoder().encode(text);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const same = (a, b) => a.length === b.length && a.every((byte, place) => byte === b[place]);

/** The text of UTF-8 bytes, a byte order mark included; undefined if they are not UTF-8. */
function decodeText(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The number below 2^63, as a BigInt, written in ASCII decimal without sign or leading zero. */
function parseDecimal(text, what) {
  const right = /^(?:0|[1-9][0-9]{0,18})$/.test(text) && BigInt(text) <= MAX_SIZE;
  require(right, `${what} is not a decimal number below 2^63`, malformed);
  return BigInt(text);
}

/** The bytes of padded standard base64 (RFC 4648 section 4), `size` of them if given. */
function parseBase64(text, what, size) {
  const right = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);
  require(right, `${what} is not base64`, malformed);
  const data = atob(text);
  // atob takes trailing bits that are not zero; two texts for one value would let proofs be changed.
  const canonicalText = btoa(data) === text && (size === undefined || data.length === size);
  require(canonicalText, `${what} is not canonical base64 of the right length`, malformed);
  return Uint8Array.from(data, (character) => character.charCodeAt(0));
}

/** The `size` bytes of unpadded URL-safe base64 (RFC 4648 section 5). */
function parseBase64url(text, what, size) {
  require(/^[A-Za-z0-9_-]*$/.test(text), `${what} is not base64url`, malformed);
  const padded = text.replaceAll("-", "+").replaceAll("_", "/") + "=".repeat((4 - (text.length % 4)) % 4);
  return parseBase64(padded, what, size);
}

/** Data in pieces of `size`; the last may be shorter. */
const cut = (data, size) =>
  Array.from({ length: Math.ceil(data.length / size) }, (_, piece) => data.subarray(piece * size, (piece + 1) * size));

/** The JSON object in a text, I-JSON (RFC 7493) of at most 32 levels, if `exact` written as RFC 8785 says. */
function parseJson(text, what, { exact = true } = {}) {
  let value, right;
  try {
    value = JSON.parse(text);
    // Other spacing, escapes, order, numbers, a member that stands twice: all of them come out different.
    right = isObject(value) && (exact ? canonical(value) === text : canonical(value) !== "" && isPlain(text));
  } catch {
    right = false;
  }
  require(right, `${what} is not a JSON object${exact ? " in canonical form (RFC 8785)" : ""}`, malformed);
  return value;
}

/** A JSON value as RFC 8785 writes it. */
function canonical(value, depth = 0) {
  require(depth < 32 || !(typeof value === "object" && value), "nested deeper than 32 levels", malformed);
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(",")}]`;
  if (isObject(value)) {
    const names = Object.keys(value).sort(); // by UTF-16 code units, as JavaScript sorts
    return `{${names.map((name) => `${canonical(name)}:${canonical(value[name], depth + 1)}`).join(",")}}`;
  }
  require(typeof value !== "string" || value.isWellFormed(), "half a surrogate pair", malformed);
  require(typeof value !== "number" || Number.isFinite(value), "no number", malformed);
  return JSON.stringify(value);
}

/** Tell whether in a text that is JSON no member stands twice and no integer is longer than any double is written. */
function isPlain(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g);
  const open = [];
  return tokens.every((token, place) => {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (tokens[place + 1] === ":") {
      const name = JSON.parse(token), twice = open.at(-1).has(name);
      open.at(-1).add(name);
      return !twice;
    }
    return !/^-?[0-9]+$/.test(token) || token.length <= 22;
  });
}

// --- Hashes and Merkle proofs (RFC 6962 section 2.1, verification as in RFC 9162 section 2.1) -----------------------------
/** SHA-256 over the concatenated parts, of which a number is a byte that keeps the kinds of hashes apart. */
async function sha256(...parts) {
  const pieces = parts.map((part) => (typeof part === "number" ? [part] : part));
  const data = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    data.set(piece, at);
    at += piece.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

/** The largest power of two smaller than a BigInt: where RFC 6962 divides a tree. */
const split = (size) => 1n << BigInt((size - 1n).toString(2).length - 1);

/** The root that an inclusion proof leads to, taking its hashes from the end: PATH(m, D[n]) of RFC 6962. */
async function climb(index, size, leaf, proof) {
  if (size === 1n) return leaf;
  require(proof.length, "the inclusion proof does not lead to the checkpoint's root hash");
  const sibling = proof.pop(), left = split(size);
  if (index < left) return sha256(NODE, await climb(index, left, leaf, proof), sibling);
  return sha256(NODE, sibling, await climb(index - left, size - left, leaf, proof));
}

/** Check that `leaf` (a leaf hash) is number `index` in the tree of `size` leaves with root hash `root`; sizes are BigInts. */
async function verifyInclusion(index, size, leaf, proof, root) {
  require(index < size, "a hash does not have 32 bytes, or the index is not below the tree size");
  const rest = [...proof], computed = await climb(index, size, leaf, rest);
  require(!rest.length && same(computed, root), "the inclusion proof does not lead to the checkpoint's root hash");
}

/** Check several leaf hashes at once, a map by index; the proof has, left to right, the subtrees that hold none of them. */
async function verifyJoint(size, leaves, proof, root, what) {
  const data = parseBase64(proof, `the proof of ${what}`);
  require(data.length % HASH === 0, `the proof of ${what} is not made of whole hashes`, malformed);
  const indexes = [...leaves.keys()].sort((a, b) => a - b), hashes = cut(data, HASH).reverse();
  const wrong = `the proof of ${what} does not lead to the root hash`;
  async function climbAll(start, end, first, last) {
    if (first === last) {
      require(hashes.length, wrong);
      return hashes.pop();
    }
    if (end - start === 1n) return leaves.get(indexes[first]);
    const middle = start + split(end - start);
    const halfway = first + bisect(indexes.slice(first, last), (index) => index < middle);
    const left = await climbAll(start, middle, first, halfway);
    return sha256(NODE, left, await climbAll(middle, end, halfway, last));
  }
  require(indexes.length && indexes.at(-1) < size, wrong);
  require(same(await climbAll(0n, size, 0, indexes.length), root) && !hashes.length, wrong);
}

/** How many items at the beginning of an array satisfy `before`, which all that follow the first one without it do not. */
function bisect(items, before) {
  let low = 0, high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (before(items[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

// --- Ed25519 verification (RFC 8032 section 5.1) --------------------------------------------------------------------------
// WebCrypto verifies; what keys and signatures it must not be given is decided here, because browsers differ.
const P = 2n ** 255n - 19n, L = 2n ** 252n + 27742317777372353535851937790883648493n;
const modulo = (number) => ((number % P) + P) % P;
const number = (bytes) => BigInt(`0x${hex(bytes.toReversed())}`);
function power(base, exponent) {
  let result = 1n;
  for (base = modulo(base); exponent; exponent >>= 1n) {
    if (exponent & 1n) result = modulo(result * base);
    base = modulo(base * base);
  }
  return result;
}
const D = modulo(-121665n * power(121666n, P - 2n));
const Y8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;
const SMALL_ORDER = new Set([0n, 1n, P - 1n, Y8, P - Y8]); // the y of all points of order 1, 2, 4 and 8

/** Refuse what is not the canonical encoding of a point, and small-order points, under which anything can be made to verify. */
function checkPublicKey(key) {
  const y = number(key) & (2n ** 255n - 1n);
  require(y < P, "the public key is not a canonical Ed25519 point", malformed);
  require(!SMALL_ORDER.has(y), "the public key is of small order: signatures under it prove nothing", malformed);
  // x^2 = (y^2 - 1) / (D y^2 + 1) has to be a square, by Euler's criterion.
  const square = modulo(y * y - 1n) * modulo(D * y * y + 1n);
  require(power(square, (P - 1n) / 2n) === 1n, "the public key is not an Ed25519 point", malformed);
}

/** Check an Ed25519 signature (RFC 8032 section 5.1.7, the equation without cofactor). */
async function verifyEd25519(key, message, signature) {
  const right = signature.length === 64 && number(signature.subarray(32)) < L;
  require(right, "the signature does not have 64 bytes, or its S is not below the group order");
  let imported;
  try {
    imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  } catch {
    throw notChecked("this browser has no Ed25519: use a newer one, or tools/verify.py");
  }
  require(await crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message), "the signature does not verify");
}

// --- Notes, keys, checkpoints, proof files --------------------------------------------------------------------------------
// What Python calls white space, which JavaScript calls by another list.
const SPACE = "\\x09-\\x0d\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** The key of `<name>+<key ID>+<base64(0x01 || public key)>` (c2sp.org/signed-note). */
async function parseVkey(vkey) {
  const match = whole(`([^${SPACE}\\x00-\\x1f+]+)\\+([0-9a-f]{8})\\+([A-Za-z0-9+/=]+)`).exec(vkey);
  const form = "a vkey has the form <name>+<key ID>+<base64 key>, the name at most 255 bytes";
  require(match && vkey.isWellFormed() && encode(match[1]).length <= 255, form, malformed);
  const [, name, id, text] = match, key = parseBase64(text, "the key of the vkey", 1 + 32);
  const keyId = hex((await sha256(encode(name), encode("\n"), key)).subarray(0, 4));
  require(key[0] === 1 && id === keyId, "the vkey is not an Ed25519 key (type 0x01) with its own key ID", malformed);
  checkPublicKey(key.subarray(1));
  return { name, keyId, key: key.subarray(1) };
}

/** The checkpoint of a note, a text, that the log's key signed (c2sp.org/tlog-checkpoint, no extension lines). */
async function openCheckpoint(note, log) {
  const { text, signatures } = splitNote(note);
  // Signatures by unknown keys are ignored; a wrong one under the known name and ID condemns the whole note.
  const known = signatures.filter(({ name, keyId }) => name === log.name && keyId === log.keyId);
  require(known.length, "the checkpoint is not signed by the log's key");
  for (const { signature } of known) await verifyEd25519(log.key, encode(text), signature);
  const lines = text.split("\n");
  require(lines.length === 4, "a checkpoint has exactly three lines: origin, tree size, root hash", malformed);
  const size = parseDecimal(lines[1], "the checkpoint's tree size");
  const root = parseBase64(lines[2], "the checkpoint's root hash", HASH);
  require(lines[0] === log.name, "the checkpoint's origin is not the name of the log's key");
  require(size || same(root, await sha256()), "an empty tree has another root hash");
  return { origin: lines[0], size, root };
}

/** A note's text and its signatures as { name, keyId, signature }. */
function splitNote(note) {
  require(encode(note).length <= MAX_FILE, `a note has at most ${MAX_FILE} bytes`, malformed);
  require(!/[\x00-\x09\x0b-\x1f]/.test(note), "a note must be UTF-8 without control characters", malformed);
  const at = note.lastIndexOf("\n\n"), lines = note.slice(at + 2).split("\n");
  const ended = at >= 0 && lines.pop() === "" && lines.length >= 1 && lines.length <= 100;
  require(ended, "a note is a text, an empty line and 1 to 100 signature lines, each ended by a newline", malformed);
  const matches = lines.map((line) => whole(`— ([^${SPACE}+]+) ([A-Za-z0-9+/=]+)`).exec(line));
  const named = matches.every((match) => match && encode(match[1]).length <= 255);
  const form = "a signature line has the form '— <key name> <base64 signature>', the name at most 255 bytes";
  require(named, form, malformed);
  const parsed = matches.map(([, name, text]) => ({ name, data: parseBase64(text, "a signature") }));
  const long = parsed.every(({ data }) => data.length >= 5);
  require(long, "a signature has its 4-byte key ID and nothing after it", malformed);
  const signatures = parsed.map(({ name, data }) => ({ name, keyId: hex(data.subarray(0, 4)), signature: data.subarray(4) }));
  return { text: note.slice(0, at + 1), signatures };
}

/** The index, a BigInt, the hashes, and the checkpoint of a tlog-proof, a text (c2sp.org/tlog-proof). */
function parseProof(text) {
  const at = text.indexOf("\n\n"), note = at < 0 ? "" : text.slice(at + 2);
  const lines = (at < 0 ? text : text.slice(0, at)).split("\n");
  const first = "a tlog-proof starts with the line c2sp.org/tlog-proof@v1";
  require(lines.shift() === "c2sp.org/tlog-proof@v1", first, malformed);
  if (lines[0]?.startsWith("extra ")) parseBase64(lines.shift().slice(6), "the extra line"); // opaque, and proves nothing
  const right = note && lines.length >= 1 && lines.length <= 1 + 63 && lines[0].startsWith("index ");
  const form = "a proof has a line 'index <number>', at most 63 hashes, an empty line and a checkpoint";
  require(right, form, malformed);
  const index = parseDecimal(lines[0].slice(6), "the number after 'index '");
  return { index, hashes: lines.slice(1).map((line) => parseBase64(line, "a hash of the proof", HASH)), note };
}

// --- Entries and event files ----------------------------------------------------------------------------------------------
const TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]";
const ACTIONS = "read|create|update|delete|export|login|logout|permission_change|config_change";
const HASH_TEXT = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", KEY_TEXT = "[A-Za-z0-9_-]{21}[AQgw]"; // without bits that say nothing
const TYPE = "[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", VERB = "[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}";
const CONTROL = "(?!(?:event|index|index-keys)$)[a-z-]{1,32}";
const EVENT = whole( // an event's entry, member by member in the order of RFC 8785
  `\\{"action":"(?<action>${ACTIONS})","commitments":\\{"actor":"(?<actor>${HASH_TEXT})",` +
    `(?:"related":\\["(?<related>${HASH_TEXT}(?:","${HASH_TEXT}){0,31})"\\],)?"resource":"(?<resource>${HASH_TEXT})"\\},` +
    `"eventId":"(?<eventId>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","keys":\\["(?<keys>${KEY_TEXT}(?:","${KEY_TEXT})+)"\\],` +
    `"loggedAt":"(?<loggedAt>${TIME}\\.[0-9]{6}Z)",(?:"operation":"(?<operation>${VERB})",)?` +
    `"outcome":"(?<outcome>success|failure|unknown)","resourceType":"(?<resourceType>${TYPE})",` +
    `(?:"source":\\{"id":"(?<sourceId>${VERB})","seq":(?<seq>0|[1-9][0-9]{0,15})\\},)?` +
    `"timestamp":"(?<timestamp>${TIME}(?:\\.[0-9]{1,9})?Z)","type":"event","v":1\\}`,
);
const WHEN = matching(`${TIME}\\.[0-9]{6}Z`), INSTANCE = matching("[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048]");
const SERVER = members({
  system: matching("0|[1-9][0-9]{0,19}"), timeline: (value) => isInteger(value) && value >= 1 && value < 2 ** 32,
});
const offset = isInteger; // below 2^53
const INTAKE = members({
  format: matching("[a-z-]{1,32}"), keys: listOf(isText), loggedAt: isText, root: matching(HASH_TEXT), type: exactly("intake"), v: exactly(1),
  partitions: listOf(members({
    from: offset, logged: offset, "lost?": exactly(true), partition: (value) => isInteger(value) && value < 2 ** 31,
    refused: offset, "released?": exactly(true), to: offset,
  })),
  stream: matching("kafka:[A-Za-z0-9_.-]{1,64}/[A-Za-z0-9_.-]{1,249}/[A-Za-z0-9_-]{22}"),
});
const OUTCOME = members({
  keys: listOf(isText), kind: matching("[a-z-]{1,32}"), loggedAt: isText, report: isObject, type: exactly("outcome"), v: exactly(1),
});
const REPORTS = new Map(Object.entries({ // of outcomes, by their kind
  checked: { since: isInteger, size: isInteger, unexplained: isInteger, verdict: matching("verified|failed|incomplete") },
  failover: { accepted: matching("synchronous|operator"), from: SERVER, size: isInteger, to: SERVER },
  lost: { end: isInteger, n: isInteger, start: isInteger },
  restored: { backup: matching(HASH_TEXT), size: isInteger, takenAt: WHEN },
  stalled: {
    from: WHEN, to: WHEN, what: matching("appending|sealing"), why: matching("database|disk|standby|signer|clock"),
  },
  started: { instance: INSTANCE, version: matching("[0-9A-Za-z.+-]{1,64}") },
  stopped: { instance: INSTANCE },
}).map(([kind, forms]) => [kind, members(forms)]));
// Which member of a question asks for a public key, by the kind of the key.
const PUBLIC = { action: "action", operation: "operation", source: "sourceId", control: "control" };
const GROUPS = ["actor", "resource", ...Array.from({ length: 32 }, (_, k) => `related/${k}`)];

/** The index key, in hexadecimal, of what is public: an action, an operation, a source, the type of a control entry. */
const publicKey = async (kind, value) => hex((await sha256(encode(`public\0${kind}\0${value}`))).subarray(0, 16));

/** The members of an entry that are needed here; `keys` (hexadecimal, by name) and `commitments` (by group) are maps.

The names of an event's keys are their kinds, and related/0, related/1, …; of what another entry's keys are of, only the first
one is known. An entry of a type or version that this file does not know has `known` false. */
async function parseEntry(text) {
  require(encode(text).length <= MAX_ENTRY, `an entry has at most ${MAX_ENTRY} bytes`, malformed);
  const match = EVENT.exec(text);
  if (match && Number.isSafeInteger(Number(match.groups.seq ?? 0))) return parseEvent(match.groups);
  const entry = parseJson(text, "the entry"), { type, v, loggedAt } = own(entry, "type", "v", "loggedAt");
  const named = isText(type) && isText(loggedAt) && Number.isSafeInteger(v);
  require(named, "an entry has a type, a version and loggedAt", malformed);
  require(WHEN(loggedAt), "loggedAt is no time", malformed);
  checkDate(loggedAt);
  if (v !== 1 || !["event", "index-keys", "index"].includes(type)) {
    const parse = v === 1 ? new Map([["outcome", parseOutcome], ["intake", parseIntake]]).get(type) : undefined;
    const said = parse === undefined ? { known: false } : await parse(entry);
    return { type, v, loggedAt, ...said, ...(await parseUnknown(entry)) };
  }
  const known = (type === "index-keys" && INDEX_KEYS(entry)) || (type === "index" && INDEX(entry));
  require(known, "the entry does not have exactly the members of version 1 of its type", malformed);
  if (type === "index-keys") {
    parseBase64url(entry.root, "the root of the index keys", HASH);
    require(entry.bits <= 24, "there are at most 2^24 index keys", malformed);
  } else {
    parseBase64url(entry.table, "the hash of the segment table", HASH);
    const rising = entry.ends.every((end, place) => end > (place ? entry.ends[place - 1] : 0));
    const right = rising && entry.ends.length && entry.ends.at(-1) === entry.size;
    require(right, "the ends of an index epoch rise from above 0 to its size", malformed);
  }
  return { ...entry, known: true, keys: new Map(), commitments: new Map() };
}

/** The members of an object that are its own, and undefined for those that it does not have. */
const own = (value, ...names) => Object.fromEntries(names.map((name) => [name, Object.hasOwn(value, name) ? value[name] : undefined]));

async function parseEvent(entry) {
  const related = entry.related?.split('","') ?? [], texts = entry.keys.split('","');
  const about = Object.entries(PUBLIC).filter(([kind, name]) => kind !== "control" && entry[name] !== undefined);
  const names = ["actor", "resource", ...about.map(([kind]) => kind), ...related.map((_, k) => `related/${k}`)];
  require(texts.length === names.length, "an event has one index key for each thing that it names", malformed);
  const keys = new Map(decodeKeys(texts).map((key, place) => [names[place], key]));
  for (const [kind, name] of about) {
    const right = keys.get(kind) === (await publicKey(kind, entry[name]));
    require(right, "a key is not that of the event's action, operation or source", malformed);
  }
  checkDate(entry.loggedAt);
  checkDate(entry.timestamp);
  const { actor, resource } = entry;
  return { ...entry, type: "event", v: 1, known: true, keys, commitments: groupsOf({ actor, related, resource }) };
}

/** The keys, by name, and the commitments, by group, of an entry of a type or version that this file does not know. */
async function parseUnknown(entry) {
  require(!Object.values(entry).some(hasInnerKeys), "a member called keys stands inside of another", malformed);
  const { keys: texts = [], commitments = {} } = own(entry, "keys", "commitments");
  const right = listOf(matching(KEY_TEXT))(texts) && Object.hasOwn(entry, "keys") === (texts.length >= 1 && texts.length <= 40);
  require(right, "keys are 1 to 40 texts of 22 characters each, in canonical base64url", malformed);
  const control = entry.type !== "event";
  const keys = new Map(decodeKeys(texts).map((key, place) => [place === 0 && control ? "control" : `any/${place}`, key]));
  if (keys.has("control")) {
    const typed = keys.get("control") === (await publicKey("control", entry.type));
    require(typed, "the first key is not the one of the entry's type", malformed);
  }
  const hash = matching(HASH_TEXT), some = (value) => value.length >= 1 && value.length <= 32;
  const form = members({ "actor?": hash, "related?": (value) => listOf(hash)(value) && some(value), "resource?": hash });
  require(form(commitments), "the commitments are not those of groups, in canonical base64url", malformed);
  return { keys, commitments: groupsOf(commitments) };
}

/** Kind and report of an outcome, in which the log says what it did; a kind may be one that this file does not know. */
function parseOutcome(entry) {
  const right = OUTCOME(entry) && (REPORTS.get(entry.kind) ?? isObject)(entry.report);
  require(right, "an outcome has exactly its members, and its report those of its kind", malformed);
  const { kind, report } = entry, known = REPORTS.has(kind);
  if (known) Object.values(report).filter(WHEN).forEach(checkDate);
  const ordered =
    (kind !== "stalled" || report.from <= report.to) &&
    (kind !== "checked" || report.since <= report.size) &&
    (kind !== "lost" || (report.n >= 1 && report.n <= report.end - report.start));
  require(ordered, "what an outcome reports ends before it begins, or is of no entry", malformed);
  return { kind, report, known };
}

/** Stream and partitions of an intake, in which the log says what of a stream it took. */
async function parseIntake(entry) {
  require(INTAKE(entry), "an intake has exactly its members, each in its form", malformed);
  const { keys: texts, partitions, root, stream } = entry;
  const keys = [await publicKey("control", "intake"), await publicKey("stream", stream)];
  const right = listOf(matching(KEY_TEXT))(texts) && canonical(decodeKeys(texts)) === canonical(keys);
  require(right, "the keys of an intake are those of its type and its stream", malformed);
  const rising = partitions.every(({ partition }, place) => !place || partitions[place - 1].partition < partition);
  const some = partitions.length >= 1 && partitions.length <= 500;
  require(rising && some, "an intake is of 1 to 500 partitions, rising", malformed);
  let taken = false;
  for (const part of partitions) {
    const count = part.logged + part.refused, length = part.to - part.from;
    const gap = !("lost" in part) || (count === 0 && length > 0 && !("released" in part));
    const fitting = count <= length && gap && (!("released" in part) || length === 0);
    require(fitting, "a partition's numbers contradict", malformed);
    taken ||= count > 0;
  }
  const empty = same(parseBase64url(root, "the root over the marks", HASH), await sha256());
  require(empty === !taken, "the root of an intake is not one over so many messages", malformed);
  return { stream, partitions, known: true };
}

/** Index keys, in hexadecimal, whose texts have their form. */
function decodeKeys(texts) {
  const keys = texts.map((text) => hex(parseBase64url(text, "an index key", 16)));
  const distinct = new Set(keys.map(first8)).size === keys.length;
  require(distinct, "the index keys of an entry differ in their first 8 bytes", malformed);
  return keys;
}
const first8 = (key) => key.slice(0, 16);

/** Tell whether a member called keys stands somewhere in a value. */
function hasInnerKeys(value) {
  if (!isObject(value)) return Array.isArray(value) && value.some(hasInnerKeys);
  return Object.hasOwn(value, "keys") || Object.values(value).some(hasInnerKeys);
}

/** The commitments by group, in the order of the groups. */
function groupsOf({ actor, resource, related = [] }) {
  const all = [["actor", actor], ["resource", resource], ...related.map((each, k) => [`related/${k}`, each])];
  return new Map(all.filter(([, each]) => each !== undefined));
}

/** Tell whether the day of a time that begins with TIME exists. */
function dayExists(time) {
  const [year, month, day] = time.slice(0, 10).split("-").map(Number);
  const days = [31, year % 4 || (year % 100 === 0 && year % 400) ? 28 : 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  return year >= 1 && day >= 1 && day <= days[month - 1];
}
const checkDate = (time) => require(dayExists(time), "a time of the entry does not exist", malformed);

/** What a personal index key is made of: its kind and values in Unicode's form NFC, between zero characters. */
const identOf = (kind, ...values) => [kind, ...values].join("\0").normalize("NFC");

/** The code points of a text that this browser does not know, and so not their form NFC; nothing if there are none. */
function unassigned(text) {
  const strangers = [...new Set(text.match(/\p{Cn}/gu))].map((each) => each.codePointAt(0)).sort((a, b) => a - b);
  return strangers.map((each) => `U+${each.toString(16).toUpperCase().padStart(4, "0")}`).join(", ");
}

/** Check that a disclosure is what the entry commits to and what the group holds; return the ident of what it is about. */
async function checkDisclosure(entry, group, { salt, body }) {
  const commitment = parseBase64url(entry.commitments.get(group), `the ${group} commitment`, HASH);
  const committed = same(await sha256(COMMITMENT, salt, encode(body)), commitment);
  require(committed, `the ${group} data is not what the entry commits to`);
  if (!entry.known) return ""; // what its groups hold is for somebody to say who knows its type
  const content = parseJson(body, `the ${group} data`, { exact: false });
  const kind = group.split("/")[0], what = `the ${group} data is not what an event has there`;
  require({ actor: ACTOR, resource: RESOURCE, related: RELATED }[kind](content), what, malformed);
  if (kind === "actor") {
    const type = own(content, "type").type ?? (Object.hasOwn(content, "type") ? null : "service");
    const named = ["service", "system"].includes(type) ? content.userId : type === "unknown" && !Object.hasOwn(content, "userId");
    require(named, what, malformed);
    return identOf(kind, content.userId ?? "");
  }
  const about = kind === "resource" ? content.resource : content;
  require(matching(TYPE)(about.type), what, malformed);
  const right = kind === "related" || about.type === entry.resourceType;
  require(right, "the resource data is of another type than the entry says");
  return identOf(kind, about.type, about.id);
}

/** The entry, a text, { salt, body } of each group that is disclosed, and what is absent, of an event file.

Of each other group that the file claims to disclose there is the index of the outcome that is to explain that it is absent; 0,
which explains nothing, if it names none. */
function parseEventFile(text) {
  require(text.endsWith("\n"), "an event file ends with a newline", malformed);
  const content = parseJson(text.slice(0, -1), "the event file");
  const named = "an event file has the members 'absent', 'disclosed', 'disclosures' and 'entry', and no others";
  require(EVENT_FILE(content), named, malformed);
  const disclosures = parseDisclosures(content.disclosures, GROUPS);
  const claimed = content.disclosed, reasons = new Map(content.absent);
  const inOrder = (groups) => canonical(groups) === canonical(GROUPS.filter((group) => groups.includes(group)));
  const rising = inOrder(claimed) && inOrder([...reasons.keys()]) && reasons.size === content.absent.length;
  require(rising, "'disclosed' or 'absent' does not list groups, in their order", malformed);
  const right =
    [...disclosures.keys(), ...reasons.keys()].every((group) => claimed.includes(group)) &&
    ![...reasons.keys()].some((group) => disclosures.has(group));
  require(right, "what is disclosed or absent is not claimed, or is both", malformed);
  const absent = new Map(claimed.filter((group) => !disclosures.has(group)).map((group) => [group, reasons.get(group) ?? 0]));
  return { text: content.entry, disclosures, absent };
}

/** { salt, body } of each of these groups that is disclosed, in their order. */
function parseDisclosures(disclosures, groups) {
  const right = Object.entries(disclosures).every(([group, each]) => groups.includes(group) && SALTED(each));
  require(right, "disclosures are of groups of the entry, each with the members 'body' and 'salt'", malformed);
  const shown = groups.filter((group) => Object.hasOwn(disclosures, group));
  return new Map(shown.map((group) => [group, { ...disclosures[group], salt: parseBase64url(disclosures[group].salt, "a salt", 16) }]));
}

// --- Questions: what the reader wants to know, from the caller, never from a bundle ---------------------------------------
const TIMES = ["from", "to", "loggedFrom", "loggedTo"];
// The values that entries can have. Under another one nothing is in the index, and the proof of that would be right.
const VALUES = new Map(Object.entries({
  action: ACTIONS, actorType: "unknown", control: CONTROL, operation: VERB, outcome: "success|failure|unknown",
  resourceType: TYPE, sourceId: VERB,
}));
const IDS = new Map([["resourceId", [1024, 2048]], ["userId", [256, 1024]]]); // at most so many characters and bytes
const REFUSED_IN_IDS = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;

/** The question that [name, value] pairs ask, as typed, in the form of a bundle; and what has to be said about that form.

A name may be `resource`, its value TYPE:ID with exactly one colon. */
async function parseQuestion(asked) {
  const known = ["resource", ...VALUES.keys(), ...IDS.keys(), ...TIMES];
  const given = asked.flatMap(([name, value]) => {
    require(known.includes(name) && value, `ask for one of ${known.join(", ")}, with a value`, malformed);
    if (name !== "resource") return [[name, value]];
    const values = value.split(":");
    const colon = "resource=TYPE:ID has exactly one colon; ask with resourceType=… and resourceId=… instead";
    require(values.length === 2 && values.every(Boolean), colon, malformed);
    return [["resourceType", values[0]], ["resourceId", values[1]]];
  });
  const question = Object.fromEntries(given), said = [];
  require(Object.keys(question).length === given.length, "a part of the question is asked for twice", malformed);
  for (const [name, value] of given) {
    if (TIMES.includes(name)) question[name] = toUtc(value, name);
    else if (VALUES.has(name)) require(matching(VALUES.get(name))(value), `no entry can have this ${name}`, malformed);
    else {
      question[name] = await toId(value, name);
      const hashed = question[name] !== value.normalize("NFC");
      if (hashed) said.push(`${name} breaks the rule of ids, so it was hashed: ${question[name]}`);
    }
  }
  checkQuestion(question);
  return { question, said };
}

/** Check that the parts of a question go together. */
function checkQuestion(question) {
  const has = (...names) => names.every((name) => name in question);
  const paired = !has("resourceId") || has("resourceType");
  require(paired, "resourceId needs resourceType: both together name a resource", malformed);
  const alone = !has("actorType", "userId");
  require(alone, "actorType=unknown asks for events without a userId, so not beside userId", malformed);
  const beside = Object.keys(question).filter((name) => !["control", "loggedFrom", "loggedTo"].includes(name)).sort().join();
  const rule = "control stands beside resourceType with resourceId, loggedFrom and loggedTo only";
  require(!has("control") || ["", "resourceId,resourceType"].includes(beside), rule, malformed);
  for (const [first, last] of [["from", "to"], ["loggedFrom", "loggedTo"]]) {
    const ordered = !has(first, last) || comparable(question[first]) <= comparable(question[last]);
    require(ordered, `'${first}' is after '${last}'`, malformed);
  }
  const since = looksFrom(question), until = question.loggedTo;
  const ordered = since === undefined || until === undefined || comparable(since) <= comparable(until);
  require(ordered, "'from' is more than 24 hours after 'loggedTo'; state 'loggedFrom' as well", malformed);
  const index = "a resource, a userId, actorType, sourceId, operation, control or action";
  const indexed = ["resourceId", "userId", "actorType", ...Object.values(PUBLIC)].some((name) => has(name));
  require(indexed, `ask for ${index}: only those are in the index`, malformed);
}

/** An id in the form that questions have it: NFC, or hashed if it breaks the rule of ids. */
async function toId(text, what) {
  require(text.isWellFormed(), `'${what}' is no text in UTF-8`, malformed);
  const strangers = unassigned(text);
  require(!strangers, `'${what}' has code points whose form is not known here: ${strangers}`, incomplete);
  const [characters, size] = IDS.get(what), forms = [text, text.normalize("NFC")]; // which may be longer, or shorter
  const keeps = forms.every((form) => [...form].length <= characters && encode(form).length <= size);
  return keeps && !REFUSED_IN_IDS.test(text) ? forms[1] : `sha256:${hex(await sha256(encode(text)))}`;
}

/** A time of any zone, or a date for its midnight, in UTC with the fraction digits it came with. */
function toUtc(text, what) {
  const given = /^[0-9-]{10}$/.test(text) ? `${text}T00:00:00Z` : text.toUpperCase();
  const match = whole(`(${TIME})(\\.[0-9]{1,9})?(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))`).exec(given);
  let moment = NaN;
  if (match && dayExists(match[1])) {
    const offset = (Number(match[4] ?? 0) * 60 + Number(match[5] ?? 0)) * (match[3] === "-" ? -1 : 1);
    moment = Date.parse(`${match[1]}Z`) - offset * 60_000;
  }
  const right = moment >= Date.parse("0001-01-01T00:00:00Z") && moment <= Date.parse("9999-12-31T23:59:59Z");
  require(right, `'${what}' is no date, and no time with its zone, such as 2026-03-01T08:00:00Z`, malformed);
  return `${new Date(moment).toISOString().slice(0, 19)}${match[2] ?? ""}Z`;
}

/** What the personal index keys asked for are made of, by kind, in the order that their buckets have in a bundle. */
function identsOf(question) {
  const idents = new Map();
  if ("resourceId" in question) {
    for (const kind of "control" in question ? ["related"] : ["resource", "related"]) {
      idents.set(kind, identOf(kind, question.resourceType, question.resourceId));
    }
  }
  if ("userId" in question || "actorType" in question) {
    idents.set("actor", identOf("actor", question.userId ?? "")); // who is unknown has the empty userId
  }
  return idents;
}

/** The kinds of the index keys under which the question is looked up. */
function lookedUnder(question) {
  const named = ["source", "operation", "control", "action"].filter((kind) => PUBLIC[kind] in question);
  const kinds = [...identsOf(question).keys(), ...named], about = kinds.filter((kind) => ["resource", "related"].includes(kind));
  return about.length ? about : kinds.slice(0, 1);
}

/** When the first entries that are looked at were logged: a producer's clock may be ahead by 24 hours. */
function looksFrom(question) {
  if ("loggedFrom" in question || !("from" in question)) return question.loggedFrom;
  const moment = Date.parse(`${question.from.slice(0, 19)}Z`) - 86_400_000;
  if (moment < Date.parse("0001-01-01T00:00:00Z")) return "0001-01-01T00:00:00Z"; // in the first day of the year 1
  return new Date(moment).toISOString().slice(0, 19) + question.from.slice(19);
}

/** A UTC timestamp with nine fraction digits, so that text sorts like time. */
const comparable = (timestamp) => `${timestamp.slice(0, 19)}.${timestamp.slice(20, -1).padEnd(9, "0")}Z`;

// --- Evidence: complete answers from the log's own index ------------------------------------------------------------------
/** In words where the log's clock went back among entries, [index, entry] rising by index; nothing if it did nowhere. */
function wentBack(entries) {
  const place = entries.findIndex(([, entry], k) => k && entries[k - 1][1].loggedAt > entry.loggedAt);
  if (place < 0) return "";
  return `the log's clock went back: entry ${entries[place - 1][0]} says that it was logged later than entry ${entries[place][0]}`;
}

/** An evidence bundle: its checkpoint, entries and index epoch checked, ready to be asked. */
class Evidence {
  /** Check the form of a bundle and that its entries are in the signed tree. */
  static async open(bytes, log) {
    require(bytes.length <= MAX_BUNDLE, `the file is longer than ${MAX_BUNDLE} bytes`, malformed);
    const text = decodeText(bytes) ?? "";
    require(text.endsWith("\n"), "evidence ends with a newline", malformed);
    const bundle = parseJson(text.slice(0, -1), "the evidence");
    require(BUNDLE(bundle), "not a tlog-evidence with exactly the members of version 1", malformed);
    const modes = ["answer", "count", "part"].includes(bundle.mode) && (bundle.mode === "part") === Object.hasOwn(bundle, "part");
    require(modes, "the mode of a bundle is answer, count, or part with the member part", malformed);
    const full = bundle.disclosure === "full" && bundle.mode !== "count";
    const right = full || (bundle.disclosure === "none" && !bundle.disclosures.length && !bundle.absent.length);
    require(right, "disclosure is full or none, as of a count; with none nothing is there or absent", malformed);
    const evidence = Object.assign(new Evidence(), { bundle, buckets: new Map() });
    [evidence.part, evidence.parts] = bundle.part ?? [1, 1];
    require(evidence.part >= 1 && evidence.part <= evidence.parts, "a part is one of those that there are", malformed);
    const times = !Object.hasOwn(bundle, "times") || (bundle.times.length >= 1 && bundle.times.length <= 1000);
    require(times, "there are 1 to 1,000 times, or no member times", malformed);
    evidence.checkpoint = await openCheckpoint(bundle.checkpoint, log);
    const rising = bundle.entries.every(([index], k) => !k || bundle.entries[k - 1][0] < index);
    require(rising, "the entries do not rise by index");
    const leaves = new Map();
    for (const [index, entry] of bundle.entries) leaves.set(index, await sha256(LEAF, encode(entry)));
    await verifyJoint(evidence.checkpoint.size, leaves, bundle.hashes, evidence.checkpoint.root, "the entries");
    evidence.entries = new Map();
    for (const [index, entry] of bundle.entries) evidence.entries.set(index, await parseEntry(entry));
    evidence.logId = leaves.get(0);
    return evidence;
  }

  /** Check the index epoch and its table, and which parts of it the window meets. */
  async openIndex() {
    const { bundle } = this, epoch = this.entries.get(bundle.epoch);
    require(epoch?.type === "index" && epoch.known, "the index epoch's entry is not there");
    const table = parseBase64(bundle.table, "the segment table");
    require(table.length % 56 === 0, "the segment table is not made of whole rows", malformed);
    const rows = cut(table, 56).map((row) => {
      const view = new DataView(row.buffer, row.byteOffset), [start, end, postings] = [0, 8, 16].map((at) => view.getBigUint64(at));
      return { start, end, postings, root: row.subarray(24) };
    });
    const covering = rows.every(({ start, end }, k) => start === (k ? rows[k - 1].end : 0n) && start < end && end < start + 2n ** 32n);
    require(rows.length && covering, "the segments do not cover the epoch, each entry once", malformed);
    const nothing = await sha256(), empty = rows.every(({ postings, root }) => postings || same(root, nothing));
    require(empty, "a segment without postings has another root than that of nothing", malformed);
    const committed = parseBase64url(epoch.table, "the hash of the table", HASH);
    const ends = rows.map(({ end }) => end);
    const right = same(committed, await sha256(TABLE, table)) && ends.join() === epoch.ends.join();
    require(right, "the epoch commits to another segment table");
    require(ends.at(-1) <= bundle.epoch, "the index epoch claims to cover entries from its own on");
    const { start, end } = bundle;
    require(start <= end && end <= ends.at(-1), "the window is not within the epoch");
    const met = rows.filter((row) => row.start < end && row.end > start);
    require(met.length === bundle.segments.length, "not every segment of the window is there");
    // What the epoch's entry has as JSON integers is exact as numbers.
    this.ranges = met.map((row, k) => [{ ...row, start: Number(row.start), end: Number(row.end) }, bundle.segments[k]]);
    Object.assign(this, { epoch, start, end });
  }

  /** The index keys asked for, by kind; personal ones follow from bucket keys that entry 0 commits to. */
  async keys(question) {
    const idents = identsOf(question), { buckets } = this.bundle, keys = new Map();
    require(buckets.length === idents.size, "there are not as many bucket keys as are needed");
    let place = 0;
    for (const ident of idents.values()) await this.addBucket(ident, buckets[place++]);
    for (const [kind, ident] of idents) keys.set(kind, await this.indexKey(ident));
    for (const [kind, name] of Object.entries(PUBLIC)) {
      if (name in question) keys.set(kind, await publicKey(kind, question[name]));
    }
    return keys;
  }

  /** Entry 0, which commits to the bucket keys of the log that signed. */
  commitment() {
    const first = this.entries.get(0);
    require(first?.type === "index-keys" && first.known, "entry 0, which commits to the bucket keys, is not there");
    require(first.origin === this.checkpoint.origin, "entry 0 is that of a log of another origin");
    return first;
  }

  /** The number of an ident's bucket: the first bits of its hash. */
  async bucket(ident) {
    const [a, b, c] = await sha256(encode(ident));
    return ((a << 16) | (b << 8) | c) >>> (24 - this.commitment().bits);
  }

  /** Take in the key of an ident's bucket, if it is the one that entry 0 commits to. */
  async addBucket(ident, path) {
    const key = parseBase64(path.key, "a bucket key", HASH), { bits, root } = this.commitment(), bucket = await this.bucket(ident);
    const leaf = new Map([[bucket, await sha256(LEAF, key)]]);
    await verifyJoint(1n << BigInt(bits), leaf, path.hashes, parseBase64url(root, "a root", HASH), "a bucket key");
    this.buckets.set(bucket, key);
  }

  /** The index key, in hexadecimal, of an ident in a bucket whose key was taken in. */
  async indexKey(ident) {
    const algorithm = { name: "HMAC", hash: "SHA-256" }, bucketKey = this.buckets.get(await this.bucket(ident));
    const key = await crypto.subtle.importKey("raw", bucketKey, algorithm, false, ["sign"]);
    return hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, encode(ident))).subarray(0, 16));
  }

  /** Tell whether an entry's key is shown not to be that of its data, whose ident is given. */
  async hasFalseKey(entry, group, ident) {
    if (!entry.keys.has(group) || !this.buckets.has(await this.bucket(ident))) return false;
    return entry.keys.get(group) !== (await this.indexKey(ident));
  }

  /** Check that the window is the smallest one with every entry logged when the question looks; return its edges, and 0. */
  checkWindow(question) {
    this.commitment();
    require(this.start < this.end || !this.bundle.part, "a part of a set has an empty window");
    const { size } = this.epoch, ends = [];
    // Inner ends of a set have no edges.
    if (this.part === 1) ends.push(["begins", this.start, looksFrom(question), 0]);
    if (this.part === this.parts) ends.push(["ends", this.end, question.loggedTo, size]);
    const edges = new Set([0, ...ends.flatMap(([, edge]) => [edge - 1, edge]).filter((at) => at >= 0 && at < size)]);
    const there = [...edges].every((at) => this.entries.has(at));
    require(there, "an entry at an edge of the window, or entry 0, is not there");
    const logged = (at) => comparable(this.entries.get(at).loggedAt);
    for (const [verb, edge, bound, unbounded] of ends) {
      const late = bound === undefined ? edge > unbounded : edge > 0 && logged(edge - 1) >= comparable(bound);
      const early = bound === undefined ? edge < unbounded : edge < size && logged(edge) < comparable(bound);
      require(!late, `the window ${verb} later than the question looks`);
      require(!early, `the window ${verb} earlier than the question looks`);
    }
    return edges;
  }

  /** By kind of key, how many postings the index has in the window, a BigInt, and of which entries (not for a count). */
  async search(keys, count) {
    const numberOf = new Map(keys.map(([kind]) => [kind, 0n])), found = new Map(keys.map(([kind]) => [kind, new Set()]));
    for (const [segment, text] of this.ranges) {
      const pages = await openPages(segment, text), needed = new Set();
      const bounds = [Math.max(this.start - segment.start, 0), Math.min(this.end, segment.end) - segment.start];
      for (const [kind, key] of keys) {
        const [[first, low], [last, high]] = bounds.map((bound) => pages.place(first8(key) + bound.toString(16).padStart(8, "0")));
        numberOf.set(kind, numberOf.get(kind) + high - low);
        require(count || high - low === BigInt(last - first), "pages between the first and the last are not there");
        for (const posting of count ? [] : pages.postings.slice(first, last)) {
          found.get(kind).add(segment.start + parseInt(posting.slice(16), 16));
        }
        if (segment.postings) {
          const least = (place) => (place < 0n ? 0n : place), most = (place) => (place < pages.total ? place : pages.total - 1n);
          const beside = [least(low - 1n), most(low), least(high - 1n), most(high)].map((place) => place / 32n);
          beside.forEach((page) => needed.add(page));
          for (let page = beside[0]; !count && page <= beside[3]; page++) needed.add(page);
        }
      }
      const shown = new Set(pages.places.map((place) => place / 32n));
      require([...needed].every((page) => shown.has(page)), "pages between the first and the last are not there");
      require([...shown].every((page) => needed.has(page)), "there are pages of the index that the question does not need");
    }
    return { numberOf, found };
  }

  /** Check that what is claimed and absent is explained; return [index, group, by] of it. `shown`: a map by index of answers. */
  explained(shown) {
    const rows = this.bundle.absent.map(([index, group, by]) => {
      require(GROUPS.includes(group), "what is absent is no group", malformed);
      return [index, GROUPS.indexOf(group), by];
    });
    const rising = rows.every(([index, group], k) => !k || rows[k - 1][0] < index || (rows[k - 1][0] === index && rows[k - 1][1] < group));
    require(rising, "the rows of what is absent do not rise by index and group");
    const full = this.bundle.disclosure === "full";
    const claimed = [...shown.keys()].flatMap((index) => [...this.entries.get(index).commitments.keys()].map((group) => [index, group]));
    const absent = full ? claimed.filter(([index, group]) => !shown.get(index).has(group)) : [];
    const there = [...shown.keys()].filter((index) => shown.get(index).size);
    const lost = losses(new Set(rows.map(([, , by]) => by)), this.entries, there);
    const saidBy = this.bundle.absent.filter(([index, , by]) => lost.get(by)[0] <= index && index < lost.get(by)[1]);
    const name = ([index, group]) => `${index} ${group}`, explained = new Set(saidBy.map(name));
    checkMissing(absent.filter((each) => !explained.has(name(each))));
    const right = absent.length === explained.size && saidBy.length === rows.length;
    require(right, "something that is not absent is explained");
    return saidBy;
  }
}

/** Of which entries, [first, end], each of these outcomes says that their data is lost; refuse one that what is shown contradicts.

Shown are the entries, a map that rises, and of those in `there` some data. Recovery ends at the tail of the log and brings back
no data. Otherwise one outcome, years later, would explain any single deletion. */
function losses(outcomes, entries, there) {
  const seen = [...entries], between = (indexes, start, end) => indexes.filter((index) => start <= index && index < end).length;
  const events = seen.filter(([, entry]) => entry.type === "event").map(([index]) => index);
  const committing = seen.filter(([, entry]) => entry.commitments.size).map(([index]) => index), result = new Map();
  for (const by of outcomes) {
    const said = `MISSING: entry ${by}, which is to explain what is absent, is no outcome`;
    require(entries.get(by)?.kind === "lost", `${said} of the kind lost`);
    const { start, end, n } = entries.get(by).report;
    require(!between(events, end, by), `${said} that does so: events came later`);
    require(!between(there, start, end), `${said} that does so: of those entries something is there`);
    const least = between(committing, start, end), unseen = end - start - between([...entries.keys()], start, end);
    require(least <= n && n <= least + unseen, `${said} that does so: another number of those entries has data`);
    result.set(by, [start, end <= by ? end : start]);
  }
  return result;
}

/** Refuse data that is claimed to be there, [index, group], and is neither there nor explained: all counted, 1,000 named. */
function checkMissing(missing) {
  const named = missing.slice(0, 1000).map(([index, group]) => `entry ${index} ${group}`).join(", ");
  const more = missing.length > 1000 ? `, and ${grouped(missing.length - 1000)} more` : "";
  const said = `MISSING: ${grouped(missing.length)} disclosures are absent, and no outcome explains it: ${named}${more}`;
  require(!missing.length, said);
}

/** Postings of a segment that were proved, rising, in hexadecimal, and the place of each one among all of the segment. */
class Pages {
  constructor(total) {
    Object.assign(this, { total, places: [], postings: [] });
  }

  /** How many postings are smaller than a bound: of those that are shown, and of all, which these have to show. */
  place(bound) {
    const at = bisect(this.postings, (posting) => posting < bound);
    const before = at ? this.places[at - 1] + 1n : 0n, after = at < this.places.length ? this.places[at] : this.total;
    require(before === after, "the pages do not show where the postings asked for would be");
    return [at, before];
  }
}

/** The postings of pages of the index, in runs of neighbours, that were checked under the segment's root. */
async function openPages(segment, text) {
  const number = (segment.postings + 31n) / 32n, leaves = new Map(), pages = new Pages(segment.postings);
  let after = 0;
  for (const [first, encoded] of text.runs) {
    const data = parseBase64(encoded, "pages of the index"), run = cut(data, PAGE), last = first + run.length - 1;
    const have = BigInt(last) === number - 1n ? segment.postings : 32n * BigInt(last + 1);
    const right =
      after <= first && first <= last && last < number && BigInt(data.length) === BigInt(POSTING) * (have - 32n * BigInt(first));
    require(right, "pages that are not of the index");
    for (const [k, page] of run.entries()) leaves.set(first + k, await sha256(LEAF, page));
    cut(data, POSTING).forEach((posting, k) => {
      pages.postings.push(hex(posting));
      pages.places.push(32n * BigInt(first) + BigInt(k));
    });
    after = last + 2;
  }
  const rising = pages.postings.every((posting, k) => !k || pages.postings[k - 1] < posting);
  require(rising, "pages that are not of the index");
  if (segment.postings) await verifyJoint(number, leaves, text.hashes, segment.root, "the index's pages");
  require(segment.postings || !text.hashes, "hashes of a segment that has no pages");
  return pages;
}

// --- What a bundle answers, or the parts of a set together ----------------------------------------------------------------
const SHARED = ["checkpoint", "disclosure", "epoch", "question", "table"]; // the same in all parts of a set

/** An answer to a question, to which each part of a set adds. */
class Answer {
  /** Begin with nothing: not even a number is believed before its proof. */
  constructor(question, mode) {
    const looked = lookedUnder(question);
    Object.assign(this, {
      question, mode, looked, answers: [], apart: [], alike: [], strangers: [], numberOf: new Map(looked.map((kind) => [kind, 0n])),
      entries: 0, segments: 0, disclosed: 0, latest: [], seen: new Map(), lost: new Map(), // the outcomes that explain something
    });
  }

  /** Check a bundle, or a part of a set, and take in what it proves. */
  async add(evidence) {
    const { bundle, entries } = evidence, { question, looked } = this;
    const inside = [...entries].filter(([index]) => bundle.start <= index && index < bundle.end);
    const fault = wentBack([...entries]) || wentBack([...this.latest, ...inside]);
    require(!fault, `${fault}, which convicts the log: see the command fraud`);
    this.latest = [...this.latest, ...inside].slice(-1);
    await evidence.openIndex();
    const keys = await evidence.keys(question), edges = evidence.checkWindow(question);
    const { numberOf, found } = await evidence.search(looked.map((kind) => [kind, keys.get(kind)]), this.mode === "count");
    const met = new Set([...found.values()].flatMap((indexes) => [...indexes]).sort((a, b) => a - b)), answers = new Map();
    for (const index of met) {
      const entry = entries.get(index);
      require(entry, `entry ${index}, to which the index points, is not there`);
      const [kind, ...twice] = looked.filter((each) => found.get(each).has(index));
      require(!twice.length, `entry ${index} names the resource twice, which no log lets in`);
      const place = placeOf(index, entry, kind, keys.get(kind));
      if (!place) this.alike.push(index);
      else if (answersTo(question, entry, keys)) answers.set(index, place);
      else if (!entry.eventId && !("control" in question)) this.apart.push([index, entry]);
    }
    const bodies = new Map(bundle.disclosures), shown = bundle.disclosures.map(([index]) => index);
    const rising = shown.every((index, k) => (!k || shown[k - 1] < index) && answers.has(index) && Object.keys(bodies.get(index)).length);
    require(rising, "disclosures rise by index, are of entries that answer, and none is empty");
    const data = new Map([...answers.keys()].map((index) => {
      return [index, parseDisclosures(bodies.get(index) ?? {}, [...entries.get(index).commitments.keys()])];
    }));
    for (const [index, disclosures] of data) await this.checkKeys(evidence, index, disclosures, keys);
    const needed = new Set([...met, ...edges, bundle.epoch, ...bundle.absent.map(([, , by]) => by)]);
    require([...entries.keys()].every((index) => needed.has(index)), "there are entries in the bundle that the question does not need");
    const disclosed = shown.reduce((sum, index) => sum + Object.keys(bodies.get(index)).length, 0);
    const answered = this.mode === "count" ? numberOf.get(looked[0]) : BigInt(answers.size);
    const postings = [...numberOf.values()].reduce((sum, each) => sum + each, 0n), { manifest } = bundle;
    const right = BigInt(manifest.answers) === answered && manifest.disclosures === disclosed && BigInt(manifest.postings) === postings;
    require(right, "the manifest does not count what is there");
    const saidBy = evidence.explained(data); // last: what is MISSING is missing from an answer that is right in all else
    for (const [, , by] of saidBy) this.lost.set(by, entries.get(by));
    for (const [index, entry] of entries) this.seen.set(index, entry);
    for (const [index, matched] of answers) {
      const absent = new Map(saidBy.filter(([each]) => each === index).map(([, group, by]) => [group, by]));
      this.answers.push({ index, entry: entries.get(index), matched, disclosures: data.get(index), absent });
    }
    for (const [kind, number] of numberOf) this.numberOf.set(kind, this.numberOf.get(kind) + number);
    this.entries += entries.size;
    this.segments += evidence.ranges.length;
    this.disclosed += disclosed;
  }

  /** Check that what is disclosed of an entry that answers is its own, and leads to its keys. */
  async checkKeys(evidence, index, disclosures, keys) {
    const entry = evidence.entries.get(index), asked = identsOf(this.question);
    for (const [group, disclosure] of disclosures) {
      const ident = await checkDisclosure(entry, group, disclosure), strangers = unassigned(ident);
      if (strangers) {
        this.strangers.push(`the id in ${group} of entry ${index}: ${strangers}`);
        continue;
      }
      const of = [...asked.keys()].find((kind) => entry.keys.get(group) === keys.get(kind));
      const wrong = of === undefined ? await evidence.hasFalseKey(entry, group, ident) : asked.get(of) !== ident;
      require(!wrong, `entry ${index} carries a false key: the ${group} shown has another one`);
    }
  }
}

/** The place at which an entry has a key of a kind, nothing if it has another key with the same first 8 bytes. */
function placeOf(index, entry, kind, key) {
  const [place, alike] = [...entry.keys].find(([, each]) => first8(each) === first8(key)) ?? [];
  require(place, `the index points to entry ${index}, which does not have the key asked for`);
  const right = alike !== key || [kind, "any"].includes(place.split("/")[0]);
  require(right, `the index points to entry ${index}, which has the key asked for in the place of another kind`);
  return alike === key ? place : "";
}

/** Tell whether an entry that has a key looked under has all else that is asked. */
function answersTo(question, entry, keys) {
  if ("control" in question || !entry.eventId) return !entry.eventId && entry.keys.get("control") === (keys.get("control") ?? "");
  const names = ["action", "operation", "outcome", "sourceId", ...("resourceId" in question ? [] : ["resourceType"])];
  const clear = names.every((name) => !(name in question) || question[name] === entry[name]);
  const time = comparable(entry.timestamp);
  const early = "from" in question && time < comparable(question.from);
  const late = "to" in question && time >= comparable(question.to);
  return clear && !early && !late && entry.keys.get("actor") === (keys.get("actor") ?? entry.keys.get("actor"));
}

/** What a bundle or a set answers, its last bundle, and what could not be checked. `files` is the bytes of a bundle, or a map of
bytes by file name: the files of a set's directory. The bundle is verified as the answer to its own question, and only then that
question is compared with the one asked: what somebody forged is "failed", and never merely about something else. */
async function openAnswer(log, { question, mode }, files) {
  checkCountable(question, mode);
  const isSet = files instanceof Map, unchecked = [];
  require(!isSet || files.has("000001.json"), "part 1 of the set is not there", incomplete);
  let evidence = await Evidence.open(isSet ? files.get("000001.json") : files, log);
  const first = evidence.bundle, form = "the bundle's question has not the form of questions";
  require(Object.values(first.question).every(isText), form, malformed);
  const { question: said } = await parseQuestion(Object.entries(first.question));
  require(canonical(said) === canonical(first.question), form, malformed);
  checkCountable(said, first.mode);
  require(!isSet || first.mode === "part", `the bundle is of the mode ${first.mode}`);
  require(first.mode !== "part" || mode === "answer", "--count is not for a set", malformed);
  const stems = isSet ? [...files.keys()].flatMap((name) => /^([0-9]+)\.json$/.exec(name)?.[1] ?? []) : [];
  const right = (stem) => BigInt(stem) >= 1n && BigInt(stem) <= evidence.parts && stem === String(BigInt(stem)).padStart(6, "0");
  const beyond = stems.filter((stem) => !right(stem)).sort();
  require(!beyond.length, `${beyond[0]}.json is a file too many: parts of the set: ${grouped(evidence.parts)}`);
  const answer = new Answer(said, first.mode);
  await answer.add(evidence);
  require(!isSet || evidence.part === 1, "000001.json is not part 1 of this set");
  for (let part = 2; isSet && part <= evidence.parts; part++) {
    const name = `${String(part).padStart(6, "0")}.json`, { end } = evidence;
    require(files.has(name), `part ${part} of the ${evidence.parts} parts of the set is not there`, incomplete);
    evidence = await Evidence.open(files.get(name), log);
    const { bundle } = evidence, alike = SHARED.every((member) => canonical(bundle[member]) === canonical(first[member]));
    const placed = alike && evidence.part === part && evidence.parts === first.part[1];
    require(placed, `${name} is not part ${part} of this set`);
    require(bundle.start === end, `${name} does not begin where the part before ends`);
    await answer.add(evidence);
  }
  if (isSet) {
    const there = answer.answers.filter((each) => each.disclosures.size).map((each) => each.index);
    losses(answer.lost.keys(), new Map([...answer.seen].sort(([a], [b]) => a - b)), there);
  } else if (first.mode === "part") {
    unchecked.push(`this is part ${evidence.part} of ${evidence.parts} alone: give the directory of the set`);
  }
  const given = first.mode === "count" ? "count" : "answer";
  if (canonical(said) !== canonical(question) || given !== mode) {
    const other = new Refusal("other-question", 2, "the log signed this, but it answers another question; nothing is proved about yours");
    throw Object.assign(other, { more: { question, bundleQuestion: said, mode, bundleMode: given } });
  }
  return { answer, evidence, unchecked };
}

/** Check that a question can be counted from index keys alone, if its mode is "count". */
function checkCountable(question, mode) {
  const alone = Object.keys(question).filter((name) => !["loggedFrom", "loggedTo"].includes(name)).sort().join();
  const countable = ["resourceId,resourceType", "userId", "actorType", "action", "operation", "control"].includes(alone);
  const one = "--count is for one resource, userId, actorType, action, operation or control, and the log's clock only";
  require(mode !== "count" || countable, one, malformed);
}

// === Verdicts: what is above checks; what is below puts it into the words of verify.py ======================================
/** A number with a comma between each three digits. */
const grouped = (number) => String(number).replace(/\B(?=(?:[0-9]{3})+$)/g, ",");
/** A number with what it counts. */
const counted = (number, one, many) => `${grouped(number)} ${number == 1 ? one : many}`; // eslint-disable-line eqeqeq

/** Do some checking; return its verdict, or that of the refusal it ends with. */
async function judge(check) {
  try {
    if (!globalThis.crypto?.subtle) throw notChecked("this page has no WebCrypto: open it over HTTPS, or from a file");
    const { unchecked = [], summary, ...more } = await check();
    if (!unchecked.length) return { verdict: "verified", exitCode: 0, summary, problems: [], ...more };
    return { verdict: "incomplete", exitCode: 3, summary: "", problems: unchecked, ...more };
  } catch (error) {
    const refusal = error instanceof Refusal ? error : malformed("the file does not have the members its format needs");
    const { verdict, code, message, more = { details: [] } } = refusal;
    return { verdict, exitCode: code, summary: "", problems: [message], checked: {}, ...more };
  }
}

/** The text of a file of at most `MAX_FILE` bytes. */
function readText(bytes, what) {
  require(bytes.length <= MAX_FILE, `${what} is longer than ${MAX_FILE} bytes`, malformed);
  const text = decodeText(bytes);
  require(text !== undefined, `${what} is not UTF-8`, malformed);
  return text;
}
const inWords = ({ origin, size, root }) => `${origin}, ${grouped(size)} entries, root hash ${hex(root)}`;

/** The verdict about a checkpoint, the bytes of a note. */
const verifyCheckpoint = (vkey, note) =>
  judge(async () => {
    const checkpoint = await openCheckpoint(readText(note, "the checkpoint"), await parseVkey(vkey));
    return { summary: `the log signed ${inWords(checkpoint)}`, details: [], checked: { checkpoints: 1 } };
  });

/** The verdict about an event: the bytes of its proof and of its event file. */
const verifyProof = (vkey, proof, event, { requireDisclosures = false } = {}) =>
  judge(async () => {
    const { index, hashes, note } = parseProof(readText(proof, "the proof"));
    const { text, disclosures, absent } = parseEventFile(readText(event, "the event file"));
    const entry = await parseEntry(text), groups = entry.commitments, unchecked = [];
    require(!["index", "index-keys"].includes(entry.type) || !entry.known, "the entry is not an event", malformed);
    require([...disclosures.keys()].every((group) => groups.has(group)), "the entry has no such group as is shown", malformed);
    const checkpoint = await openCheckpoint(note, await parseVkey(vkey));
    await verifyInclusion(index, checkpoint.size, await sha256(LEAF, encode(text)), hashes, checkpoint.root);
    require([...absent.keys()].every((group) => groups.has(group)), "the entry has no such group as is claimed to be disclosed");
    checkMissing([...absent].filter(([, by]) => BigInt(by) <= index).map(([group]) => [index, group]));
    for (const [group, disclosure] of disclosures) await checkDisclosure(entry, group, disclosure);
    let details = [`entry     ${index}: ${title(entry)}`];
    if (entry.eventId) {
      details = [`event     ${entry.eventId}: ${title(entry).split(" ").slice(1).join(" ")}`];
      details.push(`time      ${entry.timestamp} says the producer, ${entry.loggedAt} says the log`);
    }
    for (const group of groups.keys()) {
      const lost = absent.has(group) ? `LOST, as entry ${absent.get(group)} says, which is not in this file` : "";
      if (lost) unchecked.push(`${group}: ${lost}`);
      details.push(`${group.padEnd(9)} ${disclosures.get(group)?.body ?? (lost || "not disclosed, so not checked")}`);
    }
    details.push(`log       ${inWords(checkpoint)}`);
    if (requireDisclosures && disclosures.size < groups.size) {
      unchecked.push("the event is in the log, but not all of its data was given to be checked");
    }
    if (!entry.known) {
      unchecked.push(`the entry is in the log, of a type this version does not know: ${entry.type}, ${entry.v}`);
    }
    const summary = `entry ${index} is in the log ${checkpoint.origin}, in its signed tree of ${grouped(checkpoint.size)} entries`;
    return { unchecked, summary, details, checked: { entries: 1, disclosures: disclosures.size } };
  });

/** An entry in words. */
function title(entry) {
  if (!entry.eventId) {
    const told = entry.kind === undefined ? "" : `, ${entry.kind}: ${canonical(entry.report)}`;
    const said = entry.stream === undefined ? told : `, of ${entry.stream}: ${canonical(entry.partitions)}`;
    return `${entry.loggedAt} control entry of the type ${entry.type}${said}`;
  }
  const operation = entry.operation === undefined ? "" : ` (${entry.operation})`;
  return `${entry.timestamp} ${entry.action}${operation} ${entry.resourceType}, ${entry.outcome}`;
}

/** The verdict about evidence: the bytes of a bundle, or a map of bytes by file name for a set.

`asked` is the question, yours and not the bundle's, as [name, value] pairs, such as ["resource", "patient:P-1"] or ["from",
"2026-03-01"]; with `count` only how many events answer. */
const verifyEvidence = (vkey, asked, files, { count = false, requireDisclosures = false } = {}) =>
  judge(async () => {
    const { question, said } = await parseQuestion(asked), mode = count ? "count" : "answer";
    const { answer, evidence, unchecked } = await openAnswer(await parseVkey(vkey), { question, mode }, files);
    return describe(answer, evidence, unchecked, said, requireDisclosures);
  });

function describe(answer, evidence, unchecked, said, requireDisclosures) {
  const { question } = answer, { bundle, checkpoint, epoch, logId } = evidence;
  const { origin, size, root } = checkpoint, answers = answer.answers.toReversed().map(shown);
  const since = looksFrom(question), until = question.loggedTo;
  const met = [...answer.answers.map((each) => [each.index, each.entry]), ...answer.apart];
  const unknown = met.filter(([, entry]) => !entry.known).map(([index]) => index).sort((a, b) => a - b);
  if (unknown.length) {
    const listed = unknown.slice(0, 20).join(", ");
    unchecked.push(`${counted(unknown.length, "entry", "entries")} of a type this version does not know: ${listed}`);
  }
  unchecked.push(...answer.strangers.slice(0, 20).map((each) => `code points whose form is not known here are in ${each}`));
  if (requireDisclosures && (bundle.disclosure === "none" || answer.lost.size)) {
    unchecked.push("the personal data that was required is not in the bundle, or not all of it");
  }
  return {
    unchecked,
    summary: summaryOf(answer),
    question,
    proved: provedBy(answer, origin),
    asOf: { size: epoch.size, loggedAt: epoch.loggedAt, checkpointSize: Number(size), root: hex(root) },
    log: { origin, id: btoa(String.fromCharCode(...logId)).replaceAll("+", "-").replaceAll("/", "_").replace("=", "") },
    names: bundle.disclosure === "none" ? "none" : answers.some((each) => each.lost.length) ? "some" : "all",
    notSeen: [
      `from entry ${grouped(epoch.size)} on`,
      ...(since === undefined ? [] : [`before ${since}`]),
      ...(until === undefined ? [] : [`at ${until} or later`]),
    ],
    notProved: notProvedBy(answer, bundle),
    beside: besides(answer, said),
    checked: { entries: answer.entries, segments: answer.segments, disclosures: answer.disclosed },
    answers,
  };
}

/** An entry that answers, with what is disclosed of it. */
function shown({ index, entry, matched, disclosures, absent }) {
  const value = (name) => entry[name] ?? null;
  const content = (group) => {
    const body = disclosures.get(group)?.body;
    return body === undefined ? null : entry.known ? JSON.parse(body) : body;
  };
  const related = [...entry.commitments.keys()].filter((group) => group.startsWith("related/"));
  const clear = ["eventId", "timestamp", "loggedAt", "action", "operation", "outcome", "resourceType", "type", "kind", "report"];
  return {
    index, ...Object.fromEntries(clear.map((name) => [name, value(name)])),
    actor: content("actor"), resource: content("resource"), related: related.map(content),
    matched: ["resource", "related"].includes(matched.split("/")[0]) ? matched : matched.startsWith("any/") ? "related" : null,
    lost: [...absent],
  };
}

/** In words how many entries answer. */
function summaryOf({ answers, question, mode, numberOf, looked }) {
  const [number, named] = looked.map((kind) => numberOf.get(kind)), { control } = question;
  if (mode === "count" && named !== undefined) {
    const naming = counted(named, "entry that names", "entries that name");
    return `exactly ${counted(number, "event", "events")} of the resource, and ${naming} it, have been logged for your question`;
  }
  const what = control === undefined ? ["event", "events"] : [`entry of the type ${control}`, `entries of the type ${control}`];
  if (mode === "count") {
    return number ? `exactly ${counted(number, ...what)} ${number === 1n ? "has" : "have"} been logged for your question` : `no ${what[0]} has been logged for your question`;
  }
  const journal = answers.filter(({ entry }) => entry.resourceType === "log").length;
  const asks = journal ? ` (${grouped(journal)} of them ${journal === 1 ? "asks" : "ask"} the log itself)` : "";
  if (!answers.length) return `no ${what[0]} answers your question`;
  return `${counted(answers.length, ...what)}, and no other${answers.length === 1 ? ", answers" : "s, answer"} your question${asks}`;
}

function provedBy({ answers, mode }, origin) {
  if (mode === "count") return [`the index of ${origin} has exactly so many for it`];
  if (!answers.length) return [`the index of ${origin} has none for it`];
  return [`${answers.length === 1 ? "it is" : "they are"} in ${origin}, unchanged; its index has no other for it`];
}

function notProvedBy({ mode, lost }, bundle) {
  return [
    "that the index names every event: whoever holds the entries can replay it (tlog fsck)",
    "that entries without shown data carry the keys of their data",
    ...(mode === "count" ? ["that no entry only shares the first 8 bytes of the key (2^32 hashes of work)"] : []),
    ...(lost.size ? ["that so many entries had data as is said to be lost, and no event came before that was said (tlog fsck)"] : []),
    ...(bundle.times ? ["the times that witnesses say"] : []),
  ];
}

function besides({ apart, alike, lost }, said) {
  const lines = [...said, ...apart.map(([index, entry]) => `entry ${index} is no event: its type is ${entry.type}`)];
  lines.push(...alike.map((index) => `entry ${index} shares the first 8 bytes of a key asked for, which answers nothing`));
  for (const [by, { loggedAt, report }] of [...lost].sort(([a], [b]) => a - b)) {
    const data = `the data of ${grouped(report.n)} of the entries ${report.start} to ${report.end - 1} was lost`;
    lines.push(`entry ${by}, logged ${loggedAt}, says that ${data}`);
  }
  return lines;
}

export { verifyCheckpoint, verifyEvidence, verifyProof };
