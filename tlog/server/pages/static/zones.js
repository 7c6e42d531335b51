// Times as people write and read them, in a zone: what tlog/server/pages/zones.py does, so that the browser asks for itself.
const FIRST = new Map(Object.entries({ from: Math.min, loggedFrom: Math.min, to: Math.max, loggedTo: Math.max }));
const LOCAL = /^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2}))?)?$/;
const HOURS = 3_600_000;

/** A moment, in milliseconds, as the clocks of a zone show it, in milliseconds as if they showed UTC. */
function clock(moment, zone) {
  const fields = ["year", "month", "day", "hour", "minute", "second"];
  const format = new Intl.DateTimeFormat("en-US-u-ca-gregory-nu-latn", {
    timeZone: zone, hourCycle: "h23", ...Object.fromEntries(fields.map((field) => [field, "numeric"])),
  });
  const parts = Object.fromEntries(format.formatToParts(moment).map(({ type, value }) => [type, value]));
  const [year, month, day, hour, minute, second] = fields.map((field) => Number(parts[field]));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day); // which takes years below 100 as they are
  return date.setUTCHours(hour, minute, second);
}

/** The members of a question, [name, value], with local times in UTC; what is no local time is left as it is. */
export function inUtc(asked, zone) {
  return asked.map(([name, text]) => [name, FIRST.has(name) ? moment(name, text, zone) : text]);
}

function moment(name, text, zone) {
  const match = LOCAL.exec(text);
  if (!match) return text;
  const [, day, minute = "00:00", second = "00"] = match, local = Date.parse(`${day}T${minute}:${second}Z`);
  if (Number.isNaN(local) || new Date(local).toISOString().slice(0, 10) !== day) return text; // the verifier says what is wrong
  // Before and after a change of the clocks: what they were a day before, and a day later.
  const offsets = [-24, 24].map((hours) => clock(local + hours * HOURS, zone) - (local + hours * HOURS));
  const moments = offsets.map((offset) => local - offset), right = moments.filter((each) => clock(each, zone) === local);
  return `${new Date(FIRST.get(name)(...(right.length ? right : moments))).toISOString().slice(0, 19)}Z`;
}

/** A UTC timestamp of the log as it is read in a zone: 2026-03-30 20:21:01. */
export function shown(timestamp, zone) {
  const local = new Date(clock(Date.parse(`${timestamp.slice(0, 19)}Z`), zone)).toISOString();
  return /^[0-9]/.test(local) ? local.slice(0, 19).replace("T", " ") : timestamp; // of the year 10000
}
