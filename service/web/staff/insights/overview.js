/**
 * An overview as tiles and charts; every chart has the same numbers as a table.
 */

import { element } from "../../view/dom.js";
import { figure } from "../charts/svg.js";
import { rowChart } from "../charts/row-chart.js";
import { timeChart } from "../charts/time-chart.js";
import { bounds, count, counted, day, duration, language, moment, percent, short, thumbs, words } from "../format.js";
import { moodByDay } from "./mood.js";

const MOST_ROWS = 12;

/** The nodes that show an overview. */
export function showOverview(overview) {
  if (overview.total.num_completions === 0) {
    return [element("p", { class: "note" }, "Nobody asked anything in this period, or nothing of this kind.")];
  }
  const cut = overview.counted_since
    ? [element("p", { class: "note" }, `There was more than can be counted at once: these are the replies since ${moment(overview.counted_since)}.`)]
    : [];
  return [
    ...cut, tiles(overview.total), likedByDay(overview.by_day, overview.surges), moodByDay(overview.moods), volumeByDay(overview.by_day), handOversByDay(overview.by_day),
    waitByDay(overview.by_day, overview.total), liked("Thumbs-up rate by version", overview.by_version, (name) => short(name)),
    liked("Thumbs-up rate by language", overview.by_language, language),
    liked("Thumbs-up rate by intent", overview.by_plan, (name) => (name === "none" ? "a safety rule answered" : words(name))),
    reasons(overview),
  ];
}

function tiles({ num_completions, num_conversations, num_hand_overs, thumbs_up, median_latency_ms, p95_latency_ms }) {
  const rated = thumbs_up.num_ratings;
  const tile = (name, value, note) => element("div", { class: "tile" },
    element("dt", {}, name), element("dd", { class: "value" }, value), element("dd", { class: "muted" }, note));
  return element("dl", { class: "tiles" },
    tile("Replies", count(num_completions), `in ${counted(num_conversations, "conversation", "conversations")}`),
    tile("Thumbs up", rated ? percent(thumbs_up.value) : "–", rated ? `of ${counted(rated, "rating", "ratings")} (${bounds(thumbs_up)})` : "no ratings"),
    tile("Hand-overs", percent(num_hand_overs / num_completions, 1), `${counted(num_hand_overs, "reply", "replies")} offered a person`),
    tile("Time to a whole reply", duration(median_latency_ms), `in 95 of 100 cases under ${duration(p95_latency_ms)}`));
}

function likedByDay(days, surges) {
  const rated = days.filter(({ thumbs_up }) => thumbs_up.num_ratings > 0);
  const values = days.map(({ thumbs_up }) => (thumbs_up.num_ratings ? thumbs_up : null));
  const last = rated.at(-1);
  return figure({
    title: "Thumbs-up rate by day",
    note: `Of the day’s replies that were rated. The whisker is where the true rate may lie: long with few ratings. The band is what the seven days before let expect.${told(surges)}`,
    summary: last ? `${counted(rated.length, "day has", "days have")} ratings; the last one, ${day(last.name)}: ${thumbs(last.thumbs_up)}.` : "No ratings.",
    draw: (width) => timeChart(width, { days: names(days), max: 1, format: percent, series: [
      { kind: "band", values: days.map(({ usual_thumbs_up: usual }) => usual), className: "series-1" },
      { kind: "marks", values: days.map(({ name }) => markOf(surges, name)), className: "bad" },
      { kind: "dots", values, className: "series-1" },
    ] }),
    table: {
      columns: ["Day", "Thumbs-up rate", "95 % interval", "Ratings", "Seven days before", "Surge of thumbs down"],
      rows: days.map(({ name, thumbs_up: up, usual_thumbs_up: usual }) => [
        day(name), up.num_ratings ? percent(up.value) : "–", up.num_ratings ? bounds(up) : "–", count(up.num_ratings),
        usual ? bounds(usual) : "–", markOf(surges, name) ? "yes" : "",
      ]),
    },
  });
}

/** What the markers say, as the alert for thumbs down would have. */
function told(surges) {
  if (surges.length === 0) return "";
  return ` Surge of thumbs down: ${surges.map(surgeWords).join("; ")}.`;
}

function markOf(surges, name) {
  const surge = surges.find((one) => one.day === name);
  return surge ? { title: `Surge of thumbs down: ${surgeWords(surge)}` } : null;
}

function surgeWords({ day: name, share_down: share, usual_share_down: usual }) {
  return `${day(name)}, ${percent(share)} down instead of ${percent(usual)}`;
}

