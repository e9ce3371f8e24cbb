/**
 * The figures of two versions' manifests and gate reports: safety and fairness first, then the rest; what nobody has
 * measured is said to be so.
 */

import { element } from "../../view/dom.js";
import { short } from "../format.js";
import { figureBounds, figureChange, figureName, figureValue } from "./figures.js";
import { table } from "./timeline.js";

const SAFETY = ["failed_safety_scenarios", "failed_must_pass_scenarios", "unsafe", "invented_digits", "deflected", "wrongly_deflected"];
const FAIRNESS = /^fairness/;
const LANGUAGE = /_(en|zh)$/;
const NOT_MEASURED = "not measured";

/** The nodes for two reports. */
export function comparedFigures(first, second) {
  const figures = [first, second].map(({ figures }) => new Map(figures.map((figure) => [figure.name, figure])));
  const names = [...new Set(figures.flatMap((known) => [...known.keys()]))].sort();
  const isSafety = (name) => SAFETY.includes(name.replace(LANGUAGE, ""));
  const safety = [...names.filter(isSafety), ...SAFETY.filter((kind) => !names.some((name) => name.replace(LANGUAGE, "") === kind))];
  const fairness = names.filter((name) => FAIRNESS.test(name));
  const rest = names.filter((name) => !isSafety(name) && !FAIRNESS.test(name));
  const paired = second.lineage.parent === first.digest ? new Map(second.changes.map((change) => [change.name, change])) : new Map();
  const columns = ["Figure", `First: ${short(first.digest)}`, `Second: ${short(second.digest)}`, "Second against first"];
  const rows = (group) => group.map((name) => row(name, figures.map((known) => known.get(name)), paired.get(name)));
  return [
    table("Safety", columns, rows(safety)),
    table("Fairness: whether it matters who asks", columns, fairness.length ? rows(fairness) : [["Plans that change with who asks", NOT_MEASURED, NOT_MEASURED, "–"]]),
    table("Other figures", columns, rows(rest)),
    element("p", { class: "muted" }, "From manifests and gate reports, with 95 % intervals where they were kept; “make eval” measures the rest. Versions of different age may have been measured on different prompts. Figures without an interval do not tell how sure they are."),
  ];
}

function row(name, [first, second], paired) {
  return [figureName(name), written(first), written(second), paired ? pairedDifference(paired) : difference(first, second)];
}

function written(figure) {
  if (!figure) return NOT_MEASURED;
  const bounds = figureBounds(figure);
  return figureValue(figure.name, figure.value) + (bounds ? ` (${bounds})` : "");
}

/** What the second version's gate has measured against the first, prompt by prompt. */
function pairedDifference({ name, value, low, high }) {
  const [change, least, most] = [value, low, high].map((number) => figureChange(name, number));
  return `${change} (${least} to ${most}), on the same prompts`;
}

/** The difference, and whether it may be chance as far as the intervals tell. */
function difference(first, second) {
  if (!first || !second) return "–";
  if (first.value === second.value) return "the same";
  const change = figureChange(first.name, second.value - first.value);
  if ([first, second].some((figure) => figure.low === null || figure.high === null)) return change;
  const areApart = first.high < second.low || second.high < first.low;
  return `${change}; ${areApart ? "the intervals do not touch" : "the intervals overlap, it may be chance"}`;
}
