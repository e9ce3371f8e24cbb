/**
 * The service's API: chat completions as a stream, feedback, and the right to use it. No page, no words for people.
 */

import { readEvents } from "./event-stream.js";

const DONE = "[DONE]";
const RETRIABLE_STATUSES = [401, 408, 429];

/**
 * What went wrong: the service's stable `code`, or `connection_lost`, `offline`, `token_unavailable` where no whole
 * answer came; `status` is 0 where there was none, `retryAfterSeconds` is 0 where the service did not name a time.
 */
export class ApiError extends Error {
  constructor(code, message, { status = 0, retryAfterSeconds = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether the message itself was refused, and would be again. */
  get isAboutMessage() {
    return this.status === 400 || this.status === 413;
  }

  /** Whether nothing was refused, and only the answer did not arrive. */
  get isAboutConnection() {
    return this.code === "connection_lost" || this.code === "offline";
  }

  /** Whether the same request may succeed later. */
  get canRetry() {
    return this.status < 400 || this.status >= 500 || RETRIABLE_STATUSES.includes(this.status);
  }
}

/**
 * What lets this page use the service: nothing, a token given with the page, or tokens that the shop's own server gives
 * out at `tokenUrl` as `{"token": …, "expires_in": seconds}`. `canAsk`: whether people may be asked for a key instead.
 */
export class Credentials {
  #tokenUrl;
  #renewAt = Infinity;
  #renewal = null;

  constructor({ token = "", tokenUrl = "", canAsk = false } = {}) {
    this.token = token;
    this.#tokenUrl = tokenUrl;
    this.canAsk = canAsk && !tokenUrl;
  }

  /** The headers of a request; a token that is missing or about to expire is fetched first. Throws ApiError. */
  async headers() {
    if (this.#tokenUrl && (!this.token || Date.now() >= this.#renewAt)) await this.renew();
    return this.token ? { authorization: `Bearer ${this.token}` } : {};
  }

  /** Fetches the next token; resolves to whether there can be one. Requests that ask together share it. */
  async renew() {
    if (!this.#tokenUrl) return false;
    this.#renewal ??= this.#fetchToken().finally(() => (this.#renewal = null));
    await this.#renewal;
    return true;
  }

  async #fetchToken() {
    let response;
    try {
      response = await fetch(this.#tokenUrl, { headers: { accept: "application/json" }, cache: "no-store" });
    } catch (error) {
      throw lostConnection(error);
    }
    const given = response.ok ? await response.json().catch(() => null) : null;
    if (typeof given?.token !== "string") throw new ApiError("token_unavailable", `${this.#tokenUrl} gave no token.`);
    this.token = given.token;
    this.#renewAt = Date.now() + (given.expires_in ?? Infinity) * 900; // in milliseconds, before it runs out
  }
}

/** Talks to one service, whose `baseUrl` has no slash at its end, for one `user`. */
export class ApiClient {
  constructor({ baseUrl = "", model = "rejoinder", user = "", credentials = new Credentials() } = {}) {
    this.baseUrl = baseUrl;
    this.model = model;
    this.user = user;
    this.credentials = credentials;
  }

  /**
   * Asks for a reply to `messages` and yields what becomes known of it, in pieces to be merged: `digest` first, then
   * `text` to append, `finishReason` with the `rule` that spoke and `quickReplies`, and last `completionId` with
   * `feedbackToken`. Sent again with the same `requestId`, a request is answered by the same reply if that was whole
   * already. Throws ApiError, or what `signal` was aborted with.
   */
  async *streamCompletion({ messages, conversationId, requestId, signal }) {
    const response = await this.#post("/v1/chat/completions", {
      model: this.model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      metadata: { conversation_id: conversationId },
      user: this.user,
    }, { signal, headers: { "idempotency-key": requestId } });
    yield { digest: response.headers.get("x-model-digest") ?? "" };
    for await (const { type, data } of lostUnlessAborted(readEvents(response.body), signal)) {
      if (data === DONE) return;
      const piece = parseJson(data);
      if (type === "error" || piece.error) throw errorFrom(piece, response);
      yield updateFrom(piece);
    }
    throw new ApiError("connection_lost", "The stream ended early.");
  }

  /** Records a thumb; null withdraws. What is sent replaces what was stored. Throws ApiError. */
  async recordFeedback({ completionId, feedbackToken, rating, reasons = [], comment = "" }) {
    const body = { completion_id: completionId, feedback_token: feedbackToken, rating };
    if (reasons.length > 0) body.reasons = reasons;
    if (comment !== "") body.comment = comment;
    const response = await this.#post("/v1/feedback", body);
    return await response.json();
  }

  /** Posts JSON; a token that has run out in the meantime is renewed once. */
  async #post(path, body, options) {
    let response = await this.#fetch(path, body, options);
    if (response.status === 401 && (await this.credentials.renew())) response = await this.#fetch(path, body, options);
    if (response.status === 401 && !this.credentials.canAsk) throw new ApiError("token_unavailable", "Not let in.");
    if (!response.ok) throw errorFrom(parseJson(await response.text().catch(() => "")), response);
    return response;
  }

  async #fetch(path, body, { signal, headers: own } = {}) {
    const headers = { "content-type": "application/json", ...own, ...(await this.credentials.headers()) };
    try {
      return await fetch(this.baseUrl + path, { method: "POST", headers, body: JSON.stringify(body), signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw lostConnection(error);
    }
  }
}

/** An ApiError from the service's envelope, which a proxy in between may have replaced by anything. */
function errorFrom(envelope, response) {
  const { code, message } = envelope?.error ?? {};
  return new ApiError(code ?? `http_${response.status}`, message ?? "", {
    status: response.ok ? 0 : response.status,
    // A date is allowed too (RFC 9110, 10.2.3), but this service sends seconds.
    retryAfterSeconds: Number(response.headers.get("retry-after")) || 0,
  });
}

function parseJson(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function updateFrom(piece) {
  const choice = piece.choices?.[0];
  const update = {};
  if (choice?.delta?.content) update.text = choice.delta.content;
  if (choice?.finish_reason) update.finishReason = choice.finish_reason;
  if (choice?.rule) update.rule = choice.rule;
  if (choice?.quick_replies) update.quickReplies = choice.quick_replies;
  if (piece.feedback_token) Object.assign(update, { completionId: piece.id, feedbackToken: piece.feedback_token });
  return update;
}

/** The same events; a connection that breaks becomes an ApiError, one that was broken off on purpose stays as it is. */
async function* lostUnlessAborted(events, signal) {
  try {
    yield* events;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw lostConnection(error);
  }
}

/** The error for a connection that broke or never came about. */
function lostConnection(cause) {
  return new ApiError(navigator.onLine ? "connection_lost" : "offline", String(cause));
}
