/**
 * The thumbs under a reply, and the reasons and the comment that may follow a thumb down. What is shown as pressed is
 * stored or on its way; every change is one upsert, a failed one is taken back and offered again.
 */

import { button, element, icon } from "./dom.js";
import { createNotice } from "./notice.js";
import { REASONS } from "../strings.js";

const MAX_COMMENT_CHARS = 2000;
const NOTHING = Object.freeze({ rating: null, reasons: [], comment: "" });

/** Thumbs (`thumbs`, for the row of actions) and what opens below that row (`details`) for one completion. */
export class FeedbackControls {
  #client;
  #localizer;
  #turn;
  #announce;
  #onRated;
  #stored;
  #wanted;
  #isSending = false;
  #said;
  #isEditing = false;
  #buttons = {};
  #chips = new Map();
  #form;
  #thanks;
  #problem;
  #commentField;

  /**
   * `turn` is the reply's turn: `{completionId, feedbackToken}` and, once there is any, the stored `feedback`, which
   * `onRated` hears of. `announce` says the words of a key to assistive technology.
   */
  constructor(client, localizer, turn, { announce, onRated }) {
    this.#client = client;
    this.#localizer = localizer;
    this.#turn = turn;
    this.#announce = announce;
    this.#onRated = onRated;
    this.#stored = this.#wanted = turn.feedback ?? NOTHING;
    this.thumbs = localizer.name(element("span", { role: "group", class: "thumbs" }), "rate");
    for (const rating of ["up", "down"]) {
      const thumb = button("action thumb", () => this.#press(rating), icon("thumb"));
      this.#buttons[rating] = localizer.label(thumb, rating);
      this.thumbs.append(thumb);
    }
    this.details = element("div", { class: "feedback" });
    this.#form = this.#createForm();
    this.#thanks = this.#createThanks();
    this.#problem = element("div");
    this.details.append(this.#form, this.#thanks, this.#problem);
    this.#commentField.value = this.#stored.comment;
    this.#show();
  }

  /** Folds the form away, unless it holds words that have not been sent. */
  collapse() {
    if (this.#commentField.value.trim() === this.#wanted.comment) this.#isEditing = false;
    this.#show();
  }

  #createForm() {
    const title = this.#localizer.text(element("p", { class: "feedback-title" }), "whatWasWrong");
    const chips = element("div", { class: "chips" });
    for (const reason of REASONS) {
      const chip = button("chip", () => this.#toggleReason(reason));
      this.#chips.set(reason, this.#localizer.text(chip, `reasons.${reason}`));
      chips.append(chip);
    }
    this.#commentField = element("textarea", { rows: "2", maxlength: String(MAX_COMMENT_CHARS), class: "comment" });
    this.#localizer.placeholder(this.#commentField, "comment");
    const close = this.#localizer.text(button("plain", () => this.#close()), "close");
    const send = this.#localizer.text(element("button", { type: "submit", class: "small primary" }), "sendComment");
    const form = element("form", { class: "feedback-form" }, title, chips, this.#commentField);
    form.append(element("div", { class: "feedback-buttons" }, close, send));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sendComment();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault(); // It would close the panel too.
      this.#close();
    });
    return form;
  }

  #createThanks() {
    const words = this.#localizer.text(element("span"), "stored");
    const change = this.#localizer.text(button("plain", () => this.#edit()), "editComment");
    return element("p", { class: "thanks" }, words, change);
  }

  #press(rating) {
    const isWithdrawal = this.#wanted.rating === rating;
    this.#isEditing = !isWithdrawal && rating === "down";
    this.#commentField.value = "";
    this.#want(isWithdrawal ? NOTHING : { rating, reasons: [], comment: "" }, isWithdrawal ? "withdrawn" : "stored");
    this.#form.scrollIntoView({ block: "nearest" });
  }

  #toggleReason(reason) {
    const has = this.#wanted.reasons.includes(reason);
    const reasons = REASONS.filter((other) => (other === reason ? !has : this.#wanted.reasons.includes(other)));
    this.#want({ ...this.#wanted, reasons }, null);
  }

  #sendComment() {
    this.#isEditing = false;
    this.#want({ ...this.#wanted, comment: this.#commentField.value.trim() }, "stored");
    this.#buttons.down.focus();
  }

  #close() {
    this.#isEditing = false;
    this.#show();
    this.#buttons.down.focus();
  }

  #edit() {
    this.#isEditing = true;
    this.#show();
    this.#form.scrollIntoView({ block: "nearest" });
    this.#commentField.focus();
  }

  async #want(wanted, announcement) {
    this.#wanted = wanted;
    if (announcement || !this.#isSending) this.#said = announcement;
    this.#problem.replaceChildren();
    this.#show();
    if (!this.#isSending && (await this.#send()) && this.#said) this.#announce(this.#said);
    this.#show();
  }

  /** Sends until what is stored is what is wanted: presses during a request end in one more. */
  async #send() {
    this.#isSending = true;
    try {
      while (this.#wanted !== this.#stored) {
        const wanted = this.#wanted;
        const { completionId, feedbackToken } = this.#turn;
        await this.#client.recordFeedback({ completionId, feedbackToken, ...wanted });
        this.#stored = this.#turn.feedback = wanted;
        this.#onRated();
      }
      return true;
    } catch (error) {
      this.#takeBack(error);
      return false;
    } finally {
      this.#isSending = false;
    }
  }

  #takeBack(error) {
    const failed = this.#wanted;
    this.#wanted = this.#stored;
    const retry = { key: "retry", run: () => this.#want(failed, "stored") };
    this.#problem.replaceChildren(createNotice(this.#localizer, error, error.canRetry ? retry : null, "notStored"));
    this.#announce("notStored");
  }

  #show() {
    for (const [rating, thumb] of Object.entries(this.#buttons)) {
      thumb.setAttribute("aria-pressed", String(this.#wanted.rating === rating));
    }
    for (const [reason, chip] of this.#chips) {
      chip.setAttribute("aria-pressed", String(this.#wanted.reasons.includes(reason)));
    }
    const isDown = this.#wanted.rating === "down";
    this.#form.hidden = !(isDown && this.#isEditing);
    this.#thanks.hidden = !isDown || this.#isEditing || this.#stored !== this.#wanted;
  }
}
