// The browser half of bossaviz.LiveChart: one Vega view, made once, then fed.
//
// `model` has get, set, save_changes, on, off (a widget model, or the small stand-in of a saved page).
// Traits, as in livechart.py: spec, datasets, data_<name>, params, epoch, frame, width, description, stale,
// selectable, watch, handles; back to Python go selections, hovered and signals.
// Follows frames.js in one module.

const WATCH_MS = 50; // signals go back at most 20 times a second
const SETTLE_MS = 400; // how long a handle just moved obeys the reader alone
const FALLBACK_WIDTH = 429; // before the element has a size

const copy = (value) => JSON.parse(JSON.stringify(value));
const isObject = (value) => value !== null && typeof value === "object";

// A mark's place in the order of values, and what it stands for (a draw, else its place).
const worth = ({ datum }) => datum?.value ?? datum?.x ?? 0;
const keyOf = ({ datum }) => datum?.draw ?? datum?.x;

class Drawing {
  constructor({ vega, vegaLite }, model, el) {
    Object.assign(this, { vega, vegaLite, model, el });
    this.drawn = {}; // dataset -> the frame last given to the view
    this.set = {}; // param -> the value last given to the view
    this.moved = {}; // handle's param -> when the reader last moved it here
    this.epoch = -Infinity;
    this.queued = this.busy = this.closed = false;
    this.listeners = [];
  }

  async start() {
    const { el } = this;
    el.classList.add("bv-livechart");
    // JupyterLab would take arrows and Enter for itself
    el.dataset.lmSuppressShortcuts = "true";
    ensureHatch();
    for (const name of ["frame", "params", "epoch"]) this.on(`change:${name}`, () => this.schedule());
    this.on("change:spec", () => this.embed().catch((error) => this.say(error)));
    this.on("change:description", () => this.describe());
    this.on("change:stale", () => this.fade());
    this.on("change:width", () => this.schedule());
    this.on("change:signals", () => this.schedule());
    this.resizing = new ResizeObserver(([entry]) => {
      // hidden is no size; and a width read at another moment may belong to a half-done layout of the page
      this.observed = Math.floor(entry.contentRect.width) || this.observed;
      this.schedule();
    });
    this.keys = (event) => this.onKey(event);
    el.addEventListener("keydown", this.keys);
    try {
      await this.embed();
    } catch (error) {
      this.say(error);
    }
    this.resizing.observe(el);
    this.fade();
  }

  on(event, callback) {
    this.model.on(event, callback);
    this.listeners.push([event, callback]);
  }

  close() {
    this.closed = true;
    for (const [event, callback] of this.listeners) this.model.off(event, callback);
    this.el.removeEventListener("keydown", this.keys);
    this.resizing.disconnect();
    clearTimeout(this.reporting);
    clearTimeout(this.settling);
    this.view?.finalize();
  }

  // ---- the one embedding

  async embed() {
    const { vega, vegaLite, model, el } = this;
    const spec = themed(copy(model.get("spec")));
    this.follow = this.makeResponsive(spec);
    const quiet = vega.logger(vega.Error);
    const compiled = vegaLite.compile(spec, { logger: quiet }).spec;
    const selectable = model.get("selectable");
    const grips = Object.values(model.get("handles")).map((handle) => handle.mark);
    if (selectable.length || grips.length) markPointers(compiled.marks, [...selectable, ...grips]);
    this.widths = (compiled.signals ?? [])
      .filter((signal) => /(^childWidth|_width)$/.test(signal.name) && typeof signal.value === "number")
      .map((signal) => signal.name);
    this.declared = new Set([
      ...(compiled.signals ?? []).map((signal) => signal.name),
      ...(compiled.data ?? []).map((data) => `data:${data.name}`),
    ]);
    const loader = vega.loader();
    loader.load = () => Promise.reject(new Error("a live chart loads nothing"));
    const box = document.createElement("div");
    box.className = "bv-chart";
    const view = new vega.View(vega.parse(compiled), { renderer: "svg", loader, logLevel: vega.Error });
    const old = this.view;
    Object.assign(this, { view, drawn: {}, set: {}, plotWidth: undefined, around: undefined });
    view.initialize(box).hover();
    this.listen(view);
    el.replaceChildren(box);
    if (selectable.length || grips.length) box.tabIndex = 0;
    this.box = box;
    this.epoch = -Infinity;
    this.update();
    await view.runAsync();
    old?.finalize();
    this.describe();
    this.painted();
  }

