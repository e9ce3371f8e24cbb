/**
 * What all charts share: SVG elements, a scale, and the figure around a drawing with its table for those who read it.
 */

import { element } from "../../view/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const NICE_STEPS = [1, 2, 2.5, 5, 10];
const TICKS = 4;

/** Creates an SVG element; strings among the children become text nodes. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Round numbers from 0 to just above `max`. */
export function ticks(max) {
  const rough = Math.max(max, Number.MIN_VALUE) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * NICE_STEPS.find((nice) => nice * power >= rough * 0.999);
  return Array.from({ length: Math.ceil((max / step) * 0.999) + 1 }, (_, index) => index * step);
}

/**
 * A titled figure. `draw(width)` gives the drawing for so many pixels; it is called again when the width changes.
 * `summary` says in a sentence what is to be seen; `table` has `columns` and `rows` with the same numbers.
 */
export function figure({ title, level = 2, note = "", summary, draw, table }) {
  const stage = element("div", { class: "stage" });
  let drawnAt = 0;
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.floor(contentRect.width);
    if (width === drawnAt || width === 0) return;
    drawnAt = width;
    const drawing = draw(width);
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `${title}. ${summary}`);
    stage.replaceChildren(drawing);
  }).observe(stage);
  const caption = element("figcaption", {}, element(`h${level}`, {}, title), ...(note ? [element("p", { class: "muted" }, note)] : []));
  return element("figure", { class: "panel chart" }, caption, stage, tableBehind(title, table));
}

/** The numbers as a table that opens on demand. */
function tableBehind(title, { columns, rows }) {
  const cells = (row) => row.map((text, index) =>
    index === 0 ? element("th", { scope: "row" }, text) : element("td", { class: "number" }, text));
  const head = columns.map((name, index) => element("th", { scope: "col", ...(index ? { class: "number" } : {}) }, name));
  const body = rows.map((row) => element("tr", {}, ...cells(row)));
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${title}, table` });
  scroll.append(element("table", {},
    element("caption", { class: "hidden" }, title),
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  return element("details", {}, element("summary", {}, "Show as a table", element("span", { class: "hidden" }, `: ${title}`)), scroll);
}
