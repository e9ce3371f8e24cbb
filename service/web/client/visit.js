/** A conversation, what of it the service is told, and the visit that it is kept for. */

// The service takes 50 messages and 64 KiB by default; the rest of the body needs room too.
const MAX_MESSAGES = 40;
const MAX_BYTES = 48_000;
const MAX_KEPT_TURNS = 200;
const ROLES = ["user", "assistant"];

/** A name that nobody can guess. */
export function randomId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `${prefix}_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Ordered turns: `{role, content}` and, of a reply, what is needed to show and rate it again. */
export class Conversation {
  constructor(id = randomId("conv"), turns = []) {
    this.id = id;
    this.turns = turns;
  }

  /** A conversation from what was stored of it; null if it is none. */
  static fromStored(stored) {
    const isTurn = (turn) => ROLES.includes(turn?.role) && typeof turn.content === "string";
    if (typeof stored?.id !== "string" || !Array.isArray(stored.turns) || !stored.turns.every(isTurn)) return null;
    return new Conversation(stored.id, stored.turns);
  }

  /** Adds a turn and gives it back; `facts` are kept with it. */
  add(role, content, facts = {}) {
    const turn = { role, content, ...facts };
    this.turns.push(turn);
    return turn;
  }

  /** Takes the last turn away if it is `role`'s. */
  dropLast(role) {
    if (this.turns.at(-1)?.role === role) this.turns.pop();
  }

  /** The latest messages that one request may hold, the user's first; always at least the last one. */
  latest() {
    const encoder = new TextEncoder();
    const kept = [];
    let numBytes = 0;
    // The service refuses a message without a visible character.
    const messages = this.turns.filter(({ content }) => content.trim() !== "");
    for (const { role, content } of messages.slice(-MAX_MESSAGES).reverse()) {
      numBytes += encoder.encode(JSON.stringify({ role, content })).length;
      if (kept.length > 0 && numBytes > MAX_BYTES) break;
      kept.unshift({ role, content });
    }
    while (kept.length > 1 && kept[0].role !== "user") kept.shift();
    return kept;
  }

  /** What is stored of it. */
  toJSON() {
    return { id: this.id, turns: this.turns.slice(-MAX_KEPT_TURNS) };
  }
}

/**
 * What is kept for one visit, in the tab's session storage: the conversation, whether the panel is open, and a random
 * name for the visitor, which tells one visitor's thumbs from another's. Begins anew where nothing readable is stored.
 */
export class Visit {
  #key;

  constructor(endpoint) {
    this.#key = `rejoinder.visit ${endpoint}`;
    const stored = this.#read();
    this.user = typeof stored.user === "string" ? stored.user : randomId("visitor");
    this.isOpen = stored.isOpen ?? null; // null: neither opened nor closed yet
    this.conversation = Conversation.fromStored(stored.conversation) ?? new Conversation();
  }

  /** Begins a new conversation of the same visitor. */
  restart() {
    this.conversation = new Conversation();
    this.save();
  }

  /** Remembers whether the panel is open. */
  noteOpen(isOpen) {
    this.isOpen = isOpen;
    this.save();
  }

  /** Stores everything as it stands. */
  save() {
    const { user, isOpen, conversation } = this;
    try {
      sessionStorage.setItem(this.#key, JSON.stringify({ user, isOpen, conversation }));
    } catch {
      // Storage is forbidden or full: the visit lasts as long as the page.
    }
  }

  #read() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key)) ?? {};
    } catch {
      return {};
    }
  }
}
