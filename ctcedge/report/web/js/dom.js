// Elements of the page.

import { escapeControl } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} id
 * @returns {any} the element; the page always contains it
 */
export const byId = (id) => document.getElementById(id);

/**
 * Create an element. Text is always inserted as text, never as markup.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, any>} [properties] listeners (`onclick`, ...), DOM properties, attributes
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(name, properties = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) created.addEventListener(key.slice(2), value);
    else if (key in created && !key.includes("-")) /** @type {any} */ (created)[key] = value;
    else created.setAttribute(key, value);
  }
  for (const child of children) {
    if (child !== null) created.append(typeof child === "string" ? escapeControl(child) : child);
  }
  return created;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 * @returns {SVGElement}
 */
export function svgElement(name, attributes, text) {
  const created = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, String(value));
  if (text !== undefined) created.textContent = text;
  return /** @type {SVGElement} */ (created);
}
