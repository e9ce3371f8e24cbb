/**
 * Values by day: bars, lines, or dots with whiskers for the bounds of an interval. A day without a value is a gap.
 */

import { day } from "../format.js";
import { svg, ticks } from "./svg.js";

const HEIGHT = 190;
const TOP = 14;
const BOTTOM = 26;
const LEFT = 58;
const RIGHT = 10;
const PIXELS_A_LABEL = 76;

/**
 * `series`: a list of `{ kind, values, className }`, drawn in this order; a value is `{ value, low, high }` or null. Kinds
 * are bars, lines, dots with whiskers, a band between low and high, and marks, which hang at the top with their `title`.
 * `max` is the top of the scale, found from the values where it is not given; `format` writes a tick.
 */
export function timeChart(width, { days, series, max, format }) {
  const top = ticks(max ?? Math.max(...series.flatMap(({ values }) => values.map((at) => at?.value ?? 0)), 1e-9));
  const scale = {
    slot: (width - LEFT - RIGHT) / days.length,
    x: (index) => LEFT + ((index + 0.5) * (width - LEFT - RIGHT)) / days.length,
    y: (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top.at(-1)),
  };
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT });
  for (const tick of top) drawing.append(...gridLine(width, scale.y(tick), format(tick)));
  drawing.append(...dayLabels(days, width, scale));
  for (const one of series) drawing.append(...DRAWERS[one.kind](one, scale, days, format));
  return drawing;
}

const DRAWERS = {
  band: ({ values, className }, { slot, x, y }) => runs(values).map((run) => {
    const side = (bound, points) => points.flatMap(([index, at]) => [`${x(index) - slot / 2} ${y(at[bound])}`, `${x(index) + slot / 2} ${y(at[bound])}`]);
    const back = side("low", run).reverse();
    return svg("path", { class: `band ${className}`, d: `M${[...side("high", run), ...back].join("L")}Z` });
  }),
  marks: ({ values, className }, { x, y }) => values.flatMap((at, index) => {
    if (!at) return [];
    const line = svg("path", { class: `surge-line ${className}`, d: `M${x(index)} ${TOP}V${y(0)}` });
    const mark = svg("path", { class: `surge ${className}`, d: `M${x(index) - 6} ${TOP - 8}h12l-6 10z` });
    return [line, titled(mark, at.title)];
  }),
  bars: ({ values, className }, { slot, x, y }, days, format) => values.flatMap((at, index) => {
    if (!at?.value) return [];
    const wide = Math.max(1, Math.min(28, slot * 0.72));
    const bar = svg("rect", {
      class: `mark ${className}`, x: x(index) - wide / 2, y: y(at.value), width: wide, height: y(0) - y(at.value), rx: Math.min(2, wide / 3),
    });
    return [titled(bar, `${day(days[index])}: ${format(at.value)}`)];
  }),
  line: ({ values, className }, { x, y }, days, format) => {
    const path = runs(values).map((run) => `M${run.map(([index, at]) => `${x(index)} ${y(at.value)}`).join("L")}`).join("");
    const dots = values.flatMap((at, index) => at ? [dot(className, x(index), y(at.value), `${day(days[index])}: ${format(at.value)}`)] : []);
    return [svg("path", { class: `line ${className}`, d: path || "M0 0" }), ...dots];
  },
  dots: ({ values, className }, { x, y }, days, format) => values.flatMap((at, index) => {
    if (!at) return [];
    const label = `${day(days[index])}: ${format(at.value)} (${format(at.low)} to ${format(at.high)})`;
    const whisker = svg("path", { class: `whisker ${className}`, d: `M${x(index)} ${y(at.low)}V${y(at.high)}` });
    return [whisker, dot(className, x(index), y(at.value), label)];
  }),
};

/** Neighbouring days that have a value. */
function runs(values) {
  const found = [];
  values.forEach((at, index) => {
    if (!at) return;
    if (index === 0 || !values[index - 1]) found.push([]);
    found.at(-1).push([index, at]);
  });
  return found;
}

function dot(className, x, y, label) {
  return titled(svg("circle", { class: `mark ${className}`, cx: x, cy: y, r: 3.2 }), label);
}

function titled(node, text) {
  node.append(svg("title", {}, text));
  return node;
}

function gridLine(width, y, text) {
  return [
    svg("path", { class: "grid", d: `M${LEFT} ${y}H${width - RIGHT}` }),
    svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, text),
  ];
}

function dayLabels(days, width, { x }) {
  const step = Math.max(1, Math.ceil(days.length / Math.max(1, Math.floor((width - LEFT) / PIXELS_A_LABEL))));
  return days.flatMap((name, index) => {
    const isShown = (days.length - 1 - index) % step === 0;
    if (!isShown) return [];
    const anchor = index === days.length - 1 && days.length > 2 ? "end" : "middle";
    const at = anchor === "end" ? Math.min(width - RIGHT, x(index) + 16) : Math.max(LEFT + 4, x(index));
    return [svg("text", { x: at, y: HEIGHT - 7, "text-anchor": anchor }, day(name))];
  });
}
