/**
 * Named rows from 0 to a maximum: a bar, or a dot with whiskers for the bounds of an interval, and the number in words.
 */

import { svg } from "./svg.js";

const ROW = 44;
const TRACK = 30;
const SIDE = 6;

/** `rows`: a list of `{ name, note, value, low, high, className }`; with `low` a dot with whiskers, else a bar. */
export function rowChart(width, { rows, max = 1 }) {
  const height = rows.length * ROW + 4;
  const x = (value) => SIDE + (width - 2 * SIDE) * (value / max);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
  rows.forEach((row, index) => drawing.append(...drawRow(row, index * ROW, width, x, max)));
  return drawing;
}

function drawRow({ name, note, value, low, high, className = "series-1" }, top, width, x, max) {
  const y = top + TRACK;
  const room = Math.max(8, Math.floor((width - note.length * 7.2) / 7.6));
  const label = svg("text", { class: "name", x: SIDE, y: top + 18 }, name.length > room ? `${name.slice(0, room - 1)}…` : name);
  const number = svg("text", { x: width - SIDE, y: top + 18, "text-anchor": "end" }, note);
  const track = svg("path", { class: "grid", d: `M${x(0)} ${y}H${x(max)}` });
  label.append(svg("title", {}, name));
  if (value === null) return [label, number, track];
  if (low === undefined) {
    const bar = svg("rect", { class: `mark ${className}`, x: x(0), y: y - 4, width: Math.max(1, x(value) - x(0)), height: 8, rx: 2 });
    return [label, number, track, bar];
  }
  return [
    label, number, track,
    svg("path", { class: `whisker wide ${className}`, d: `M${x(low)} ${y}H${x(high)}` }),
    svg("circle", { class: `mark ${className}`, cx: x(value), cy: y, r: 5 }),
  ];
}