  // "container" becomes a number that follows the element; Vega's own listens to the window only.
  makeResponsive(spec) {
    const start = this.outerWidth();
    const units = spec.vconcat ? spec.vconcat : [spec];
    const fluid = units.filter((unit) => unit.width === "container");
    if (!fluid.length) return false;
    for (const unit of fluid) unit.width = start;
    if (!spec.vconcat && !spec.autosize && !spec.config?.autosize) {
      spec.autosize = { type: "fit-x", contains: "padding" };
    }
    const autosize = spec.autosize ?? spec.config?.autosize;
    const type = autosize?.type ?? autosize;
    this.paddingInside = /^fit/.test(type) && autosize.contains === "padding";
    return true;
  }

  outerWidth() {
    return this.model.get("width") || this.observed || Math.floor(this.el.clientWidth) || FALLBACK_WIDTH;
  }

  // ---- frames

  schedule() {
    if (this.queued || this.closed) return;
    this.queued = true;
    if (!this.busy) requestAnimationFrame(() => this.draw());
  }

  async draw() {
    if (this.closed || !this.view) return;
    this.queued = false;
    this.busy = true;
    try {
      const kept = this.focused();
      if (this.update()) await this.view.runAsync();
      this.refocus(kept);
      this.painted();
    } catch (error) {
      this.say(error);
    } finally {
      this.busy = false;
      if (this.queued) requestAnimationFrame(() => this.draw());
    }
  }

  // Hand the view what differs from what it shows; true if anything does.
  update() {
    const { model, view, vega } = this;
    const epoch = model.get("epoch");
    let changed = this.resize();
    if (epoch < this.epoch) return changed;
    this.epoch = epoch;
    for (const [name, value] of Object.entries({ ...model.get("params"), ...this.handled() })) {
      if (performance.now() - (this.moved[name] ?? -Infinity) < SETTLE_MS) continue;
      if (name in this.set && JSON.stringify(this.set[name]) === JSON.stringify(value)) continue;
      this.set[name] = value;
      if (!this.declared.has(name)) continue;
      view.signal(name, themed(value));
      changed = true;
    }
    for (const name of model.get("datasets")) {
      const frame = model.get(`data_${name}`);
      if (this.drawn[name] === frame) continue;
      this.drawn[name] = frame;
      if (!this.declared.has(`data:${name}`)) continue;
      view.change(name, vega.changeset().remove(vega.truthy).insert(rowsOf(frame)));
      changed = true;
    }
    return changed;
  }

  // Where a handle stands by what another view reported, until Python has taken it over into params.
  handled() {
    const { model } = this;
    const signals = model.get("signals");
    if (signals === this.taken) return {};
    this.taken = signals;
    return Object.fromEntries(Object.entries(signals).filter(([name]) => name in model.get("handles")));
  }

  resize() {
    if (!this.follow) return false;
    const { view } = this;
    const { left, right } = this.padding();
    this.around ??= this.paddingInside ? 0 : left + right;
    const width = Math.max(40, this.outerWidth() - this.around);
    if (width === this.plotWidth) return false;
    this.plotWidth = width;
    if (this.widths.length) for (const name of this.widths) view.signal(name, width);
    else view.width(width);
    return true;
  }

