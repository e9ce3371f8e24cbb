/**
 * The sentiment of customers by day: the share of negative messages, what is usual, and the days that stand out.
 */

import { figure } from "../charts/svg.js";
import { timeChart } from "../charts/time-chart.js";
import { element } from "../../view/dom.js";
import { bounds, count, counted, day, percent } from "../format.js";

const TITLE = "Negative messages by day";
const LOWEST_TOP = 0.2;

/** The chart, or a panel that says why there is none. */
export function moodByDay(moods) {
  const told = moods.filter(({ num_messages }) => num_messages > 0);
  if (told.length === 0) return nothingTold();
  const surges = told.filter(({ is_surge }) => is_surge);
  const last = told.at(-1);
  const top = Math.min(1, Math.max(LOWEST_TOP, ...told.map(({ share_negative: share }) => share.high)));
  return figure({
    title: TITLE,
    note: `Share of customers’ messages in which the intent model reads displeasure: an estimate. The whisker is the 95 % interval, the band what the seven days before let expect.${surgesTold(surges)}`,
    summary: `${counted(told.length, "day has", "days have")} messages; the last one, ${day(last.day)}: ${percent(last.share_negative.value)} negative.`,
    draw: (width) => timeChart(width, { days: moods.map((one) => one.day), max: top, format: percent, series: [
      { kind: "band", values: moods.map(({ usual_share_negative: usual }) => usual), className: "series-2" },
      { kind: "marks", values: moods.map((one) => (one.is_surge ? { title: `Surge of negative messages: ${surgeWords(one)}` } : null)), className: "bad" },
      { kind: "dots", values: moods.map(({ num_messages, share_negative }) => (num_messages ? share_negative : null)), className: "series-2" },
    ] }),
    table: {
      columns: ["Day", "Negative", "95 % interval", "Positive", "Messages", "Seven days before", "Surge"],
      rows: moods.map((one) => [
        day(one.day), one.num_messages ? percent(one.share_negative.value) : "–", one.num_messages ? bounds(one.share_negative) : "–",
        one.num_messages ? percent(one.num_positive / one.num_messages) : "–", count(one.num_messages),
        one.usual_share_negative ? bounds(one.usual_share_negative) : "–", one.is_surge ? "yes" : "",
      ]),
    },
  });
}

function nothingTold() {
  return element("section", { class: "panel chart" }, element("h2", {}, TITLE),
    element("p", { class: "muted" }, "No message of this period has a sentiment: the intent model does not tell it, or did not then."));
}

function surgesTold(surges) {
  return surges.length ? ` Surge of negative messages: ${surges.map(surgeWords).join("; ")}.` : "";
}

function surgeWords({ day: name, share_negative: share, usual_share_negative: usual }) {
  return `${day(name)}, ${percent(share.value)} instead of ${percent(usual.value)}`;
}
