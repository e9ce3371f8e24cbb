/**
 * Ratings: what the last learning run set aside, the raters, and the gold list. Puts the parts together.
 */

import { element } from "../view/dom.js";
import { openFrame } from "./frame.js";
import { DoubtedList } from "./ratings/doubted-list.js";
import { GoldList } from "./ratings/gold-list.js";
import { RaterTable } from "./ratings/rater-table.js";

const { api, say } = openFrame();
const doubted = new DoubtedList({ api, say });
const raters = new RaterTable({ api, say, onShow: showRater, onRuled: () => doubted.load() });
const gold = new GoldList({ api, say });

document.querySelector("#content").replaceChildren(
  panel("doubted", "Set aside", doubted.node),
  panel("raters", "Raters", raters.node),
  panel("gold", "Gold list", gold.node),
);
doubted.load();
raters.load();

function panel(id, title, node) {
  return element("section", { class: "panel", "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title`, tabindex: "-1" }, title), node);
}

function showRater(rater) {
  doubted.filterBy(rater);
  document.querySelector("#doubted-title").focus();
}
