/**
 * What answers now: the stable version, the canary beside it with its live thumbs, and what can be done about them.
 */

import { button, element } from "../../view/dom.js";
import { figure } from "../charts/svg.js";
import { rowChart } from "../charts/row-chart.js";
import { bounds, count, moment, percent, short, thumbs } from "../format.js";
import { confirmMove } from "./confirmation.js";

export class Release {
  #api;
  #say;
  #onMoved;
  #shelf = null;
  #shownAs = "";

  /** `onMoved` is called after a move. */
  constructor(api, say, onMoved) {
    this.#api = api;
    this.#say = say;
    this.#onMoved = onMoved;
    this.section = element("section", { class: "panel", "aria-labelledby": "release" });
  }

  /** Whether what is shown may change by itself soon. */
  get isUnsettled() {
    return this.#shelf !== null && (this.#shelf.canary !== null || !isTakenUp(this.#shelf));
  }

  /** Shows how things stand; a press of a button finds its place again. */
  show(shelf) {
    this.#shelf = shelf;
    const { release, canary, serving, can_move, canary_share, ratings_needed } = shelf;
    const same = JSON.stringify([release, canary, serving, can_move, canary_share, ratings_needed]);
    if (same === this.#shownAs) return;
    this.#shownAs = same;
    const focused = this.section.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.section.replaceChildren(element("h2", { id: "release", tabindex: "-1" }, "What answers now"), ...this.#content(shelf));
    if (focused) [...this.section.querySelectorAll("button")].find((node) => node.textContent === focused)?.focus();
  }

  /** Asks whether a move shall be made, makes it, and says so. */
  async act(action, version = null) {
    const made = await confirmMove(this.#api, action, version);
    if (made === null) return;
    this.#say(`Done: ${made.consequences[0]}`);
    await this.#onMoved();
    this.section.querySelector("h2").focus(); // the button that was pressed may be gone
  }

  #content({ release, canary, serving, canary_share, can_move, data, moves, ratings_needed }) {
    if (release === null) return [element("p", { class: "note" }, "No version was ever promoted: nobody is answered.")];
    const named = (digest) => data.find((version) => version.digest === digest)?.name ?? "version";
    const { stable, candidate } = release;
    const since = moves.find((move) => move.alias === "stable")?.time;
    const stableLine = element("p", {},
      element("span", { class: "chip good" }, "stable"), ` ${named(stable.digest)} `, element("code", {}, short(stable.digest)),
      ` answers ${candidate ? percent(1 - canary_share) : "100 %"} of the conversations${since ? `, stable since ${moment(since)}` : ""}.`);
    const waiting = isTakenUp(this.#shelf) ? [] : [element("p", { class: "note" },
      "This service has not taken the last move up yet. If it stays so, it has refused the version: its log says why.")];
    const back = this.#button("Roll back", "roll_back", moves.some((move) => move.alias === "stable" && move.from_digest));
    const mayNot = element("p", { class: "muted" }, "This key may look, not move versions: that takes the scope “admin” and the operator’s tenant.");
    return [
      stableLine, ...waiting, ...(candidate ? this.#canaryContent(release, canary, named, serving, canary_share) : []),
      ...(ratings_needed ? [element("p", { class: "muted" }, ratings_needed.always_valid > 0 ? ratings_needed.sentence : "There are ratings enough: a gain of 3 points would most likely have shown by now.")] : []),
      ...(can_move ? [element("div", { class: "row" }, ...(candidate ? [this.#button("Promote the candidate", "promote", true, candidate.digest, "primary"), this.#button("Hold the candidate", "hold", true)] : []), back)] : [mayNot]),
    ];
  }

  #canaryContent({ candidate }, canary, named, serving, share) {
    const line = element("p", {},
      element("span", { class: "chip second" }, "candidate"), ` ${named(candidate.digest)} `, element("code", {}, short(candidate.digest)),
      serving.includes(candidate.digest) ? ` answers ${percent(share)} of them since ${moment(canary.since)}.` : " does not answer here yet.");
    return [line, canaryFigure(canary)];
  }

  #button(text, action, isPossible, version = null, className = "") {
    const node = button(className, () => this.act(action, version), text);
    node.disabled = !isPossible;
    return node;
  }
}

function canaryFigure({ stable, candidate, difference, sentence, is_of_all_tenants }) {
  const rows = [["Candidate", candidate, "series-2"], ["Stable", stable, "series-1"]].map(([name, up, className]) => ({
    name, className, note: up.num_ratings ? thumbs(up) : "no ratings", value: up.num_ratings ? up.value : null, low: up.low, high: up.high,
  }));
  const points = (value) => `${value > 0 ? "+" : ""}${(100 * value).toFixed(1)}`.replace("-", "−");
  const told = difference.low > -1
    ? ` Candidate minus stable: ${points(difference.value)} points (${points(difference.low)} to ${points(difference.high)}, however often you look).`
    : "";
  return figure({
    title: "Thumbs since both answer",
    level: 3,
    note: `One rating a conversation${is_of_all_tenants ? ", of all tenants" : ""}. ${sentence}${told}`,
    summary: rows.map((row) => `${row.name}: ${row.note}`).join("; ") + ".",
    draw: (width) => rowChart(width, { rows }),
    table: {
      columns: ["Version", "Thumbs-up rate", "95 % interval", "Ratings"],
      rows: [["Candidate", candidate], ["Stable", stable]].map(([name, up]) => [name, up.num_ratings ? percent(up.value) : "–", up.num_ratings ? bounds(up) : "–", count(up.num_ratings)]),
    },
  });
}

/** Whether this service answers by the versions that the aliases name; a share of 0 keeps candidates out. */
function isTakenUp({ release, serving, canary_share }) {
  if (release === null) return true;
  const wanted = [release.stable.digest, ...(release.candidate && canary_share > 0 ? [release.candidate.digest] : [])];
  return wanted.length === serving.length && wanted.every((digest) => serving.includes(digest));
}
