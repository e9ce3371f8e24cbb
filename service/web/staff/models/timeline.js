/**
 * The shelf as a timeline, newest version first: where each comes from, how it is liked, and what its gate said.
 */

import { button, element } from "../../view/dom.js";
import { count, moment, percent, short, thumbs, words } from "../format.js";
import { figureBounds, figureChange, figureName, figureValue } from "./figures.js";

/** The nodes of the section. `act(action, digest)` moves an alias. */
export function showTimeline(shelf, { thumbsByVersion, reports, act }) {
  const { data, num_versions } = shelf;
  const entries = data.map((version) => entry(version, shelf, { thumbsByVersion, reports, act }));
  const more = num_versions > data.length ? [element("p", { class: "muted" }, `and ${count(num_versions - data.length)} older ones`)] : [];
  return [element("h2", { id: "shelf" }, "The shelf"), element("ol", { class: "timeline" }, ...entries), ...more];
}

function entry(version, shelf, { thumbsByVersion, reports, act }) {
  const { digest, name, problem } = version;
  const item = element("li", {}, heading(version, shelf));
  if (!name) {
    item.append(element("p", { class: "muted" }, "Its manifest cannot be read."));
    return item;
  }
  const up = thumbsByVersion.get(digest);
  item.append(
    element("p", { class: "muted" }, origin(version, shelf.data)),
    element("p", {}, `Thumbs up in the last 30 days: ${up ? thumbs(up) : "no ratings"}.`),
  );
  const buttons = shelf.can_move && !problem ? actions(version, shelf, act) : [];
  if (buttons.length) item.append(element("div", { class: "row" }, ...buttons));
  if (!problem) item.append(details(version, reports));
  return item;
}

function heading({ digest, name, created_at, problem, has_gate_report }, { release, canary_share }) {
  const chips = [];
  if (release?.stable.digest === digest) chips.push(["good", "stable"]);
  if (release?.candidate?.digest === digest) chips.push(["second", `candidate, ${percent(canary_share)}`]);
  if (problem) chips.push(["bad", `refused: ${words(problem)}`]);
  if (has_gate_report) chips.push(["", "has a gate report"]);
  return element("h3", { class: "row" },
    element("span", {}, name ?? "Unreadable version"), element("code", {}, short(digest)),
    ...(created_at ? [element("time", { class: "muted", datetime: created_at }, moment(created_at))] : []),
    ...chips.map(([kind, text]) => element("span", { class: `chip ${kind}` }, text)));
}

function origin({ parent, stages, data_snapshot, num_bytes }, data) {
  const known = data.find(({ digest }) => digest === parent);
  const from = parent
    ? `Made from ${known ? known.name : "a version that is not on this shelf"} ${short(parent)} `
    : "A base model, made from nothing before it, ";
  const learned = data_snapshot ? `, with the thumbs of snapshot ${short(data_snapshot)}` : "";
  return `${from}by ${stages.map(words).join(", ") || "no stage"}${learned}. ${(num_bytes / 1e6).toFixed(1)} MB.`;
}

function actions({ digest, name }, { release, canary_share }, act) {
  if (release?.stable.digest === digest) return [];
  const labelled = (text, action) => {
    const node = button("", () => act(action, digest), text);
    node.setAttribute("aria-label", `${text}: ${name} ${short(digest)}`);
    return node;
  };
  const isTried = release?.candidate?.digest === digest;
  const tries = release && !isTried && canary_share > 0 ? [labelled(`Try on ${percent(canary_share)}`, "try")] : [];
  return [labelled("Promote", "promote"), ...tries];
}

/** What the version's report says, asked for when somebody opens it. */
function details({ digest, name }, reports) {
  const body = element("div", { class: "report" });
  const summary = element("summary", {}, "Gate report and figures", element("span", { class: "hidden" }, ` of ${name} ${short(digest)}`));
  const node = element("details", {}, summary, body);
  node.addEventListener("toggle", async () => {
    if (!node.open || body.hasChildNodes()) return;
    try {
      body.replaceChildren(...reportContent(await reports.get(digest)));
    } catch (error) {
      body.replaceChildren(element("p", { class: "note bad" }, error.message));
      node.addEventListener("toggle", () => body.replaceChildren(), { once: true });
    }
  });
  return node;
}

function reportContent({ gate, figures, changes, licences, languages, documents = [] }) {
  const changeRows = changes.map((change) => [figureName(change.name), figureChange(change.name, change.value), `${figureChange(change.name, change.low)} to ${figureChange(change.name, change.high)}`]);
  return [
    ...documentLinks(documents),
    ...gateContent(gate),
    ...(changeRows.length ? [table("Against the version before, on the same prompts", ["Figure", "Change", "95 % interval"], changeRows)] : []),
    table("Figures", ["Figure", "Value", "95 % interval"], figures.map((figure) => [figureName(figure.name), figureValue(figure.name, figure.value), figureBounds(figure) || "not kept"])),
    element("p", { class: "muted" }, `Languages: ${languages.join(", ")}. Trained on: ${licences.map(({ source, licence }) => `${source} (${licence})`).join("; ")}.`),
  ];
}

/** Pages of the bundle, each in a tab of its own where it may do nothing but be read. */
function documentLinks(documents) {
  const links = documents.map(({ title, path }) => element("a", { href: path, target: "_blank", rel: "noopener noreferrer" }, title));
  return links.length ? [element("p", { class: "row" }, ...links)] : [];
}

function gateContent(gate) {
  if (gate === null) return [element("p", { class: "note" }, "No gate report: nobody has measured it against the version before.")];
  const verdict = gate.accepted ? ["note good", "The gate has let it pass."] : ["note bad", "The gate has refused it."];
  const rules = gate.rules.map((rule) => element("li", {}, ruleChip(rule), ` ${rule.sentence}`));
  return [element("p", { class: verdict[0] }, verdict[1]), element("ul", { class: "rules" }, ...rules)];
}

function ruleChip({ passed, is_left_out: isLeftOut }) {
  if (isLeftOut) return element("span", { class: "chip" }, "not measured");
  return element("span", { class: `chip ${passed ? "good" : "bad"}` }, passed ? "holds" : "broken");
}

/** A small table that scrolls by itself where it is too wide. */
export function table(caption, columns, rows) {
  const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((text, index) =>
    index === 0 ? element("th", { scope: "row" }, text) : element("td", {}, text))));
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body)));
}
