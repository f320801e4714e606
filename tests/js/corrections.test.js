import assert from "node:assert/strict";
import { test } from "node:test";

import {
  correctionsFile,
  decodedText,
  readCorrections,
} from "../../ctcedge/report/web/js/corrections.js";
import { HASHES, entryOf, reportOf, storeOf } from "./report_data.js";

const CREATED = "2026-11-24T03:00:00.000Z";
const draw = { cells: [1], drawn: 1, leukocytes: 3, text: "" };
const report = reportOf([{ call: "CTC", sample: 1 }, {}, {}], { draw });

/** Two reviews by Ada, as a file and in its store. */
function reviewed() {
  const store = storeOf(report);
  store.reviewer = "Ada";
  store.put(0, entryOf(report, 0, "leukocyte", { note: "odd rim", channels: ["BF", "PE"] }));
  store.put(1, entryOf(report, 1, "unsure"));
  return { store, file: correctionsFile(report, store, CREATED) };
}

const read = (file, intoReport = report, store = storeOf(intoReport)) =>
  readCorrections(JSON.stringify(file), intoReport, store);

test("the file contains each valid review with its cell", () => {
  const { file } = reviewed();
  const { entries, ...head } = file;
  assert.deepEqual(head, {
    schema: "ctcedge/corrections/1",
    report_id: "b".repeat(64),
    folder_name: "folder",
    pseudonymised: false,
    created: CREATED,
    reviewer: "Ada",
    draw: { drawn: 1, leukocytes: 3 },
  });
  assert.deepEqual(entries[0], {
    path: "S1/0_BF.png",
    sample: "S2",
    cell: "0",
    image_sha256: report.cells.sha256[0],
    model_sha256: HASHES.model,
    from: "CTC",
    call: "leukocyte",
    note: "odd rim",
    time: "2026-11-24T01:00:00.000Z",
    channels: ["BF", "PE"],
    blinded: true,
    weight: null,
  });
  assert.equal(entries[1].weight, 3);
});

test("a saved file loads the same reviews", () => {
  const { store, file } = reviewed();
  const { reviewer, loaded, skipped } = read(file);
  assert.deepEqual([reviewer, skipped], ["Ada", 0]);
  assert.deepEqual([...loaded], store.valid());
});

test("two crops that hold the same image are distinguished by path", () => {
  const sha256 = HASHES.first;
  const twins = reportOf([{ sha256 }, { sha256 }]);
  const store = storeOf(twins);
  store.reviewer = "Ada";
  store.put(1, entryOf(twins, 1, "CTC"));
  const { loaded } = read(correctionsFile(twins, store, CREATED), twins);
  assert.deepEqual([...loaded.keys()], [1]);
});

test("reviews of missing or changed cells are skipped", () => {
  const { file } = reviewed();
  const changed = reportOf([{ call: "review", sample: 1 }, {}]);
  const { loaded, skipped } = read(file, changed);
  assert.deepEqual([[...loaded.keys()], skipped], [[1], 1]);
  const hidden = reportOf([{ call: "CTC", image: 1 }, { image: 1 }]);
  assert.throws(() => read(file, hidden), /No cell of this file is in this report/);
});

test("a file by another person is refused while there are reviews", () => {
  const { file } = reviewed();
  const store = storeOf(report);
  store.reviewer = "Bo";
  assert.equal(read(file, report, store).reviewer, "Ada");
  store.put(2, entryOf(report, 2, "CTC"));
  assert.throws(() => read(file, report, store), /by Ada, but .* by Bo/);
});

for (const text of ["{", "null", "[]", '{"schema": "ctcedge/corrections/2"}']) {
  test(`other files are refused: ${text}`, () => {
    const attempt = () => readCorrections(text, report, storeOf(report));
    assert.throws(attempt, /not a corrections file/);
  });
}

for (const [name, value] of [
  ["entries", 7],
  ["reviewer", " "],
  ["reviewer", "x".repeat(201)],
]) {
  test(`a file with another '${name}' is refused`, () => {
    const { file } = reviewed();
    assert.throws(() => read({ ...file, [name]: value }), /not a corrections file/);
  });
}

for (const [name, value] of [
  ["call", "review"],
  ["from", "unsure"],
  ["image_sha256", 7],
  ["model_sha256", "x".repeat(65)],
  ["path", null],
  ["note", ["x"]],
  ["note", "x".repeat(2001)],
  ["time", "yesterday"],
  ["time", "2026-11-24T01:00:00+01:00"],
  ["channels", []],
  ["channels", [{}]],
  ["blinded", 1],
]) {
  test(`an entry with another '${name}' damages the file: ${JSON.stringify(value).slice(0, 30)}`, () => {
    const { file } = reviewed();
    file.entries[1][name] = value;
    assert.throws(() => read(file), /damaged: nothing was loaded/);
  });
}

test("a file is read in UTF-8 and UTF-16, with and without byte-order mark", () => {
  const text = '{"reviewer": "Zoë Žák"}';
  const utf8 = new TextEncoder().encode(text);
  const utf16 = (little) => {
    const view = new DataView(new ArrayBuffer(2 * text.length + 2));
    [...`\uFEFF${text}`].forEach((unit, at) => view.setUint16(2 * at, unit.charCodeAt(0), little));
    return view.buffer;
  };
  assert.equal(decodedText(utf8.buffer), text);
  assert.equal(decodedText(new Uint8Array([0xef, 0xbb, 0xbf, ...utf8]).buffer), text);
  assert.equal(decodedText(utf16(true)), text);
  assert.equal(decodedText(utf16(false)), text);
  assert.equal(decodedText(new ArrayBuffer(0)), "");
});
