/**
 * The service's API as the staff's pages use it. The key lives in this tab (sessionStorage) and nowhere else.
 */

import { ApiError } from "../client/api-client.js";

const KEY = "rejoinder-staff-key";

/** Dispatches `key` when a key was given or forgotten. */
export class StaffApi extends EventTarget {
  #askForKey;
  #asking = null;

  /** `askForKey(problem)` resolves to a key, or to null when the person gives none or leaves the page to sign in. */
  constructor({ askForKey }) {
    super();
    this.#askForKey = askForKey;
  }

  get hasKey() {
    return sessionStorage.getItem(KEY) !== null;
  }

  forgetKey() {
    sessionStorage.removeItem(KEY);
    this.dispatchEvent(new Event("key"));
  }

  /** Asks for another key, whatever the present one may do; resolves to whether there is one now. */
  changeKey(problem) {
    this.#asking ??= this.#askForKey(problem).then((key) => this.#keep(key)).finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** Gets JSON; `parameters` that are null, undefined or "" are left out. Throws ApiError. */
  async get(path, parameters = {}) {
    return await (await this.fetch(withParameters(path, parameters))).json();
  }

  /** Sends JSON and gets JSON; `method` may be another than POST. Throws ApiError. */
  async send(path, body, method = "POST") {
    const headers = { "content-type": "application/json" };
    return await (await this.fetch(path, { method, headers, body: JSON.stringify(body) })).json();
  }

  /** Fetches with the key; asks for one where the service wants it. Throws ApiError for every other refusal. */
  async fetch(path, options = {}) {
    for (;;) {
      const response = await this.#fetchOnce(path, options);
      if (response.ok) return response;
      const error = await errorFrom(response);
      if (response.status !== 401) throw error;
      const problem = this.hasKey ? "This key is wrong or was revoked." : "";
      if (!(await this.changeKey(problem))) throw new ApiError("no_key", "You have to be signed in, or to give an API key, to see this page.");
    }
  }

  async #fetchOnce(path, options) {
    const key = sessionStorage.getItem(KEY);
    const authorization = key === null ? {} : { authorization: `Bearer ${key}` };
    try {
      return await fetch(path, { cache: "no-store", ...options, headers: { ...options.headers, ...authorization } });
    } catch (error) {
      throw new ApiError("connection_lost", `The service cannot be reached (${error.message}).`);
    }
  }

  #keep(key) {
    if (key) sessionStorage.setItem(KEY, key);
    this.dispatchEvent(new Event("key"));
    return Boolean(key);
  }
}

function withParameters(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}

async function errorFrom(response) {
  const envelope = await response.json().catch(() => null);
  const { code, message } = envelope?.error ?? {};
  return new ApiError(code ?? `http_${response.status}`, message ?? `The service answered ${response.status}.`, {
    status: response.status,
    retryAfterSeconds: Number(response.headers.get("retry-after")) || 0,
  });
}
