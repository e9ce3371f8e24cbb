/**
 * Numbers and times as the staff reads them: percent, seconds, days in UTC, short digests. Plain words for slugs.
 */

const LOCALE = "en-GB";
const DAY = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", timeZone: "UTC" });
const TIME = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
const COUNT = new Intl.NumberFormat(LOCALE);
const SHORT_DIGEST = 12;
const LANGUAGES = { en: "English", zh: "Chinese" };

/** 0.634 as “63 %”. */
export function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)} %`;
}

/** The bounds of a share: “52 to 73 %”. */
export function bounds({ low, high }, digits = 0) {
  return `${(100 * low).toFixed(digits)} to ${(100 * high).toFixed(digits)} %`;
}

/** A share of ratings: “63 % of 41 (48 to 76 %)”; says so where there is no rating. */
export function thumbs(share) {
  if (share.num_ratings === 0) return "no ratings";
  return `${percent(share.value)} of ${count(share.num_ratings)} (${bounds(share)})`;
}

export function count(number) {
  return COUNT.format(number);
}

/** “1 reply”, “2 replies”. */
export function counted(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function duration(milliseconds) {
  if (milliseconds === 0) return "0";
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** “2026-03-02” as “2 Mar”. */
export function day(name) {
  return DAY.format(new Date(`${name}T00:00:00Z`));
}

/** A moment in UTC; what is no moment stays as it is. */
export function moment(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? text : `${TIME.format(time)} UTC`;
}

export function short(digest) {
  return digest.slice(0, SHORT_DIGEST);
}

/** “track_order” as “track order”. */
export function words(slug) {
  return slug.replaceAll("_", " ");
}

export function language(code) {
  return LANGUAGES[code] ?? code;
}
