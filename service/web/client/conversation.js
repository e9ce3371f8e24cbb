/**
 * A conversation as the service is told about it: its id and its messages. What people see of it is chat.js.
 */

// The service takes 50 messages and 64 KiB by default; the rest of the body needs room too.
const MAX_MESSAGES = 40;
const MAX_BYTES = 48_000;

/** Ordered messages with one id that nobody can guess. */
export class Conversation {
  #messages = [];

  constructor() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    this.id = `conv_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  /** Adds a message; one without a visible character is left out, because the service refuses it. */
  add(role, content) {
    if (content.trim() !== "") this.#messages.push({ role, content });
  }

  /** Takes the last message away if it is `role`'s. */
  dropLast(role) {
    if (this.#messages.at(-1)?.role === role) this.#messages.pop();
  }

  /** The latest messages that one request may hold, the user's first; always at least the last one. */
  latest() {
    const encoder = new TextEncoder();
    const kept = [];
    let numBytes = 0;
    for (const message of this.#messages.slice(-MAX_MESSAGES).reverse()) {
      numBytes += encoder.encode(JSON.stringify(message)).length;
      if (kept.length > 0 && numBytes > MAX_BYTES) break;
      kept.unshift(message);
    }
    while (kept.length > 1 && kept[0].role !== "user") kept.shift();
    return kept;
  }
}