  padding() {
    const padding = this.view.padding();
    if (isObject(padding)) return { left: 0, right: 0, top: 0, ...padding };
    return { left: padding ?? 0, right: padding ?? 0, top: padding ?? 0 };
  }

  // Where the plot's (0, 0) is in the drawing.
  origin() {
    const [x, y] = this.view.origin();
    const { left, top } = this.padding();
    return [x + left, y + top];
  }

  painted() {
    // autosize "pad" draws axes outside the plot: leave them room (only ever more, so that it comes to rest)
    const around = this.box.querySelector("svg")?.getAttribute("width") - this.plotWidth;
    if (this.follow && around > this.around + 1) {
      this.around = around;
      this.schedule();
    }
    this.box.dataset.frame = String(this.model.get("frame"));
    this.error?.remove();
    this.error = null;
  }

  describe() {
    const text = this.model.get("description");
    if (this.view && text) this.view.description(text);
  }

  fade() {
    this.el.classList.toggle("bv-stale", this.model.get("stale"));
  }

  say(error) {
    console.error(error);
    this.error?.remove();
    this.error = document.createElement("p");
    this.error.className = "bv-chart-error";
    this.error.setAttribute("role", "alert");
    this.error.textContent = `This chart could not be drawn: ${error?.message ?? error}`;
    this.el.append(this.error);
  }

  // ---- from the reader back to Python

  listen(view) {
    view.addEventListener("click", (event, item) => this.report("selections", item));
    view.addEventListener("mouseover", (event, item) => {
      if (this.model.get("report_hover")) this.report("hovered", item);
    });
    for (const name of this.model.get("watch")) {
      view.addSignalListener(name, (signal, value) => this.reportSignal(signal, value));
    }
    this.dragHandles(view);
  }

  report(trait, item) {
    const mark = item?.mark;
    if (mark?.role !== "mark" || mark.marktype === "group") return;
    const name = nameOf(mark);
    const selectable = this.model.get("selectable");
    if (selectable.length && !selectable.includes(name)) return;
    const seq = (this.model.get(trait).seq ?? 0) + 1;
    this.model.set(trait, { name, datum: plainDatum(item.datum), seq });
    this.model.save_changes();
  }

  // What Python itself set is not news to it.
  reportSignal(name, value) {
    if (JSON.stringify(value) === JSON.stringify(this.model.get("params")[name])) return;
    this.pending = { ...this.pending, [name]: value };
    this.reporting ??= setTimeout(() => this.flushSignals(), WATCH_MS);
  }

  flushSignals() {
    clearTimeout(this.reporting);
    this.reporting = null;
    if (!this.pending) return;
    this.model.set("signals", { ...this.model.get("signals"), ...this.pending });
    this.pending = null;
    this.model.save_changes();
  }

  // A handle is a mark that sets a param: drag it, or focus the chart and use the arrow keys.
  dragHandles(view) {
    const handles = Object.entries(this.model.get("handles"));
    if (!handles.length) return;
    const channel = (handle) => handle.scale ?? "x";
    view.addEventListener("pointerdown", (event, item) => {
      const found = handles.find(([, handle]) => item && nameOf(item.mark) === handle.mark);
      if (!found) return;
      event.preventDefault();
      const [param, handle] = found;
      const move = (moved) => {
        const [x, y] = this.vega.point(moved, this.box.querySelector("svg"));
        const [left, top] = this.origin();
        const at = channel(handle).endsWith("y") ? y - top : x - left;
        this.moveHandle(param, handle, view.scale(channel(handle)).invert(at));
      };
      const stop = () => {
        window.removeEventListener("pointermove", move);
        window.removeEventListener("pointerup", stop);
        this.flushSignals();
      };
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", stop);
    });
  }

