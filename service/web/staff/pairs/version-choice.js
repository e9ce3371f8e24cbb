/**
 * Which two versions answer: the page's address keeps it; else the stable one and the candidate, or the newest other one.
 */

import { element } from "../../view/dom.js";
import { short } from "../format.js";

export class VersionChoice {
  #versions = [];
  #selects;

  /** `onChange` is told when others are chosen. */
  constructor(onChange) {
    this.#selects = ["first", "second"].map((name) => element("select", { id: `pair-${name}` }));
    for (const node of this.#selects) {
      node.addEventListener("change", () => {
        this.#writeAddress();
        onChange();
      });
    }
    const [one, other] = this.#selects;
    this.node = element("div", { class: "panel choices" },
      element("div", { class: "field" }, element("label", { for: one.id }, "One version"), one),
      element("div", { class: "field" }, element("label", { for: other.id }, "Another version"), other));
  }

  get first() {
    return this.#selects[0].value;
  }

  get second() {
    return this.#selects[1].value;
  }

  nameOf(digest) {
    return `${this.#versions.find((version) => version.digest === digest)?.name ?? "version"} ${short(digest)}`;
  }

  /** Offers the readable versions of the shelf; false where there are not two. */
  offer({ data, release }) {
    this.#versions = data.filter(({ name, problem }) => name && !problem);
    if (this.#versions.length < 2) return false;
    const asked = new URLSearchParams(location.search);
    const isThere = (digest) => this.#versions.some((version) => version.digest === digest);
    const first = [asked.get("first"), release?.stable.digest].find(isThere) ?? this.#versions[0].digest;
    const others = [asked.get("second"), release?.candidate?.digest, ...this.#versions.map(({ digest }) => digest)];
    const second = others.find((digest) => isThere(digest) && digest !== first);
    [first, second].forEach((digest, index) => {
      const options = this.#versions.map((version) => new Option(`${this.nameOf(version.digest)}, ${version.created_at.slice(0, 10)}`, version.digest));
      this.#selects[index].replaceChildren(...options);
      this.#selects[index].value = digest;
    });
    return true;
  }

  #writeAddress() {
    const address = new URL(location.href);
    address.search = new URLSearchParams({ first: this.first, second: this.second });
    history.replaceState(null, "", address);
  }
}
