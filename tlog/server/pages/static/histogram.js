import { at, count, make } from "./checking.js";

// Events over time: as many bars as show something, of an hour, a day or whatever their times ask for; and the same numbers as a table.
const MOST = 60; // bars
const STEPS = [ // the places of year, month, day, hour, minute; how many of it are a bar; and its words
  [4, 1, "a minute"], [4, 10, "10 minutes"], [3, 1, "an hour"], [3, 6, "6 hours"], [2, 1, "a day"], [1, 1, "a month"], [0, 1, "a year"],
  [0, 10, "10 years"], [0, 100, "100 years"], [0, 1000, "1,000 years"],
];
const SHOWN = [4, 7, 10, 16, 16]; // characters of a time that say when a bar begins
const SVG = "http://www.w3.org/2000/svg";

/** The moment, in milliseconds, of a clock's year, month, day, hour and minute, of which the last may be left out. */
function moment([year, month = 0, day = 1, hour = 0, minute = 0]) {
  const date = new Date(0);
  date.setUTCFullYear(year, month, day); // which takes years below 100 as they are
  return date.setUTCHours(hour, minute);
}

/** Where the bar of a moment begins, down to the place that a step counts. */
function beginning(time, [place, step]) {
  const date = new Date(time);
  const all = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes()];
  return [...all.slice(0, place), all[place] - (all[place] % step)];
}

/** The bars of moments: the words of their step, and of each when it begins and how many there are. */
export function bars(times) {
  const last = Math.max(...times);
  for (const [place, step, words] of STEPS) {
    const numbers = new Map(), next = beginning(Math.min(...times), [place, step]);
    for (; moment(next) <= last && numbers.size <= MOST; next[place] += step) numbers.set(moment(next), 0);
    if (numbers.size > MOST) continue;
    for (const time of times) {
      const begun = moment(beginning(time, [place, step]));
      numbers.set(begun, numbers.get(begun) + 1);
    }
    return { words, bars: [...numbers].map(([time, number]) => [new Date(time).toISOString().replace("T", " ").slice(0, SHOWN[place]), number]) };
  }
  return { words: "", bars: [] };
}

function svgOf(drawn, highest) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${drawn.length} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true"); // the caption says it, and the table
  drawn.forEach(([, number], place) => {
    const bar = document.createElementNS(SVG, "rect");
    const box = { x: place + 0.05, y: 1 - number / highest, width: 0.9, height: number / highest };
    for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
    svg.append(bar);
  });
  return svg;
}

/** Draw times as a zone's clocks show them (2026-03-17 10:24:20), and say of which events they are. */
export function draw(texts, ofWhich) {
  const times = texts.map((text) => Date.parse(`${text.replace(" ", "T")}Z`)).filter((time) => !Number.isNaN(time));
  at("histogram").hidden = !times.length;
  if (!times.length) return;
  const { words, bars: drawn } = bars(times), highest = Math.max(...drawn.map(([, number]) => number));
  const caption = `${count(times.length, "event")} over time, ${ofWhich}: a bar is ${words}, the highest is ${highest.toLocaleString("en-US")}`;
  at("histogram").querySelector("figcaption").textContent = caption;
  at("bars").replaceChildren(svgOf(drawn, highest));
  at("ends").replaceChildren(make("span", drawn[0][0]), make("span", drawn.length > 1 ? drawn.at(-1)[0] : ""));
  at("numbers").tBodies[0].replaceChildren(...drawn.map(([from, number]) => make("tr", "", make("td", from), make("td", String(number)))));
}
