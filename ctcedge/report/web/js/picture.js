// Crops on canvases, with scale bar and activation.

const BARS_UM = [200, 100, 50, 20, 10, 5, 2, 1];
const TILE = report.pictures.tile;

/** Draw a part of a picture so that it fills a canvas of the given size on screen. */
function paint(canvas, picture, part, width, height) {
  const dense = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.scale(dense, dense);
  context.drawImage(picture, ...part, 0, 0, width, height);
  return context;
}

/** A white bar with a dark rim, at most half as wide as the picture, and its length in words. */
function scaleBar(context, umPerPoint, width, height, words) {
  const um = BARS_UM.find((length) => length / umPerPoint <= width / (words ? 3 : 2.2));
  if (!um) return;
  const length = um / umPerPoint;
  const [x, y, thick] = [6, height - 9, words ? 4 : 3];
  context.fillStyle = "#000000";
  context.fillRect(x - 1, y - 1, length + 2, thick + 2);
  context.fillStyle = "#ffffff";
  context.fillRect(x, y, length, thick);
  if (!words) return;
  context.font = "600 12px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#000000";
  context.strokeText(`${um} µm`, x, y - 5);
  context.fillText(`${um} µm`, x, y - 5);
}

/** Draw a cell's tile, unless its canvas shows another cell by then. */
async function paintTile(canvas, cell, side) {
  canvas.dataset.cell = cell;
  const slot = cell % (report.pictures.across ** 2);
  const sheet = Math.floor(cell / (report.pictures.across ** 2));
  const [column, row] = [slot % report.pictures.across, Math.floor(slot / report.pictures.across)];
  const picture = await sheets.get(sheet);
  if (canvas.dataset.cell !== String(cell)) return;
  const context = paint(canvas, picture, [column * TILE, row * TILE, TILE, TILE], side, side);
  const um = cells.um_per_px[cell];
  if (um) scaleBar(context, um / cells.tile_zoom[cell] * TILE / side, side, side, false);
}

/** Bright field large, other channels beside it; the canvases fill as pictures decode. */
function pictures(cell, { side, small, columns, others, overlay }) {
  const box = make("div", { className: "pictures" });
  const strip = cells.strip[cell];
  if (cells.image[cell] !== IMAGE_OK) {
    box.append(make("p", { className: "strip" }, report.images[cells.image[cell]]));
    return box;
  }
  const channels = strip === null ? ["BF"] : report.strips[strip].channels;
  const shown = others ? channels : channels.slice(0, 1);
  const beside = make("div", { className: "pictures beside" });
  shown.forEach((channel, place) => {
    const canvas = make("canvas", { role: "img", "aria-label": `${channelName(channel)} of cell ${cells.cell[cell]}` });
    const caption = make("figcaption", {}, channelName(channel));
    (place ? beside : box).append(make("figure", {}, canvas, caption));
    if (strip === null) paintSmall(canvas, cell, side);
    else paintChannel(canvas, cell, place, place ? small : side, overlay && place === 0);
  });
  if (shown.length > 1) {
    beside.style.maxWidth = `${columns * (small + 8)}px`;
    box.append(beside);
  }
  if (strip === null) box.append(make("p", { className: "quiet" }, report.pictures.why_small));
  return box;
}

const channelName = (channel) => (channel === "BF" ? "bright field" : channel);

async function paintSmall(canvas, cell, side) {
  await paintTile(canvas, cell, side);
}

async function paintChannel(canvas, cell, place, side, overlay) {
  const { width, height, pitch } = report.strips[cells.strip[cell]];
  const zoom = side / Math.max(width, height);
  const size = [Math.round(width * zoom), Math.round(height * zoom)];
  [canvas.width, canvas.height] = size;
  canvas.dataset.cell = cell;
  const picture = await strips.get(cells.strip[cell]);
  const context = paint(canvas, picture, [place * pitch, 0, width, height], ...size);
  if (overlay) paintActivation(context, cell, ...size);
  const um = cells.um_per_px[cell];
  const shrink = Math.max(cells.width[cell], cells.height[cell]) / Math.max(width, height);
  if (um && place === 0) scaleBar(context, um * shrink / zoom, ...size, true);
}

/** Orange where the picture speaks for CTC, blue where it speaks against. */
function paintActivation(context, cell, width, height) {
  const { side, window, values } = report.strips[cells.strip[cell]].activation;
  const map = make("canvas", { width: side, height: side });
  const image = new ImageData(side, side);
  values.forEach((value, index) => {
    image.data.set(value > 0 ? [230, 110, 0] : [0, 110, 220], 4 * index);
    image.data[4 * index + 3] = Math.round(1.5 * Math.abs(value)); // values: -100 to 100
  });
  map.getContext("2d").putImageData(image, 0, 0);
  const edge = window * width / cells.width[cell]; // the network sees a square in the middle
  context.drawImage(map, (width - edge) / 2, (height - edge) / 2, edge, edge);
}

const hasActivation = (cell) =>
  cells.strip[cell] !== null && Boolean(report.strips[cells.strip[cell]].activation);
