/**
 * Making elements. Text goes in as text, never as markup: what a model or a person wrote must never become any.
 */

const SVG = "http://www.w3.org/2000/svg";

const ICON_PATHS = {
  mark: "M18.5 17.5v-3.5a4.5 4.5 0 0 0-4.5-4.5H6M10 5.5l-4 4 4 4",
  send: "M12 19V5.5M6 11.5l6-6 6 6",
  stop: "M7.5 7.5h9v9h-9z",
  down: "M6 9.5l6 6 6-6",
  compose: "M19.5 13v5a2 2 0 0 1-2 2h-11a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2h5M18.5 3.5l2 2L12.5 13.5l-3 1 1-3z",
  copy: "M9.5 8.5h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-8a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2zM4.5 15.5v-10a2 2 0 0 1 2-2h9",
  again: "M5 12a7 7 0 1 1 2.2 5.1M4.5 20v-3.2h3.4",
  chat: "M20 11.5a7.5 7.5 0 0 1-7.5 7.5H5l1.2-3A7.5 7.5 0 1 1 20 11.5zM9 11.5h.01M12.5 11.5h.01M16 11.5h.01",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  check: "M5 12.5l4.5 4.5L19 7.5",
  thumb: "M3.5 11h4v9.5h-4zM7.5 11.5l4-8c1.7 0 2.8 1.3 2.5 2.9l-.7 3.6h5a2 2 0 0 1 2 2.4l-1.3 6.5a2 2 0 0 1-2 1.6H7.5",
};

const LINK = /https?:\/\/[^\s<>"'`\u3000-\u303f\uff00-\uffef\u4e00-\u9fff]+/g;
const NOT_THE_LINKS = /[.,;:!?)\]}]+$/;

/** Creates an element; strings among the children become text nodes. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Draws an icon of 24 units that takes the colour of its text; assistive technology does not see it. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", `icon-${name}`);
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICON_PATHS[name]);
  drawing.append(path);
  return drawing;
}

/** Creates a button that is not a form's submit button. */
export function button(className, onClick, ...children) {
  const node = element("button", { type: "button", class: className }, ...children);
  node.addEventListener("click", onClick);
  return node;
}

/** Replaces a node's content by a text in which web addresses, http and https only, are links. */
export function showLinkedText(node, text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const address = match[0].replace(NOT_THE_LINKS, "");
    if (!URL.canParse(address)) continue;
    pieces.push(text.slice(end, match.index));
    pieces.push(element("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, address));
    end = match.index + address.length;
  }
  node.replaceChildren(...pieces, text.slice(end));
}
