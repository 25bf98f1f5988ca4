// What the keyboard and a screen reader need and widgets do not give.
//
// A live region: the sentence on the screen changes with every frame; what is spoken waits until it has been still, so
// that a run of draws says "Drawing." and "Done", not every frame. And manners for the panel around it: radio buttons
// that share a name (arrow keys go from one to the next), names for its parts, keys that the application leaves alone.

let groups = 0; // each panel has this module to itself, so names also carry a part that chance made
const own = Math.random().toString(36).slice(2, 10);

const keep = (event) => {
  if (/^(Arrow|Home|End|Page)/.test(event.key)) event.stopPropagation();
};

// "t" goes from a chart to the table below it, which has the same numbers.
const toTable = (event) => {
  if (event.key !== "t" || event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".bv-chart")) return;
  const table = event.currentTarget.querySelector(".bv-table");
  if (!table) return;
  event.preventDefault();
  table.tabIndex = -1;
  table.focus();
};

// Without its kernel a panel cannot answer: say so, and leave the picture.
const GONE = "The kernel of this panel is gone; what you see is its last picture.";
const REMEDY = "Run its cell again.";
const part = (panel) => {
  panel.classList.add("bv-gone");
  const status = panel.querySelector(".bv-status");
  if (!status) return;
  status.className = "bv-status bv-error";
  const words = document.createElement("span");
  words.setAttribute("role", "alert");
  words.append(Object.assign(document.createElement("b"), { textContent: GONE }), ` ${REMEDY}`);
  status.replaceChildren(words);
  for (const control of panel.querySelectorAll("button, input, select")) control.disabled = true;
};

const settle = (panel, title) => {
  // JupyterLab would take arrows and letters for itself: its shortcuts, and a listener on the document that turns
  // off what an arrow does by itself.
  if (!panel.dataset.lmSuppressShortcuts) {
    panel.addEventListener("keydown", keep);
    panel.addEventListener("keydown", toTable);
  }
  panel.dataset.lmSuppressShortcuts = "true";
  panel.setAttribute("role", "region");
  panel.setAttribute("aria-label", title);
  for (const box of panel.querySelectorAll(".widget-radio-box")) {
    box.setAttribute("role", "radiogroup");
    const name = (box.dataset.bvName ??= `bv-radio-${own}-${++groups}`);
    for (const radio of box.querySelectorAll("input[type=radio]")) radio.name = name;
  }
  const labels = {
    ".bv-ci-type .widget-radio-box": "ci_type",
    ".bv-alternative .widget-radio-box": "alternative",
    ".bv-tabs .widget-radio-box": "table",
    ".bv-term select": "which number",
    ".bv-scheme select": "scheme: what is drawn anew",
    ".bv-seed-box input": "seed",
    ".bv-level-box input": "conf_level",
    ".bv-level .noUi-handle": "conf_level",
    ".bv-bins-box input": "bars per standard error",
    ".bv-bins .noUi-handle": "bars per standard error",
    ".bv-null input": "null",
  };
  for (const [selector, words] of Object.entries(labels)) {
    for (const part of panel.querySelectorAll(selector)) part.setAttribute("aria-label", words);
  }
};

function render({ model, el }) {
  el.className = "bv-hidden bv-voice";
  el.setAttribute("aria-live", "polite");
  el.setAttribute("role", "status");
  let waiting = null;
  const say = () => {
    clearTimeout(waiting);
    const text = model.get("text");
    waiting = setTimeout(() => { if (el.textContent !== text) el.textContent = text; }, model.get("still_ms"));
  };
  // The panel is put on the page piece by piece: look until this piece stands in it, then once more for the others.
  let tries = 0;
  const look = () => {
    const panel = el.closest(".bv-panel");
    if (panel) settle(panel, model.get("title"));
    if (tries++ < (panel ? 3 : 100)) looking = setTimeout(look, panel ? 300 : 50);
  };
  let looking = setTimeout(look, 0);
  const fly = () => {
    const panel = el.closest(".bv-panel");
    if (panel) flyWhenPainted(panel, model.get("flight"));
  };
  const leave = () => {
    const panel = el.closest(".bv-panel");
    if (panel) part(panel);
  };
  model.on("change:text", say);
  model.on("change:flight", fly);
  model.on("comm_live_update", leave);
  return () => {
    model.off("change:flight", fly);
    model.off("comm_live_update", leave);
    clearTimeout(waiting);
    clearTimeout(looking);
    model.off("change:text", say);
  };
}
export default { render };
