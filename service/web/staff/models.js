/**
 * The versions page: what answers now, the shelf as a timeline, two versions side by side, and who moved what.
 *
 * Looks again every few seconds while something may change by itself: during a canary, and until a move is taken up.
 */

import { element } from "../view/dom.js";
import { failureNote, openFrame } from "./frame.js";
import { Comparison } from "./models/comparison.js";
import { showMoves } from "./models/moves.js";
import { Release } from "./models/release.js";
import { Reports } from "./models/reports.js";
import { showTimeline } from "./models/timeline.js";

const LOOK_AGAIN_MS = 5000;
const DAYS_OF_THUMBS = 30;

const { api, say } = openFrame();
const content = document.getElementById("content");
const reports = new Reports(api);
const release = new Release(api, say, load);
const comparison = new Comparison(reports, api, say);
const timeline = element("section", { class: "panel", "aria-labelledby": "shelf" });
const moves = element("section", { class: "panel", "aria-labelledby": "moves" });
let shown = "";

load();
setInterval(lookAgain, LOOK_AGAIN_MS);

async function load() {
  try {
    const shelf = await api.get("/v1/model-versions");
    const overview = await api.get("/v1/insights", { days: DAYS_OF_THUMBS });
    show(shelf, new Map(overview.by_version.map((group) => [group.name, group.thumbs_up])));
    // Only once: what is taken out and put back loses the focus.
    if (!release.section.isConnected) content.replaceChildren(release.section, timeline, comparison.section, moves);
  } catch (error) {
    content.replaceChildren(failureNote(error, api, load));
  }
}

/** Renews only what answers now: the rest may be in somebody's hands. A look that fails is repeated soon anyway. */
async function lookAgain() {
  const mayChange = release.isUnsettled && !document.hidden && !document.querySelector("dialog[open]");
  if (!mayChange) return;
  const shelf = await api.get("/v1/model-versions").catch(() => null);
  if (shelf === null) return;
  release.show(shelf);
  if (JSON.stringify([shelf.release, shelf.moves.length]) !== shown) await load();
}

function show(shelf, thumbsByVersion) {
  shown = JSON.stringify([shelf.release, shelf.moves.length]);
  release.show(shelf);
  timeline.replaceChildren(...showTimeline(shelf, { thumbsByVersion, reports, act: (action, version) => release.act(action, version) }));
  comparison.offer(shelf);
  moves.replaceChildren(...showMoves(shelf));
}
