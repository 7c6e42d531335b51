import { shown } from "./zones.js";

// Cells of tables, made of what was verified: what tlog/server/pages/rows.py makes of what the server says. A cell is a text, or of
// each field that changed its name, its old and its new value.
const OF_LOG = "log", NOT_ACCOUNTED_FOR = ["TREAT", "HPAYMT", "HOPERAT"];

/** Tell whether an event is about the log itself. */
export const isAboutLog = (answer) => answer.resourceType === OF_LOG;

const lost = (answer, group) => answer.lost.filter(([each]) => each === group).map(([, by]) => `(lost, says entry ${by})`)[0];
const details = (answer) => answer.resource?.details ?? {};
const action = (answer) => answer.action + (answer.operation === null ? "" : ` (${answer.operation})`);
const purpose = (answer) => details(answer).purpose || (details(answer).reason ?? "");

function who(answer, names = true) {
  const { userId = "(unknown)", role = "" } = answer.actor ?? {};
  if (!answer.actor) return lost(answer, "actor");
  if (!names) return role || "(no role)";
  return role ? `${userId} (${role})` : userId;
}

function what(answer) {
  const named = answer.matched?.startsWith("related") ? " (named beside)" : "";
  return `${answer.resourceType} ${answer.resource?.resource.id ?? lost(answer, "resource")}${named}`;
}

function data(answer) {
  const fields = (details(answer).fieldsAccessed ?? []).join(", ");
  return what(answer) + (fields ? `: ${fields}` : "");
}

function value(values, name) {
  if (!Object.hasOwn(values, name)) return "";
  return typeof values[name] === "string" ? values[name] : JSON.stringify(values[name]);
}

export function eventCells(answer, zone) {
  const happened = shown(answer.timestamp, zone), logged = shown(answer.loggedAt, zone);
  return [happened, logged, who(answer), action(answer), what(answer), purpose(answer), answer.outcome];
}

export const outcomeCells = ({ loggedAt, kind, report }, zone) => [shown(loggedAt, zone), kind, JSON.stringify(report)];

export function timelineCells(answer, zone) {
  const { oldValues = {}, newValues = {} } = details(answer);
  const names = [...new Set([...Object.keys(oldValues), ...Object.keys(newValues)])].sort();
  const changes = names.map((name) => [name, value(oldValues, name), value(newValues, name)]);
  return [shown(answer.timestamp, zone), who(answer), action(answer), what(answer), purpose(answer), answer.outcome, changes];
}

export function accessCells(answer, zone, names) {
  const done = action(answer) + (answer.outcome === "success" ? "" : `, ${answer.outcome}`);
  return [shown(answer.timestamp, zone), who(answer, names), done, data(answer), purpose(answer)];
}

/** The disclosures among answers, oldest first; and how many exports are no row: for their purpose, without a recipient, lost. */
export function accounting(answers, zone) {
  const groups = new Map(), counts = { leftOut: 0, withoutRecipient: 0, unknown: 0 };
  for (const answer of answers.filter((each) => each.action === "export" && !isAboutLog(each))) {
    const { recipient, purpose: why = "" } = details(answer);
    if (!answer.resource) counts.unknown += 1;
    else if (!recipient) counts.withoutRecipient += 1;
    else if (NOT_ACCOUNTED_FOR.includes(why)) counts.leftOut += 1;
    else {
      const key = JSON.stringify([recipient.name, recipient.address ?? "", why]);
      groups.set(key, [...(groups.get(key) ?? []), answer]);
    }
  }
  const rows = [...groups].map(([key, disclosed]) => {
    const [name, address, why] = JSON.parse(key), dates = disclosed.map((each) => shown(each.timestamp, zone));
    const date = dates.length === 1 ? dates[0] : `${dates[0]}, ${dates.length} times, last ${dates.at(-1)}`;
    return [date, name, address, [...new Set(disclosed.map(data))].join("; "), why];
  });
  return { rows, ...counts };
}
