// Views, keys and decisions.

const NARROW = window.matchMedia("(max-width: 52rem)");
const VIEWS = ["summary", "gallery", "review"];
let view = "summary";

function go(name) {
  view = VIEWS.includes(name) ? name : "summary";
  for (const each of VIEWS) document.getElementById(each).hidden = each !== view;
  for (const button of document.querySelectorAll("[data-view]")) {
    if (button.dataset.view === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (location.hash !== `#${view}`) history.replaceState(null, "", `#${view}`);
  if (view === "gallery") {
    gallery.layOut();
    gallery.scroller.focus({ preventScroll: true });
  }
  redraw();
}

function redraw() {
  if (view === "gallery") gallery.showDetail();
  if (view === "review") reviewing.show();
}

const current = () => (view === "gallery" ? gallery.selected : view === "review" ? reviewing.cell : null);

/** Ask who reviews; resolves to the name, or to none. */
function askName() {
  const dialog = document.getElementById("who");
  const field = dialog.querySelector("input");
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    const answer = () => {
      field.blur(); // a closed dialog keeps the focus until the next frame, and with it the next key
      resolve(dialog.returnValue === "keep" ? field.value.trim() : "");
    };
    dialog.addEventListener("close", answer, { once: true });
  });
}

/** Ask once who reviews; resolves to whether there is a name now. */
async function reviewer() {
  if (!store.reviewer) {
    store.reviewer = await askName();
    store.keep();
  }
  return Boolean(store.reviewer);
}

async function anotherReader() {
  if (store.unsaved && store.count()) return tell("Save the corrections first: another reader begins with none.");
  const name = await askName();
  if (!name || name === store.reviewer) return;
  store.begin(name);
  reviewing.start();
  redraw();
}

async function decide(call) {
  const cell = current();
  if (cell === null) return;
  if (!canReview(cell)) return tell("This cell cannot be reviewed: its image is not the one that was called.");
  if (!(await reviewer())) return;
  const before = store.entry(cell);
  store.put(cell, {
    call,
    from: callOf(cell),
    model: modelHash(cell),
    note: before ? before.note : "",
    time: timeNow(),
    channels: channelsShown(cell),
    blinded: view === "review" && !store.hasSeen(cell),
  });
  tell(`Cell ${cells.cell[cell]}: ${call}`);
  if (view === "review" && !before) reviewing.nextOpen();
  else if (view === "gallery") gallery.move(1);
  else redraw();
}

function undo() {
  const cell = store.undo();
  if (cell === null) return tell("Nothing to undo.");
  tell(`Undone: cell ${cells.cell[cell]}`);
  if (view === "review") reviewing.goTo(cell);
  else if (view === "gallery") gallery.select(cell);
}

function takeBack() {
  const cell = current();
  if (cell === null || !store.entry(cell)) return;
  store.put(cell, null);
  tell(`Cell ${cells.cell[cell]}: review taken back`);
  redraw();
}

const ANYWHERE = {
  c: () => decide("CTC"),
  l: () => decide("leukocyte"),
  r: () => decide("unsure"),
  u: undo,
  delete: takeBack,
  n: () => document.querySelector(`#${view === "gallery" ? "detail" : "review"} textarea:enabled`)?.focus(),
  b: () => flip("others"),
  o: () => flip("overlay"),
  s: save,
  "?": () => document.getElementById("help").showModal(),
};
const ARROWS = {
  gallery: {
    arrowleft: () => gallery.move(-1),
    arrowright: () => gallery.move(1),
    arrowup: () => gallery.move(-gallery.across),
    arrowdown: () => gallery.move(gallery.across),
    home: () => gallery.move(-count),
    end: () => gallery.move(count),
  },
  review: {
    arrowleft: () => reviewing.move(-1),
    arrowright: () => reviewing.move(1),
    arrowup: () => reviewing.move(-1),
    arrowdown: () => reviewing.move(1),
  },
  summary: {},
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (event.target.matches("textarea, select, input:not([type=checkbox])")) {
    if (key === "escape") event.target.blur();
    return;
  }
  const action = ARROWS[view][key] || ANYWHERE[key];
  if (!action) return;
  event.preventDefault();
  action();
});

function refresh() {
  const done = store.count();
  const progress = document.getElementById("progress");
  progress.textContent = done ? `${number(done)} reviewed${store.unsaved ? ", not saved to a file yet" : ""}` : "";
  document.getElementById("save").disabled = !done;
  const reader = document.getElementById("reader");
  reader.hidden = !store.reviewer;
  reader.textContent = harmless(`Reader: ${store.reviewer}`);
  document.getElementById("storage").hidden = store.lasting;
  gallery.relabel();
}

// Old documents of two tabs must not overwrite each other.
window.addEventListener("storage", (event) => {
  if (event.key !== STORE) return;
  store.read();
  refresh();
  redraw();
});
window.addEventListener("beforeunload", (event) => {
  if (!store.lasting && store.unsaved && store.count()) event.preventDefault();
});
window.addEventListener("hashchange", () => go(location.hash.slice(1)));
document.getElementById("save").addEventListener("click", save);
const picker = document.getElementById("file");
document.getElementById("load").addEventListener("click", () => picker.click());
picker.addEventListener("change", () => {
  const [file] = picker.files;
  if (file) load(file).then(() => { picker.value = ""; });
});
document.getElementById("reader").addEventListener("click", anotherReader);
document.getElementById("keys").addEventListener("click", () => document.getElementById("help").showModal());
document.getElementById("who-cancel").addEventListener("click", () => document.getElementById("who").close());
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => go(button.dataset.view));
}

store.read();
store.listeners.push(refresh);
summaryView();
gallery.start();
reviewing.start();
document.getElementById("loading").remove();
refresh();
go(location.hash.slice(1));
