// Pictures of cells on canvases, with scale bar and activation map.

import { element } from "./dom.js";

/** @typedef {import("./report.js").Report} Report */

const SCALE_BARS_UM = [200, 100, 50, 20, 10, 5, 2, 1];
const CACHED_SHEETS = 128;
const CACHED_STRIPS = 16;
const ACTIVATION_OPACITY = 1.5; // per unit of the map, whose values are -100 to 100

/**
 * Longest scale bar that leaves most of the picture free.
 *
 * @param {number} umPerPoint
 * @param {number} width of the picture, points
 * @param {boolean} labelled
 * @returns {number | undefined} um
 */
export function scaleBarLength(umPerPoint, width, labelled) {
  return SCALE_BARS_UM.find((um) => um / umPerPoint <= width / (labelled ? 3 : 2.2));
}

/**
 * @param {string} channel
 * @returns {string}
 */
export const channelName = (channel) => (channel === "BF" ? "bright field" : channel);

/** Decodes JPEGs in base64 on demand and keeps the most recently used ones. */
export class ImageCache {
  /**
   * @param {string[]} lines
   * @param {number} capacity
   * @param {(line: string) => Promise<ImageBitmap>} [decode]
   */
  constructor(lines, capacity, decode = decodeJpeg) {
    this.lines = lines;
    this.capacity = capacity;
    this.decode = decode;
    /** @type {Map<number, Promise<ImageBitmap>>} */
    this.images = new Map();
  }

  /**
   * @param {number} index
   * @returns {Promise<ImageBitmap>}
   */
  get(index) {
    const image = this.images.get(index) ?? this.decode(this.lines[index]);
    this.images.delete(index);
    this.images.set(index, image);
    if (this.images.size > this.capacity) {
      this.images.delete(/** @type {number} */ (this.images.keys().next().value));
    }
    return image;
  }
}