  moveHandle(param, handle, value) {
    const domain = this.view.scale(handle.scale ?? "x").domain();
    const [low, high] = [Math.min(...domain), Math.max(...domain)];
    const kept = Math.min(handle.max ?? high, Math.max(handle.min ?? low, value));
    this.view.signal(param, kept);
    this.view.runAsync();
    this.set[param] = kept;
    // echoes of earlier positions would pull the handle back under the reader's hand
    this.moved[param] = performance.now();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.schedule(), SETTLE_MS + 50);
    this.reportSignal(param, kept);
  }

  onKey(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
    const [handle] = Object.entries(this.model.get("handles"));
    if (handle && event.key in steps) {
      event.preventDefault();
      const domain = this.view.scale(handle[1].scale ?? "x").domain();
      const unit = (Math.max(...domain) - Math.min(...domain)) / (event.shiftKey ? 20 : 200);
      this.moveHandle(handle[0], handle[1], this.view.signal(handle[0]) + steps[event.key] * unit);
      return;
    }
    this.walkMarks(event);
  }

  // Arrow keys go from mark to mark in order of value; Enter or Space choose one, as a click does; "o" goes to the
  // landmark, from where arrows lead back to the marks on either side.
  walkMarks(event) {
    const items = this.walkable();
    const landmark = this.landmark();
    const here = items.findIndex((item) => item._svg === document.activeElement);
    if (event.key === "o" && landmark) {
      event.preventDefault();
      this.focusOn(landmark);
      return;
    }
    if (!items.length) return;
    if (event.key === "Enter" || event.key === " ") {
      if (here < 0) return;
      event.preventDefault();
      this.report("selections", items[here]);
      return;
    }
    const far = items.length - 1;
    let [before, after] = [here - 1, here + 1];
    if (here < 0 && landmark?._svg === document.activeElement) {
      after = items.findIndex((item) => worth(item) > worth(landmark));
      if (after < 0) after = items.length;
      before = after - 1;
    }
    const targets = {
      ArrowRight: after, ArrowDown: after, ArrowLeft: before, ArrowUp: before,
      PageDown: here + 10, PageUp: here - 10, Home: 0, End: far,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    this.focusOn(items[Math.min(far, Math.max(0, targets[event.key]))]);
  }

  // The marks that keys walk: those of the first selectable name that has any.
  walkable() {
    const root = { items: [this.view.scenegraph().root] };
    for (const name of this.model.get("selectable")) {
      const items = findMark(root, name)?.items ?? [];
      if (items.length) return [...items].sort((a, b) => worth(a) - worth(b) || a.x - b.x || b.y - a.y);
    }
    return [];
  }

  landmark() {
    const name = this.model.get("landmark");
    return name ? findMark({ items: [this.view.scenegraph().root] }, name)?.items[0] : undefined;
  }

  focusOn(item) {
    item._svg.setAttribute("tabindex", "-1");
    item._svg.focus({ preventScroll: true });
  }

  // New data are new marks: the one that has the focus hands it to the one that stands for the same thing.
  focused() {
    if (!this.box.contains(document.activeElement) || document.activeElement === this.box) return undefined;
    const item = this.walkable().find(({ _svg }) => _svg === document.activeElement);
    if (item) return { key: keyOf(item), at: worth(item) };
    return this.landmark()?._svg === document.activeElement ? { landmark: true } : undefined;
  }

  refocus(kept) {
    if (!kept || (document.activeElement && document.activeElement !== document.body)) return;
    const items = this.walkable();
    const same = kept.landmark ? this.landmark() : items.find((item) => keyOf(item) === kept.key);
    const near = (best, item) => (Math.abs(worth(item) - kept.at) < Math.abs(worth(best) - kept.at) ? item : best);
    const item = same ?? (items.length ? items.reduce(near) : undefined);
    if (item?._svg) this.focusOn(item);
    else this.box.focus({ preventScroll: true });
  }
}

export async function mount(kit, model, el) {
  const drawing = new Drawing(kit, model, el);
  await drawing.start();
  return () => drawing.close();
}