function volumeByDay(days) {
  const most = days.reduce((best, one) => (one.num_completions > best.num_completions ? one : best));
  return figure({
    title: "Replies by day",
    note: "How many replies were given.",
    summary: `Most on ${day(most.name)}: ${count(most.num_completions)}.`,
    draw: (width) => timeChart(width, { days: names(days), format: count, series: [bars(days, ({ num_completions }) => num_completions)] }),
    table: {
      columns: ["Day", "Replies", "Conversations"],
      rows: days.map((one) => [day(one.name), count(one.num_completions), count(one.num_conversations)]),
    },
  });
}

function handOversByDay(days) {
  const share = ({ num_hand_overs, num_completions }) => (num_completions ? num_hand_overs / num_completions : 0);
  const total = days.reduce((sum, one) => sum + one.num_hand_overs, 0);
  return figure({
    title: "Hand-overs by day",
    note: "Share of replies in which the bot gave up and offered a person.",
    summary: `${counted(total, "hand-over", "hand-overs")} in the period.`,
    draw: (width) => timeChart(width, { days: names(days), max: Math.max(0.1, ...days.map(share)), format: (value) => `${Number((100 * value).toFixed(1))} %`, series: [{ ...bars(days, share), className: "series-2" }] }),
    table: {
      columns: ["Day", "Hand-overs", "Share of replies"],
      rows: days.map((one) => [day(one.name), count(one.num_hand_overs), one.num_completions ? percent(share(one), 1) : "–"]),
    },
  });
}

function waitByDay(days, total) {
  const values = (field) => days.map((one) => (one[field] === null ? null : { value: one[field] }));
  return figure({
    title: "Time to a whole reply by day",
    note: "From the question to the reply’s last word. Solid: half of the replies are faster; dashed: 95 of 100 are.",
    summary: `Over the period half of the replies took less than ${duration(total.median_latency_ms)}, 95 of 100 less than ${duration(total.p95_latency_ms)}.`,
    draw: (width) => timeChart(width, {
      days: names(days), format: duration,
      series: [
        { kind: "line", values: values("p95_latency_ms"), className: "series-2" },
        { kind: "line", values: values("median_latency_ms"), className: "series-1" },
      ],
    }),
    table: {
      columns: ["Day", "Half under", "95 of 100 under"],
      rows: days.map((one) => [day(one.name), ...["median_latency_ms", "p95_latency_ms"].map((field) => (one[field] === null ? "–" : duration(one[field])))]),
    },
  });
}

function liked(title, groups, word) {
  const shown = [...groups].sort((a, b) => b.thumbs_up.num_ratings - a.thumbs_up.num_ratings).slice(0, MOST_ROWS);
  const rows = shown.map(({ name, thumbs_up: up }) => ({
    name: word(name), note: up.num_ratings ? thumbs(up) : "no ratings", value: up.num_ratings ? up.value : null, low: up.low, high: up.high,
  }));
  const more = groups.length > shown.length ? ` The ${shown.length} with the most ratings; the table has ${groups.length}.` : "";
  return figure({
    title,
    note: `From 0 to 100 %; the bar is the 95 % interval.${more}`,
    summary: rows.map((row) => `${row.name}: ${row.note}`).join("; ") + ".",
    draw: (width) => rowChart(width, { rows }),
    table: {
      columns: ["", "Thumbs-up rate", "95 % interval", "Ratings", "Replies", "Hand-overs"].map((name) => name || "Name"),
      rows: groups.map(({ name, thumbs_up: up, num_completions, num_hand_overs }) => [
        word(name), up.num_ratings ? percent(up.value) : "–", up.num_ratings ? bounds(up) : "–", count(up.num_ratings), count(num_completions), count(num_hand_overs),
      ]),
    },
  });
}

function reasons({ reasons: found, num_explained }) {
  const rows = found.slice(0, MOST_ROWS).map(({ reason, num_ratings }) => ({ name: words(reason), note: count(num_ratings), value: num_ratings }));
  return figure({
    title: "Why thumbs went down",
    note: found.length ? `Reasons of ${counted(num_explained, "thumb", "thumbs")} down; one may have several.` : "No reasons were given.",
    summary: found.length ? `Most often: ${words(found[0].reason)}, ${count(found[0].num_ratings)}.` : "No reasons were given.",
    draw: (width) => rowChart(width, { rows, max: Math.max(1, ...rows.map(({ value }) => value)) }),
    table: { columns: ["Reason", "Ratings"], rows: found.map(({ reason, num_ratings }) => [words(reason), count(num_ratings)]) },
  });
}

function bars(days, valueOf) {
  return { kind: "bars", className: "series-1", values: days.map((one) => ({ value: valueOf(one) })) };
}

function names(days) {
  return days.map(({ name }) => name);
}
