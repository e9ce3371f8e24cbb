/**
 * The overview: asks for a period's counts and shows them. What may be chosen is kept in the page's address.
 */

import { element } from "../view/dom.js";
import { failureNote, openFrame } from "./frame.js";
import { makeFilters, readFilters } from "./insights/filters.js";
import { showOverview } from "./insights/overview.js";

const { api, say } = openFrame();
const charts = element("div", { class: "charts" });
const filters = makeFilters(readFilters(location.search), load);
let newest = 0;

document.getElementById("content").append(filters.form, charts);
load();

async function load() {
  const mine = ++newest;
  charts.setAttribute("aria-busy", "true");
  history.replaceState(null, "", filters.address);
  try {
    const overview = await api.get("/v1/insights", filters.parameters);
    if (mine !== newest) return;
    filters.offer(overview);
    charts.replaceChildren(...showOverview(overview));
    say(`${overview.total.num_completions} replies counted.`);
  } catch (error) {
    if (mine === newest) charts.replaceChildren(failureNote(error, api, load));
  } finally {
    if (mine === newest) charts.removeAttribute("aria-busy");
  }
}
