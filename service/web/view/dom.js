/**
 * Making elements. Text goes in as text, never as markup: the page's policy refuses markup from strings, and what a
 * model or a person wrote must never become any. No state, no words; those are in strings.js.
 */

const SVG = "http://www.w3.org/2000/svg";

const ICON_PATHS = {
  mark: ["M18.5 17.5v-3.5a4.5 4.5 0 0 0-4.5-4.5H6", "M10 5.5l-4 4 4 4"],
  send: ["M12 19V5.5", "M6 11.5l6-6 6 6"],
  stop: ["M7.5 7.5h9v9h-9z"],
  down: ["M12 5v13.5", "M6 12.5l6 6 6-6"],
  compose: ["M19.5 13v5a2 2 0 0 1-2 2h-11a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2h5", "M18.5 3.5l2 2L12.5 13.5l-3 1 1-3z"],
  copy: [
    "M9.5 8.5h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-8a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2z",
    "M4.5 15.5v-10a2 2 0 0 1 2-2h9",
  ],
  check: ["M5 12.5l4.5 4.5L19 7.5"],
  thumbUp: [
    "M3.5 11h4v9.5h-4z",
    "M7.5 11.5l4-8c1.7 0 2.8 1.3 2.5 2.9l-.7 3.6h5a2 2 0 0 1 2 2.4l-1.3 6.5a2 2 0 0 1-2 1.6H7.5",
  ],
  thumbDown: [
    "M3.5 13h4V3.5h-4z",
    "M7.5 12.5l4 8c1.7 0 2.8-1.3 2.5-2.9l-.7-3.6h5a2 2 0 0 0 2-2.4l-1.3-6.5a2 2 0 0 0-2-1.6H7.5",
  ],
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
  drawing.setAttribute("aria-hidden", "true");
  for (const line of ICON_PATHS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", line);
    drawing.append(path);
  }
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

/** Copies text; resolves to whether it worked. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyThroughSelection(text);
  }
}

/** The old way, for pages that are not served over HTTPS: there is no navigator.clipboard there. */
function copyThroughSelection(text) {
  const holder = element("textarea", { readonly: "" });
  holder.value = text;
  holder.style.position = "fixed";
  holder.style.opacity = "0";
  document.body.append(holder);
  holder.select();
  const hasCopied = document.execCommand("copy");
  holder.remove();
  return hasCopied;
}