/** @param {string} line */
function decodeJpeg(line) {
  const bytes = Uint8Array.from(atob(line), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
}

/**
 * The lines of all picture blocks of one kind. The blocks are removed from the document.
 *
 * @param {string} kind
 * @returns {string[]}
 */
function takeLines(kind) {
  const blocks = [...document.querySelectorAll(`script[data-pictures="${kind}"]`)];
  const lines = blocks.flatMap((block) => (block.textContent ?? "").trim().split("\n"));
  blocks.forEach((block) => block.remove());
  return lines;
}

/**
 * @typedef {object} PictureSizes
 * @property {number} side longest side of bright field, points
 * @property {number} small longest side of another channel
 * @property {number} columns other channels side by side
 */

/** Draws cells. */
export class Painter {
  /** @param {Report} report */
  constructor(report) {
    this.report = report;
    this.sheets = new ImageCache(takeLines("sheets"), CACHED_SHEETS);
    this.strips = new ImageCache(takeLines("strips"), CACHED_STRIPS);
  }

  /**
   * Decode a cell's strip before it is needed.
   *
   * @param {number | undefined} cell
   */
  prefetch(cell) {
    const strip = cell === undefined ? null : this.report.cells.strip[cell];
    if (strip !== null) void this.strips.get(strip);
  }

  /**
   * Draw a cell's tile, unless the canvas has been given to another cell in the meantime.
   *
   * @param {HTMLCanvasElement} canvas
   * @param {number} cell
   * @param {number} side
   */
  async paintTile(canvas, cell, side) {
    const { tile, across } = this.report.data.pictures;
    canvas.dataset.cell = String(cell);
    const slot = cell % across ** 2;
    const [column, row] = [slot % across, Math.floor(slot / across)];
    const sheet = await this.sheets.get(Math.floor(cell / across ** 2));
    if (canvas.dataset.cell !== String(cell)) return;
    const context = paint(canvas, sheet, [column * tile, row * tile, tile, tile], side, side);
    const um = this.report.cells.um_per_px[cell];
    const zoom = (this.report.cells.tile_zoom[cell] * side) / tile;
    if (um) paintScaleBar(context, um / zoom, side, side, false);
  }

  /**
   * Bright field, with the other channels beside it. The canvases are filled when their pictures
   * are decoded.
   *
   * @param {number} cell
   * @param {PictureSizes & {otherChannels: boolean, activation: boolean}} options
   */
  pictures(cell, { side, small, columns, otherChannels, activation }) {
    const box = element("div", { className: "pictures" });
    if (!this.report.hasImage(cell)) {
      box.append(element("p", { className: "banner" }, this.report.imageProblemOf(cell)));
      return box;
    }
    const channels = this.report.channelsOf(cell);
    const name = this.report.cells.cell[cell];
    const others = element("div", { className: "pictures beside" });
    (otherChannels ? channels : channels.slice(0, 1)).forEach((channel, place) => {
      const label = `${channelName(channel)} of cell ${name}`;
      const canvas = element("canvas", { role: "img", "aria-label": label });
      const caption = element("figcaption", {}, channelName(channel));
      (place ? others : box).append(element("figure", {}, canvas, caption));
      if (!this.report.stripOf(cell)) void this.paintTile(canvas, cell, side);
      else void this.paintChannel(canvas, cell, place, place ? small : side, activation && !place);
    });
    if (others.childElementCount) {
      others.style.maxWidth = `${columns * (small + 8)}px`;
      box.append(others);
    }
    if (!this.report.stripOf(cell)) {
      box.append(element("p", { className: "muted" }, this.report.data.pictures.why_small));
    }
    return box;
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} cell
   * @param {number} place of the channel in the strip
   * @param {number} side
   * @param {boolean} activation
   */
  async paintChannel(canvas, cell, place, side, activation) {
    const strip = this.report.stripOf(cell);
    const index = this.report.cells.strip[cell];
    if (strip === null || index === null) return;
    const { width, height, pitch } = strip;
    const zoom = side / Math.max(width, height);
    const [shownWidth, shownHeight] = [Math.round(width * zoom), Math.round(height * zoom)];
    [canvas.width, canvas.height] = [shownWidth, shownHeight];
    canvas.dataset.cell = String(cell);
    const part = [place * pitch, 0, width, height];
    const context = paint(canvas, await this.strips.get(index), part, shownWidth, shownHeight);
    const cells = this.report.cells;
    if (activation && strip.activation) {
      const pointsPerPx = shownWidth / cells.width[cell];
      paintActivation(context, strip.activation, pointsPerPx, shownWidth, shownHeight);
    }
    const um = cells.um_per_px[cell];
    const shrink = Math.max(cells.width[cell], cells.height[cell]) / Math.max(width, height);
    if (um && place === 0) {
      paintScaleBar(context, (um * shrink) / zoom, shownWidth, shownHeight, true);
    }
  }
}

/**
 * Draw a part of a picture so that it fills a canvas of the given size on the screen.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap} picture
 * @param {number[]} part left, top, width and height
 * @param {number} width
 * @param {number} height
 */
function paint(canvas, picture, part, width, height) {
  const density = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.scale(density, density);
  const [left, top, partWidth, partHeight] = part;
  context.drawImage(picture, left, top, partWidth, partHeight, 0, 0, width, height);
  return context;
}

/**
 * Draw a white bar with a dark rim, and its length.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {number} umPerPoint
 * @param {number} width
 * @param {number} height
 * @param {boolean} labelled
 */
function paintScaleBar(context, umPerPoint, width, height, labelled) {
  const um = scaleBarLength(umPerPoint, width, labelled);
  if (!um) return;
  const length = um / umPerPoint;
  const [x, y, thickness] = [6, height - 9, labelled ? 4 : 3];
  context.fillStyle = "#000000";
  context.fillRect(x - 1, y - 1, length + 2, thickness + 2);
  context.fillStyle = "#ffffff";
  context.fillRect(x, y, length, thickness);
  if (!labelled) return;
  context.font = "600 12px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#000000";
  context.strokeText(`${um} µm`, x, y - 5);
  context.fillText(`${um} µm`, x, y - 5);
}

/**
 * Draw an activation map: orange where the image supports the call CTC, blue where it opposes it.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{side: number, window: number, values: number[]}} activation
 * @param {number} pointsPerPx points per pixel of the crop
 * @param {number} width
 * @param {number} height
 */
function paintActivation(context, { side, window: covered, values }, pointsPerPx, width, height) {
  const map = element("canvas", { width: side, height: side });
  const image = new ImageData(side, side);
  values.forEach((value, index) => {
    image.data.set(value > 0 ? [230, 110, 0] : [0, 110, 220], 4 * index);
    image.data[4 * index + 3] = Math.round(ACTIVATION_OPACITY * Math.abs(value));
  });
  /** @type {CanvasRenderingContext2D} */ (map.getContext("2d")).putImageData(image, 0, 0);
  const edge = covered * pointsPerPx; // the network's input is a square in the middle of the crop
  context.drawImage(map, (width - edge) / 2, (height - edge) / 2, edge, edge);
}
