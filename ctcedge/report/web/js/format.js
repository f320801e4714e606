// Text for people: numbers, probabilities, and names from outside.

const RARE_PRIOR = 1 / 5000; // CTCs among leukocytes after enrichment

/**
 * @param {number} value
 * @returns {string}
 */
export const number = (value) => value.toLocaleString("en-GB");

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 * @returns {string} the count with the noun in its number, such as "1 cell" or "2 cells"
 */
export const plural = (count, one, many = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : many}`;

/**
 * Escape characters that do not print, or that change the direction of the text after them.
 *
 * @param {string} text
 * @returns {string}
 */
export function escapeControl(text) {
  return text.replace(
    /[\p{C}\u2028\u2029]/gu,
    (odd) => `\\u{${/** @type {number} */ (odd.codePointAt(0)).toString(16)}}`,
  );
}

/**
 * A probability with more digits where it is close to 0 or 1.
 *
 * @param {number} value
 * @returns {string}
 */
export function probabilityText(value) {
  if (value === 0 || value === 1) return String(value);
  if (value < 0.01) return value.toPrecision(2);
  if (value <= 0.99) return value.toFixed(2);
  return value.toFixed(Math.min(6, 1 - Math.floor(Math.log10(1 - value))));
}

/**
 * A probability in at most six characters.
 *
 * @param {number} value
 * @returns {string}
 */
export function shortProbability(value) {
  if (value > 0.9995 && value < 1) return ">0.999";
  return value > 0 && value < 0.001 ? value.toExponential(0) : probabilityText(value);
}

/**
 * A probability at the prevalence of CTCs in enriched blood; empty where its prior is low already.
 *
 * @param {number} p
 * @param {number} prior fraction of CTCs that `p` assumes
 * @returns {string}
 */
export function rareProbabilityText(p, prior) {
  if (prior <= 0.01) return "";
  const odds = p * RARE_PRIOR * (1 - prior);
  const rare = odds / (odds + (1 - p) * (1 - RARE_PRIOR) * prior);
  return `, ${probabilityText(rare)} if 1 in ${number(1 / RARE_PRIOR)} were`;
}

/**
 * @param {number} p p-value of the out-of-distribution score
 * @returns {string}
 */
export function oodText(p) {
  const percent = p < 0.001 ? "fewer than 0.1" : Number((100 * p).toPrecision(2));
  return `${percent} % of the model's validation cells are at least as far from its training cells`;
}
