// The report's contents, and pictures decoded when they are first looked at.

const report = JSON.parse(document.getElementById("data").textContent);
const cells = report.cells; // columns, in the gallery's order
const count = cells.path.length;

const CALLS = ["CTC", "review", "leukocyte"];
const MARKS = { CTC: "▲", review: "◆", unsure: "◆", leukocyte: "●" };
const IMAGE_OK = 0;

const REASONS = {
  "near-threshold": "the probability lies too near the threshold",
  "empty": "no cell is seen",
  "out-of-focus": "out of focus",
  "cut-by-edge": "the cell is cut by the crop's edge",
  "debris": "dead cell or debris",
  "under-exposed": "under-exposed",
  "over-exposed": "over-exposed",
  "too-few-pixels": "too few pixels",
  "neighbour": "another cell is in view",
  "overlap": "cells overlap",
  "unlike-training": "unlike the cells that the model was trained on",
};

/** Make an element; text is always text, never markup. */
function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !key.includes("-")) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null)
    .map((child) => (typeof child === "string" ? harmless(child) : child)));
  return made;
}

/** Names may hold characters that do not print, or that turn the direction of what follows. */
function harmless(text) {
  return text.replace(/[\p{C}\u2028\u2029]/gu, (odd) => `\\u{${odd.codePointAt(0).toString(16)}}`);
}

const callOf = (cell) => CALLS[cells.call[cell]];
const sampleOf = (cell) => report.samples[cells.sample[cell]];
const reasonsOf = (cell) => cells.reasons[cell].map((number) => report.reasons[number]);
const number = (value) => value.toLocaleString("en-GB");
const several = (value, one, more) => `${number(value)} ${value === 1 ? one : more}`;

/** A probability as people read it: more digits where it is small or nearly one. */
function probabilityText(value) {
  if (value === 0 || value === 1) return String(value);
  if (value < 0.01) return value.toPrecision(2);
  return value <= 0.99 ? value.toFixed(2) : value.toFixed(Math.min(6, 1 - Math.floor(Math.log10(1 - value))));
}

/** The same where there is little room. */
function shortProbability(value) {
  if (value > 0.9995 && value < 1) return ">0.999";
  return value > 0 && value < 0.001 ? value.toExponential(0) : probabilityText(value);
}

function callMark(call) {
  return make("span", { className: `call ${call}` }, `${MARKS[call]} ${call}`);
}

/** The lines of all blocks of one kind; the blocks leave the document. */
function takeLines(kind) {
  const blocks = [...document.querySelectorAll(`script[data-pictures="${kind}"]`)];
  const lines = blocks.flatMap((block) => block.textContent.trim().split("\n"));
  blocks.forEach((block) => block.remove());
  return lines;
}

/** Decodes base64 JPEGs on demand and keeps the last ones used. */
class Pictures {
  constructor(kind, kept) {
    this.lines = takeLines(kind);
    this.kept = kept;
    this.decoded = new Map();
  }

  get(index) {
    let picture = this.decoded.get(index);
    if (picture) this.decoded.delete(index);
    else picture = this.decode(index);
    this.decoded.set(index, picture);
    if (this.decoded.size > this.kept) this.decoded.delete(this.decoded.keys().next().value);
    return picture;
  }

  decode(index) {
    const bytes = Uint8Array.from(atob(this.lines[index]), (letter) => letter.charCodeAt(0));
    return createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  }
}

const sheets = new Pictures("sheets", 128);
const strips = new Pictures("strips", 16);
